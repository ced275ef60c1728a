import csv
import io

import cv2
import numpy as np
import pytest
import toy

import jaxfer
from jaxfer import cli, train
from jaxfer.errors import DataError
from jaxfer.train import experiment, results


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment.data, "load", lambda *a, **k: toy.dataset())
        patch.setattr(experiment.methods, "create", toy.method)
        train.run(toy.config(kind="given"), folder, say=lambda line: None)
    return folder


@pytest.fixture
def recognizer(run, monkeypatch):
    monkeypatch.setattr(results.methods, "create", toy.method)
    return jaxfer.load(run)


def images():
    data = toy.dataset()
    from jaxfer import data as datasets

    return datasets.read_images(data, np.arange(10), 8), data.table.label[:10]


def test_a_recognizer_names_what_it_was_trained_on(recognizer):
    x, label = images()
    answer = recognizer.predict(x)
    assert answer.labels == [toy.CLASSES[k] for k in label]
    np.testing.assert_allclose(answer.probabilities.sum(axis=1), 1, rtol=1e-5)


def test_parts_sizes_and_types_give_the_same_answer(recognizer):
    x, _ = images()
    whole = recognizer.predict(x).probabilities
    parts = recognizer.predict(x, batch_size=4).probabilities
    np.testing.assert_allclose(whole, parts, rtol=1e-5)
    floats = recognizer.predict(x.astype(np.float32) / 255).probabilities
    np.testing.assert_allclose(whole, floats, rtol=1e-4)
    one = recognizer.predict(x[3]).probabilities
    np.testing.assert_allclose(one, whole[3:4], rtol=1e-5)
    larger = np.repeat(np.repeat(x, 3, axis=1), 3, axis=2)
    np.testing.assert_allclose(
        recognizer.predict(larger).probabilities, whole, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((2, 8, 8), np.uint8), r"found \(2, 8, 8\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), "found"),
        (np.full((1, 8, 8, 3), 200.0), r"floats in \[0, 1\]"),
        (np.zeros((1, 8, 8, 3), np.int32), "int32"),
    ],
)
def test_other_arrays_are_refused(recognizer, bad, message):
    with pytest.raises(DataError, match=message):
        recognizer.predict(bad)


def test_the_command_answers_files_and_counts_what_it_skips(
    run, recognizer, tmp_path, capsys
):
    del recognizer  # its fixture makes the method known
    x, label = images()
    for i in range(2):
        cv2.imwrite(str(tmp_path / f"{i}.png"), x[i][..., ::-1])
    (tmp_path / "broken.png").write_bytes(b"not an image")
    assert cli.main(["predict", str(run), str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["label"] for row in rows] == [toy.CLASSES[k] for k in label[:2]]
    assert "skipped 1 of 3 files" in err
    assert cli.main(["predict", str(run), str(tmp_path / "absent")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert cli.main(["predict", str(tmp_path), str(tmp_path / "0.png")]) == 2
    assert "not a working folder" in capsys.readouterr().err
