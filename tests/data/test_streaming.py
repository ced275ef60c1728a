import subprocess
import sys

import numpy as np
import pytest
from absl import flags

from jaxfer.data import streaming
from jaxfer.data.dataset import load, read_images
from jaxfer.data.prepare import prepare
from jaxfer.data.streaming import batches
from jaxfer.errors import DataError

ORDER = np.asarray([[0, 5, 2, 8], [1, 1, 7, 3], [4, 6, 8, 0], [2, 3, -1, -1]], np.int32)


@pytest.fixture
def data(trees, data_dir):
    prepare("image_folder", trees.image_folder(), data_dir=data_dir, progress=False)
    return load("image_folder", data_dir=data_dir)


def collect(data, **options):
    return list(batches(data, ORDER, size=16, **options))


def check_equal(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b):
        assert x.keys() == y.keys()
        for key in x:
            assert x[key].dtype == y[key].dtype
            np.testing.assert_array_equal(x[key], y[key])


def test_batches_hold_what_the_order_says(data):
    steps = collect(data)
    assert len(steps) == 4
    for step, rows in zip(steps, ORDER):
        np.testing.assert_array_equal(step["index"], rows)
        np.testing.assert_array_equal(step["image"], read_images(data, rows, 16))
        real = rows >= 0
        assert not step["label"][~real].any()
        np.testing.assert_array_equal(step["label"][real], data.table.label[rows[real]])
    dtypes = {key: str(value.dtype) for key, value in steps[0].items()}
    assert dtypes == {
        "image": "uint8",
        "label": "int32",
        "index": "int32",
    }


def test_every_start_gives_the_tail(data):
    steps = collect(data)
    for start in range(5):
        check_equal(collect(data, start=start), steps[start:])


def test_processes_share_a_batch(data):
    whole = collect(data)
    parts = [collect(data, process_index=p, process_count=2) for p in range(2)]
    joined = [
        {key: np.concatenate([a[key], b[key]]) for key in a} for a, b in zip(*parts)
    ]
    check_equal(joined, whole)


def test_soft_targets_are_streamed(trees, data_dir):
    prepare("ferplus", trees.ferplus(), data_dir=data_dir, progress=False)
    data = load("ferplus", data_dir=data_dir, label_mode="soft")
    step = next(batches(data, np.asarray([[2, -1, 0]]), size=8))
    np.testing.assert_allclose(
        step["target"][:, [0, 3]], [[0.5, 0.5], [0, 0], [0.8, 0.2]]
    )


def test_what_does_not_fit_is_refused(data):
    for options, text in (
        ({"process_count": 3}, "3 processes"),
        ({"process_index": 2, "process_count": 2}, "process_index 2"),
        ({"start": 5}, "step 5 of 4"),
    ):
        with pytest.raises(DataError, match=text):
            batches(data, ORDER, size=16, **options)
    with pytest.raises(DataError, match="within -1 to 8"):
        list(batches(data, np.asarray([[9]]), size=16))


def test_a_stream_can_be_left_early(data):
    stream = batches(data, ORDER, size=16)
    next(stream)
    stream.close()


def test_flags_of_the_user_stay(monkeypatch):
    for arguments in (None, ["program", "--mine=given"]):
        values = flags.FlagValues()
        flags.DEFINE_string("mine", "default", "the user's own", flag_values=values)
        monkeypatch.setattr(flags, "FLAGS", values)
        if arguments:
            values(arguments)
        streaming._parse_flags()
        assert values.mine == ("given" if arguments else "default")


WORKERS = """
import sys
import numpy as np
from jaxfer.data.dataset import load
from jaxfer.data.streaming import batches

if __name__ == "__main__":
    data = load("image_folder", data_dir=sys.argv[1])
    order = np.arange(18, dtype=np.int32).reshape(9, 2) % 9
    order[-1, -1] = -1
    here = list(batches(data, order, size=64, start=2))
    there = list(batches(data, order, size=64, start=2, workers=2))
    assert len(here) == len(there) == 7
    for a, b in zip(here, there):
        for key in a:
            assert type(b[key]) is np.ndarray, type(b[key])
            np.testing.assert_array_equal(a[key], b[key])
"""


def test_worker_processes_give_the_same_bytes(data, data_dir, tmp_path):
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), str(data_dir)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
