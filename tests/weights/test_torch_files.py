"""Files are built here byte by byte, as PyTorch lays them out, without PyTorch."""

import collections
import io
import pickle
import struct
import zipfile
from typing import ClassVar

import ml_dtypes
import numpy as np
import pytest

from jaxfer import weights
from jaxfer.errors import WeightsError

DTYPES = {
    "BFloat16": ml_dtypes.bfloat16,
    "Bool": np.bool_,
    "Byte": np.uint8,
    "Char": np.int8,
    "Double": np.float64,
    "Float": np.float32,
    "Half": np.float16,
    "Int": np.int32,
    "Long": np.int64,
    "Short": np.int16,
}
MAGIC = 0x1950A86A20F9469CFC6C


class Name(str):
    """A global, `module name`, that pickles by name without existing."""

    __slots__ = ()


class Call:
    """Pickled as a call of a global, and a state to set on the result."""

    def __init__(self, name, *args, state=None):
        self.name, self.args, self.state = name, args, state


class Stored:
    """A storage: pickled as a persistent id."""

    def __init__(self, kind, key, array, view=None):
        self.kind, self.key, self.array, self.view = kind, key, array, view


class Writer(pickle._Pickler):
    """The pure Python pickler, taught the three classes above."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)
    legacy = False

    def persistent_id(self, item):
        if not isinstance(item, Stored):
            return None
        kind = Name(f"torch {item.kind}Storage")
        pid = ("storage", kind, item.key, "cpu", item.array.size)
        return (*pid, item.view) if self.legacy else pid

    def save_name(self, item):
        self.write(b"c" + item.replace(" ", "\n").encode() + b"\n")

    def save_call(self, item):
        self.save(Name(item.name))
        self.save(item.args)
        self.write(pickle.REDUCE)
        if item.state is not None:
            self.save(item.state)
            self.write(pickle.BUILD)

    dispatch[Name] = save_name
    dispatch[Call] = save_call


def pickled(item, protocol=2, legacy=False):
    file = io.BytesIO()
    writer = Writer(file, protocol)
    writer.legacy = legacy
    writer.dump(item)
    return file.getvalue()


def tensor(storage, offset=0, shape=None, strides=None):
    shape = storage.array.shape if shape is None else shape
    if strides is None:
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    hooks = Call("collections OrderedDict")
    return Call(
        "torch._utils _rebuild_tensor_v2", storage, offset, shape, strides, False, hooks
    )


def archived(path, content, storages, order="little"):
    """The zip format."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickled(content))
        archive.writestr("model/byteorder", order)
        for stored in storages:
            archive.writestr(f"model/data/{stored.key}", memory(stored, order))
        archive.writestr("model/version", "3\n")


def sequential(path, content, storages, order="little"):
    """The format before version 1.6."""
    system = {"protocol_version": 1001, "little_endian": order == "little"}
    parts = [pickled(MAGIC), pickled(1001), pickled(system)]
    parts.append(pickled(content, legacy=True))
    parts.append(pickled([stored.key for stored in storages]))
    for stored in storages:
        parts += [struct.pack("<q", stored.array.size), memory(stored, order)]
    path.write_bytes(b"".join(parts))


def memory(stored, order):
    array = stored.array
    words = array.view(f"u{array.itemsize}")
    return words.astype(
        f"{'<' if order == 'little' else '>'}u{array.itemsize}"
    ).tobytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


FORMATS = pytest.mark.parametrize("write", [archived, sequential])


def same(found, expected):
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@FORMATS
@pytest.mark.parametrize("order", ["little", "big"])
def test_every_type_in_both_byte_orders(path, write, order):
    numbers = np.asarray([[0, 1, 7], [2, 0, 100]])
    arrays = {kind: numbers.astype(dtype) for kind, dtype in DTYPES.items()}
    storages = [
        Stored(kind, str(i), array) for i, (kind, array) in enumerate(arrays.items())
    ]
    content = {f"{s.kind}.weight": tensor(s) for s in storages}
    write(path, content, storages, order)
    found = weights.load_file(path)
    assert list(found) == list(content)
    for kind, array in arrays.items():
        same(found[f"{kind}.weight"], array)


