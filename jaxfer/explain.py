"""`jaxfer explain RUN IMAGES...`: where a trained model looked, as pictures."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxfer.errors import DataError
from jaxfer.image_arguments import (
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
from jaxfer.predict import DIVERGED, Recognizer, load

if TYPE_CHECKING:
    from jaxfer.evaluate.attention import Looks
    from jaxfer.evaluate.sheet import Panel

BATCH = 8

NO_EVIDENCE = 0.05
"""Logits that a class map's last colour stands for at least: less moves no answer."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `jaxfer explain`."""
    parser.description = (
        "Draw where a trained model looked: for each image a sheet with the face and,"
        " over it, the attention masks of a model that has some, and for the predicted"
        " class and every --class the class activation map or, of a model that gives"
        " none, Grad-CAM; besides, the pictures that the model itself makes, such as"
        " EPM's pattern map."
    )
    parser.add_argument(
        "run", type=Path, help="a finished working folder, or a file of `jaxfer export`"
    )
    add_images(parser)
    parser.add_argument(
        "--class",
        dest="classes",
        action="append",
        default=[],
        metavar="NAME",
        help="a class to explain beside the predicted one; may be repeated",
    )
    add_out(parser, "explanations", "the sheets, <image's name>.png,")
    add_run_choice(parser)


def main(args: argparse.Namespace) -> int:
    """Write the sheets and print their paths; skipped files on stderr."""
    check_model_first(args.run)
    files = all_image_files(args.images)
    recognizer = load(args.run, selection=args.selection, run=args.number)
    classes = [class_index(name, recognizer.class_names) for name in args.classes]
    written = 0
    for path in explain(recognizer, files, classes, args.out):
        print(path, flush=True)
        written += 1
    return status(files, written)


def explain(
    recognizer: Recognizer, files: Sequence[Path], classes: Sequence[int], out: Path
) -> Iterator[Path]:
    """Writes a sheet for each image; unusable files are told on stderr and skipped.

    Args:
      recognizer: the model.
      files: images.
      classes: explained beside the predicted one.
      out: a folder.

    Yields:
      The path of each sheet.

    Raises:
      DataError: the model gives numbers that are not finite.
    """
    from jaxfer.evaluate import attention, sheet

    size = min(BATCH, len(files))
    kind, look = attention.create_look(
        recognizer.deployment.predict,
        recognizer.variables,
        recognizer.image_size,
        size,
    )
    names: set[str] = set()
    for faces in batches(files, recognizer.image_size, size):
        looks = look(np.stack([image for _, image in faces]), list(classes))
        if not np.isfinite(looks.probabilities).all():
            raise DataError(DIVERGED)
        for number, (file, image) in enumerate(faces):
            probability = looks.probabilities[number]
            best = int(probability.argmax())
            shown = list(dict.fromkeys([best, *classes]))
            title = f"{recognizer.class_names[best]}, {100 * probability[best]:.0f} %"
            figure = sheet.draw(
                image,
                title,
                str(file),
                panels(looks, number, kind, shown, [best, *classes], recognizer),
            )
            yield sheet.save(figure, out / free_name(f"{file.stem}.png", names))


def panels(
    looks: "Looks",
    number: int,
    kind: str,
    shown: Sequence[int],
    computed: Sequence[int],
    recognizer: Recognizer,
) -> "list[Panel]":
    """The panels of one image: face, masks, pictures, class maps.

    Args:
      looks: of a batch.
      number: of the image in it.
      kind: how class maps were made, in words.
      shown: the classes to show, each once.
      computed: those of `looks.class_maps`, in its order.
      recognizer: whose class names.
    """
    from jaxfer.evaluate.overlay import scale_of
    from jaxfer.evaluate.sheet import Panel, Scale

    found = [Panel("Face")]
    masks = {name: values[number] for name, values in looks.masks.items()}
    if masks:
        scale = Scale("Attention mask", *scale_of(list(masks.values())))
        found += [Panel(_title(name), values, scale) for name, values in masks.items()]
    found += [
        Panel(_title(name), pictures[number])
        for name, pictures in looks.pictures.items()
    ]
    maps = [
        np.maximum(looks.class_maps[number, list(computed).index(k)], 0) for k in shown
    ]
    highest = max(NO_EVIDENCE, *(float(values.max()) for values in maps))
    scale = Scale(f"{kind}: evidence for the class, in logits", 0, highest)
    for k, values in zip(shown, maps):
        share = 100 * looks.probabilities[number, k]
        title = f"{recognizer.class_names[k]}, {share:.0f} %"
        found.append(Panel(title, values, scale))
    return found


def _title(name: str) -> str:
    words = {"mask": "Mask", "refined_mask": "Refined mask", "pattern": "Pattern map"}
    return words.get(name, name.replace("_", " ").capitalize())
