import jax
import numpy as np
import pytest
import toy

from jaxfer.train import orders, sharding
from jaxfer.train import program as programs


@pytest.mark.parametrize(
    ("runs", "batch", "shape"),
    [(1, 8, (1, 2)), (2, 8, (2, 1)), (4, 7, (2, 1)), (3, 8, (1, 2)), (3, 7, (1, 1))],
)
def test_devices_take_runs_first_and_then_parts_of_the_batch(runs, batch, shape):
    assert len(jax.devices()) == 2
    mesh = sharding.create_mesh(runs, batch)
    assert mesh.devices.shape == shape


def step(count, devices):
    """States and sums of `count` runs after two steps on so many devices."""
    config = toy.config()
    data = toy.dataset()
    method = toy.method(config, num_classes=3, steps_per_epoch=1)
    stage = method.stages[0]
    mesh = sharding.create_mesh(count, 6, jax.devices()[:devices])
    keys = jax.vmap(jax.random.key)(np.arange(count))
    images = np.zeros((1, 8, 8, 3), np.uint8)
    states = jax.vmap(method.init, in_axes=(0, None))(keys, images)
    states = jax.device_put(states, sharding.by_run(mesh))
    arrays = {
        "image": np.random.default_rng(0).integers(0, 255, (60, 8, 8, 3), np.uint8),
        "label": data.table.label,
        "target": np.eye(3, dtype=np.float32)[data.table.label],
        "index": np.arange(60, dtype=np.int32),
    }
    arrays = sharding.put(arrays, sharding.replicated(mesh))
    order = np.stack([np.arange(12).reshape(2, 6) + 7 * r for r in range(count)])
    placed = sharding.put(order.astype(np.int32), sharding.orders(mesh, count))
    source, program = programs.Source(arrays, placed), programs.build(stage, mesh)
    sums = programs.zeros(program.metrics[0], states, source, keys)
    sums = sharding.put(sums, sharding.by_run(mesh))
    for at in range(2):
        between = np.int32(at), np.int32(at + 1)
        states, sums, _ = program.train[0](states, sums, source, keys, *between)
    return states, sums


@pytest.mark.parametrize("count", [1, 2, 3])
def test_two_devices_compute_what_one_does(count):
    one, two = step(count, 1), step(count, 2)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), one, two
    )
    assert int(one[0].step[0]) == 2
    weights = two[0].variables["params"]["first"]
    spread = len({s.index[0].start for s in weights.addressable_shards})
    assert spread == (2 if count == 2 else 1)  # runs over devices where they divide


def test_orders_depend_on_seed_fold_stage_and_epoch_alone():
    config, data = toy.config(), toy.dataset()
    stage = toy.method(config, num_classes=3, steps_per_epoch=1).stages[0]
    from jaxfer.data.splits import Fold

    rows = Fold(
        *(np.arange(a, b, dtype=np.int32) for a, b in ((0, 40), (40, 50), (50, 60)))
    )
    alone = orders.Run(1, 2, rows, None)
    other = orders.Run(1, 3, rows, None)

    def order(index, epoch, runs):
        (only,) = orders.train_order(stage, index, epoch, runs, data.table)
        return only

    first, among = order(0, 5, [alone]), order(0, 5, [other, alone])
    np.testing.assert_array_equal(first[0], among[1])
    for different in (
        order(0, 6, [alone]),
        order(1, 5, [alone]),
        among[:1],
    ):
        assert not np.array_equal(first, different)
    assert set(first.ravel()) <= set(rows.train)
