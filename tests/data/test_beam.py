import pickle
import sys
import types
from collections import namedtuple

import pytest

from jaxfer.data import beam
from jaxfer.data.builders.ckplus import Ckplus
from jaxfer.data.builders.plan import Skip
from jaxfer.data.builders.source import open_source
from jaxfer.data.dataset import load
from jaxfer.data.prepare import prepare

Tagged = namedtuple("Tagged", ["tag", "value"])


@pytest.fixture
def stand_in(monkeypatch):
    """Of Apache Beam, the mark of a second output; the rest needs a pipeline."""
    module = types.ModuleType("apache_beam")
    module.pvalue = types.SimpleNamespace(TaggedOutput=Tagged)
    monkeypatch.setitem(sys.modules, "apache_beam", module)


def test_workers_leave_what_the_threads_leave(
    trees, data_dir, tmp_path, stand_in, monkeypatch
):
    monkeypatch.setattr(beam, "_CHUNK", 4)
    broken = "cohn-kanade-images/S010/003/S010_003_00000005.png"
    tree = trees.ckplus()
    plan = Ckplus.scan(open_source(tree))
    (tree / broken).write_bytes(b"no image")  # after frames were chosen
    notes = tmp_path / "notes"
    with (tmp_path / "chunks").open("wb") as file:
        for start in range(0, len(plan.examples), 4):
            pickle.dump((start, plan.examples[start : start + 4]), file)
    chunks = list(beam._chunks(str(tmp_path / "chunks")))
    assert len(chunks) == 6
    records, lines = [], []
    for chunk in reversed(chunks):  # workers finish in any order
        for out in beam._read(chunk):
            (lines if isinstance(out, Tagged) else records).append(out)
    assert {line.tag for line in lines} == {"notes"} and len(lines) == 21
    for part in range(2):
        text = "".join(line.value + "\n" for line in lines[part::2])
        (tmp_path / f"notes-all-0000{part}-of-00002.jsonl").write_text(text)
    rows, skips = beam.read_notes(str(notes))
    prepare("ckplus", tree, data_dir=data_dir, progress=False)
    data = load("ckplus", data_dir=data_dir)
    for column in ("file", "label", "subject", "sequence", "sha256", "split"):
        assert [getattr(row, column) for row in rows] == list(
            getattr(data.table, column)
        )
    assert skips == [Skip(broken, "not an image")]
    records.sort(key=lambda record: record[0])
    assert [number for number, _ in records] == [
        k for k, e in enumerate(plan.examples) if e.file != broken
    ]
    assert [r["sha256"] for _, r in records] == [row.sha256 for row in rows]
