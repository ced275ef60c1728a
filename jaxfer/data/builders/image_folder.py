"""Any images sorted into folders by class, with or without a split above them."""

from collections import defaultdict
from functools import partial

from jaxfer.data import labels
from jaxfer.data.builders.plan import Example, Plan, Skip
from jaxfer.data.builders.source import Source, is_image, layout_error, size_problem
from jaxfer.data.records import FaceBuilder
from jaxfer.errors import DataError

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_ORDER = ("train", "validation", "test", "all")


class ImageFolder(FaceBuilder):
    """Images in folders named by class: `<split>/<class>/*` or `<class>/*`."""

    layout = """
        <split>/<class>/<image> with splits train, validation (val, valid), test;
        or <class>/<image>; in a folder or a zip
    """
    where = """
        your own images (.png, .jpg, .bmp, .webp, .tif, .pgm), one folder per class
    """

    @staticmethod
    def scan(source: Source | None, verbatim: bool = False) -> Plan:
        """Finds images, their splits and classes.

        Classes are in alphabetical order. Folder names that mean one of the
        project's expressions (`happy`, `Angry`) take its name; others stay as
        they are, and with `verbatim` all do: people can be called Joy.

        Args:
          source: a folder or a zip; folders around the layout are looked through.
          verbatim: keeps the names of all folders.

        Returns:
          The plan, split by split. Within a split the classes take turns, each
          in the order of its file names and evenly spread from the first row
          to the last, so that any run of consecutive images (protocol.kind
          `file_order`, validation_kind `last`) holds about the same share of
          every class.
        """
        assert source is not None
        images = [name for name in source.sizes if is_image(name)]
        skips = list(source.skips)
        skips += [
            Skip(name, "not an image file")
            for name in source.sizes
            if not is_image(name)
        ]
        depth = _common_depth(images)
        tops = {name.split("/")[depth] for name in images if name.count("/") > depth}
        splits = {top for top in tops if top.lower() in _SPLITS}
        if splits and splits != tops:
            raise DataError(
                f"{source.path} mixes splits ({', '.join(sorted(splits))}) with other "
                f"folders ({', '.join(sorted(tops - splits)[:5])}). Expected either "
                "only splits or only classes."
            )
        start = depth + 1 if splits else depth
        found: list[tuple[str, str, str]] = []
        for name in images:
            parts = name.split("/")
            if len(parts) != start + 2:
                skips.append(Skip(name, "not directly in a class folder"))
            elif problem := size_problem(source, name):
                skips.append(Skip(name, problem))
            else:
                split = _SPLITS[parts[depth].lower()] if splits else "all"
                found.append((split, parts[start], name))
        if not found:
            raise layout_error(
                source, "image-folder", ImageFolder.layout, ImageFolder.where
            )
        class_names = _class_names(source, found, verbatim)
        names = tuple(sorted(set(class_names.values())))
        index = {name: k for k, name in enumerate(names)}
        examples = [
            Example(name, split, index[class_names[kind]], partial(source.read, name))
            for split, kind, name in _interleaved(found)
        ]
        layout = "image folder with splits" if splits else "image folder"
        total = sum(source.sizes[e.file] for e in examples)
        return Plan(names, examples, skips, None, layout, total)


def _common_depth(images: list[str]) -> int:
    """How many single folders wrap the layout, as in `dataset/train/happy/1.png`."""
    depth = 0
    while True:
        folders = {tuple(name.split("/")[: depth + 1]) for name in images}
        deeper = all(name.count("/") >= depth + 2 for name in images)
        only = len(folders) == 1 and images
        if not only or not deeper:
            return depth
        if next(iter(folders))[-1].lower() in _SPLITS:
            return depth
        depth += 1


def _interleaved(found: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Sorts by split, then by a file's place within its class as a fraction."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for split, kind, name in sorted(found):
        groups[split, kind].append(name)
    placed = [
        (_ORDER.index(split), (2 * i + 1) / len(names), name, kind)
        for (split, kind), names in groups.items()
        for i, name in enumerate(names)
    ]
    return [(_ORDER[split], kind, name) for split, _, name, kind in sorted(placed)]


def _class_names(
    source: Source, found: list[tuple[str, str, str]], verbatim: bool
) -> dict[str, str]:
    """Folder -> class; two folders of one split must not mean the same class."""
    if verbatim:
        return {kind: kind for _, kind, _ in found}
    names = {kind: labels.canonical(kind) or kind for _, kind, _ in found}
    folders: dict[tuple[str, str], str] = {}
    for split, kind, _ in found:
        other = folders.setdefault((split, names[kind]), kind)
        if other != kind:
            raise DataError(
                f"{source.path}: the folders {other!r} and {kind!r} both mean "
                f"{names[kind]!r}. Merge them or rename one; with --verbatim "
                "(verbatim=True) folders keep their names, and are two classes."
            )
    return names