@FORMATS
def test_views_of_a_shared_storage(path, write):
    whole = np.arange(24, dtype=np.float32)
    stored = Stored("Float", "0", whole)
    content = {
        "whole": tensor(stored),
        "rows": tensor(stored, 6, (3, 6)),
        "transposed": tensor(stored, 0, (6, 4), (1, 6)),
        "every_other": tensor(stored, 1, (2, 3), (12, 2)),
        "expanded": tensor(stored, 5, (4, 2), (0, 1)),
        "number": tensor(stored, 23, (), ()),
        "empty": tensor(stored, 24, (0, 3)),
    }
    write(path, content, [stored])
    found = weights.load_file(path)
    same(found["whole"], whole)
    same(found["rows"], whole[6:].reshape(3, 6))
    same(found["transposed"], whole.reshape(4, 6).T)
    same(found["every_other"], whole.reshape(2, 12)[:, 1:7:2])
    same(found["expanded"], np.tile(whole[5:7], (4, 1)))
    same(found["number"], whole[23])
    assert found["empty"].shape == (0, 3)


def test_views_in_the_oldest_files(path):
    whole = np.arange(10, dtype=np.float64)
    part = Stored("Double", "0", whole, view=("1", 4, 3))
    content = {"part": Call("torch._utils _rebuild_tensor", part, 1, (2,), (1,))}
    sequential(path, content, [part])
    same(weights.load_file(path)["part"], whole[5:7])


@FORMATS
@pytest.mark.parametrize("entry", ["state_dict", "model_state_dict", "model", "net"])
def test_checkpoints_around_a_state_dict(path, write, entry):
    stored = Stored("Float", "0", np.ones(3, np.float32))
    hooks = Call("collections OrderedDict")
    parameter = Call("torch._utils _rebuild_parameter", tensor(stored), True, hooks)
    state = Call("collections OrderedDict", state={"_metadata": {"": {"version": 1}}})
    state.args = ((("module.fc.weight", tensor(stored)), ("bias", parameter)),)
    content = {"epoch": 3, entry: state, "optimizer": {"param_groups": [{"lr": 0.1}]}}
    write(path, content, [stored])
    found = weights.load_file(path)
    assert list(found) == ["fc.weight", "bias"]
    same(found["bias"], stored.array)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_arrays(tmp_path, protocol):
    path = tmp_path / "weights.pkl"
    ordinary = np.arange(6, dtype=np.float32).reshape(2, 3)
    arrays = collections.OrderedDict(
        ordinary=ordinary,
        by_columns=np.asfortranarray(ordinary),
        big_endian=ordinary.astype(">f8"),
        scalar=np.float16(0.5),
    )
    path.write_bytes(pickle.dumps(arrays, protocol))
    found = weights.load_file(path)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        same(found[name], np.asarray(array).astype(array.dtype.newbyteorder("=")))


def test_arrays_pickled_by_python_2(tmp_path):
    """Old module names; and bytes as the opcode of Python 2's strings."""
    path = tmp_path / "weights.pkl"
    array = np.asarray([1.5, -2.0, 1e-30], "<f4")
    data = array.tobytes()
    assert max(data) > 127  # not ASCII
    path.write_bytes(
        b"\x80\x02}U\x0cconv1.weight"
        b"cnumpy.core.multiarray\n_reconstruct\n"
        b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x03\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"U" + bytes([len(data)]) + data + b"tbs."
    )
    same(weights.load_file(path)["conv1.weight"], array)


def calls(name, *args):
    return {"weight": Call(name, *args)}


