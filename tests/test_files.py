"""Files that are whole or not at all, and what is said of those that are not."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
import toy

import jaxfer
from jaxfer import export, files, train
from jaxfer.errors import CheckpointError, DataError

SAMPLES = {str: "text", int: 3, bool: True, dict: {}}


def sample(form):
    """A value that a form describes."""
    if isinstance(form, dict):
        return {key: sample(inner) for key, inner in form.items()}
    return [sample(form[0])] if isinstance(form, list) else SAMPLES[form]


def paths(form, at=()):
    """Where a form says something, by keys."""
    inner = form.items() if isinstance(form, dict) else ()
    if isinstance(form, list):
        inner = [(0, form[0])]
    return [at, *(p for key, value in inner for p in paths(value, (*at, key)))]


def changed(value, path, new):
    """A copy with something else at a path; without it where `new` is None."""
    if not path:
        return new
    copy = list(value) if isinstance(value, list) else dict(value)
    first, *rest = path
    if rest or new is not None:
        copy[first] = changed(copy[first], rest, new)
    else:
        del copy[first]
    return copy


def test_a_file_is_replaced_whole_or_left_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    assert files.write_atomically(path, "old é") == path
    assert path.read_bytes() == "old é".encode()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomically(path, b"new")
    assert path.read_text() == "old é" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", files.RECORDS)
def test_a_record_is_read_where_it_is_whole_alone(tmp_path, name):
    path, record = tmp_path / name, files.RECORDS[name]
    whole = sample(record.form)
    path.write_text(json.dumps(whole))
    assert files.read_record(path, DataError) == whole
    contents = [b"", b"\xff\xfe", json.dumps(whole).encode()[:-1], b"[" * 100_000]
    for place in paths(record.form):
        contents.append(json.dumps(changed(whole, place, 1.5)).encode())
        if place and place[-1] != 0:  # a list may be empty
            contents.append(json.dumps(changed(whole, place, None)).encode())
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(DataError) as error:
            files.read_record(path, DataError)
        told = str(error.value)
        assert told.startswith(f"{path} is damaged and cannot be read: expected JSON")
        assert ", found " in told and told.endswith(f"; {record.advice}")


def test_what_is_wrong_is_said_by_place(tmp_path):
    path = tmp_path / "run.json"
    whole = sample(files.RECORDS["run.json"].form)
    for place, new, found in (
        (("runs", 0, "fold"), None, r"no 'runs\[0\]\.fold' in it"),
        (("runs",), {}, r"runs to be \{\}, not a list"),
        ((), [], r"it to be \[\], not an object"),
        (("stages", 0), 5, r"stages\[0\] to be 5, not a text"),
    ):
        path.write_text(json.dumps(changed(whole, place, new)))
        with pytest.raises(CheckpointError, match=f"found {found}; delete it"):
            files.read_record(path, CheckpointError)


def read_arrays(path):
    return files.read_arrays(path, DataError, needed=("a",), advice="draw it again")


def test_arrays_are_whole_or_an_error(tmp_path):
    path = tmp_path / "a.npz"
    a = np.random.default_rng(0).random(50)
    np.savez_compressed(path, a=a)
    np.testing.assert_array_equal(read_arrays(path)["a"], a)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    contents = [whole[:cut] for cut in range(0, len(whole), 7)] + [bytes(flipped)]
    np.savez(path, b=a)
    contents.append(path.read_bytes())
    np.savez(path, a=np.array([{}]))  # would be unpickled, which runs code
    contents.append(path.read_bytes())
    with path.open("wb") as file:
        np.save(file, a)
    contents.append(path.read_bytes())
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.npz is damaged.*; draw it again"):
            read_arrays(path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "no x, y among none"),
        ("x,", "no y among x"),
        ("x,y\n1\n", "'y': None"),
        ("x,y\n1,2,3\n", "3"),
        ("x,y\n1,2\n3,4", "an end after"),
        ("x,y", "an end after"),
    ],
)
def test_tables_are_whole_or_an_error(tmp_path, text, found):
    path = tmp_path / "a.csv"
    options = {"columns": ("x", "y"), "advice": "draw it again"}
    path.write_text("y,z,x\n1,2,3\n")
    assert files.read_rows(path, DataError, **options) == [
        {"x": "3", "y": "1", "z": "2"}
    ]
    path.write_text(text)
    with pytest.raises(DataError, match=rf"a\.csv is damaged.*{found}.*; draw it"):
        files.read_rows(path, DataError, **options)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"runs": []}'])
@pytest.mark.parametrize("name", ["run.json", "config.json"])
def test_a_damaged_record_is_named_by_who_loads_a_model(
    finished_toy, tmp_path, monkeypatch, name, content
):
    toy.stand_in(monkeypatch)
    folder = shutil.copytree(finished_toy, tmp_path / "run")
    (folder / name).write_text(content)
    with pytest.raises(CheckpointError, match=rf"{name} is damaged.*delete it and run"):
        jaxfer.load(folder)


def test_a_run_of_an_earlier_version_answers_and_continues(
    finished_toy, tmp_path, monkeypatch
):
    toy.stand_in(monkeypatch)
    folder = shutil.copytree(finished_toy, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    del config["optim"]["sam_radius"], config["data"]["label_noise"]
    (folder / "config.json").write_text(json.dumps(config))
    assert train.load_run(folder).config.optim.sam_radius == 0
    assert len(train.restore(folder).runs) == 1
    train.run(toy.config(kind="given"), folder, say=lambda line: None)


def test_an_export_does_without_a_report_but_not_with_a_damaged_one(
    finished_toy, tmp_path, monkeypatch
):
    toy.stand_in(monkeypatch)
    folder = shutil.copytree(finished_toy, tmp_path / "run")
    (folder / "report").mkdir(exist_ok=True)
    (folder / "report" / "results.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"results\.json is damaged.*evaluate"):
        export.export_run(folder, tmp_path / "model.safetensors")
