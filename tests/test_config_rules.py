"""What each rule takes and refuses; every number has one."""

import math
from fnmatch import fnmatch

import jax
import numpy as np
import pytest
import toy

from jaxfer import config as configs
from jaxfer import config_rules, metrics, ops
from jaxfer.data import dataset
from jaxfer.errors import ConfigError
from jaxfer.methods import cfnet, eac, epm, fersnet, lfn, lfnsb
from jaxfer.models import vgg

METHODS = (cfnet, eac, epm, fersnet, lfn, lfnsb)
DEFAULTS = {
    field: value
    for method in METHODS
    for field, value in configs.flatten(method.default_config())
}
NAN, INF = float("nan"), float("inf")
OTHERS = {
    "data.name": ["", "..", 3],
    "label_noise.rates": [(), (0.1, 0.1), (1.0,), (NAN,), 0.1],
    "corruption.kernel_size": [0, 2, -1, 1.5, NAN],
    "optim.milestones": [(0,), (3, 2), (2, 2), (1.5,), 3, (NAN,)],
    "plateau.metric": ["acuracy", "a/b/loss", "/loss", "local/", 3],
}
"""What rules that are no interval and no list of words refuse."""


def outside(name):
    """Values that a rule is to refuse."""
    rule = config_rules.RULES[name]
    match rule:
        case config_rules.Words():
            return ["no such word", 3]
        case config_rules.Pair(each):
            middle = (each.low + min(each.high, 10)) / 2
            wrong = [(middle, middle / 2), (middle,), middle, (middle, NAN)]
            return [*wrong, (each.low - 1, middle), (middle, each.high + 1)]
        case config_rules.Number(low, high, ends, whole):
            wrong = [NAN, INF, -INF, low - 1, "1", None, True]
            wrong += [low] if ends[0] == "(" else []
            wrong += [high + 1] if high < INF else []
            wrong += [high] if ends[1] == ")" else []
            return [*wrong, low + 0.5] if whole else wrong
    return OTHERS[name]


@pytest.mark.parametrize("name", config_rules.RULES)
def test_a_rule_refuses_what_is_outside_and_takes_the_defaults(name):
    rule = config_rules.RULES[name]
    fields = [f for f in DEFAULTS if fnmatch(f".{f}", f"*.{name}")]
    fields = [f for f in fields if config_rules.rule_of(f) is rule]
    assert fields  # no rule of nothing
    for field in fields:
        assert config_rules.unmet(field, DEFAULTS[field]) == ""
        for value in outside(name):
            assert config_rules.unmet(field, value) == rule.takes


@pytest.mark.parametrize(
    ("field", "value", "takes"),
    [
        ("optim.momentum", 1.5, "a number from 0 to below 1"),
        ("method.weights.local", NAN, "a number, 0 or more"),
        ("data.image_size", 4096, "a whole number from 8 to 2,048"),
        ("fusion.optim.plateau.factor", 1.0, "a number above 0 to below 1"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(field, value, takes):
    config = cfnet.default_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ConfigError) as error:
        configs.validate(config)
    assert str(error.value) == (
        f"the config is not valid:\n  {field} is {value}; it takes {takes}\n"
        f"Set fields in the config file, or as --config.{field}=VALUE."
    )


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("optim.momentum", [0, 0.0, 0.999]),
        ("optim.decay", [1, 1e-9]),
        ("method.margin", [0, math.pi / 2]),
        ("seed", [0, 2**32 - 1]),
        ("data.image_size", [8, 2048]),
        ("augment.erase_area", [(0.5, 0.5), [0.02, 1.0]]),
        ("optim.milestones", [(), (1,), [1, 7]]),
        ("optim.learning_rate", [0, np.float32(0.1), 10**400]),
    ],
)
def test_a_rule_takes_what_is_at_its_ends(name, inside):
    assert [config_rules.unmet(name, value) for value in inside] == [""] * len(inside)


def test_every_number_has_a_rule():
    for field, value in DEFAULTS.items():
        if not isinstance(value, bool | str):
            assert config_rules.rule_of(field), field


def test_a_number_without_a_rule_is_finite():
    for value in (NAN, INF, (1.0, -INF), [NAN]):
        assert config_rules.unmet("method.mine", value) == "finite numbers"
    for value in (1.0, (), (0, 1.5), "nan", None, True):
        assert config_rules.unmet("method.mine", value) == ""


def test_seeds_do_not_run_over():
    config = toy.config(num_seeds=2)
    config.seed = 2**32 - 2
    configs.validate(config)
    config.seed += 1
    with pytest.raises(ConfigError, match=r"from seed 4294967295 on.*4,294,967,295"):
        configs.validate(config)
    low, high = (jax.random.key_data(jax.random.key(s)) for s in (0, 2**32))
    np.testing.assert_array_equal(low, high)  # why it matters


@pytest.mark.parametrize("metric", ["", "loss", "local/loss", "macro_f1"])
def test_a_plateau_follows_any_metric_of_any_head(metric):
    config = cfnet.default_config()
    config.optim.plateau.metric = metric
    config.augment.erase = 1.0
    configs.validate(config)


def test_the_words_are_those_that_the_code_knows():
    rules = config_rules.RULES
    assert rules["corruption.name"].words == ("", *ops.CORRUPTIONS)
    assert rules["data.label_mode"].words == dataset.LABEL_MODES
    assert rules["augment.policy"].words == ("", *ops.POLICIES)
    assert rules["method.frozen_convolutions"].high == len(vgg.CONVOLUTIONS)
    assert set(config_rules.METRICS) == set(metrics.compute(metrics.zeros(2)))
