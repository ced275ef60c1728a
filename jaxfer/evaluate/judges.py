"""A trained recogniser as a judge of another model's pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxfer import train
from jaxfer.errors import ConfigError
from jaxfer.evaluate import run_folder
from jaxfer.evaluate.run_folder import PREDICTIONS, RunFolder
from jaxfer.image_arguments import resized
from jaxfer.methods.base import Method
from jaxfer.models.feature_maps import last_map, tap

BATCH = 32
VECTORS = ("embedding", "pooled")
"""Names of features (B, D) that a distance can be measured by, the first first."""


class Answer(NamedTuple):
    """What a judge says of n images.

    Attributes:
      logits: (n, K), in the order of the classes that were asked for.
      features: (n, D).
    """

    logits: np.ndarray
    features: np.ndarray


Ask = Callable[[Any, np.ndarray], Answer]
"""(converted variables, uint8 images (n, H, W, 3) of any size) -> `Answer`."""


class Judge(NamedTuple):
    """A finished run, asked about images of another.

    Attributes:
      folder: of the run.
      selection: whose weights.
      image_size: that it was trained with.
      trained: image hashes of the training and validation part by fold; None where
        the run tells of none.
      ask: see `Ask`.
    """

    folder: RunFolder
    selection: str
    image_size: int
    trained: dict[int, set[str]] | None
    ask: Ask


def create_ask(
    method: Method, variables: Any, image_size: int, order: list[int] | None = None
) -> Ask:
    """A function that asks a method's deployment.

    Its features are the embedding, or what the classifier sees, or else the mean of
    the last feature map.

    Args:
      method: of the recogniser.
      variables: converted ones, for their shapes.
      image_size: that it was trained with.
      order: for each class that is asked for, its place among the logits.
    """
    predict = method.deployed.predict
    example = jnp.zeros((1, image_size, image_size, 3), jnp.uint8)
    given = jax.eval_shape(predict, variables, example).features
    name = next((name for name in VECTORS if name in given), None)

    tapped = None if name else tap(predict, last_map(predict, variables, example))

    @jax.jit
    def look(variables: Any, images: Array) -> tuple[Array, Array]:
        if tapped is None:
            outputs = predict(variables, images)
            return outputs.logits, outputs.features[str(name)]
        outputs, features = tapped(variables, images, None)
        return outputs.logits, jnp.mean(features, axis=(1, 2))

    def ask(variables: Any, images: np.ndarray) -> Answer:
        fitting = resized(images, image_size)
        parts = []
        for first in range(0, len(images), BATCH):
            at = np.minimum(np.arange(first, first + BATCH), len(images) - 1)
            parts.append(jax.device_get(look(variables, fitting[at])))
        wide = (np.concatenate(arrays).astype(np.float32) for arrays in zip(*parts))
        logits, features = (array[: len(images)] for array in wide)
        return Answer(logits if order is None else logits[:, order], features)

    return ask


def open_judge(path: Path, class_names: list[str]) -> Judge:
    """A finished run as a judge of images with the given classes.

    Raises:
      JaxferError: no finished run, or it has other classes.
    """
    folder = run_folder.load(path)
    mine = [name.lower() for name in folder.class_names]
    wanted = [name.lower() for name in class_names]
    if sorted(mine) != sorted(wanted):
        raise ConfigError(
            f"the judge {path} tells {', '.join(folder.class_names)} apart; expected"
            f" the classes of the run, {', '.join(class_names)}: train a recogniser on"
            " those"
        )
    selection = run_folder.available(folder)[0]
    trained = train.load_run(folder.path, selection=PREDICTIONS[selection])
    size = trained.config.data.image_size
    converted = trained.method.deployed.convert(trained.variables)
    order = [mine.index(name) for name in wanted]
    ask = create_ask(trained.method, converted, size, order)
    return Judge(folder, selection, size, _trained(folder), ask)


def _trained(folder: RunFolder) -> dict[int, set[str]] | None:
    """Hashes of what the runs of each fold were trained and chosen on."""
    rows = run_folder.manifest(folder)
    if rows is None:
        return None
    found: dict[int, set[str]] = {run.fold: set() for run in folder.runs}
    for row in rows:
        if row["role"] != "test":
            found.setdefault(int(row["fold"]), set()).add(row["sha256"])
    return found


def choose_run(judge: Judge, sha256: np.ndarray) -> tuple[int, float | None]:
    """The run of a judge that knows the fewest of some images, the first of equals.

    Of runs with wrong training labels, those with the fewest.

    Args:
      judge: see `Judge`.
      sha256: str (n,), of the images' files.

    Returns:
      Its place among the folder's runs, and the share of the images that it was
      trained or chosen on; None where it does not say.
    """
    quoted = run_folder.by_rate(judge.folder)[0][1].runs
    places = [i for i, run in enumerate(judge.folder.runs) if run in quoted]
    if judge.trained is None:
        return places[0], None
    trained = judge.trained

    def known(place: int) -> float:
        mine = trained[judge.folder.runs[place].fold]
        return float(np.mean([one in mine for one in sha256]))

    shares = [known(place) for place in places]
    best = int(np.argmin(shares))
    return places[best], shares[best]


def variables_of(judge: Judge, place: int) -> Any:
    """What `Judge.ask` takes, of one of its runs."""
    trained = train.load_run(
        judge.folder.path, selection=PREDICTIONS[judge.selection], run=place
    )
    return jax.device_put(trained.method.deployed.convert(trained.variables))
