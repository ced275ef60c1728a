"""From a trained model to answers: `jaxfer.load().predict(images)`."""

import argparse
import csv
import dataclasses
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxfer.errors import ConfigError, DataError
from jaxfer.image_arguments import (
    add_images,
    add_run_choice,
    all_image_files,
    batches,
    resized,
    status,
)

if TYPE_CHECKING:
    from jaxfer.train import Trained


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The answer for a batch of B images.

    Attributes:
      class_names: K names, in the order of the columns.
      probabilities: float32 (B, K).
    """

    class_names: tuple[str, ...]
    probabilities: np.ndarray

    @property
    def labels(self) -> list[str]:
        """The most probable class of each image."""
        return [self.class_names[k] for k in self.probabilities.argmax(axis=-1)]


class Recognizer:
    """A trained method, ready to be asked."""

    def __init__(
        self,
        deployment: Any,
        variables: Any,
        class_names: tuple[str, ...],
        image_size: int,
    ) -> None:
        """Hold a `jaxfer.methods.base.Deployment` and variables that it converted."""
        import jax

        self.class_names = class_names
        self.image_size = image_size
        self.deployment = deployment
        self.variables = jax.device_put(variables)
        self._predict = functools.partial(jax.jit(deployment.predict), self.variables)

    def predict(self, images: Any, *, batch_size: int | None = None) -> Prediction:
        """Probabilities of the classes.

        Args:
          images: (B, H, W, 3) or (H, W, 3), RGB; uint8, or floats in [0, 1].
          batch_size: images at a time; the last part is filled up to it, so that
            every call with the same number runs the same program. By default all
            of them up to 32.

        Raises:
          DataError: another shape or dtype, floats out of range, a batch size below 1;
            or the model gives numbers that are not finite.
        """
        import jax

        if batch_size is not None and batch_size < 1:
            raise DataError(f"expected a batch size of 1 or more, found {batch_size}")
        batch = self._prepare(np.asarray(images))
        size = min(BATCH, len(batch)) if batch_size is None else batch_size
        parts = []
        for first in range(0, len(batch), size):
            part = batch[first : first + size]
            padded = np.pad(part, ((0, size - len(part)), (0, 0), (0, 0), (0, 0)))
            logits = self._predict(padded).logits
            parts.append(np.asarray(jax.nn.softmax(logits))[: len(part)])
        if not all(np.isfinite(part).all() for part in parts):
            raise DataError(DIVERGED)
        return Prediction(self.class_names, np.concatenate(parts).astype(np.float32))

    def _prepare(self, images: np.ndarray) -> np.ndarray:
        shape = images.shape
        if images.ndim == 3:
            images = images[None]
        if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
            raise DataError(f"expected images (B, H, W, 3) or (H, W, 3), found {shape}")
        if images.dtype != np.uint8:
            low, high = float(images.min()), float(images.max())
            if images.dtype.kind != "f" or not 0 <= low <= high <= 1:
                raise DataError(
                    "expected uint8 images, or floats in [0, 1]; found"
                    f" {images.dtype} in [{low:g}, {high:g}]"
                )
            images = np.round(images * 255).astype(np.uint8)
        return resized(images, self.image_size)


DIVERGED = (
    "the model gives numbers that are not finite: its training diverged; take another"
    " selection or run of it, or train it again with a lower learning rate"
)
MODEL_FILE = ".safetensors"
SHIPPED = Path(__file__).parent / "shipped" / "lfnsb_ferplus.safetensors"
"""The model that comes with the package; its card lies beside it."""
BATCH = 32
"""Images that are asked about at a time, at most."""


def load(
    path: str | Path | None = None, *, selection: str | None = None, run: int = 0
) -> Recognizer:
    """A recognizer.

    Args:
      path: a finished working folder, or a file that `jaxfer export` wrote. None is
        the model that comes with the package: LFNSB trained on FER+, 8 classes, for
        faces cropped as FER's (`jaxfer/shipped/lfnsb_ferplus.md`).
      selection: of a folder, "validation" or "last"; by default the first that the
        run has.
      run: of a folder, which of its folds and seeds: an index into `runs` of
        run.json.

    Raises:
      CheckpointError: no model file, not a finished working folder, or no such run.
      ConfigError: a selection or run of a file, which holds one model.
    """
    path = Path(SHIPPED if path is None else path)
    if path.suffix == MODEL_FILE:
        if selection is not None or run:
            raise ConfigError(f"{path} holds one model: leave out selection and run")
        return _load_file(path)
    trained = load_trained(path, selection=selection, run=run)
    deployment = trained.method.deployed
    return Recognizer(
        deployment,
        deployment.convert(trained.variables),
        trained.class_names,
        trained.config.data.image_size,
    )


def load_trained(
    path: Path, *, selection: str | None = None, run: int = 0
) -> "Trained":
    """All variables of a finished working folder; see `load`.

    Raises:
      CheckpointError: not a finished working folder, or no such run or selection.
    """
    from jaxfer import train

    if selection is None:
        selection = "validation" if _has_validation(path, run) else "last"
    return train.load_run(path, selection=selection, run=run)


def _load_file(path: Path) -> Recognizer:
    import ml_collections

    from jaxfer import methods
    from jaxfer.weights import model_file

    variables, facts = model_file.read(path)
    names = tuple(facts["class_names"])
    deployed = methods.create(
        ml_collections.ConfigDict(facts["config"]),
        num_classes=len(names),
        steps_per_epoch=1,  # of schedules, which predictions do not have
    ).deployed
    if facts["trainable"]:
        if deployed.fold is None:
            raise ConfigError(
                f"{path} is made to start a training from, and answers are given by"
                " another network of that run: export it without --trainable"
            )
        variables = deployed.fold(variables)
    return Recognizer(deployed, variables, names, facts["image_size"])


def _has_validation(workdir: Path, run: int) -> bool:
    from jaxfer.train.log import read_json

    try:
        runs = read_json(workdir / "run.json")["runs"]
    except FileNotFoundError:  # `load_run` says what is missing
        return False
    if not 0 <= run < len(runs):
        return False
    return (workdir / runs[run]["dir"] / "model_validation").exists()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `jaxfer predict`."""
    add_images(parser)
    parser.add_argument(
        "--model",
        type=Path,
        help="a finished working folder, or a file of `jaxfer export`; by default the"
        " LFNSB trained on FER+ that comes with jaxfer",
    )
    add_run_choice(parser)


def main(args: argparse.Namespace) -> int:
    """Print a CSV of file, label and probabilities; skipped files on stderr."""
    files = all_image_files(args.images)
    recognizer = load(args.model, selection=args.selection, run=args.number)
    writer = csv.writer(sys.stdout)
    writer.writerow(["file", "label", *recognizer.class_names])
    size, answered = min(BATCH, len(files)), 0
    for faces in batches(files, recognizer.image_size, size):
        images = np.stack([image for _, image in faces])
        answer = recognizer.predict(images, batch_size=size)
        for (file, _), label, row in zip(faces, answer.labels, answer.probabilities):
            writer.writerow([file, label, *(f"{p:.4f}" for p in row)])
        answered += len(faces)
    return status(files, answered)
