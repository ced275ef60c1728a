"""Full disks, kills and failures while data are prepared: the old data stay."""

import argparse
import errno
import os
import pathlib
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading

import pytest
import waiting

from jaxfer.data import records
from jaxfer.data.dataset import load, read_images
from jaxfer.data.prepare import prepare
from jaxfer.data.replace import locked
from jaxfer.errors import DataError

prepare_module = sys.modules["jaxfer.data.prepare"]


def leftovers(data_dir):
    return [p.name for p in data_dir.iterdir() if not p.name.endswith(".lock")]


FULL = {
    errno.ENOSPC: "disk is full",
    errno.EDQUOT: "disk quota is used up",
    errno.EFBIG: "became larger than the file system or ulimit",
}


@pytest.mark.parametrize("code", [*FULL, errno.EACCES])
def test_failures_of_the_disk_leave_the_old_data(trees, data_dir, monkeypatch, code):
    source = trees.image_folder()
    prepare("image_folder", source, data_dir=data_dir, progress=False)

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(prepare_module, "write_table", fail)
    with pytest.raises(DataError, match="--data-dir") as caught:
        prepare(
            "image_folder", source, data_dir=data_dir, overwrite=True, progress=False
        )
    text = str(caught.value)
    assert str(data_dir) in text
    if code in FULL:
        assert FULL[code] in text and "About 50 MB are needed" in text
        assert f"{data_dir / 'image_folder'}, is unchanged" in text
    assert leftovers(data_dir) == ["image_folder"]
    assert len(load("image_folder", data_dir=data_dir).table) == 9


@pytest.mark.parametrize("code", FULL)
def test_full_disk_inside_the_shard_writer(trees, data_dir, monkeypatch, code):
    def fail(self, *_):
        # What array_record's writer, a C++ library, raises on a full disk.
        raise RuntimeError(f"write() failed: {os.strerror(code)}")

    monkeypatch.setattr(records.FaceBuilder, "_split_generators", fail)
    with pytest.raises(DataError, match=FULL[code]) as caught:
        prepare("image_folder", trees.image_folder(), data_dir=data_dir, progress=False)
    assert "unchanged" not in str(caught.value)
    assert leftovers(data_dir) == []


