import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import models, weights
from jaxfer.errors import WeightsError


@pytest.fixture
def released():
    """Arrays of the released names and shapes, cheap to make."""
    rows = golden_rule.load("lfnsb")[1]["weights"]["lfnsb"]
    return {name: np.zeros(shape, np.float32) for name, _, shape, *_ in rows}


def test_the_number_of_classes_comes_from_the_arrays(released):
    variables = weights.from_official("lfnsb", released)
    assert variables["params"]["logits"]["bias"].shape == (7,)


def test_the_batch_norm_that_is_never_called_is_left_out(released):
    assert released["bn.weight"].shape == (7,)
    assert not any(a.any() for a in released.values())
    changed = {
        name: array + 1 if name.startswith("bn.") else array
        for name, array in released.items()
    }
    without = {n: array for n, array in released.items() if not n.startswith("bn.")}
    for arrays in (changed, without):
        variables = jax.device_get(weights.from_official("lfnsb", arrays))
        assert not any(leaf.any() for leaf in jax.tree.leaves(variables))


def test_every_problem_is_listed(released):
    del released["features.8.bn.weight"]
    released["sb.sb_conv.weight"] = np.zeros((4, 3, 4), np.float32)
    released["features.9.c.weight"] = np.zeros(1, np.float32)
    with pytest.raises(WeightsError) as info:
        weights.from_official("lfnsb", released)
    message = str(info.value)
    assert "missing (1): features.8.bn.weight\n" in message
    assert "unknown (1): features.9.c.weight\n" in message
    assert "sb.sb_conv.weight is (4, 3, 4), expected (4, 4, 3)" in message


def test_a_network_of_another_depth_does_not_fit(released):
    with pytest.raises(WeightsError, match=r"features\.3\.model\.4\.conv"):
        weights.from_official("lfnsb", released, depth=0.4)


def test_fused_variables_fit_the_fused_network(released):
    variables = weights.from_official("lfnsb", released, fused=True)
    model = models.create("lfnsb", 7, fused=True)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes)


def test_the_size_of_the_last_kernel_gives_that_of_the_images():
    rows = golden_rule.load("lfnsb")[1]["weights"]["lfn"]
    arrays = {name: np.zeros(shape, np.float32) for name, _, shape, *_ in rows}
    arrays["conv_6_dw.conv.weight"] = np.zeros((256, 1, 5, 5), np.float32)
    variables = weights.from_official("lfn", arrays)
    kernel = variables["params"]["conv6_dw"]["conv"]["kernel"]
    assert kernel.shape == (5, 5, 1, 256)
