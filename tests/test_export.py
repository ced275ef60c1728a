import json

import numpy as np
import pytest
import toy

import jaxfer
from jaxfer import cli, export
from jaxfer import data as datasets
from jaxfer.errors import CheckpointError, ConfigError
from jaxfer.weights import model_file


@pytest.fixture
def run(finished_toy):
    return finished_toy


@pytest.fixture(autouse=True)
def known(monkeypatch):
    toy.stand_in(monkeypatch)


def test_a_file_answers_as_the_run_does(run, tmp_path, capsys):
    file = tmp_path / "deep" / "model.safetensors"
    words = ["export", str(run), "--output", str(file), "--precision", "float32"]
    assert cli.main(words) == 0
    assert "MB" in capsys.readouterr().out
    images = datasets.read_images(toy.dataset(), np.arange(10), 8)
    expected = jaxfer.load(run).predict(images)
    found = jaxfer.load(file).predict(images)
    assert found.class_names == expected.class_names
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_half_precision_halves_the_file_and_hardly_moves_the_answers(run, tmp_path):
    sizes = {}
    for precision in model_file.PRECISIONS:
        file = export.export_run(
            run, tmp_path / f"{precision}.safetensors", precision=precision
        )
        arrays, facts = model_file.read(file)
        sizes[precision] = sum(a.size for a in arrays["params"].values())
        sizes[f"{precision} file"] = file.stat().st_size
        assert facts["class_names"] == list(toy.CLASSES)
        assert facts["config"]["data"]["image_size"] == facts["image_size"]
    assert sizes["float16"] == sizes["float32"]
    assert sizes["float32 file"] - sizes["float16 file"] >= 2 * sizes["float16"]
    images = datasets.read_images(toy.dataset(), np.arange(10), 8)
    half = jaxfer.load(tmp_path / "float16.safetensors").predict(images)
    full = jaxfer.load(tmp_path / "float32.safetensors").predict(images)
    np.testing.assert_allclose(half.probabilities, full.probabilities, atol=2e-3)


def test_values_that_half_precision_cannot_hold_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(CheckpointError, match="params/w does not fit into float16"):
        model_file.write(path, {"params": {"w": np.full(3, 1e6)}}, {})
    assert not path.exists()


def test_files_that_are_no_model_are_named(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "model.safetensors"
    with pytest.raises(CheckpointError, match="no such file"):
        jaxfer.load(path)
    save_file({"a": np.zeros(3, np.float32)}, path)
    with pytest.raises(CheckpointError, match="holds no model of jaxfer"):
        jaxfer.load(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        jaxfer.load(path)
    with pytest.raises(CheckpointError, match="ends in"):
        model_file.write(tmp_path / "model.npz", {}, {})


def test_a_file_holds_one_model(run, tmp_path):
    file = export.export_run(run, tmp_path / "model.safetensors")
    assert json.loads((run / "run.json").read_text())["class_names"]
    with pytest.raises(ConfigError, match="holds one model"):
        jaxfer.load(file, selection="last")
