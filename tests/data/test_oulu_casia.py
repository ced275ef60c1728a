from collections import Counter

import numpy as np
import pytest

from jaxfer.data import labels
from jaxfer.data.dataset import load, read_images
from jaxfer.data.prepare import prepare
from jaxfer.errors import ConfigError, DataError

EMOTIONS = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
CAMERAS = ("VL_Acropped/Strong", "VL_Acropped/Dark", "NI_Acropped/Strong")


@pytest.fixture(scope="module")
def encoded(request):
    """Every image of the tree is one of these; brightness says which frame."""
    import cv2

    return [
        cv2.imencode(".jpeg", np.full((8, 8, 3), 40 * k, np.uint8))[1].tobytes()
        for k in range(6)
    ]


@pytest.fixture
def tree(trees, tmp_path, encoded):
    def make(**more):
        files = {
            f"Oulu/{camera}/P{subject:03d}/{emotion}/{frame:03d}.jpeg": encoded[
                frame + (camera[0] == "N")
            ]
            for camera in CAMERAS
            for subject in (1, 2, 10)
            for emotion in EMOTIONS
            for frame in range(4)
        }
        return trees.write(tmp_path / "oulu", files | more)

    return make


def prepared(source, data_dir, **options):
    report = prepare(
        "oulu_casia", source, data_dir=data_dir, progress=False, workers=2, **options
    )
    return report, load("oulu_casia", data_dir=data_dir)


def test_three_peak_frames_of_each_sequence(tree, data_dir):
    report, data = prepared(tree(), data_dir, frames=3)
    assert data.class_names == labels.OULU_CASIA
    assert len(data.table) == 3 * 6 * 3 and report.subjects == 3
    assert list(data.table.label) == list(np.repeat(range(6), 3)) * 3
    assert list(data.table.subject[::18]) == ["P001", "P002", "P010"]
    assert data.table.sequence[3] == "P001/disgust"
    assert all(f.startswith("Oulu/VL_Acropped/Strong/") for f in data.table.file)
    assert set(data.table.split) == {"all"} and not report.skips
    brightness = read_images(data, [0, 1, 2], 8)[:, 0, 0, 0]
    np.testing.assert_allclose(brightness, [40, 80, 120], atol=2)
    assert any("all, anger: 9 images, published 240" in w for w in report.warnings)
    assert any("3 subjects, published 80" in w for w in report.warnings)


def test_one_peak_frame_of_the_other_camera(tree, data_dir, trees):
    report, data = prepared(trees.zipped(tree()), data_dir, camera="NI")
    assert len(data.table) == 18
    assert all("NI_Acropped" in f and f.endswith("003.jpeg") for f in data.table.file)
    np.testing.assert_allclose(read_images(data, [5], 8)[0], 160, atol=2)
    assert "published" in str(report) and "NI, Strong" in report.layout


def test_bad_files_are_skipped_and_listed(tree, data_dir, encoded):
    at = "Oulu/VL_Acropped/Strong"
    source = tree(
        **{
            f"{at}/P001/Anger/001.jpeg": b"",
            f"{at}/P001/Anger/003.jpeg": b"",
            f"{at}/P002/Fear/3.png": encoded[0],
            f"{at}/P002/Joyful/000.jpeg": encoded[0],
            f"{at}/P002/notes.txt": "hello",
        }
    )
    report, data = prepared(source, data_dir, frames=3)
    assert len(data.table) == 16 * 3
    assert Counter(s.reason for s in report.skips) == {
        "empty file; its sequence is left out": 2,
        "several frames of P002/fear have the same number": 5,
        "Joyful is not an emotion of Oulu-CASIA": 1,
        "not a frame": 1,
    }


def test_errors_say_what_is_there(tree, data_dir):
    source = tree()
    with pytest.raises(DataError, match=r"no NI_Acropped/Dark; found NI_Acropped/St"):
        prepare("oulu_casia", source, data_dir=data_dir, camera="NI", light="Dark")
    for options in ({"camera": "IR"}, {"light": "strong"}, {"frames": 0}):
        with pytest.raises(ConfigError, match="must be"):
            prepare("oulu_casia", source, data_dir=data_dir, **options)
