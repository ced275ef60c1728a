"""The compiled pieces of one stage, for all runs of a group at once.

Every array of a run has a leading axis R (folds times seeds); `vmap` makes one
program of them. On accelerators several steps go into one dispatch, in a loop of
dynamic length, so that one compile serves every chunk of an epoch. On CPU a
dispatch is one step: jaxlib 0.10 compiles the gradients of lax's convolutions to
naive code inside a loop (those of `jaxfer.ops` are spared), while a dispatch costs
next to nothing beside a step.
"""

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
"""Arrays of all N examples: `label`, `target`, `index`, `image` (shared by the
runs), and `features` (a pytree with leading axes R, N)."""


class Program(NamedTuple):
    """The jitted functions of one stage; R runs, S steps, B images a step.

    Attributes:
      train: `(states, sums, data, orders, keys, start, stop)`, the steps
        start..stop of the (R, S, B) orders (`start` alone on CPU); returns
        (states, sums, token). States and sums are donated; the token can be
        waited for.
      train_batch: `(states, sums, batch, keys, valid)`, one step on a batch
        (R, B, ...); the same results.
      judge: `(variables, totals, data, orders, start, stop)`, totals plus the
        steps start..stop of the orders: {head: Classification}.
      judge_batch: `(variables, totals, batch)`, totals plus one batch.
      outputs: `(variables, data, rows) -> {name: (R, B, ...)}`, logits of all
        heads and per-image scalars of the rows (R, B).
      outputs_batch: the same for one batch.
      features: `(variables, images) -> pytree`, leading axes R, B; or None.
      end_epoch: `(states, tracker, values, epoch) -> (states, tracker)`.
    """

    train: Any
    train_batch: Any
    judge: Any
    judge_batch: Any
    outputs: Any
    outputs_batch: Any
    features: Any
    end_epoch: Any


def gather(data: Data, rows: Array) -> Batch:
    """Batches (R, B, ...) of the rows (R, B); -1 reads row 0, to be masked."""
    rows = jnp.maximum(rows, 0)
    batch = {name: data[name][rows] for name in data if name != "features"}
    if "features" in data:
        batch["features"] = jax.tree.map(
            lambda a: jax.vmap(lambda one, r: one[r])(a, rows), data["features"]
        )
    return batch


