"""What commands that take a model and images share."""

import argparse
import difflib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxfer.data.decode import MAX_BYTES, SUFFIXES, decode, problem
from jaxfer.errors import ConfigError, DataError

Faces = Sequence[tuple[Path, np.ndarray]]
"""Files with their images, uint8 (H, W, 3)."""


def add_images(parser: argparse.ArgumentParser) -> None:
    """The argument `images`."""
    parser.add_argument("images", type=Path, nargs="+", help="files or folders")


def add_run_choice(parser: argparse.ArgumentParser) -> None:
    """The arguments `selection` and `number`: which model of a working folder."""
    parser.add_argument(
        "--selection",
        choices=("validation", "last"),
        help="of a folder, which epoch's model (default: the first of these it has)",
    )
    parser.add_argument(
        "--run",
        dest="number",
        type=int,
        default=0,
        metavar="N",
        help="of a folder, which fold and seed: an index into `runs` of its run.json,"
        " from 0 (default 0)",
    )


def add_out(parser: argparse.ArgumentParser, folder: str, what: str) -> None:
    """The argument `out`, a folder."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(folder),
        metavar="DIR",
        help=f"where {what} go (default {folder}/)",
    )


def batches(files: Sequence[Path], size: int, count: int) -> Iterator[Faces]:
    """Readable images, `count` at a time, the last part perhaps shorter.

    A file that is no image is told on stderr and left out.

    Args:
      files: to read.
      size: pixels of a side, as they are given.
      count: images at a time.
    """
    faces: list[tuple[Path, np.ndarray]] = []
    for file in files:
        image = read_image(file, size)
        if isinstance(image, str):
            print(f"skipped {file}: {image}", file=sys.stderr)
            continue
        faces.append((file, image))
        if len(faces) == count:
            yield faces
            faces = []
    if faces:
        yield faces


def status(files: Sequence[Path], used: int) -> int:
    """The exit status: 0 where a file was used; how many were not is told on stderr."""
    if used < len(files):
        print(f"skipped {len(files) - used} of {len(files)} files", file=sys.stderr)
    return 0 if used else 1


def read_image(file: Path, size: int) -> np.ndarray | str:
    """The image as training reads it, uint8 (size, size, 3), or what is wrong."""
    try:
        if file.stat().st_size > MAX_BYTES:
            return f"larger than {MAX_BYTES // 1_000_000} MB"
        content = file.read_bytes()
    except OSError as error:
        return f"unreadable: {error.strerror}"
    wrong = problem(content)
    return decode(content, size) if wrong is None else wrong


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """Images uint8 (B, H, W, 3) at (B, size, size, 3)."""
    import cv2

    if images.shape[1:3] == (size, size):
        return images
    how = cv2.INTER_AREA if min(images.shape[1:3]) > size else cv2.INTER_LINEAR
    return np.stack(
        [cv2.resize(image, (size, size), interpolation=how) for image in images]
    )


def image_files(path: Path) -> list[Path]:
    """The image files under a folder, sorted; a file is itself.

    Raises:
      DataError: there is no such file or folder.
    """
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not path.exists():
        raise DataError(f"{path} does not exist")
    return [path]


def all_image_files(paths: Sequence[Path]) -> list[Path]:
    """The image files among files and folders; see `image_files`.

    Raises:
      DataError: there are none.
    """
    files = [file for path in paths for file in image_files(path)]
    if not files:
        raise DataError(
            f"no images under {', '.join(map(str, paths))}: expected files"
            f" ending in {', '.join(SUFFIXES)}"
        )
    return files


def class_index(name: str, class_names: Sequence[str]) -> int:
    """The place of a class among the logits, by its name in any case.

    Raises:
      ConfigError: there is none of that name; the message names the nearest.
    """
    by_name = {known.lower(): k for k, known in enumerate(class_names)}
    if name.lower() in by_name:
        return by_name[name.lower()]
    near = difflib.get_close_matches(name.lower(), by_name, n=1, cutoff=0.5)
    hint = f"; did you mean {class_names[by_name[near[0]]]!r}?" if near else ";"
    raise ConfigError(
        f"no class is called {name!r}{hint} The model has {', '.join(class_names)}."
    )


def check_model_first(model: Path) -> None:
    """Raises ConfigError where an image stands in the place of the model."""
    if model.suffix.lower() in SUFFIXES:
        raise ConfigError(
            f"{model} is an image: expected first the model, a finished working"
            " folder or a file of `jaxfer export`, then the images."
        )


def free_name(name: str, taken: set[str]) -> str:
    """A file name that no other of this command has had; it is then taken."""
    path, number, free = Path(name), 2, name
    while free in taken:
        free, number = f"{path.stem}_{number}{path.suffix}", number + 1
    taken.add(free)
    return free
