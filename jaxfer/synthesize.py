"""`jaxfer synthesize RUN IMAGES... --to NAME`: faces with other expressions."""

import argparse
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxfer.errors import ConfigError
from jaxfer.image_arguments import (
    Faces,
    add_images,
    add_out,
    add_run_choice,
    all_image_files,
    batches,
    check_model_first,
    class_index,
    free_name,
    status,
)
from jaxfer.predict import MODEL_FILE, load_trained

if TYPE_CHECKING:
    from jaxfer.evaluate.drawing import Draw
    from jaxfer.train import Trained

ALL = "all"
FACES = 8
"""Faces that are read and drawn at a time; the rows of a sheet."""

STEPS = 8
GIF_SIDE = 192
"""Pixels of an animation, at least."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `jaxfer synthesize`."""
    parser.description = (
        "Draw faces with other expressions, by a trained FERSNet: for each image and"
        " each --to a PNG <image>_<expression>.png, of the size that the network"
        " draws; for several, sheet.png as well, a row for each face. With"
        " --interpolate the expressions are joined instead, in the order in which they"
        " are given: a strip of pictures, and an animation that goes there and back."
    )
    parser.add_argument("run", type=Path, help="a finished working folder")
    add_images(parser)
    parser.add_argument(
        "--to",
        action="append",
        required=True,
        metavar="NAME",
        help=f"an expression of the run, or {ALL}; may be repeated",
    )
    parser.add_argument(
        "--interpolate",
        action="store_true",
        help="move from expression to expression: <image>_interpolation.png and .gif",
    )
    parser.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="of --interpolate: pictures from one expression to the next, both"
        f" included ({STEPS})",
    )
    add_out(parser, "synthesized", "the pictures")
    add_run_choice(parser)


def main(args: argparse.Namespace) -> int:
    """Write the pictures and print their paths; skipped files on stderr."""
    check_model_first(args.run)
    if args.run.suffix == MODEL_FILE:
        raise ConfigError(
            f"{args.run} holds a recogniser, without what draws faces: name the"
            " working folder that it was exported from"
        )
    files = all_image_files(args.images)
    from jaxfer.evaluate.drawing import create_draw

    trained = load_trained(args.run, selection=args.selection, run=args.number)
    draw = create_draw(trained.config, len(trained.class_names))
    classes = _classes(args.to, trained.class_names, interpolate=args.interpolate)
    steps = _check_steps(args.steps, classes, interpolate=args.interpolate)
    taken: set[str] = set()
    read = 0
    for faces in batches(files, trained.config.data.image_size, FACES):
        read += len(faces)
        make = (
            interpolated(trained, draw, faces, classes, steps, args.out, taken)
            if args.interpolate
            else synthesized(
                trained, draw, faces, classes, args.out, taken, len(files) > 1
            )
        )
        for path in make:
            print(path, flush=True)
    return status(files, read)


def _classes(
    names: Sequence[str], class_names: Sequence[str], *, interpolate: bool
) -> list[int]:
    """The classes that `--to` names, each once but for a way back and forth."""
    if ALL in [name.lower() for name in names]:
        if len(names) > 1:
            raise ConfigError(f"--to {ALL} stands for every expression: give it alone")
        return list(range(len(class_names)))
    classes = [class_index(name, class_names) for name in names]
    if not interpolate:
        return list(dict.fromkeys(classes))
    return [k for k, _ in itertools.groupby(classes)]


def _check_steps(
    steps: int | None, classes: Sequence[int], *, interpolate: bool
) -> int:
    if not interpolate:
        if steps is not None:
            raise ConfigError("--steps needs --interpolate")
        return 0
    if len(classes) < 2:
        raise ConfigError(
            "--interpolate goes from one expression to another: name two or more, such"
            f" as --to anger --to happiness, or --to {ALL}"
        )
    if steps is not None and steps < 2:
        raise ConfigError(f"--steps is {steps}; it takes 2 or more")
    return STEPS if steps is None else steps