def loops(mesh: Mesh) -> bool:
    """Whether a dispatch may hold several steps; see the top of this file."""
    return mesh.devices.flat[0].platform != "cpu"


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
    loop, features = loops(mesh), stage.features

    def repeat(start: Array, stop: Array, body: Callable, carry: Any) -> Any:
        return lax.fori_loop(start, stop, body, carry) if loop else body(start, carry)

    def one_step(
        state: State, sums: Any, batch: Batch, key: Array, valid: Array
    ) -> tuple[State, Any]:
        key = jax.random.fold_in(key, state.step)
        new_state, values = stage.train_step(state, batch, key)
        new_sums = jax.tree.map(jnp.add, sums, values)
        if not ragged:
            return new_state, new_sums
        return jax.tree.map(
            lambda new, old: jnp.where(valid, new, old),
            (new_state, new_sums),
            (state, sums),
        )

    def all_runs(
        states: State, sums: Any, batch: Batch, keys: Array, valid: Array
    ) -> tuple[State, Any]:
        return over_runs(one_step, states, sums, batch, keys, valid)

    def train_batch(
        states: State, sums: Any, batch: Batch, keys: Array, valid: Array
    ) -> tuple[State, Any, Array]:
        states, sums = all_runs(states, sums, batch, keys, valid)
        return states, sums, jnp.copy(states.step)

    def train(
        states: State,
        sums: Any,
        data: Data,
        orders: Array,
        keys: Array,
        start: Array,
        stop: Array,
    ) -> tuple[State, Any, Array]:
        def body(step: Array, carry: tuple) -> tuple:
            rows = lax.dynamic_index_in_dim(orders, step, axis=1, keepdims=False)
            states, sums = carry
            batch, valid = gather(data, rows), rows[:, 0] >= 0
            return all_runs(states, sums, batch, keys, valid)

        states, sums = repeat(start, stop, body, (states, sums))
        return states, sums, jnp.copy(states.step)

    def inputs_of(batch: Batch) -> Any:
        return batch["features"] if stage.features else batch["image"]

    def judge_batch(variables: Any, totals: Any, batch: Batch) -> Any:
        def one(variables: Any, totals: Any, batch: Batch) -> Any:
            heads = heads_of(stage.predict(variables, inputs_of(batch)))
            return {
                name: metrics.merge(
                    totals[name],
                    metrics.classification(logits, batch["label"], batch["where"]),
                )
                for name, logits in heads.items()
            }

        return over_runs(one, variables, totals, batch)

    def judge(
        variables: Any,
        totals: Any,
        data: Data,
        orders: Array,
        start: Array,
        stop: Array,
    ) -> Any:
        def body(step: Array, totals: Any) -> Any:
            rows = lax.dynamic_index_in_dim(orders, step, axis=1, keepdims=False)
            batch = gather(data, rows) | {"where": rows >= 0}
            return judge_batch(variables, totals, batch)

        return repeat(start, stop, body, totals)

    def outputs_batch(variables: Any, batch: Batch) -> dict[str, Array]:
        def one(variables: Any, batch: Batch) -> dict[str, Array]:
            outputs = stage.predict(variables, inputs_of(batch))
            named = {f"logits/{k}": v for k, v in heads_of(outputs).items()}
            return named | {f"features/{k}": v for k, v in scalars_of(outputs).items()}

        return over_runs(one, variables, batch)

    def outputs(variables: Any, data: Data, rows: Array) -> dict[str, Array]:
        return outputs_batch(variables, gather(data, rows))

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

    def all_features(variables: Any, images: Array) -> Any:
        assert features is not None
        return over_runs(lambda mine: features(mine, images), variables)

    by_run = sharding.by_run(mesh)
    return Program(
        train=jax.jit(
            train, donate_argnums=(0, 1), out_shardings=(by_run, by_run, by_run)
        ),
        train_batch=jax.jit(
            train_batch,
            donate_argnums=(0, 1),
            out_shardings=(by_run, by_run, by_run),
        ),
        judge=jax.jit(judge, donate_argnums=1, out_shardings=by_run),
        judge_batch=jax.jit(judge_batch, donate_argnums=1, out_shardings=by_run),
        outputs=jax.jit(outputs, out_shardings=by_run),
        outputs_batch=jax.jit(outputs_batch, out_shardings=by_run),
        features=features and jax.jit(all_features, out_shardings=by_run),
        end_epoch=jax.jit(
            end_epoch, donate_argnums=(0, 1), out_shardings=(by_run, by_run)
        ),
    )


def zero_totals(
    stage: Stage, variables: Any, batch: Batch, num_classes: int
) -> dict[str, Any]:
    """What `judge` starts from: NumPy zeros (R, ...) for every head.

    `variables` and `batch` (R, B, ...) are read for their shapes alone.
    """

    def heads(variables: Any, batch: Batch) -> dict[str, Array]:
        inputs = batch["features"] if stage.features else batch["image"]
        return heads_of(stage.predict(variables, inputs))

    names = _result_shapes(stage, heads, variables, batch)
    zero = metrics.zeros(num_classes)
    runs = batch["label"].shape[0]
    return {
        name: jax.tree.map(lambda a: np.zeros((runs, *a.shape), a.dtype), zero)
        for name in names
    }


def zero_sums(stage: Stage, states: State, batch: Batch) -> dict[str, Any]:
    """What `train` starts an epoch from: NumPy zeros (R,) for every metric."""

    def values(state: State, batch: Batch) -> Any:
        return stage.train_step(state, batch, jax.random.key(0))[1]

    runs = batch["label"].shape[0]
    shapes = _result_shapes(stage, values, states, batch)
    return jax.tree.map(lambda a: np.zeros((runs, *a.shape), a.dtype), shapes)


_SHAPES: dict[Any, Any] = {}


def _result_shapes(stage: Stage, fn: Callable, *args: Any) -> Any:
    """`jax.eval_shape` of one run, remembered: tracing a network takes seconds."""
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), args)
    leaves, structure = jax.tree.flatten(one)
    key = (stage, fn.__name__, structure, tuple((a.shape, a.dtype) for a in leaves))
    if key not in _SHAPES:
        _SHAPES[key] = jax.eval_shape(fn, *one)
    return _SHAPES[key]


@jax.jit
def computed(totals: dict[str, metrics.Classification]) -> dict[str, Array]:
    """Metrics of all heads, (R,) each; the decision's without a prefix."""
    values = {}
    for head, total in totals.items():
        for name, value in jax.vmap(metrics.compute)(total).items():
            values[name if head == "decision" else f"{head}/{name}"] = value
    return values
