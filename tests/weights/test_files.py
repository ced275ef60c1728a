import sys
import types

import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxfer import weights
from jaxfer.errors import WeightsError

ARRAYS = {
    "conv2d/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "conv2d/bias": np.ones(3, np.float32),
}


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_npz(tmp_path):
    np.savez(tmp_path / "w.npz", **ARRAYS)
    same(weights.load_file(tmp_path / "w.npz"), ARRAYS)


def test_an_archive_of_python_objects_is_refused(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.asarray([{}], object))
    with pytest.raises(WeightsError, match=r"w.npz: cannot be read as \.npz"):
        weights.load_file(tmp_path / "w.npz")


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04cut"])
def test_a_damaged_file(tmp_path, content):
    path = tmp_path / "w.npz"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="may be damaged"):
        weights.load_file(path)


def test_no_such_file(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        weights.load_file(tmp_path / "w.npz")


@pytest.mark.parametrize("name", ["w.txt", "w"])
def test_an_unknown_ending(tmp_path, name):
    with pytest.raises(WeightsError, match=r"ends in \.npz"):
        weights.load_file(tmp_path / name)


@pytest.mark.parametrize("ending", [".h5", ".hdf5"])
def test_a_reader_that_is_not_installed(tmp_path, monkeypatch, ending):
    monkeypatch.setitem(sys.modules, "h5py", None)
    path = tmp_path / f"w{ending}"
    path.touch()
    with pytest.raises(WeightsError, match="pip install h5py"):
        weights.load_file(path)


class Dataset:
    def __init__(self, array):
        self.array = array

    def __getitem__(self, key):
        assert key == ()
        return self.array


class File(dict):
    """A file of Keras as h5py shows it: paths to data sets, and groups."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def visititems(self, visit):
        for name, item in self.items():
            visit(name, item)


LAYERS = File(
    {
        "conv2d": object(),
        "conv2d/conv2d/kernel:0": Dataset(ARRAYS["conv2d/kernel"]),
        "conv2d/conv2d/bias:0": Dataset(ARRAYS["conv2d/bias"]),
    }
)
WHOLE = File({"model_weights": LAYERS, "optimizer_weights/x:0": Dataset(0)})


@pytest.mark.parametrize("file", [LAYERS, WHOLE], ids=["weights", "model"])
def test_keras_weights_and_whole_models(tmp_path, monkeypatch, file):
    h5py = types.SimpleNamespace(Dataset=Dataset, File=lambda path, mode: file)
    monkeypatch.setitem(sys.modules, "h5py", h5py)
    path = tmp_path / "w.h5"
    path.touch()
    same(weights.load_file(path), ARRAYS)


def test_safetensors(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(ARRAYS, path)
    same(weights.load_file(path), ARRAYS)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(WeightsError, match="damaged or cut short"):
        weights.load_file(path)
