import csv
import itertools
import json
import signal

import chex
import jax
import pytest
import waiting
from workers import finish, start

from jaxfer import train
from jaxfer.errors import ConfigError, DataError, JaxferError
from jaxfer.train import processes, sharding, waits

NAMES = ("streamed", "resident")


def rows_of(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [dict(row) for row in csv.DictReader(file)]
    for row in rows:
        for name in ("seconds", *waits.COLUMNS):
            row.pop(name, None)
    return rows


class Store(dict):
    """A key-value store that has all it will ever have."""

    key_value_set = dict.__setitem__
    key_value_delete = dict.__delitem__

    def blocking_key_value_get(self, key, timeout):
        return self[key]


@pytest.fixture
def become(monkeypatch):
    """Makes this process one of two, with a store of what the other has said."""

    def as_process(index, store):
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        monkeypatch.setattr(jax, "process_index", lambda: index)
        monkeypatch.setattr(processes, "_client", lambda: store)
        monkeypatch.setattr(processes, "_calls", itertools.count())

    return as_process


def fail():
    raise DataError("no such folder")


def test_the_first_process_decides_for_all(become):
    store = Store()
    become(0, store)
    assert processes.agree(3) == 3 and processes.on_first(lambda: [4]) == [4]
    become(1, store)
    assert processes.agree(5) == 3 and processes.on_first(fail) == [4]


def test_what_fails_on_one_process_fails_on_all(become):
    store = Store()
    become(0, store)
    with pytest.raises(DataError, match="no such folder"):
        processes.on_first(fail)
    become(1, store)
    with pytest.raises(JaxferError, match="first process stopped: no such folder"):
        processes.on_first(lambda: 1)
    for index, other in ((0, 1), (1, 0)):
        become(index, Store({f"jaxfer/0/{other}": json.dumps("full disk")}))
        with pytest.raises(JaxferError, match=f"process {other} stopped: full disk"):
            processes.in_turn(lambda: 1)


def test_the_others_follow_the_first_in_turn(become):
    store = Store({"jaxfer/0/0": "null", "jaxfer/1/0": "null"})
    become(1, store)
    assert processes.in_turn(lambda: set(store)) >= {"jaxfer/0/1"}  # waited for it
    with pytest.raises(DataError):
        become(1, store)
        processes.in_turn(fail)


def test_what_was_said_long_ago_is_forgotten(become):
    store = Store()
    become(0, store)
    for value in range(processes._KEPT + 10):
        processes.agree(value)
    assert len(store) == processes._KEPT


def test_devices_of_several_processes_must_all_have_work(become):
    assert sharding.create_mesh(1, 7).size == 1
    become(0, Store())
    with pytest.raises(ConfigError, match="1 of 2 devices"):
        sharding.create_mesh(1, 7)


@pytest.mark.parametrize("words", [("host:1",), ("host:1", 2), ("host:1", None, 0)])
def test_a_coordinator_needs_to_know_who_comes(words):
    with pytest.raises(ConfigError, match="--num_processes"):
        processes.start(*words)


@pytest.mark.usefixtures("use_toy")
def test_two_processes_killed_and_continued_compute_what_one_does(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    alone = start(one, NAMES, processes=1, devices=2)
    both = start(two, NAMES, processes=2, devices=1)
    step = two / "streamed" / "checkpoints" / "run_000" / "1000001"
    waiting.until(step.exists, "the second epoch's first step", workers=both)
    for w, how in zip(both, (signal.SIGKILL, signal.SIGTERM), strict=True):
        w.send_signal(how)
    waiting.ended(both)
    first, second = finish(start(two, NAMES, processes=2, devices=1))
    assert "continuing at stage first, epoch 1" in first
    assert "trains" in first and "trains" not in second  # one speaks for both

    finish(alone)
    for name in NAMES:
        assert rows_of(one / name) == rows_of(two / name)
        for selection in ("last", "validation"):
            # To the bit: a sum over two devices has one order only.
            chex.assert_trees_all_equal(
                *(
                    [run.variables for run in train.restore(f / name, selection).runs]
                    for f in (one, two)
                )
            )
