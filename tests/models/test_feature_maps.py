import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxfer.errors import ConfigError
from jaxfer.models import Outputs
from jaxfer.models.feature_maps import last_map, tap


class Network(nn.Module):
    """Two branches, the first of which the logits leave out, and a decoder."""

    named: bool = False

    @nn.compact
    def __call__(self, x):
        unused = nn.Conv(2, (1, 1), name="unused")(x)
        first = nn.Conv(3, (3, 3), name="first")(x)
        last = nn.Conv(4, (2, 2), (2, 2), name="last")(nn.relu(first))
        logits = nn.Dense(3, name="logits")(last.mean((1, 2)))
        drawn = nn.ConvTranspose(1, (2, 2), (2, 2), name="decoder")(last)
        features = {"map": first} if self.named else {"other": unused}
        return Outputs(logits, features=features, images={"drawn": drawn})


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), (2, 4, 4, 3))


def variables(images):
    return jax.jit(Network().init)(jax.random.key(0), images)


def test_the_last_map_that_matters_is_found(images):
    v = variables(images)
    outputs = Network().apply(v, images)
    plain = last_map(Network().apply, v, images)
    found, features = tap(Network().apply, plain)(v, images, None)
    chex.assert_trees_all_equal(found, outputs)
    kernel = v["params"]["logits"]["kernel"]
    logits = features.mean((1, 2)) @ kernel  # the decoder's map is later
    np.testing.assert_allclose(logits, outputs.logits, rtol=1e-5, atol=1e-6)


def test_the_map_that_a_network_names_is_preferred(images):
    v = variables(images)
    apply = Network(named=True).apply
    number = last_map(jax.jit(apply).__wrapped__, v, images)
    outputs, features = tap(apply, number)(v, images, None)
    chex.assert_trees_all_equal(features, outputs.features["map"])


def test_an_offset_reaches_what_follows(images):
    v = variables(images)
    kernel = np.asarray(v["params"]["logits"]["kernel"])
    tapped = tap(Network().apply, last_map(Network().apply, v, images))
    before, features = tapped(v, images, None)
    after, moved = tapped(v, images, jnp.ones_like(features))
    chex.assert_trees_all_close(moved, features + 1)
    change = np.broadcast_to(kernel.sum(0), (2, 3))
    np.testing.assert_allclose(after.logits - before.logits, change, rtol=1e-3)


def test_a_model_without_maps_is_refused(images):
    def flat(v, x):
        return Outputs(x.reshape(2, -1) @ v)

    with pytest.raises(ConfigError, match="Grad-CAM needs a feature map"):
        last_map(flat, jnp.ones((48, 3)), images)
