import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.errors import WeightsError
from jaxfer.weights import mapping

ENTRIES = [
    mapping.Entry("features.0.weight", "params/conv/kernel", mapping.TORCH_CONV),
    mapping.Entry("fc.weight", "params/fc/kernel", mapping.TORCH_LINEAR),
    mapping.Entry("bn.running_mean", "batch_stats/bn/mean"),
]
TEMPLATE = {
    "params": {
        "conv": {"kernel": jnp.zeros((3, 5, 2, 4))},
        "fc": {"kernel": jnp.zeros((6, 7))},
    },
    "batch_stats": {"bn": {"mean": jnp.zeros(4)}},
}


def arrays():
    rng = np.random.default_rng(0)
    shapes = {
        "features.0.weight": (4, 2, 3, 5),
        "fc.weight": (7, 6),
        "bn.running_mean": (4,),
    }
    return {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}


def test_layouts():
    given = arrays()
    variables = mapping.convert("model", ENTRIES, given, TEMPLATE)
    kernel = variables["params"]["conv"]["kernel"]
    assert kernel.shape == (3, 5, 2, 4)
    assert kernel[2, 4, 1, 3] == given["features.0.weight"][3, 1, 2, 4]
    np.testing.assert_array_equal(
        variables["params"]["fc"]["kernel"], given["fc.weight"].T
    )
    np.testing.assert_array_equal(
        variables["batch_stats"]["bn"]["mean"], given["bn.running_mean"]
    )


def test_batch_counters_are_ignored():
    given = arrays() | {"bn.num_batches_tracked": np.asarray(3)}
    mapping.convert("model", ENTRIES, given, TEMPLATE)


def test_half_precision_is_widened():
    given = {name: array.astype(np.float16) for name, array in arrays().items()}
    variables = mapping.convert("model", ENTRIES, given, TEMPLATE)
    assert variables["params"]["fc"]["kernel"].dtype == jnp.float32


def test_one_error_lists_everything():
    given = arrays()
    del given["bn.running_mean"]
    given["fc.weight"] = given["fc.weight"].T
    given["features.0.weight"] = np.zeros(4)
    given |= {"extra.a": np.zeros(1), "extra.b": np.zeros(1)}
    with pytest.raises(WeightsError) as info:
        mapping.convert("model", ENTRIES, given, TEMPLATE)
    message = str(info.value)
    assert "missing (1): bn.running_mean\n" in message
    assert "unknown (2): extra.a; extra.b\n" in message
    assert "features.0.weight is (4,), expected (4, 2, 3, 5)" in message
    assert "fc.weight is (6, 7), expected (7, 6)" in message


def test_a_long_error_shows_the_first_of_each_kind():
    given = {f"other.{i}.weight": np.zeros(1) for i in range(2000)}
    with pytest.raises(WeightsError) as info:
        mapping.convert("model", ENTRIES, given, TEMPLATE)
    message = str(info.value)
    assert "other.4.weight; and 1,995 more\n" in message and len(message) < 1000


def test_a_name_map_must_cover_the_model():
    with pytest.raises(AssertionError, match="batch_stats/bn/mean"):
        mapping.convert("model", ENTRIES[:2], arrays(), TEMPLATE)
