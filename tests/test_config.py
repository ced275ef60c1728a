import math
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import toy

from jaxfer import config as configs
from jaxfer import config_rules, metrics, ops
from jaxfer.data import dataset
from jaxfer.data.labels import RAFDB
from jaxfer.data.splits import make_folds
from jaxfer.errors import ConfigError
from jaxfer.methods import cfnet, eac, epm, fersnet, lfn, lfnsb
from jaxfer.models import vgg

CONFIGS = Path(__file__).parents[1] / "configs"


def test_configs_are_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = configs.find_config("cfnet_ckplus.py")
    assert found.name == "cfnet_ckplus.py"
    assert configs.find_config("cfnet_ckplus") == found
    (tmp_path / "cfnet_ckplus.py").write_text("# nearer")
    assert configs.find_config("cfnet_ckplus.py") == tmp_path / "cfnet_ckplus.py"


@pytest.mark.parametrize(
    "path", sorted(CONFIGS.glob("*_rafdb*.py")), ids=lambda p: p.stem
)
def test_rafdb_configs_say_how_many_images_train(path):
    """The paper's figures are of models that were trained on all of them."""
    config = configs.read_config(path)
    parts = np.repeat(["train", "test"], [12_271, 3_068])
    names = np.array([str(i) for i in range(len(parts))])
    label = np.arange(len(parts)) % 7
    table = SimpleNamespace(split=parts, label=label, subject=names, file=names)
    protocol = SimpleNamespace(**config.protocol.to_dict())
    (fold,) = make_folds(table, RAFDB, protocol)
    sizes = f"{len(fold.train):,} train and {len(fold.validation):,} are held out"
    assert sizes in " ".join(path.read_text().split())
    config.update_from_flattened_dict({"protocol.validation": 0})  # as the text says
    configs.validate(config)
    (fold,) = make_folds(table, RAFDB, SimpleNamespace(**config.protocol.to_dict()))
    assert (len(fold.train), len(fold.validation)) == (12_271, 0)


def test_an_unknown_config_names_the_nearest():
    with pytest.raises(ConfigError, match=r"Did you mean 'cfnet_ckplus\.py'"):
        configs.find_config("cfnet_ckpluss.py")


@pytest.mark.parametrize(
    ("field", "near"),
    [
        ("optim.learnin_rate", "optim.learning_rate"),
        ("learning_rate", "optim.learning_rate"),
        ("protocol.fold", "protocol.folds"),
        ("optim", "is a group: set one of .*optim.name"),
    ],
)
def test_an_unknown_field_names_the_nearest(field, near):
    with pytest.raises(ConfigError, match=near):
        configs.check_field(toy.config(), field)


def test_everything_that_is_wrong_is_listed_at_once():
    config = toy.config()
    configs.validate(config)
    config.precision = "float8"
    config.optim.name = "sdg"
    config.protocol.folds = 1
    config.protocol.validation = 1.5
    with pytest.raises(ConfigError) as error:
        configs.validate(config)
    for part in ("precision is 'float8'", "nadam", "folds is 1", "below 1"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fusion.epochs", 0),
        ("fusion.batch_size", 0),
        ("fusion.optim.learning_rate", -1.0),
        ("fusion.optim.learning_rate", float("nan")),
        ("optim.weight_decay", -0.1),
        ("seed", -1),
        ("protocol.seed", -1),
        ("augment.erase", 1.5),
        ("augment.translate", 1.0),
        ("augment.zoom", (1.1, 0.9)),
        ("data.corruption.name", "gaussian_blurr"),
        ("data.corruption.kernel_size", 4),
        ("data.corruption.kernel_size", -1),
        ("method.channel_order", "rbg"),
        ("method.heads", "three"),
        ("method.weighting", "fair"),
        ("optim.plateau.metric", "acuracy"),
        ("fusion.optim.plateau.metric", "a/b/loss"),
        ("optim.plateau.metric", "/loss"),
        ("optim.plateau.metric", "local/"),
    ],
)
def test_ranges_hold_in_every_group(field, value):
    config = cfnet.default_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ConfigError, match=f"  {field} is "):
        configs.validate(config)


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


def test_a_config_that_lacks_fields_is_not_valid():
    config = toy.config()
    del config.data.label_noise.confusion
    with pytest.raises(ConfigError, match=r"lacks data\.label_noise\.confusion"):
        configs.validate(config)


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
    assert rules["method.frozen_convolutions"].high == len(vgg.CONVOLUTIONS)
    assert set(config_rules.METRICS) == set(metrics.compute(metrics.zeros(2)))


def test_differences_ignore_what_changes_no_result():
    old, new = toy.config(), toy.config()
    new.workdir = "elsewhere"
    new.data.workers = 3
    new.checkpoint.keep = 9
    assert configs.differences(old, new) == []
    new.optim.learning_rate = 0.5
    new.protocol.folds = 3
    assert configs.differences(old, new) == [
        "optim.learning_rate: 0.0001 -> 0.5",
        "protocol.folds: 5 -> 3",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "has no attribute 'get_config'"),
        ("def get_config(): return 1 / 0", "ZeroDivisionError"),
        ("def get_config(:", "SyntaxError"),
        ("def get_config(): return {'seed': 1}", "returns a dict"),
        (
            "import ml_collections\n"
            "def get_config(): return ml_collections.ConfigDict({'seed': 1})",
            "lacks .*optim.learning_rate",
        ),
    ],
)
def test_a_file_that_gives_no_config_is_named(tmp_path, text, message):
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(ConfigError, match=rf"broken\.py does not give.*{message}"):
        configs.read_config(tmp_path / "broken.py")


def test_a_misspelt_field_of_a_file_names_the_nearest(tmp_path):
    for method in ("cfnet", "eac", "epm", "fersnet", "lfn", "lfnsb"):
        (tmp_path / "mine.py").write_text(
            f"from jaxfer.methods import {method}\n"
            "def get_config():\n"
            f"    config = {method}.default_config()\n"
            "    config.optim.learning_rat = 3e-4\n"
            "    return config\n"
        )
        with pytest.raises(ConfigError, match=r'mine\.py .*mean "learning_rate"'):
            configs.read_config(tmp_path / "mine.py")
