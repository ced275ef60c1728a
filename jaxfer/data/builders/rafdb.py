"""RAF-DB, basic expressions (Li et al., CVPR 2017): official and Kaggle layouts."""

import re
from functools import partial

from jaxfer.data import labels
from jaxfer.data.builders.plan import Example, Plan, Published, Skip
from jaxfer.data.builders.source import Source, is_image, layout_error, size_problem
from jaxfer.data.records import FaceBuilder

_LIST = re.compile(r"(?:^|.*/)EmoLabel/list_pati(?:ti)?tion_label\.txt$", re.IGNORECASE)
_ALIGNED = re.compile(r"(?:^|.*/)Image/aligned/([^/]+)_aligned\.jpg$", re.IGNORECASE)
_KAGGLE = re.compile(r"(?:^|.*/)(train|test)/([1-7])/[^/]+$")

_PUBLISHED = Published(
    {
        "train": dict(zip(labels.RAFDB, (1290, 281, 717, 4772, 1982, 705, 2524))),
        "test": dict(zip(labels.RAFDB, (329, 74, 160, 1185, 478, 162, 680))),
    },
    None,
    "Li et al. 2017: 12,271 + 3,068 images",
)


class Rafdb(FaceBuilder):
    """RAF-DB: aligned faces from the web with seven basic expressions."""

    layout = """
        official: basic/Image/aligned/train_00001_aligned.jpg and
        basic/EmoLabel/list_patition_label.txt (aligned.zip unpacked);
        Kaggle: DATASET/train/1/train_00001_aligned.jpg, 1 to 7 being surprise,
        fear, disgust, happiness, sadness, anger, neutral
    """
    where = """
        http://www.whdeng.cn/raf/model1.html (on request, for research)
    """

    @staticmethod
    def scan(source: Source | None) -> Plan:
        """Finds the aligned images and their labels.

        Args:
          source: the official `basic` folder or the Kaggle copy.

        Returns:
          The plan, sorted by split and the images' own names, without folders.
        """
        assert source is not None
        tables = [name for name in source.sizes if _LIST.match(name)]
        if tables:
            examples, skips = _official(source, tables[0])
            layout = "RAF-DB basic, official layout"
        else:
            examples, skips = _kaggle(source)
            layout = "RAF-DB basic, Kaggle layout"
        if not examples:
            raise layout_error(source, "RAF-DB", Rafdb.layout, Rafdb.where)
        total = sum(source.sizes[e.file] for e in examples)
        return Plan(labels.RAFDB, examples, skips, _PUBLISHED, layout, total)


def _official(source: Source, table: str) -> tuple[list[Example], list[Skip]]:
    images = {m[1]: n for n in source.sizes if (m := _ALIGNED.match(n))}
    examples: list[Example] = []
    skips = list(source.skips)
    seen: set[str] = set()
    for line, text in enumerate(source.text(table).splitlines(), 1):
        cells = text.split()
        if not cells:
            continue
        stem = cells[0].rpartition(".")[0]
        split = stem.partition("_")[0]
        number = cells[1] if len(cells) == 2 else ""
        if split not in ("train", "test") or number not in tuple("1234567"):
            skips.append(Skip(f"{table}:{line}", "expected `train_00001.jpg 5`"))
        elif stem in seen:
            skips.append(Skip(cells[0], f"duplicate name: again in line {line}"))
        elif stem not in images:
            skips.append(Skip(cells[0], f"named in line {line} of {table}, not there"))
        else:
            _add(source, images[stem], split, int(number) - 1, examples, skips)
        seen.add(stem)
    skips += [
        Skip(name, f"no label in {table}")
        for stem, name in images.items()
        if stem not in seen
    ]
    return sorted(examples, key=_order), skips


def _kaggle(source: Source) -> tuple[list[Example], list[Skip]]:
    examples: list[Example] = []
    skips = list(source.skips)
    for name in source.sizes:
        match = _KAGGLE.match(name)
        if match is None or not is_image(name):
            skips.append(Skip(name, "not an image of RAF-DB"))
        else:
            _add(source, name, match[1], int(match[2]) - 1, examples, skips)
    return sorted(examples, key=_order), skips


def _add(
    source: Source,
    name: str,
    split: str,
    label: int,
    examples: list[Example],
    skips: list[Skip],
) -> None:
    if problem := size_problem(source, name):
        skips.append(Skip(name, problem))
    else:
        examples.append(Example(name, split, label, partial(source.read, name)))


def _order(example: Example) -> tuple[bool, str]:
    # Not the path: the Kaggle copy's class folders would sort by class.
    return example.split == "test", example.file.rpartition("/")[2]
