import pytest
from flax import linen as nn

from jaxfer import models
from jaxfer.errors import ConfigError


@pytest.mark.parametrize("name", models.REGISTRY)
def test_every_name_makes_a_module(name):
    model = models.create(name, 5)
    assert isinstance(model, nn.Module)
    assert model.num_classes == 5


def test_options_reach_the_module():
    assert models.create("cfnet", 7, heads="separate", grid=4).heads == "separate"


def test_an_unknown_name_names_the_nearest_and_all():
    with pytest.raises(ConfigError, match=r"'cfnett'; did you mean 'cfnet'\?") as info:
        models.create("cfnett", 7)
    assert all(name in str(info.value) for name in models.REGISTRY)


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(ConfigError, match=r"no option 'widht'; did you mean 'width'\?"):
        models.create("cfnet", 7, widht=2)


def test_what_linen_adds_is_no_option():
    with pytest.raises(ConfigError, match="no option 'parent'"):
        models.create("cfnet", 7, parent=None)
