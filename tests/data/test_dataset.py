import pickle
import subprocess
import sys

import numpy as np
import pytest

from jaxfer.data.dataset import load, read_images
from jaxfer.data.prepare import prepare
from jaxfer.errors import ConfigError, DataError


@pytest.fixture
def data(trees, data_dir):
    prepare("image_folder", trees.image_folder(), data_dir=data_dir, progress=False)
    return load("image_folder", data_dir=data_dir)


def test_images_follow_the_rows(trees, data):
    rows = np.asarray([8, 0, -1, 3, 0])
    done = []
    images = read_images(data, rows, 24, workers=2, progress=done.append)
    assert images.shape == (5, 24, 24, 3)
    assert sum(done) == 5
    files = [f.split("/")[1:] for f in data.table.file]
    kinds = ("Happy", "sad", "bored")
    for image, row in zip(images, rows):
        if row < 0:
            assert not image.any()
            continue
        kind, name = files[row]
        seed = 10 * kinds.index(kind) + int(name[0])
        np.testing.assert_array_equal(image, trees.pixels(seed)[:, :, ::-1])


def test_threads_do_not_change_pixels(data):
    rows = np.tile(np.arange(9), 12)
    one = read_images(data, rows, 16, workers=1)
    np.testing.assert_array_equal(one, read_images(data, rows, 16, workers=4))
    assert read_images(data, [], 16).shape == (0, 16, 16, 3)


def test_rows_out_of_range(data):
    for rows in ([9], [-2]):
        with pytest.raises(DataError, match="within -1 to 8"):
            read_images(data, rows, 16)


def test_a_source_can_be_sent_to_a_process(data):
    first = data.source[3]["image"]
    again = pickle.loads(pickle.dumps(data.source))
    assert again[3]["image"] == first
    assert len(again) == 9


def test_hashes_are_of_the_stored_bytes(data):
    import hashlib

    for row in (0, 8):
        stored = data.source[row]["image"]
        assert hashlib.sha256(stored).hexdigest() == data.table.sha256[row]


def test_not_prepared_says_how(data_dir):
    with pytest.raises(DataError) as error:
        load("ckplus", data_dir=data_dir)
    text = str(error.value)
    assert "jaxfer prepare ckplus --source DIR" in text
    assert "cohn-kanade-images" in text
    assert "https://" in text
    assert "python -m jaxfer.launch --config quickstart.py" in text


def test_unknown_name_lists_what_is_there(data, data_dir):
    with pytest.raises(DataError, match="Prepared there: image_folder"):
        load("my_faces", data_dir=data_dir)
    for name, kind in (("mine", "image_folder"), ("affectnet7", "affectnet")):
        with pytest.raises(DataError, match=f"prepare {kind} .*--save-as {name}"):
            load(name, data_dir=data_dir)


def test_label_modes_are_checked(data, data_dir):
    with pytest.raises(ConfigError, match="majority, soft"):
        load("image_folder", data_dir=data_dir, label_mode="median")
    with pytest.raises(DataError, match="no votes"):
        load("image_folder", data_dir=data_dir, label_mode="soft")
    assert data.table.target is None


def test_one_class_alone_is_not_loaded(data, data_dir):
    path = data_dir / "image_folder" / "table.npz"
    with np.load(path) as arrays:
        columns = dict(arrays)
    np.savez(path, **columns | {"label": np.zeros_like(columns["label"])})
    with pytest.raises(DataError, match="two classes, found: bored"):
        load("image_folder", data_dir=data_dir)


@pytest.mark.parametrize("damage", ["table.npz", "shard", "truncated", "prepared.json"])
def test_damage_is_found(data, data_dir, damage):
    folder = data_dir / "image_folder"
    if damage == "shard":
        next(folder.glob("*array_record*")).unlink()
    elif damage == "truncated":
        shard = next(folder.glob("*array_record*"))
        shard.write_bytes(shard.read_bytes()[:100])
    else:
        (folder / damage).write_text("{}")
    with pytest.raises(DataError, match="--overwrite"):
        read_images(load("image_folder", data_dir=data_dir), [0], 8)


ALONE = """
import sys
import jaxfer.data
from jaxfer.data.prepare import prepare
assert not {"numpy", "tensorflow_datasets", "grain", "cv2"} & set(sys.modules)
prepare("synthetic_faces", data_dir=sys.argv[1], subjects=1, takes=1, progress=False)
data = jaxfer.data.load("synthetic_faces", data_dir=sys.argv[1])
assert jaxfer.data.read_images(data, [0], 16).any()
assert not {"jax", "flax", "tensorflow", "grain"} & set(sys.modules)
"""


def test_neither_jax_nor_tensorflow_is_imported(tmp_path):
    subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE, str(tmp_path)],
        check=True,
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), "PATH": ""},
    )


def test_synthetic_faces_prepare_themselves(data_dir, monkeypatch):
    from jaxfer.data import synthetic

    def dot(expression, identity, take, *, size, **options):
        del expression, identity, options
        return np.full((size, size, 3), take, np.uint8)

    monkeypatch.setattr(synthetic, "render", dot)
    data = load("synthetic_faces", data_dir=data_dir)
    assert len(data.table) == 24 * 7 * 4
    assert len(set(data.table.subject)) == 24