@pytest.mark.parametrize("write", [archived, sequential, "plain"])
@pytest.mark.parametrize(
    "name",
    [
        "os system",
        "posix system",
        "builtins eval",
        "builtins getattr",
        "__builtin__ eval",
        "torch load",
        "torch.hub load",
        "torch._utils os.system",
        "jaxfer.weights.pickles pickle.loads",
        "numpy fromfile",
        "numpy.core.multiarray fromfile",
        "collections OrderedDict.fromkeys",
        "copyreg _reconstructor",
    ],
)
def test_code_in_a_file_is_refused_and_not_run(path, tmp_path, write, name):
    mark = tmp_path / "ran"
    content = calls(name, f"touch {mark}")
    if write == "plain":
        path.write_bytes(pickled(content, protocol=4))
    else:
        write(path, content, [])
    wanted = name.replace(" ", r"\.")
    with pytest.raises(WeightsError, match=rf"weights\.pth: refused.* {wanted};"):
        weights.load_file(path)
    assert not mark.exists()


def test_the_control_of_the_test_above(tmp_path):
    """The standard library does run what the test above feeds the reader."""
    mark = tmp_path / "ran"
    pickle.loads(pickled(calls("os system", f"touch {mark}")))
    assert mark.exists()


@pytest.mark.parametrize(
    "target", ["torch._utils _rebuild_tensor_v2", "torch FloatStorage"]
)
@pytest.mark.parametrize(
    "state", [{"_function": 1}, (None, {"_function": 1, "dtype": 1})]
)
def test_what_stands_for_a_global_cannot_be_changed(path, target, state):
    writer = io.BytesIO()
    pickler = Writer(writer, 2)
    pickler.write(pickle.PROTO + b"\x02")
    pickler.save(Name(target))
    pickler.save(state)
    pickler.write(pickle.BUILD + pickle.STOP)
    path.write_bytes(writer.getvalue())
    with pytest.raises(WeightsError, match=r"weights\.pth: cannot be read"):
        weights.load_file(path)
    stored = Stored("Float", "0", np.ones(2, np.float32))
    archived(path, {"weight": tensor(stored)}, [stored])
    same(weights.load_file(path)["weight"], stored.array)


@FORMATS
def test_every_truncation_is_an_error(path, write):
    stored = Stored("Float", "0", np.ones(4, np.float32))
    write(path, {"weight": tensor(stored)}, [stored])
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"weights\.pth: c.*damaged"):
            weights.load_file(path)


@FORMATS
@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(1, (4,), (1,)), (0, (2, 3), (2, 1)), (-1, (2,), (1,)), (3, (2,), (-1,))],
)
def test_a_view_outside_its_storage(path, write, offset, shape, strides):
    stored = Stored("Float", "0", np.ones(4, np.float32))
    write(path, {"fc.weight": tensor(stored, offset, shape, strides)}, [stored])
    with pytest.raises(
        WeightsError, match=r"damaged, fc\.weight of shape .*4 elements"
    ):
        weights.load_file(path)


def test_a_missing_storage(path):
    stored = Stored("Float", "7", np.ones(4, np.float32))
    archived(path, {"weight": tensor(stored)}, [])
    with pytest.raises(WeightsError, match="model/data/7 is missing"):
        weights.load_file(path)


ARRAY = np.ones(2, np.float32)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([1.0], "found list"),
        ({"epoch": 3}, r"found 'epoch' \(int\)"),
        ({"encoder": {}, 1: 2}, r"'encoder' \(dict\); 1 \(int\)"),
        ({str(i): i for i in range(9)}, "and 4 more"),
        ({"net": {"a": ARRAY}, "average": {"a": ARRAY}}, r"'net' \(dict\); 'aver"),
        ({"a": ARRAY, "optimizer": {"b": ARRAY}}, r"found 'optimizer' \(dict\)"),
        ({"model": {"a": 1}, "epoch": 2}, r"found 'a' \(int\)"),
    ],
)
def test_no_dict_of_tensors(path, content, found):
    path.write_bytes(pickled(content))
    with pytest.raises(WeightsError, match=found):
        weights.load_file(path)


def test_another_zip_archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "")
    with pytest.raises(WeightsError, match=r"data\.pkl; found notes\.txt"):
        weights.load_file(path)


@pytest.mark.parametrize("dtype", [object, "U3", "f4,f4"])
def test_arrays_of_no_numbers(tmp_path, dtype):
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps({"a": np.zeros(2, dtype)}))
    with pytest.raises(WeightsError, match="not of numbers"):
        weights.load_file(path)
