"""What a method is: a record of pure functions that the trainer calls.

The trainer (`jaxfer.train`) knows this file and no method by name. It adds
what all methods share: jit, a leading axis of runs (folds times seeds) by
`vmap`, sharding, epochs, selection, logging, checkpoints, resuming.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from jax import Array

from jaxfer.models.outputs import Outputs

Variables = Any
"""Flax variable collections, a nested dict: `params`, `batch_stats`, ..."""

Batch = dict[str, Array]
"""One batch, every array with leading axis B:

- `image`: uint8 (B, H, W, 3), RGB; absent where the stage has `features`;
- `features`: what `Stage.features` returned for these images (a pytree);
- `label`: int32 (B,), the class;
- `target`: float32 (B, K), the label distribution (one-hot for hard labels);
- `index`: int32 (B,), the row of the data set's table.
"""

Metrics = dict[str, tuple[Array, Array]]
"""name -> (sum, count); they merge by addition over steps and devices."""


class State(NamedTuple):
    """All that training changes, for one run. A pytree of arrays.

    Attributes:
      step: int32, optimiser steps taken in the present stage.
      variables: every variable of every stage.
      opt_state: optimiser states by stage name.
      lr_scale: float32, set by the trainer's plateau rule; a train step
        multiplies its updates by it.
    """

    step: Array
    variables: Variables
    opt_state: dict[str, Any]
    lr_scale: Array


class Selection(NamedTuple):
    """Which epoch's variables a stage hands on, judged on validation data.

    Attributes:
      metric: a name of `jaxfer.metrics.compute`, e.g. `accuracy` or `loss`,
        of the decision; `<head>/<metric>` for another head.
      mode: whether the largest or the smallest is best; the first wins ties.
      first_epoch: epochs before this one, from 0, are not chosen.
    """

    metric: str = "accuracy"
    mode: Literal["max", "min"] = "max"
    first_epoch: int = 0


class Plateau(NamedTuple):
    """Keras' ReduceLROnPlateau: scale the rate when `metric` stops improving.

    After `patience` epochs without an improvement of more than `min_delta`
    the scale is multiplied by `factor`, never below `min_scale`.
    """

    metric: str
    mode: Literal["max", "min"]
    factor: float
    patience: int
    min_delta: float = 1e-4
    min_scale: float = 0.0


class Pass(NamedTuple):
    """One pass over the training part.

    Attributes:
      train_step: `(state, batch, key) -> (state, metrics)`, one optimiser step
        (a GAN may take several inside). Pure; the trainer jits and vmaps it.
      batch_size: images per step.
      sampler: how batches are drawn; a name of `jaxfer.data.samplers`. Those of
        `pairs` alternate: an image, another expression of the same person.
    """

    train_step: Callable[[State, Batch, Array], tuple[State, Metrics]]
    batch_size: int
    sampler: str = "shuffle"


class Stage(NamedTuple):
    """One stage of training.

    Attributes:
      name: as in logs, checkpoints and reports.
      epochs: how often `passes` are made.
      passes: what an epoch is made of, in this order; most stages have one. Their
        metrics are added up by name.
      predict: `(variables, inputs) -> Outputs`, deterministic; `inputs` is
        uint8 images, or the stage's features. Judged after every epoch.
      features: `(variables, images) -> pytree`, or None. Where given, it is
        computed once per image when the stage begins, and batches carry its
        rows as `features` instead of `image`.
      trains: what the stage trains, in words, for logs.
      begin: variables that the stage before selected -> those to start from; None
        keeps them.
      selection: see `Selection`.
      plateau: see `Plateau`; None leaves `lr_scale` at 1.
    """

    name: str
    epochs: int
    passes: tuple[Pass, ...]
    predict: Callable[[Variables, Any], Outputs]
    features: Callable[[Variables, Array], Any] | None = None
    trains: str = "all parameters"
    selection: Selection = Selection()
    plateau: Plateau | None = None
    begin: Callable[[Variables], Variables] | None = None

    @property
    def batch_size(self) -> int:
        """Images per step where nothing is trained."""
        return self.passes[0].batch_size


class Deployment(NamedTuple):
    """A method as it is used when training is over.

    Attributes:
      convert: all variables -> those that `predict` reads, with batch norm folded
        into convolutions where the network can do so; for one run.
      predict: `(converted, images) -> Outputs`, equal to the method's to 1e-5.
      trainable: all variables -> those of the network alone, with nothing folded,
        which another training can start from; None where there is no such thing.
      fold: what `trainable` returned -> what `convert` does; None where a method
        answers with other variables than another training starts from.
    """

    convert: Callable[[Variables], Variables]
    predict: Callable[[Variables, Array], Outputs]
    trainable: Callable[[Variables], Variables] | None = None
    fold: Callable[[Variables], Variables] | None = None


class Method(NamedTuple):
    """A published system, as the trainer sees it.

    Attributes:
      name: as in `config.method.name`.
      init: `(key, images) -> State`, fresh variables and optimiser states of
        all stages; `images` is an example batch, uint8 (B, H, W, 3).
      stages: run in order; a stage starts from the variables that the stage
        before selected.
      predict: `(variables, images) -> Outputs`, the whole system on uint8
        images (B, H, W, 3), RGB.
      pretrained: reads the part of the variables that does not start fresh (a
        subtree of those of `init`), from a file; None where all are fresh. Raises
        WeightsError.
      deployment: the same, smaller and quicker, for files and for answers; None
        where it would be the same.
    """

    name: str
    init: Callable[[Array, Array], State]
    stages: tuple[Stage, ...]
    predict: Callable[[Variables, Array], Outputs]
    pretrained: Callable[[], Variables] | None = None
    deployment: Deployment | None = None

    @property
    def deployed(self) -> Deployment:
        """`deployment`, or everything as it is."""
        return self.deployment or Deployment(lambda variables: variables, self.predict)
