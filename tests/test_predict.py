import csv
import io
import json
import shutil

import cv2
import numpy as np
import pytest
import toy

import jaxfer
from jaxfer import cli, image_arguments
from jaxfer.data.decode import decode
from jaxfer.errors import DataError


@pytest.fixture
def run(finished_toy):
    return finished_toy


@pytest.fixture
def recognizer(run, monkeypatch):
    toy.stand_in(monkeypatch)
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


def command(capsys, *words):
    """Exit status, rows of the CSV, and stderr of `jaxfer predict`."""
    status = cli.main(["predict", *map(str, words)])
    out, err = capsys.readouterr()
    return status, list(csv.DictReader(io.StringIO(out))), err


def test_files_are_read_as_in_training(run, recognizer, tmp_path, capsys):
    picture = np.random.default_rng(0).integers(0, 256, (75, 61, 3), np.uint8)
    names = ("a.jpg", "b.png", "c.TIFF", "d.pgm", "e.webp")
    for name in names:
        image = picture[..., 0] if name == "d.pgm" else picture
        encoded = cv2.imencode(f".{name[2:].lower()}", image)[1]
        (tmp_path / name).write_bytes(encoded.tobytes())
    status, rows, err = command(capsys, tmp_path, "--model", run)
    assert (status, err) == (0, "")
    assert [row["file"] for row in rows] == [str(tmp_path / name) for name in names]
    for name, row in zip(names, rows):
        pixels = decode((tmp_path / name).read_bytes(), 8)
        expected = recognizer.predict(pixels).probabilities[0]
        found = [float(row[kind]) for kind in toy.CLASSES]
        np.testing.assert_allclose(found, expected, atol=6e-5)


def test_unusable_files_are_skipped_with_a_reason(
    run, recognizer, tmp_path, capsys, monkeypatch
):
    del recognizer
    good = cv2.imencode(".png", images()[0][0])[1].tobytes()
    contents = {
        "empty": b"",
        "half": good[: len(good) // 2],
        "huge": good + bytes(2000),
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.png").write_bytes(content)
    (tmp_path / "link.png").symlink_to(tmp_path / "absent.png")
    monkeypatch.setattr(image_arguments, "MAX_BYTES", 2000)
    status, rows, err = command(capsys, tmp_path, "--model", run)
    assert (status, rows) == (1, [])
    for part in (
        "empty.png: empty file",
        "half.png: truncated",
        "huge.png: larger than",
        "link.png: unreadable: No such file",
        "skipped 4 of 4 files",
    ):
        assert part in err


def test_a_run_is_named_by_its_place_in_run_json(run, recognizer, tmp_path, capsys):
    del recognizer
    cv2.imwrite(str(tmp_path / "0.png"), images()[0][0])
    assert command(capsys, tmp_path, "--model", run, "--run", 0)[0] == 0
    status, _, err = command(capsys, tmp_path, "--model", run, "--run", 1)
    assert status == 2 and "has runs 0 to 0; asked for 1" in err
    with pytest.raises(SystemExit):
        cli.main(["predict", "--help"])
    assert "index into `runs`" in " ".join(capsys.readouterr().out.split())


def test_the_selection_is_that_of_the_run_alone(run, recognizer, tmp_path):
    del recognizer
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    place = json.loads((copy / "run.json").read_text())["runs"][0]["dir"]
    shutil.rmtree(copy / place / "model_validation")
    (copy / "corrupted" / "model_validation").mkdir(parents=True)
    x, _ = images()
    last = jaxfer.load(run, selection="last").predict(x).probabilities
    np.testing.assert_array_equal(jaxfer.load(copy).predict(x).probabilities, last)


def test_the_command_answers_files_and_counts_what_it_skips(
    run, recognizer, tmp_path, capsys
):
    del recognizer  # its fixture makes the method known
    x, label = images()
    for i in range(2):
        cv2.imwrite(str(tmp_path / f"{i}.png"), x[i][..., ::-1])
    (tmp_path / "broken.png").write_bytes(b"not an image")
    assert cli.main(["predict", str(tmp_path), "--model", str(run)]) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["label"] for row in rows] == [toy.CLASSES[k] for k in label[:2]]
    assert "skipped 1 of 3 files" in err
    assert cli.main(["predict", str(tmp_path / "absent"), "--model", str(run)]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert cli.main(["predict", str(tmp_path / "0.png"), "--model", str(tmp_path)]) == 2
    assert "not a working folder" in capsys.readouterr().err
