"""The compiled pieces of one stage, for all runs of a group at once.

Every array of a run has a leading axis R (folds times seeds); `vmap` makes one
program of them. Several steps go into one dispatch, in a loop of dynamic length,
so that one compile serves every chunk of an epoch.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh

from jaxfer import metrics
from jaxfer.methods.base import Batch, Outputs, Stage, State
from jaxfer.train import selection, sharding

Data = dict[str, Any]
"""Arrays of all N examples: `label`, `target` (or a `OneHot`), `index`, `image`
(shared by the runs), and by run, with leading axes R, N: `features` (a pytree), and
`given_label`, which training sees instead of the true one."""

BY_RUN = ("features", "given_label")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OneHot:
    """Targets of hard labels, made where rows are read: N x K would be large.

    Attributes:
      label: int32 (...), the classes.
      classes: K.
    """

    label: Any
    classes: int = dataclasses.field(metadata={"static": True})

    def __getitem__(self, rows: Any) -> Array:
        """What the array (..., K) would have there, float32."""
        return jax.nn.one_hot(self.label[rows], self.classes, dtype=jnp.float32)


class Source(NamedTuple):
    """Where the batches of a program's steps come from.

    Attributes:
      data: of all examples, where there are orders; or one batch (R, B, ...).
      orders: int32 (R, S, B), the rows of each step, -1 being padding; None where
        `data` is the batch of the only step, with an `index` of -1 as padding.
    """

    data: Data
    orders: Any = None


class Program(NamedTuple):
    """The jitted functions of one stage; R runs, B images a step.

    Attributes:
      train: for each pass of an epoch, `(states, sums, source, keys, start, stop)`,
        the steps start..stop of a source; returns (states, sums, token). States and
        sums are donated; the token can be waited for.
      judge: `(variables, totals, source, start, stop)`, totals plus the examples
        of these steps: {head: Classification}.
      outputs: `(variables, source, step) -> {name: (R, B, ...)}`, logits of all
        heads and per-image scalars.
      features: `(variables, source, step) -> pytree`, leading axes R, B, of a
        source whose one order all runs share; or None.
      end_epoch: `(states, tracker, values, epoch) -> (states, tracker)`.
      metrics: for each pass, `(states, source, keys)`, what a step adds to `sums`;
        for its shapes.
      totals: `(variables, source)`, what a step adds to `totals`; for its shapes.
    """

    train: tuple[Any, ...]
    judge: Any
    outputs: Any
    features: Any
    end_epoch: Any
    metrics: tuple[Any, ...]
    totals: Any


def batch_at(source: Source, step: Array | int) -> tuple[Batch, Array]:
    """The batch (R, B, ...) of a step, and which of its examples are no padding."""
    if source.orders is None:
        target = source.data["target"][...]  # whole, whichever of the two it is
        return source.data | {"target": target}, source.data["index"] >= 0
    rows = lax.dynamic_index_in_dim(source.orders, step, axis=1, keepdims=False)
    return gather(source.data, rows), rows >= 0


def gather(data: Data, rows: Array) -> Batch:
    """Batches (R, B, ...) of the rows (R, B); -1 reads row 0, to be masked."""
    rows = jnp.maximum(rows, 0)
    batch = {name: data[name][rows] for name in data if name not in BY_RUN}
    for name in BY_RUN:
        if name in data:
            batch[name] = jax.tree.map(
                lambda a: jax.vmap(lambda one, r: one[r])(a, rows), data[name]
            )
    return batch


def taught(batch: Batch) -> Batch:
    """The batch (B, ...) as training sees it, with the labels that it is given.

    A changed label becomes a one-hot target; where the label is the table's, so is
    its target.
    """
    if "given_label" not in batch:
        return batch
    true = {name: array for name, array in batch.items() if name != "given_label"}
    label, target = batch["given_label"], batch["target"]
    changed = OneHot(label, target.shape[-1])[...]
    kept = (label == batch["label"])[:, None]
    return true | {"label": label, "target": jnp.where(kept, target, changed)}


def over_runs(fn: Callable[..., Any], *args: Any) -> Any:
    """`fn` of every run: `vmap`, or the plain function where there is one run.

    A single run must not pay for batched kernels, which XLA runs as grouped
    convolutions.
    """
    if jax.tree.leaves(args)[0].shape[0] > 1:
        return jax.vmap(fn)(*args)
    one = fn(*jax.tree.map(lambda a: a[0], args))
    return jax.tree.map(lambda a: a[None], one)


def heads_of(outputs: Outputs) -> dict[str, Array]:
    """All logits by name; the decision is "decision"."""
    return {"decision": outputs.logits, **outputs.heads}


def scalars_of(outputs: Outputs) -> dict[str, Array]:
    """The features that are one number an image."""
    return {name: a for name, a in outputs.features.items() if a.ndim == 1}


@functools.lru_cache(maxsize=16)  # folds in turn share what is compiled
def build(
    stage: Stage, mesh: Mesh, *, ragged: bool = False, select: bool = True
) -> Program:
    """Program of a stage on a mesh.

    Args:
      stage: what to run.
      mesh: see `jaxfer.train.sharding`.
      ragged: whether runs differ in their number of steps; the orders of the
        shorter ones end in rows of -1, which change nothing.
      select: whether `end_epoch` chooses the best epoch (there is validation).
    """
    features_of = stage.features
    known: dict[Callable[..., Any], Callable[..., Any]] = {}

    def traced(fn: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, traced once for all programs that call it."""
        return known.setdefault(fn, jax.jit(fn, inline=True))

    def repeat(
        source: Source, start: Array, stop: Array, body: Callable, carry: Any
    ) -> Any:
        if source.orders is None:
            return body(0, carry)
        return lax.fori_loop(start, stop, body, carry)

    def one_step(
        train_step: Callable,
        state: State,
        sums: Any,
        batch: Batch,
        key: Array,
        valid: Array,
    ) -> tuple[State, Any]:
        key = jax.random.fold_in(key, state.step)
        new_state, values = traced(train_step)(state, taught(batch), key)
        new_sums = sums | {
            name: jax.tree.map(jnp.add, sums[name], value)
            for name, value in values.items()
        }
        if not ragged:
            return new_state, new_sums
        return jax.tree.map(
            lambda new, old: jnp.where(valid, new, old),
            (new_state, new_sums),
            (state, sums),
        )

    def train(
        train_step: Callable,
        states: State,
        sums: Any,
        source: Source,
        keys: Array,
        start: Array,
        stop: Array,
    ) -> tuple[State, Any, Array]:
        one = functools.partial(one_step, train_step)

        def body(step: Array, carry: tuple) -> tuple:
            states, sums = carry
            batch, real = batch_at(source, step)
            return over_runs(one, states, sums, batch, keys, real[:, 0])

        states, sums = repeat(source, start, stop, body, (states, sums))
        return states, sums, jnp.copy(states.step)

    def step_metrics(
        train_step: Callable, states: State, source: Source, keys: Array
    ) -> Any:
        def one(state: State, batch: Batch, key: Array) -> Any:
            return traced(train_step)(state, taught(batch), key)[1]

        return over_runs(one, states, batch_at(source, 0)[0], keys)

    def predict(variables: Any, batch: Batch) -> Outputs:
        inputs = batch["features"] if stage.features else batch["image"]
        return traced(stage.predict)(variables, inputs)

    def totals_at(variables: Any, source: Source, step: Array | int) -> Any:
        def one(variables: Any, batch: Batch, real: Array) -> Any:
            return {
                name: metrics.classification(logits, batch["label"], real)
                for name, logits in heads_of(predict(variables, batch)).items()
            }

        return over_runs(one, variables, *batch_at(source, step))

    def judge(
        variables: Any, totals: Any, source: Source, start: Array, stop: Array
    ) -> Any:
        def body(step: Array, totals: Any) -> Any:
            new = totals_at(variables, source, step)
            return {name: metrics.merge(totals[name], new[name]) for name in totals}

        return repeat(source, start, stop, body, totals)

    def outputs(variables: Any, source: Source, step: Array) -> dict[str, Array]:
        def one(variables: Any, batch: Batch) -> dict[str, Array]:
            outputs = predict(variables, batch)
            named = {f"logits/{k}": v for k, v in heads_of(outputs).items()}
            return named | {f"features/{k}": v for k, v in scalars_of(outputs).items()}

        return over_runs(one, variables, batch_at(source, step)[0])

    def features(variables: Any, source: Source, step: Array) -> Any:
        assert features_of is not None
        shared = {k: v for k, v in source.data.items() if k not in BY_RUN}
        images = batch_at(source._replace(data=shared), step)[0]["image"][0]
        return over_runs(lambda mine: features_of(mine, images), variables)

    def end_epoch(
        states: State, tracker: selection.Tracker, values: dict, epoch: Array
    ) -> tuple[State, selection.Tracker]:
        def one(
            state: State, tracker: selection.Tracker, values: dict
        ) -> tuple[State, selection.Tracker]:
            if select:
                value = selection.metric_value(values, stage.selection.metric)
                tracker = selection.select(
                    tracker, state.variables, value, epoch, stage.selection
                )
            if stage.plateau is not None:
                value = selection.metric_value(values, stage.plateau.metric)
                tracker, state = selection.step_plateau(
                    tracker, state, value, stage.plateau
                )
            return state, tracker

        return over_runs(one, states, tracker, values)

    jit = functools.partial(jax.jit, out_shardings=sharding.by_run(mesh))
    return Program(
        train=tuple(
            jit(functools.partial(train, one.train_step), donate_argnums=(0, 1))
            for one in stage.passes
        ),
        judge=jit(judge),
        outputs=jit(outputs),
        features=features_of and jit(features),
        end_epoch=jit(end_epoch, donate_argnums=(0, 1)),
        metrics=tuple(
            jit(functools.partial(step_metrics, one.train_step)) for one in stage.passes
        ),
        totals=jit(functools.partial(totals_at, step=0)),
    )


def zeros(fn: Any, *args: Any) -> Any:
    """NumPy zeros in the shapes of what a function of `Program` returns.

    Tracing a network takes seconds; a jitted function remembers it.
    """
    return jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), jax.eval_shape(fn, *args))


@jax.jit
def means(sums: Any) -> dict[str, Array]:
    """Metrics from their (sum, count), (R,) each."""
    return {name: s / jnp.maximum(n, 1) for name, (s, n) in sums.items()}


@jax.jit
def computed(totals: dict[str, metrics.Classification]) -> dict[str, Array]:
    """Metrics of all heads, (R,) each; the decision's without a prefix."""
    values = {}
    for head, total in totals.items():
        for name, value in jax.vmap(metrics.compute)(total).items():
            values[name if head == "decision" else f"{head}/{name}"] = value
    return values
