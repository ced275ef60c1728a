import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import ops
from jaxfer.errors import ConfigError
from jaxfer.models.fuse import fold_batch_norm, fuse


def statistics(rng, channels):
    return {
        "mean": jnp.asarray(rng.standard_normal(channels), jnp.float32),
        "var": jnp.asarray(rng.random(channels) + 0.1, jnp.float32),
    }


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("shape", [(3, 3, 4, 6), (5, 3, 1, 4)])
def test_a_folded_convolution_equals_the_pair(shape, bias, affine):
    rng = np.random.default_rng(0)
    draw = lambda *n: jnp.asarray(rng.standard_normal(n), jnp.float32)  # noqa: E731
    kernel, channels = draw(*shape), shape[-1]
    offset = draw(channels) if bias else None
    norm = {"scale": draw(channels), "bias": draw(channels)} if affine else {}
    stats, x = statistics(rng, channels), draw(2, 6, 5, 4)
    groups = 4 // shape[2]
    y = ops.conv(x, kernel, groups=groups)
    y = y if offset is None else y + offset.reshape(1, 1, 1, -1)
    expected = ops.batch_norm_inference(
        y,
        **stats,
        scale=norm.get("scale", jnp.ones(channels)),
        bias=norm.get("bias", jnp.zeros(channels)),
        epsilon=1e-3,
    )
    kernel, offset = fold_batch_norm(kernel, offset, norm, stats, epsilon=1e-3)
    found = ops.conv(x, kernel, groups=groups) + offset.reshape(1, 1, 1, -1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_rest_is_left_as_it_is():
    dense = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    assert fuse({"params": {"logits": dense}}) == {"params": {"logits": dense}}


def test_the_trained_variables_do_not_change():
    rng = np.random.default_rng(1)
    variables = {
        "params": {
            "conv": {"kernel": jnp.ones((1, 1, 2, 2))},
            "bn": {"scale": jnp.full(2, 2.0), "bias": jnp.ones(2)},
        },
        "batch_stats": {"bn": statistics(rng, 2)},
    }
    before = jax.tree.map(lambda leaf: leaf.copy(), variables)
    fused = jax.jit(fuse)(variables)
    assert set(fused) == {"params"} and set(fused["params"]) == {"conv"}
    jax.tree.map(np.testing.assert_array_equal, variables, before)


def test_a_batch_norm_that_follows_no_convolution():
    norm = {"scale": jnp.ones(2), "bias": jnp.zeros(2)}
    stats = statistics(np.random.default_rng(2), 2)
    variables = {
        "params": {"branch": {"conv1a": {"kernel": jnp.ones((1, 2))}, "bn1a": norm}},
        "batch_stats": {"branch": {"bn1a": stats}},
    }
    with pytest.raises(ConfigError, match="batch norm at branch/bn1a"):
        fuse(variables)
