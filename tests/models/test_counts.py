import jax.numpy as jnp
from flax import linen as nn

from jaxfer import ops
from jaxfer.models import counts
from jaxfer.models.layers import BatchNorm, Conv


class Small(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = Conv(8, (3, 3), strides=2)(x)  # 4 x 5 outputs of 27 products, 8 channels
        x = BatchNorm()(x, train=train)
        x = Conv(8, (5, 5), groups=8, use_bias=False)(x)  # 25 products each
        x = Conv(16, (1, 1))(x)  # 8 products each
        return nn.Dense(3)(x.mean((1, 2)))


class Upsampling(nn.Module):
    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.ones_init(), (4, 4, 2, 3))
        return ops.conv_transpose(x, kernel, strides=2, padding=1)


class Repeated(nn.Module):
    @nn.compact
    def __call__(self, x):
        layer = nn.scan(
            lambda module, x, _: (nn.Dense(6, use_bias=False)(x), None),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=5,
        )
        return layer(self, x, None)[0]


def test_multiply_adds_of_layers():
    positions = 4 * 5
    expected = positions * 8 * 27 + positions * 8 * 25 + positions * 16 * 8 + 16 * 3
    assert counts.count_multiply_adds(Small(), (8, 10, 3)) == expected


def test_a_transposed_convolution_counts_the_pixels_it_is_given():
    assert counts.count_multiply_adds(Upsampling(), (5, 7, 3)) == 5 * 7 * 16 * 2 * 3


def test_a_loop_counts_every_turn():
    assert counts.count_multiply_adds(Repeated(), (6,)) == 5 * 6 * 6


def test_parameters_without_statistics():
    variables = {
        "params": {"kernel": jnp.zeros((3, 4)), "norm": {"scale": jnp.zeros(4)}},
        "batch_stats": {"norm": {"mean": jnp.zeros(4)}},
    }
    assert counts.count_parameters(variables) == 16
