"""Weights that anybody can draw again from their names, and the reference arrays.

The reference arrays in `golden/` were computed by the authors' released code with
weights drawn by `draw`; `golden/<system>.json` lists those weights as rows of name,
kind, shape, first value and sum of absolute values.
"""

import json
import zlib
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "golden"
SALT = "A"


def close(actual, expected, tolerance):
    """Largest difference, relative to the largest reference value."""
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


def load(name):
    """The reference arrays and the index of a system."""
    with np.load(GOLDEN / f"{name}.npz") as archive:
        arrays = dict(archive)
    return arrays, json.loads((GOLDEN / f"{name}.json").read_text())


def draw(system, name, kind, shape, *, keras):
    """One weight; `shape` and `name` are the released code's."""
    seed = zlib.crc32(f"{SALT}/{system}/{name}".encode())
    n = np.random.default_rng(seed).standard_normal(shape)
    fan_in = np.prod(shape[:-1] if keras else shape[1:])
    if kind == "kernel0":
        axes = tuple(range(n.ndim - 1)) if keras else tuple(range(1, n.ndim))
        n = n - n.mean(axis=axes, keepdims=True)
    scale, offset = {
        "kernel": (np.sqrt(2 / fan_in), 0.0),
        "kernel0": (np.sqrt(2 / fan_in), 0.0),
        "kernel1": (np.sqrt(1 / fan_in), 0.0),
        "bias": (0.01, 0.0),
        "bn_weight": (0.1, 1.0),
        "bn_bias": (0.1, 0.0),
        "bn_mean": (0.1, 0.0),
        "bn_var": (0.1, 1.0),
        "prelu": (0.05, 0.25),
        "normal": (1.0, 0.0),
        "zero": (0.0, 0.0),
    }[kind]
    if kind == "bn_var":
        n = np.abs(n)
    return (offset + scale * n).astype(np.float32)


def weights(index, system, *, keras=False):
    """All weights of a system, each checked against its row."""
    drawn = {}
    for name, kind, shape, first, total in index["weights"][system]:
        array = draw(system, name, kind, shape, keras=keras)
        np.testing.assert_allclose(array.flat[0], first, rtol=1e-6)
        np.testing.assert_allclose(np.abs(array, dtype=float).sum(), total, rtol=1e-6)
        drawn[name] = array
    return drawn


def uniform(seed, shape):
    """An input in [0, 1)."""
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def sample(array, golden, index, key):
    """What the reference keeps of an array, and the reference's values of it."""
    if key in golden:
        return np.asarray(array), golden[key]
    flat = np.asarray(array).reshape(-1)[:: index["steps"][key]]
    return flat, golden[f"{key}|flat"]
