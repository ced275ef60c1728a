"""Checkpoints that are damaged, and whole ones that cannot be reached."""

import errno
import json
import os
from types import SimpleNamespace

import chex
import jax.numpy as jnp
import pytest

from jaxfer.errors import CheckpointError
from jaxfer.train import resume, sharding
from jaxfer.train.checkpoints import (
    Checkpoints,
    Position,
    load_variables,
    save_variables,
)
from jaxfer.train.group import Progress

LONGEST = 700


def progress(value, position):
    # One array: where several are read, TensorStore goes on with the others when one
    # fails, and warns that nobody listens.
    return Progress(
        states={"weights": jnp.full((1, 300), value)},
        tracker={},
        keys={},
        position=Position(*position),
        sums={},
        seconds={"only": 1.0},
    )


@pytest.fixture
def group(tmp_path):
    """Two checkpoints, after epochs 1 and 2; all that `resume` asks of a group."""
    checkpoints = Checkpoints(tmp_path / "run_000", keep=2)
    said = []
    group = SimpleNamespace(
        checkpoints=checkpoints,
        dataset=SimpleNamespace(class_names=("a", "b")),
        method=SimpleNamespace(stages=[SimpleNamespace(name="only", epochs=3)]),
        mesh=sharding.create_mesh(1, 1),
        runs=[SimpleNamespace(seed=0, fold=0, noise=0.0)],
        log=SimpleNamespace(keep=lambda earlier: None),
        say=said.append,
        said=said,
    )
    for epoch in (1, 2):
        resume.save(group, progress(float(epoch), (0, epoch, 0)), 1)
    checkpoints.wait()
    yield group
    checkpoints.close()


def newest(group):
    return group.checkpoints.folder(group.checkpoints.numbers()[0])


def restored(group):
    """The epoch that the group continues from."""
    found = resume.restore(group, progress(0.0, (0, 0, 0)))
    chex.assert_trees_all_equal(
        found.states["weights"], jnp.full((1, 300), float(found.position.epoch))
    )
    return found.position.epoch


def data_files(folder):
    return [p for p in (folder / "state").rglob("d/*") if p.is_file()]


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def unlink(path):
    path.unlink()


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


DAMAGE = {
    "values cut": (halve, data_files),
    "values missing": (unlink, data_files),
    "tree of zeros": (zero, lambda folder: [folder / "state" / "_METADATA"]),
    "position cut": (halve, lambda folder: [folder / "meta" / "metadata"]),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_wrong_in_a_checkpoint_is_damage(group, tmp_path, kind):
    spoil, files = DAMAGE[kind]
    folder = newest(group)
    for path in files(folder):
        spoil(path)
    assert restored(group) == 1
    place = tmp_path / f"damaged_run_000_{folder.name}"
    what, found, moved = group.said[0].splitlines()
    assert what == f"warning: {folder} is damaged; trying the checkpoint before it"
    assert found.startswith("  found: ") and len(found) < 250
    assert moved == f"  moved to: {place}"
    assert place.is_dir() and not folder.exists()


def fail(number):
    def failing(*_):
        raise error_of(number)

    return failing


def error_of(number):
    if number is None:
        return TimeoutError("a barrier was not reached in time")
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("read", ["meta", "restore"])
@pytest.mark.parametrize(
    "number", [errno.EIO, errno.EACCES, errno.ENFILE, errno.ETIMEDOUT, None]
)
def test_what_hinders_reading_is_no_damage(group, tmp_path, monkeypatch, read, number):
    before = sorted(tmp_path.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(group.checkpoints, read, fail(number))
        with pytest.raises(CheckpointError) as caught:
            restored(group)
    text = str(caught.value)
    assert text.startswith(f"{newest(group)} cannot be read: ")
    assert os.strerror(number or errno.ETIMEDOUT) in text
    assert "run the same command again" in text and len(text) < LONGEST
    assert sorted(tmp_path.rglob("*")) == before and not group.said
    assert restored(group) == 2  # when it has passed


def test_the_library_tells_the_systems_errors_by_text(group, tmp_path):
    """What TensorStore, a library in C++, raises, and not what a test made up."""
    moved = {
        path: path.rename(tmp_path / path.name) for path in data_files(newest(group))
    }
    for path in moved:
        path.symlink_to(path.name)  # a link to itself
    with pytest.raises(CheckpointError, match=f": {os.strerror(errno.ELOOP)}. The ch"):
        restored(group)
    for path, place in moved.items():
        place.replace(path)
    assert restored(group) == 2


def test_one_process_that_cannot_read_stops_all(group, monkeypatch):
    def gather(value):
        told = [value, {"damaged": True, "why": "x"}, {"damaged": False, "why": "far"}]
        return json.loads(json.dumps(told))

    monkeypatch.setattr(resume.processes, "gather", gather)
    with pytest.raises(CheckpointError, match=r"cannot be read: far\."):
        restored(group)
    assert newest(group).is_dir()


def test_a_damaged_checkpoint_that_cannot_be_moved(group, monkeypatch):
    for path in data_files(newest(group)):
        halve(path)
    monkeypatch.setattr("shutil.move", fail(errno.EROFS))
    with pytest.raises(CheckpointError, match=r"cannot be moved to .*Read-only"):
        restored(group)


def test_a_folder_of_checkpoints_that_cannot_be_used(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CheckpointError, match=r"taken/run_000 cannot be used: .*Not a"):
        Checkpoints(tmp_path / "taken" / "run_000", keep=1)


def test_variables_out_of_reach_are_not_of_another_config(tmp_path, monkeypatch):
    variables = {"kernel": jnp.ones((3, 4))}
    folder = tmp_path / "model_last"
    save_variables(folder, variables)
    with pytest.raises(CheckpointError, match="of this run's config") as caught:
        load_variables(folder, {"kernel": jnp.ones((3, 5)), "bias": jnp.ones(2)})
    assert len(str(caught.value)) < LONGEST
    monkeypatch.setattr(
        "orbax.checkpoint.StandardCheckpointer.restore", fail(errno.EIO)
    )
    with pytest.raises(CheckpointError, match=f": {os.strerror(errno.EIO)}. It may be"):
        load_variables(folder, variables)