def synthesized(
    trained: "Trained",
    draw: "Draw",
    faces: Faces,
    classes: Sequence[int],
    out: Path,
    taken: set[str],
    several: bool,
) -> Iterator[Path]:
    """Writes each face with each expression and, of several pictures, a sheet.

    Args:
      trained: the model.
      draw: see `jaxfer.evaluate.drawing`.
      faces: files and their images.
      classes: M expressions.
      out: a folder.
      taken: names of files written before, to which these are added.
      several: whether these are some of several faces.

    Yields:
      The path of each picture.
    """
    from jaxfer.evaluate import face_grid, sheet
    from jaxfer.evaluate.drawing import middle, one_hot

    names = [trained.class_names[k] for k in classes]
    whole = np.stack([image for _, image in faces])
    images = np.repeat(whole, len(classes), axis=0)
    wanted = np.tile(
        one_hot(np.array(classes), len(trained.class_names)), (len(faces), 1)
    )
    drawn = draw(trained.variables, images, wanted)
    rows = drawn.reshape(len(faces), len(classes), *drawn.shape[1:])
    for (file, _), pictures in zip(faces, rows, strict=True):
        for name, picture in zip(names, pictures, strict=True):
            path = out / free_name(f"{file.stem}_{name}.png", taken)
            yield write_png(path, picture)
    if len(classes) == 1 and not several:
        return
    seen = middle(whole, rows.shape[2])
    grid = face_grid.captioned(
        [[face, *line] for face, line in zip(seen, rows, strict=True)],
        ["face", *names],
        [file.name for file, _ in faces],
    )
    figure = face_grid.draw(grid, "Synthesised expressions")
    yield sheet.save(figure, out / free_name("sheet.png", taken))


def interpolated(
    trained: "Trained",
    draw: "Draw",
    faces: Faces,
    classes: Sequence[int],
    steps: int,
    out: Path,
    taken: set[str],
) -> Iterator[Path]:
    """Writes for each face a strip and an animation from expression to expression.

    The label that the decoder is given moves on straight lines; see
    `jaxfer.evaluate.drawing.between`. Each row of the strip is one of them.

    Args:
      trained: the model.
      draw: see `jaxfer.evaluate.drawing`.
      faces: files and their images.
      classes: M expressions, at least two.
      steps: pictures of each line, both ends included.
      out: a folder.
      taken: names of files written before, to which these are added.

    Yields:
      The path of each strip, and of each animation.
    """
    from jaxfer.evaluate import face_grid, sheet
    from jaxfer.evaluate.drawing import between

    names = trained.class_names
    lines = list(itertools.pairwise(classes))
    wanted = np.concatenate([between(*line, steps, len(names)) for line in lines])
    for file, image in faces:
        images = np.broadcast_to(image, (len(wanted), *image.shape))
        drawn = draw(trained.variables, images, wanted)
        rows = drawn.reshape(len(lines), steps, *drawn.shape[1:])
        grid = []
        for (start, stop), pictures in zip(lines, rows, strict=True):
            shares = [f"{100 * i / (steps - 1):.0f} %" for i in range(steps)]
            captions = [names[start], *shares[1:-1], names[stop]]
            cells = [face_grid.Cell(*both) for both in zip(pictures, captions)]
            grid.append(face_grid.Row(cells))
        figure = face_grid.draw(grid, "From expression to expression", file.name)
        name = free_name(f"{file.stem}_interpolation.png", taken)
        yield sheet.save(figure, out / name)
        frames = [rows[0, 0], *rows[:, 1:].reshape(-1, *drawn.shape[1:])]
        yield write_gif((out / name).with_suffix(".gif"), frames)


def write_png(path: Path, image: np.ndarray) -> Path:
    """Writes uint8 (H, W, 3), RGB, as it is."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def write_gif(path: Path, frames: Sequence[np.ndarray], milliseconds: int = 80) -> Path:
    """Writes an animation that goes from the first frame to the last and back.

    It rests at both ends and never stops.

    Args:
      path: the file.
      frames: uint8 (H, W, 3), at least two.
      milliseconds: of each frame between the ends.
    """
    from PIL import Image

    from jaxfer.evaluate.overlay import grown

    there = [Image.fromarray(grown(frame, GIF_SIDE)) for frame in frames]
    turn = [*there, *there[-2:0:-1]]
    rest = 8 * milliseconds
    lasting = [
        rest if number in (0, len(there) - 1) else milliseconds
        for number in range(len(turn))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    turn[0].save(path, save_all=True, append_images=turn[1:], duration=lasting, loop=0)
    return path
