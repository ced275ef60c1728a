"""Depthwise convolution: channels do not mix, and derivatives equal lax's."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxfer import ops


def plain(x, kernel, strides, padding, dilation):
    return lax.conv_general_dilated(
        x,
        kernel,
        (strides, strides),
        padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[3],
    )


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    size=st.integers(6, 9),
    window=st.sampled_from([1, 2, 3, 5]),
    strides=st.integers(1, 3),
    dilation=st.sampled_from([1, 1, 2]),
    padding=st.sampled_from(["SAME", "VALID"]),
)
def test_values_and_gradients(size, window, strides, dilation, padding):
    window = 3 if dilation == 2 else window
    rng = np.random.default_rng(size)
    with jax.enable_x64():
        x = jnp.asarray(rng.standard_normal((2, size, size + 1, 3)))
        k = jnp.asarray(rng.standard_normal((window, window, 1, 3)))

        @jax.jit
        def compare(x, k):
            options = {"strides": strides, "padding": padding, "dilation": dilation}

            def ours(x, k):
                return jnp.sin(ops.conv(x, k, groups=3, **options))

            def theirs(x, k):
                return jnp.sin(plain(x, k, **options))

            return [
                (y, *pullback(jnp.ones_like(y)))
                for y, pullback in (jax.vjp(f, x, k) for f in (ours, theirs))
            ]

        for found, expected in zip(*compare(x, k), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-11)


def test_channels_do_not_mix():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((1, 5, 5, 4)), jnp.float32)
    k = jnp.asarray(rng.standard_normal((3, 3, 1, 4)), jnp.float32)
    y = ops.conv(x, k, groups=4)
    changed = ops.conv(x.at[..., 1].add(1.0), k, groups=4)
    assert not np.allclose(y[..., 1], changed[..., 1])
    for channel in (0, 2, 3):
        np.testing.assert_array_equal(y[..., channel], changed[..., channel])
