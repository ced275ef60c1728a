import pytest

from jaxfer.errors import CheckpointError
from jaxfer.train.log import FIRST, MetricsLog, read_json, write_json


def row(epoch, **metrics):
    fixed = dict.fromkeys(FIRST, 0) | {"stage": "training", "epoch": epoch}
    return fixed | metrics


def log(folder):
    return MetricsLog(folder, tensorboard=False)


def epochs(folder):
    lines = (folder / "metrics.csv").read_text().splitlines()
    return [int(line.split(",")[FIRST.index("epoch")]) for line in lines[1:]]


@pytest.mark.parametrize("cut", [1, 2, 9])
def test_a_row_that_was_not_ended_is_dropped(tmp_path, cut):
    first = log(tmp_path)
    first.add([row(0, loss=0.5), row(1, loss=0.25)])
    path = tmp_path / "metrics.csv"
    path.write_bytes(path.read_bytes()[:-cut])
    again = log(tmp_path)
    assert epochs(tmp_path) == [0]
    again.keep(lambda row: True)
    again.add([row(1, loss=0.125)])
    assert epochs(tmp_path) == [0, 1]
    assert path.read_text().splitlines()[-1].endswith(",0.125")


def test_new_columns_come_where_they_appear(tmp_path):
    first = log(tmp_path)
    first.add([row(0, loss=0.5)])
    first.add([row(1, loss=0.5, accuracy=0.75)])
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines[0].split(",")[-2:] == ["loss", "accuracy"]
    assert [line.split(",")[-1] for line in lines[1:]] == ["", "0.75"]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "expected a header, found ''"),
        (b"seed,fold,noi", "expected a header, found 'seed,fold,noi'"),
        (b"\xff\xfe\x00\x81", "can't decode"),
        (b"a,b\r\n1,2\r\n", "'a', 'b'"),
        ((",".join(FIRST) + "\r\n0,0\r\n").encode(), "'seed': '0'"),
    ],
)
def test_a_damaged_log_is_named_and_left_alone(tmp_path, content, found):
    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"metrics\.csv is damaged.*{found}"):
        log(tmp_path)
    assert (tmp_path / "metrics.csv").read_bytes() == content


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe"])
def test_damaged_json_is_named(tmp_path, content):
    path = tmp_path / "plan.json"
    write_json(path, {"resident": True, "together": False})
    assert read_json(path) == {"resident": True, "together": False}
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"plan\.json is damaged"):
        read_json(path)
