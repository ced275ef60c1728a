import csv
import errno
import json

import chex
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from stopping import with_stops

from jaxfer import data as datasets
from jaxfer import methods, train
from jaxfer.errors import CheckpointError, ConfigError, DataError
from jaxfer.evaluate.summary import summarize
from jaxfer.train import experiment, results, waits

pytestmark = pytest.mark.usefixtures("use_toy")


def variables_of(folder, selection="last"):
    return [run.variables for run in train.restore(folder, selection).runs]


def rows_of(folder):
    """metrics.csv in a fixed order, without what clocks tell."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [dict(row) for row in csv.DictReader(file)]
    for row in rows:
        for name in ("seconds", *waits.COLUMNS):
            row.pop(name, None)
    return sorted(rows, key=lambda r: (r["seed"], r["fold"], r["stage"], r["epoch"]))


def run(folder, config, lines=None):
    return train.run(config, folder, say=(lines if lines is not None else []).append)


def test_a_run_leaves_everything_that_a_report_needs(tmp_path):
    run(tmp_path, toy.config(folds=2, num_seeds=2), lines := [])
    info = json.loads((tmp_path / "run.json").read_text())
    assert [r["dir"] for r in info["runs"]] == [
        f"seed_{s:02d}/fold_{f:02d}" for s in (0, 1) for f in (0, 1)
    ]
    assert info["stages"] == ["first", "second"]
    assert info["parameters"] == 8 * 8 * 3 * 3 + 9
    assert "compiled in" in "\n".join(lines)
    assert len(rows_of(tmp_path)) == 4 * (3 + 2)
    tested = []
    for one in info["runs"][:2]:
        with np.load(tmp_path / one["dir"] / "predictions_validation.npz") as found:
            assert found["logits/decision"].shape == (len(found["index"]), 3)
            assert found["logits/first"].shape == found["logits/decision"].shape
            assert found["features/top"].shape == found["index"].shape
            tested.append(found["index"])
    # Every image is a test image of exactly one fold.
    np.testing.assert_array_equal(np.sort(np.concatenate(tested)), np.arange(60))
    last = rows_of(tmp_path)[-1]
    assert float(last["test/accuracy"]) > 0.8  # the task is easy: it is learned


def test_a_stage_begins_with_what_it_makes_of_the_variables(tmp_path, monkeypatch):
    def create(config, **sizes):
        method = toy.method(config, **sizes)

        def begin(variables):
            twice = jnp.full_like(variables["batch_stats"], 0.5)
            return {**variables, "batch_stats": twice, "again": twice}

        def init(key, images):
            state = method.init(key, images)
            again = jnp.zeros_like(state.variables["batch_stats"])
            return state._replace(variables={**state.variables, "again": again})

        def keeping(train_step):
            def step(state, batch, key):
                new, metrics = train_step(state, batch, key)
                again = state.variables["again"]
                return new._replace(
                    variables={**new.variables, "again": again}
                ), metrics

            return step

        first, second = (
            stage._replace(passes=(one._replace(train_step=keeping(one.train_step)),))
            for stage in method.stages
            for one in stage.passes
        )
        stages = (first, second._replace(begin=begin))
        return method._replace(init=init, stages=stages)

    monkeypatch.setattr(methods, "create", create)
    run(tmp_path, toy.config(folds=2, num_seeds=2))
    for variables in variables_of(tmp_path):  # the second stage trains neither
        for name in ("batch_stats", "again"):
            np.testing.assert_array_equal(variables[name], np.full(8 * 8 * 3, 0.5))


def test_folds_at_once_equal_folds_in_turn(tmp_path):
    run(tmp_path / "at_once", toy.config(folds=3, parallel_folds="always"))
    run(tmp_path / "in_turn", toy.config(folds=3, parallel_folds="never"))
    for selection in ("last", "validation"):
        chex.assert_trees_all_close(
            variables_of(tmp_path / "at_once", selection),
            variables_of(tmp_path / "in_turn", selection),
            rtol=2e-5,
            atol=1e-6,
        )


def test_folds_of_unequal_length_are_not_disturbed_by_padding(tmp_path):
    # Seven blocks of 8 images, the last of 12: 47 or 43 rows to train on.
    config = toy.config(
        folds=7, kind="file_order", validation=0.1, validation_kind="last"
    )
    config.batch_size = 11
    at_once, in_turn = config.copy_and_resolve_references(), config
    at_once.protocol.parallel_folds = "always"
    in_turn.protocol.parallel_folds = "never"
    run(tmp_path / "at_once", at_once)
    run(tmp_path / "in_turn", in_turn)
    steps = {r["step"] for r in rows_of(tmp_path / "at_once") if r["epoch"] == "0"}
    assert steps == {"3", "4"}  # runs of different lengths were together
    chex.assert_trees_all_close(
        variables_of(tmp_path / "at_once"),
        variables_of(tmp_path / "in_turn"),
        rtol=2e-5,
        atol=1e-6,
    )


def test_streamed_images_train_as_resident_ones(tmp_path):
    config = toy.config(kind="given")
    run(tmp_path / "resident", config, quiet := [])
    config.data.resident = "never"
    run(tmp_path / "streamed", config, lines := [])
    chex.assert_trees_all_close(
        variables_of(tmp_path / "resident"),
        variables_of(tmp_path / "streamed"),
        rtol=2e-5,
        atol=1e-6,
    )
    a, b = rows_of(tmp_path / "resident"), rows_of(tmp_path / "streamed")
    assert [r["test/accuracy"] for r in a] == [r["test/accuracy"] for r in b]
    # Steps of microseconds wait for their images; those on the device do not.
    told = "of the training waits for images"
    assert any(line.startswith("first: ") and told in line for line in lines)
    assert told not in "".join(quiet)
    with (tmp_path / "streamed" / "metrics.csv").open(newline="") as file:
        waited = [(row["stage"], row[waits.SHARE]) for row in csv.DictReader(file)]
    assert [stage for stage, share in waited if share] == ["first"] * 3
    assert waits.SHARE not in (tmp_path / "resident" / "metrics.csv").read_text()


def test_triplets_need_every_class_in_every_training_part(tmp_path, monkeypatch):
    def create(config, **sizes):
        made = toy.create(config, **sizes)
        first, *others = made.stages
        triplets = first.passes[0]._replace(sampler="triplet")
        return made._replace(stages=(first._replace(passes=(triplets,)), *others))

    monkeypatch.setattr(methods, "create", create)
    run(tmp_path / "all", toy.config())
    found = toy.dataset(classes=(*toy.CLASSES, "nobody"))
    found.table.label[:] %= 3
    monkeypatch.setattr(datasets, "load", lambda *args, **kwargs: found)
    with pytest.raises(ConfigError, match=r"each of 4 classes .* has images of 3"):
        run(tmp_path / "three", toy.config())
    config = toy.config()
    config.batch_size = 60
    with pytest.raises(ConfigError, match="lower images_per_class"):
        run(tmp_path / "large", config)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path):
    config = toy.config(kind="given")
    for name in ("one", "two"):
        run(tmp_path / name, config)
    assert rows_of(tmp_path / "one") == rows_of(tmp_path / "two")
    chex.assert_trees_all_equal(
        variables_of(tmp_path / "one"), variables_of(tmp_path / "two")
    )
    config.seed = 1
    run(tmp_path / "other", config)
    assert rows_of(tmp_path / "one") != rows_of(tmp_path / "other")


def two_passes(*args, **kwargs):
    """The toy method; an epoch of its first stage goes over pairs as well."""
    method = toy.method(*args, **kwargs)
    first, *others = method.stages
    (once,) = first.passes
    again = once._replace(sampler="pairs", batch_size=24)
    return method._replace(stages=(first._replace(passes=(once, again)), *others))


def test_who_has_no_partner_is_told_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment.methods, "create", two_passes)
    found = toy.dataset()
    monkeypatch.setattr(datasets, "load", lambda *args, **kwargs: found)
    train_rows = np.flatnonzero(found.table.split == "train")
    found.table.subject[train_rows[0]] = "alone"
    config = toy.config(kind="given", validation=0.0)
    run(tmp_path / "one", config, lines := [])
    assert "first fold 48 train (1 without a partner for pairs), 0 val" in lines[0]
    found.table.subject[:] = ""
    with pytest.raises(DataError, match="to know who is seen"):
        run(tmp_path / "nobody", config, lines := [])
    assert not lines


@pytest.mark.parametrize("resident", ["always", "never"])
def test_a_run_stopped_anywhere_continues_to_the_same_bits(
    tmp_path, monkeypatch, resident
):
    monkeypatch.setattr(experiment.methods, "create", two_passes)
    config = toy.config(kind="given")
    config.data.resident = resident
    config.checkpoint.every_seconds = 0.0
    monkeypatch.setattr(train.passes, "DISPATCH_SECONDS", 0.0)  # after every step
    run(tmp_path / "whole", config)
    lines = []

    def again():
        lines.clear()
        run(tmp_path / "stopped", config, lines)

    # Stops after the 1st, 8th, 15th ... checkpoint that is written at all.
    assert with_stops(monkeypatch, again, range(1, 100, 7)) > 6
    assert any("continuing at" in line for line in lines)
    # Each pass over the 36 images to train on.
    trained = rows_of(tmp_path / "whole")[0]["step"]
    assert int(trained) == 36 // 6 + 36 // 12
    assert rows_of(tmp_path / "stopped") == rows_of(tmp_path / "whole")
    for selection in ("last", "validation"):
        chex.assert_trees_all_equal(
            variables_of(tmp_path / "stopped", selection),
            variables_of(tmp_path / "whole", selection),
        )


def test_running_a_finished_run_again_trains_nothing(tmp_path):
    config = toy.config(kind="given")
    run(tmp_path, config)
    before = rows_of(tmp_path), variables_of(tmp_path)
    run(tmp_path, config, lines := [])
    assert not any("epochs of" in line for line in lines)
    chex.assert_trees_all_equal((rows_of(tmp_path), variables_of(tmp_path)), before)


def test_no_validation_means_last_and_nothing_called_validation(tmp_path):
    run(tmp_path, toy.config(kind="given", validation=0))
    chosen = summarize(tmp_path)["selections"]
    assert "last" in chosen and "best_by_validation" not in chosen
    assert not (tmp_path / "fold_00" / "predictions_validation.npz").exists()
    assert variables_of(tmp_path, "last")
    with pytest.raises(CheckpointError, match="model_validation is missing"):
        variables_of(tmp_path, "validation")


def test_weights_carried_across_folds_only_on_request(tmp_path):
    carried = toy.config(folds=2, carry_weights_across_folds=True)
    run(tmp_path / "carried", carried)
    run(tmp_path / "fresh", toy.config(folds=2, parallel_folds="never"))
    (c0, c1), (f0, f1) = (variables_of(tmp_path / n) for n in ("carried", "fresh"))
    chex.assert_trees_all_equal(c0, f0)
    assert not np.array_equal(c1["params"]["first"], f1["params"]["first"])
    carried.protocol.parallel_folds = "always"
    with pytest.raises(ConfigError, match="carry_weights_across_folds"):
        run(tmp_path / "both", carried)


def test_another_number_of_classes_than_the_config_names_is_refused(tmp_path):
    config = toy.config(folds=2)
    config.data.classes = 3
    experiment.open_experiment(config, tmp_path)
    config.data.classes = 4
    with pytest.raises(DataError, match=r"data\.classes is 4, and .* has 3: left"):
        experiment.open_experiment(config, tmp_path)


def test_a_folder_of_another_config_is_refused_by_field(tmp_path):
    config = toy.config(kind="given")
    run(tmp_path, config)
    before = variables_of(tmp_path)
    config.optim.learning_rate = 0.5
    config.checkpoint.keep = 1  # may differ: it changes no result
    with pytest.raises(CheckpointError, match=r"optim\.learning_rate: 0\.0001 -> 0\.5"):
        run(tmp_path, config)
    chex.assert_trees_all_equal(variables_of(tmp_path), before)


def damage(folder):
    for path in folder.rglob("*"):
        if path.is_file() and "state" in path.relative_to(folder).parts[0]:
            path.write_bytes(b"damaged")


def finished_but_for_results(folder, config):
    run(folder, config)
    (folder / "fold_00" / results.FINISHED).unlink()
    checkpoints = folder / "checkpoints" / "run_000"
    return sorted(
        (p for p in checkpoints.iterdir() if p.name.isdigit()),
        key=lambda p: int(p.name),
    )


def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(tmp_path):
    config = toy.config(kind="given")
    newest = finished_but_for_results(tmp_path, config)[-1]
    before = variables_of(tmp_path)
    damage(newest)
    run(tmp_path, config, lines := [])
    assert any("damaged" in line for line in lines)
    assert list((tmp_path / "checkpoints").glob("damaged_*"))  # nothing is lost
    chex.assert_trees_all_equal(variables_of(tmp_path), before)


def test_only_damaged_checkpoints_are_an_error(tmp_path):
    config = toy.config(kind="given")
    for checkpoint in finished_but_for_results(tmp_path, config):
        damage(checkpoint)
    with pytest.raises(CheckpointError, match="all 2 checkpoints are damaged"):
        run(tmp_path, config)


@pytest.mark.parametrize("resident", ["always", "never"])
def test_every_stage_is_told_the_wrong_labels_and_judged_by_the_true(
    tmp_path, monkeypatch, resident
):
    def telling(*args, **kwargs):
        method = toy.method(*args, **kwargs)

        def tell(stage):
            def train_step(state, batch, key):
                state, metrics = stage.passes[0].train_step(state, batch, key)
                told = jnp.sum(batch["label"]).astype(jnp.float32)
                return state, metrics | {"label": (told, metrics["loss"][1])}

            told = stage.passes[0]._replace(train_step=train_step)
            return stage._replace(passes=(told,))

        return method._replace(stages=tuple(map(tell, method.stages)))

    monkeypatch.setattr(experiment.methods, "create", telling)
    config = toy.config(kind="given")
    config.data.resident = resident
    config.data.label_noise.kind = "pair"
    config.data.label_noise.rates = (0.0, 0.5)
    run(tmp_path, config)
    told = {"0": 1.0}  # the mean of three classes, as many of each
    for path in tmp_path.glob("noise_*/fold_00/predictions_last.npz"):
        with np.load(path) as found:
            np.testing.assert_array_equal(found["label"], found["index"] % 3)
    for row in rows_of(tmp_path):
        mean = told.setdefault(row["noise"], float(row["train/label"]))
        assert float(row["train/label"]) == pytest.approx(mean, rel=1e-6)
    assert len(told) == 2 and told["0.5"] != told["0"]


def test_a_full_disk_says_so_and_the_run_continues_later(tmp_path, monkeypatch):
    config = toy.config(kind="given")
    run(tmp_path / "whole", config)
    add = train.log.MetricsLog.add

    def full(self, rows):
        if rows[0]["stage"] == "second":
            raise OSError(errno.ENOSPC, "No space left on device")
        add(self, rows)

    monkeypatch.setattr(train.log.MetricsLog, "add", full)
    with pytest.raises(CheckpointError, match="disk is full"):
        run(tmp_path / "full", config)
    monkeypatch.setattr(train.log.MetricsLog, "add", add)
    run(tmp_path / "full", config)
    chex.assert_trees_all_equal(
        variables_of(tmp_path / "full"), variables_of(tmp_path / "whole")
    )


def test_runs_that_do_not_fit_take_turns(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment.memory, "available_bytes", lambda: 10)
    config = toy.config(folds=2)
    config.data.resident = "always"
    run(tmp_path, config, lines := [])
    assert any("take turns" in line for line in lines)
    assert len(variables_of(tmp_path)) == 2


def test_an_unfinished_or_foreign_folder_cannot_be_loaded(tmp_path):
    with pytest.raises(CheckpointError, match="not a working folder"):
        train.load_run(tmp_path)
    run(tmp_path, toy.config(kind="given"))
    with pytest.raises(CheckpointError, match="runs 0 to 0; asked for 3"):
        train.load_run(tmp_path, run=3)
    (tmp_path / "run.json").unlink()
    with pytest.raises(CheckpointError, match="not finished"):
        train.load_run(tmp_path)
