"""EAC as the released code has it: weights, views, and where its names lie in ours."""

import functools

import golden_rule
import numpy as np
from flax import traverse_util

from jaxfer import models, weights

SYSTEMS = {
    "eac_r50": {"backbone": "resnet50", "seed": 1501, "last": "features.7"},
    "eac_mbv2": {"backbone": "mobilenet_v2", "seed": 1503, "last": "features.18"},
}
LABELS = np.asarray([2, 5])


def views(system):
    first = golden_rule.uniform(SYSTEMS[system]["seed"], (2, 224, 224, 3))
    second = first[:, :, ::-1].copy()
    second[:, 40:90, 100:180] = 0
    return first, second


@functools.cache
def network(system):
    """The model, its variables, and where each official name lies in them."""
    backbone = SYSTEMS[system]["backbone"]
    arrays = golden_rule.weights(golden_rule.load("eac")[1], system)
    variables = weights.from_official("eac", arrays, backbone=backbone)
    by_value = {(a.size, a.min()): name for name, a in arrays.items()}
    flat = traverse_util.flatten_dict(variables, sep="/")
    paths = {by_value[a.size, np.asarray(a).min()]: path for path, a in flat.items()}
    assert paths.keys() == arrays.keys()
    return models.create("eac", 7, backbone=backbone), variables, paths


def compare_norms(reference, system, gradient):
    """Norms of gradients by path, float64, with the released code's; how many."""
    golden, index = reference
    paths, order = network(system)[2], index["grad_order"][system]
    places = {name: paths[name].removeprefix("params/") for name in order}
    expected = dict(zip(order, golden[f"{system}/train/f64/grad_norms"], strict=True))
    compared = [name for name in order if places[name] in gradient]
    np.testing.assert_allclose(
        [np.linalg.norm(gradient[places[name]]) for name in compared],
        [expected[name] for name in compared],
        rtol=1e-6,
        atol=1e-9 * max(expected.values()),  # some are zero, before a batch norm
    )
    for name in ("fc.weight", "fc.bias"):
        key = f"{system}/train/f64/grad/{name}"
        ours = gradient[places[name]].T
        golden_rule.close(*golden_rule.sample(ours, golden, index, key), 1e-6)
    return len(compared), len(order)


def compare_statistics(reference, system, statistics):
    """Running statistics after both views with the released code's."""
    golden, index = reference
    _, variables, paths = network(system)
    flat, before = (
        traverse_util.flatten_dict({"batch_stats": tree}, sep="/")
        for tree in (statistics, variables["batch_stats"])
    )
    key = f"{system}/train/f64/updated/"
    names = {k.removeprefix(key).partition("|")[0] for k in golden if k.startswith(key)}
    assert len(names) >= 4
    assert all((np.asarray(flat[path]) != before[path]).any() for path in flat)
    for name in names:
        updated = flat[paths[name]]
        found = golden_rule.sample(updated, golden, index, key + name)
        golden_rule.close(*found, 1e-6)
