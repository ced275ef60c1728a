"""What training reads of labels: little on the host, whole targets in a step."""

import dataclasses
import tracemalloc
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from jaxfer.data.splits import Fold
from jaxfer.train import feed, sharding
from jaxfer.train import program as programs
from jaxfer.train.orders import Run

ROWS = Fold(*np.split(np.arange(60, dtype=np.int32), [40, 50]))
ORDER = np.array([[[3, 0, 59, 7, 11, 2], [1, 4, 8, 8, 30, 5]]], np.int32)


def with_soft_labels(data):
    """The same with distributions, of which every second is one-hot."""
    soft = np.random.default_rng(0).dirichlet(np.ones(3), 60).astype(np.float32)
    soft[::2] = np.eye(3, dtype=np.float32)[data.table.label[::2]]
    return dataclasses.replace(data, table=dataclasses.replace(data.table, target=soft))


def whole_targets(data):
    """(N, 3), one-hot where the table has none."""
    target = data.table.target
    return np.eye(3, dtype=np.float32)[data.table.label] if target is None else target


def fed(kind, data, given):
    """A feed of one run, by its kind."""
    mesh = sharding.create_mesh(1, 6)
    arrays = feed.table_arrays(data)
    runs = [Run(0, 0, ROWS, Path(), given)]
    if kind == "resident":
        images = {"image": np.zeros((60, 8, 8, 3), np.uint8)}
        return feed.Resident(feed.place(runs, arrays | images, mesh), mesh)
    return feed.Streamed(
        data,
        mesh,
        size=8,
        workers=0,
        change=None,
        given=feed.given_arrays(runs, arrays),
    )


def seen(source, step):
    """The batch of a step as the one run's training sees it."""
    batch, _ = programs.batch_at(source, step)
    return programs.taught(jax.tree.map(lambda a: a[0], batch))


@pytest.mark.parametrize("kind", ["resident", "streamed"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("wrong", [False, True])
def test_a_step_sees_whole_targets(kind, soft, wrong):
    data = toy.dataset()
    data = with_soft_labels(data) if soft else data
    label, target, given = data.table.label, whole_targets(data), None
    if wrong:  # a third of the labels are not the table's
        changed = np.arange(60) % 3 == 0
        given = np.where(changed, (label + 1) % 3, label).astype(np.int32)
        target = np.where(changed[:, None], np.eye(3, dtype=np.float32)[given], target)
        label = given
    source_of = fed(kind, data, given)
    look = jax.jit(seen)
    expected = jax.eval_shape(seen, source_of.example(ORDER), 0)
    steps = 0
    for source, start, stop in source_of.pieces(ORDER, 0, 2, lambda: 1):
        for step in range(start, stop):
            batch, rows = look(source, step), ORDER[0, steps]
            np.testing.assert_array_equal(batch["index"], rows)
            np.testing.assert_array_equal(batch["label"], label[rows])
            np.testing.assert_array_equal(batch["target"], target[rows])
            assert batch["target"].dtype == jnp.float32
            chex.assert_trees_all_equal_shapes_and_dtypes(batch, expected)
            assert set(batch) == {"image", "label", "target", "index"}
            steps += 1
    assert steps == 2


@pytest.mark.parametrize("kind", ["resident", "streamed"])
def test_a_step_is_declared_as_it_is_fed(kind):
    data = toy.dataset()
    source_of = fed(kind, data, data.table.label)
    like = source_of.example(ORDER)
    source, *_ = next(source_of.pieces(ORDER, 0, 2, lambda: 1))
    chex.assert_trees_all_equal_structs(like, source)
    chex.assert_trees_all_equal_shapes_and_dtypes(like, source)


def test_targets_made_in_a_step_train_as_those_of_an_array():
    data, mesh = toy.dataset(), sharding.create_mesh(2, 6)
    method = toy.method(toy.config(), num_classes=3, steps_per_epoch=1)
    keys = jax.vmap(jax.random.key)(np.arange(2))
    images = np.random.default_rng(0).integers(0, 255, (60, 8, 8, 3), np.uint8)
    order = sharding.put(np.repeat(ORDER, 2, axis=0), sharding.orders(mesh, 2))
    program = programs.build(method.stages[0], mesh)

    def train(arrays):
        arrays = sharding.put(arrays, sharding.replicated(mesh))
        source = programs.Source(arrays, order)
        states = jax.vmap(method.init, in_axes=(0, None))(keys, images[:1])
        states = jax.device_put(states, sharding.by_run(mesh))
        sums = programs.zeros(program.metrics[0], states, source, keys)
        sums = sharding.put(sums, sharding.by_run(mesh))
        return program.train[0](states, sums, source, keys, np.int32(0), np.int32(2))

    lean = feed.table_arrays(data) | {"image": images}
    made, read = train(lean), train(lean | {"target": whole_targets(data)})
    chex.assert_trees_all_equal(made, read)
    assert int(made[0].step[0]) == 2


def test_many_people_take_no_more_than_their_labels():
    n = 50_000
    data = dataclasses.replace(toy.dataset(), class_names=tuple(map(str, range(n))))
    label = np.random.default_rng(0).permutation(n).astype(np.int32)
    data = dataclasses.replace(data, table=dataclasses.replace(data.table, label=label))
    given = np.roll(label, 1)
    runs = [Run(0, 0, ROWS, Path(), told) for told in (None, given)]
    tracemalloc.start()
    try:
        arrays = feed.table_arrays(data)
        told = feed.given_arrays(runs, arrays)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * n  # bytes; an N x K array takes 10 GB
    sizes = [leaf.size for leaf in jax.tree.leaves((arrays, told))]
    assert max(sizes) == 2 * n
    target = arrays["target"][np.array([7, 0])]
    assert target.shape == (2, n)
    np.testing.assert_array_equal(target.argmax(1), label[[7, 0]])
    np.testing.assert_array_equal(target.sum(1), [1, 1])
