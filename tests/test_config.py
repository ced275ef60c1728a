from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import toy

from jaxfer import config as configs
from jaxfer import methods
from jaxfer.data.labels import RAFDB
from jaxfer.data.splits import make_folds
from jaxfer.errors import ConfigError
from jaxfer.methods import cfnet, lfnsb

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


@pytest.mark.parametrize("field", ["method.initial", "finetune.optim.b2", "augment"])
def test_a_config_of_an_earlier_version_is_completed_by_default(field):
    whole = lfnsb.default_config()
    config = whole.copy_and_resolve_references().unlock()
    config.method.width = 0.125
    group, _, name = field.rpartition(".")
    del (config[group] if group else config)[name]
    lacking = config.to_dict()
    found = methods.completed(config)
    assert configs.differences(whole, found) == ["method.width: 1.0 -> 0.125"]
    assert config.to_dict() == lacking  # which is left as it was
    methods.create(config, num_classes=3, steps_per_epoch=1)


def test_a_config_that_lacks_fields_is_not_valid():
    config = toy.config()
    del config.data.label_noise.confusion
    with pytest.raises(ConfigError, match=r"lacks data\.label_noise\.confusion"):
        configs.validate(config)


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