def test_a_limit_of_file_size_inside_the_shard_writer(trees, data_dir):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    source = trees.image_folder()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(DataError, match=FULL[errno.EFBIG]):
            prepare("image_folder", source, data_dir=data_dir, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert leftovers(data_dir) == []


def test_no_room_to_unpack_a_video(trees, data_dir, tmp_path, monkeypatch):
    source = trees.zipped(trees.mmi_sessions())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(DataError, match=f"into {tmp_path}: .*TMPDIR"):
            prepare("mmi", source, data_dir=data_dir, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert leftovers(data_dir) == []


def test_too_little_space_is_seen_before(trees, data_dir, monkeypatch):
    usage = argparse.Namespace(free=1000)
    monkeypatch.setattr(prepare_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match="are needed"):
        prepare("image_folder", trees.image_folder(), data_dir=data_dir, progress=False)


SLOW = """
import os, sys
from jaxfer.data import records
from jaxfer.data.prepare import prepare
def slow(data):
    os.write(1, b"reading\\n")
    sys.stdin.read()  # until it is killed, or the test is over
records.problem = slow
prepare("image_folder", sys.argv[1], data_dir=sys.argv[2], progress=False)
"""


def test_a_kill_leaves_nothing_that_looks_prepared(trees, data_dir):
    source = trees.image_folder()
    command = [sys.executable, "-c", SLOW, str(source), str(data_dir)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    with subprocess.Popen(
        command, env=env, stderr=subprocess.STDOUT, **pipes
    ) as process:

        def writes():
            return select.select([process.stdout], [], [], 0)[0]

        waiting.until(writes, "the first image was read", workers=[process])
        assert process.stdout.readline() == b"reading\n"
        os.kill(process.pid, signal.SIGKILL)
    assert leftovers(data_dir) == [".image_folder.incomplete"]
    with pytest.raises(DataError, match="not prepared"):
        load("image_folder", data_dir=data_dir)
    prepare("image_folder", source, data_dir=data_dir, progress=False)
    assert leftovers(data_dir) == ["image_folder"]
    assert len(load("image_folder", data_dir=data_dir).table) == 9


KILLED = """
import os, pathlib, signal, sys
from jaxfer.data.replace import locked, replace
target, left = pathlib.Path(sys.argv[1]), int(sys.argv[2])
rename = pathlib.Path.rename
def killed(self, to):
    global left
    rename(self, to)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
pathlib.Path.rename = killed
with locked(target) as temporary:
    (temporary / "new").mkdir()
    (temporary / "new" / "mark").touch()
    replace(temporary / "new", target)
"""


@pytest.mark.parametrize("renames", [1, 2])
def test_a_kill_while_data_are_replaced_loses_none(trees, data_dir, renames):
    source = trees.image_folder()
    prepare("image_folder", source, data_dir=data_dir, progress=False)
    target = data_dir / "image_folder"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", KILLED, str(target), str(renames)]
    killed = subprocess.run(command, env=env, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert target.exists() is (renames == 2)
    if renames == 2:  # the new data are there, the old ones only beside them
        assert (target / "mark").exists()
        prepare("image_folder", source, data_dir=data_dir, overwrite=True)
    else:
        assert not list(data_dir.glob("[!.]*"))
        assert len(load("image_folder", data_dir=data_dir).table) == 9
        with pytest.raises(DataError, match="already prepared"):
            prepare("image_folder", source, data_dir=data_dir, progress=False)
    assert leftovers(data_dir) == ["image_folder"]
    assert len(load("image_folder", data_dir=data_dir).table) == 9


def test_prepare_finds_what_a_kill_left_aside(trees, data_dir):
    source = trees.image_folder()
    prepare("image_folder", source, data_dir=data_dir, progress=False)
    target = data_dir / "image_folder"
    target.rename(data_dir / ".image_folder.replaced")
    with pytest.raises(DataError, match="already prepared"):
        prepare("image_folder", source, data_dir=data_dir, progress=False)
    assert leftovers(data_dir) == ["image_folder"]

    target.rename(data_dir / ".image_folder.replaced")
    (data_dir / ".image_folder.lock").unlink()
    (data_dir / ".image_folder.lock").mkdir()  # what cannot be opened to write
    with pytest.raises(DataError, match=r"is whole in .*\.replaced, which cannot"):
        load("image_folder", data_dir=data_dir)


def test_a_failure_while_data_are_replaced_puts_the_old_ones_back(
    trees, data_dir, monkeypatch
):
    source = trees.image_folder()
    prepare("image_folder", source, data_dir=data_dir, progress=False)
    rename = pathlib.Path.rename

    def fail(self, to):
        if self.name == "1.0.0":
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        return rename(self, to)

    monkeypatch.setattr(pathlib.Path, "rename", fail)
    with pytest.raises(DataError, match="is unchanged"):
        prepare(
            "image_folder", source, data_dir=data_dir, overwrite=True, progress=False
        )
    assert leftovers(data_dir) == ["image_folder"]
    assert len(load("image_folder", data_dir=data_dir).table) == 9


def test_two_at_once_wait_for_each_other(trees, data_dir, capsys):
    source = trees.image_folder()
    with locked(data_dir / "image_folder"):
        thread = threading.Thread(
            target=prepare,
            args=("image_folder", source),
            kwargs={"data_dir": data_dir, "progress": False},
        )
        thread.start()
        waiting.until(
            lambda: "Waiting" in capsys.readouterr().err, "the other said that it waits"
        )
        assert not (data_dir / "image_folder").exists()
    thread.join(timeout=600)
    assert not thread.is_alive(), "it waits though the folder is free"
    assert len(load("image_folder", data_dir=data_dir).table) == 9


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_prepared_data_that_cannot_be_reached_are_not_called_damaged(
    trees, data_dir, monkeypatch, number
):
    prepare("image_folder", trees.image_folder(), data_dir=data_dir, progress=False)
    data = load("image_folder", data_dir=data_dir)

    def fail(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "read_text", fail)
        with pytest.raises(DataError, match=f"cannot be read: {os.strerror(number)}"):
            load("image_folder", data_dir=data_dir)
    monkeypatch.setattr(type(data.source), "_source", fail)
    with pytest.raises(DataError, match="may be whole") as caught:
        read_images(data, [0], 8)
    assert "--overwrite" not in str(caught.value)
