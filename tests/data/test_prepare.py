import argparse
import csv

import pytest

from jaxfer import cli
from jaxfer.data.builders import source as source_module
from jaxfer.data.dataset import load
from jaxfer.data.prepare import add_arguments, data_folder, main, prepare
from jaxfer.errors import ConfigError, DataError


def leftovers(data_dir):
    return [p.name for p in data_dir.iterdir() if not p.name.endswith(".lock")]


def test_bad_files_are_skipped_counted_and_listed(trees, data_dir):
    good = trees.png(0, 60)
    source = trees.image_folder(
        **{
            "faces/sad/empty.png": b"",
            "faces/sad/text.png": "not an image",
            "faces/sad/half.png": good[: len(good) // 2],
            "faces/sad/notes.txt": "a note",
            "faces/.hidden.png": good,
            "faces/sad/Thumbs.db": b"junk",
            "faces/lonely/one.png": good,
            "faces/sad/deeper/one.png": good,
        }
    )
    report = prepare("image_folder", source, data_dir=data_dir, progress=False)
    found = {skip.file: skip.reason for skip in report.skips}
    assert found == {
        "faces/sad/empty.png": "empty file",
        "faces/sad/text.png": "not an image",
        "faces/sad/half.png": "truncated",
        "faces/sad/notes.txt": "not an image file",
        "faces/sad/deeper/one.png": "not directly in a class folder",
    }
    assert report.images == 10
    with (report.path / "skipped.csv").open() as file:
        assert {tuple(row) for row in list(csv.reader(file))[1:]} == set(found.items())
    assert {(s.file, s.reason) for s in load("image_folder", data_dir=data_dir).skips}
    text = str(report)
    assert "class lonely has one image: it cannot be trained and tested" in text
    assert "skipped 1: truncated (faces/sad/half.png)" in text


def test_unreadable_files_are_skipped(trees, data_dir):
    source = trees.image_folder()
    (source / "faces/sad/broken.png").symlink_to(source / "nowhere.png")
    (source / "faces/loop").symlink_to(source / "faces")
    report = prepare("image_folder", source, data_dir=data_dir, progress=False)
    assert [s.file for s in report.skips] == ["faces/sad/broken.png"]
    assert "No such file" in report.skips[0].reason
    assert report.images == 9


def test_huge_files_are_skipped_unread(trees, data_dir, monkeypatch):
    monkeypatch.setattr(source_module, "MAX_BYTES", 5000)
    source = trees.image_folder(**{"faces/sad/big.png": trees.png(0, 80)})
    report = prepare("image_folder", source, data_dir=data_dir, progress=False)
    assert [s.file for s in report.skips] == ["faces/sad/big.png"]
    assert report.skips[0].reason.startswith("larger than")


def test_report_shows_published_counts(trees, data_dir):
    report = prepare("ckplus", trees.ckplus(), data_dir=data_dir, progress=False)
    lines = [line.split() for line in str(report).splitlines()]
    assert ["class", "all", "published"] in lines
    assert ["surprise", "3", "83"] in lines
    assert ["total", "21", "327"] in lines
    assert ["subjects", "3", "118"] in lines
    assert any("all, contempt: 3 images, published 18" in w for w in report.warnings)


def test_nothing_is_replaced_unasked(trees, data_dir):
    source = trees.image_folder()
    prepare("image_folder", source, data_dir=data_dir, progress=False)
    before = (data_dir / "image_folder" / "table.npz").stat().st_mtime_ns
    with pytest.raises(DataError, match="--overwrite"):
        prepare("image_folder", source, data_dir=data_dir, progress=False)
    assert (data_dir / "image_folder" / "table.npz").stat().st_mtime_ns == before
    prepare("image_folder", source, data_dir=data_dir, save_as="mine", progress=False)
    assert load("mine", data_dir=data_dir).name == "mine"
    (source / "faces/sad/0.png").unlink()
    prepare("image_folder", source, data_dir=data_dir, overwrite=True, progress=False)
    assert len(load("image_folder", data_dir=data_dir).table) == 8
    assert sorted(leftovers(data_dir)) == ["image_folder", "mine"]
    with pytest.raises(ConfigError, match="letters"):
        prepare("image_folder", source, data_dir=data_dir, save_as="../x")


def test_nothing_readable_is_an_error(trees, tmp_path, data_dir):
    source = trees.write(tmp_path / "bad", {"sad/1.png": "x", "happy/2.png": "y"})
    with pytest.raises(DataError, match=r"None of the 2 images.*\.png: not an image"):
        prepare("image_folder", source, data_dir=data_dir, progress=False)
    assert leftovers(data_dir) == []


@pytest.mark.parametrize("broken", [{}, {"happy/2.png": "not an image"}])
def test_one_class_alone_is_an_error(trees, tmp_path, data_dir, broken):
    files = {"sad/1.png": trees.png(1), "sad/2.png": trees.png(2)} | broken
    source = trees.write(tmp_path / "one", files)
    with pytest.raises(DataError, match="at least two classes, found: sadness"):
        prepare("image_folder", source, data_dir=data_dir, progress=False)
    assert not data_dir.exists() or leftovers(data_dir) == []


@pytest.mark.parametrize("workers", [0, -3])
def test_workers_below_one_are_refused(trees, data_dir, capsys, workers):
    source = str(trees.image_folder())
    command = ["prepare", "image_folder", "--source", source]
    command += ["--data-dir", str(data_dir), "--workers", str(workers)]
    assert cli.main(command) == 2
    assert f"error: workers must be at least 1, found {workers}" in (
        capsys.readouterr().err
    )


def test_sources_that_are_none(tmp_path, data_dir):
    with pytest.raises(DataError, match="nearest folder that exists"):
        prepare("ckplus", tmp_path / "a" / "b", data_dir=data_dir)
    (tmp_path / "file.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match="readable zip"):
        prepare("ckplus", tmp_path / "file.zip", data_dir=data_dir)
    with pytest.raises(DataError, match="needs a source"):
        prepare("ckplus", data_dir=data_dir)
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match="Cannot write"):
        prepare("synthetic_faces", data_dir=tmp_path / "taken" / "x", subjects=1)


def test_command_line(trees, data_dir, capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    source = str(trees.ckplus())
    args = ["ckplus", "--source", source, "--data-dir", str(data_dir), "--frames", "3"]
    assert main(parser.parse_args(args)) == 0
    shown = capsys.readouterr()
    assert "63 images" in shown.out
    assert "63/63" in shown.err  # the progress bar
    assert "Downloading" not in shown.out
    args = parser.parse_args(["ferplus", "--source", source, "--neutral"])
    with pytest.raises(ConfigError, match="no option 'neutral'"):
        main(args)


def test_where_data_goes(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXFER_DATA_DIR", str(tmp_path))
    assert data_folder() == tmp_path
    assert data_folder("/x") == data_folder("/x")
    monkeypatch.delenv("JAXFER_DATA_DIR")
    assert data_folder().parts[-3:] == (".cache", "jaxfer", "data")
