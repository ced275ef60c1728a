import zipfile
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from jaxfer.data import builders, labels
from jaxfer.data.dataset import load, read_images
from jaxfer.data.prepare import prepare
from jaxfer.data.splits import make_folds
from jaxfer.errors import ConfigError, DataError


def prepared(name, source, data_dir, **options):
    report = prepare(
        name, source, data_dir=data_dir, workers=2, progress=False, **options
    )
    return report, load(name, data_dir=data_dir)


def reasons(report):
    return Counter(skip.reason for skip in report.skips)


def test_ckplus_official_takes_the_peak(trees, data_dir):
    report, data = prepared("ckplus", trees.ckplus(), data_dir)
    assert data.class_names == labels.CKPLUS
    assert len(data.table) == 21
    assert report.subjects == 3
    assert set(data.table.split) == {"all"}
    assert all(file.endswith("_00000005.png") for file in data.table.file)
    assert list(data.table.label) == list(range(7)) * 3
    assert data.table.subject[0] == "S005"
    assert data.table.sequence[0] == "S005_001"
    assert list(data.table.file) == sorted(data.table.file)
    assert reasons(report) == {"sequence without an emotion label": 3}
    assert any("published" in warning for warning in report.warnings)
    expected = trees.pixels(5015, channels=1)
    np.testing.assert_array_equal(read_images(data, [0], 24)[0, :, :, 0], expected)


def test_ckplus_three_frames_and_neutral(trees, data_dir):
    _, data = prepared("ckplus", trees.ckplus(), data_dir, frames=3, neutral=True)
    assert data.class_names == ("neutral", *labels.CKPLUS)
    first = data.table.sequence == "S005_001"
    assert list(data.table.label[first]) == [0, 1, 1, 1]
    assert [file[-5] for file in data.table.file[first]] == ["1", "3", "4", "5"]


def test_ckplus_copy_in_a_zip(trees, data_dir):
    source = trees.zipped(trees.ck48(**{"CK+48/readme.txt": "hello"}))
    report, data = prepared("ckplus", source, data_dir)
    assert len(data.table) == 14
    assert all("00000017" in file for file in data.table.file)
    assert list(data.table.subject) == ["S010"] * 7 + ["S011"] * 7
    assert list(data.table.label) == list(range(7)) * 2
    names = [data.class_names[k] for k in data.table.label]
    assert names == [labels.canonical(f.split("/")[-2]) for f in data.table.file]
    assert reasons(report) == {"not an image of CK+48": 1}
    with pytest.raises(ConfigError, match="neutral"):
        prepare("ckplus", source, data_dir=data_dir, save_as="other", neutral=True)


def test_ckplus_copy_all_frames_and_duplicates(trees, data_dir):
    twice = trees.png(1)
    source = trees.ck48(**{"CK+48/fear/S010_000_00000017.png": twice})
    report, data = prepared("ckplus", source, data_dir, frames=3)
    assert len(data.table) == 42
    assert list(data.table.sequence[:4]) == ["S010_000"] * 3 + ["S010_001"]
    assert [file[-6:-4] for file in data.table.file[:4]] == ["15", "16", "17", "15"]
    assert list(reasons(report)) == ["duplicate name: the same frame in another folder"]


def test_ckplus_bad_labels_are_skipped(trees, data_dir):
    emotion = "Emotion/S005/00{0}/S005_00{0}_00000005_emotion.txt"
    source = trees.ckplus(
        **{
            emotion.format(1): "joy",
            emotion.format(2): "12",
            emotion.format(3): "0.0",
            "Emotion/S005/009/S005_009_00000005_emotion.txt": "1.0",
            "cohn-kanade-images/S005/004/S005_004_00000005.png": b"",
        }
    )
    report, data = prepared("ckplus", source, data_dir)
    assert len(data.table) == 17
    found = reasons(report)
    assert found["label is not a number"] == 1
    assert found["label 12 is not one of 0 to 7"] == 1
    assert found["labelled neutral, which is not a class here"] == 1
    assert found["the peak frame, which it names, is missing"] == 1
    assert found["empty file; its sequence is left out"] == 1


def test_ckplus_refuses_a_mixture_and_missing_labels(trees, data_dir):
    source = trees.ckplus()
    trees.ck48()
    with pytest.raises(DataError, match="both"):
        prepare("ckplus", trees.root, data_dir=data_dir)
    (source / "Emotion").rename(source / "Other")
    with pytest.raises(DataError, match="no readable label"):
        prepare("ckplus", source, data_dir=data_dir)


@pytest.mark.parametrize("form", ["folder", "zip", "tables"])
def test_ferplus(trees, data_dir, form):
    if form == "tables":
        source = trees.ferplus_tables()
    else:
        source = trees.ferplus()
        source = trees.zipped(source) if form == "zip" else source
    report, data = prepared("ferplus", source, data_dir)
    assert report.images == 12
    assert report.counts["test"]["(no majority)"] == 2
    assert data.class_names == labels.FERPLUS
    assert list(data.table.split) == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2
    assert list(data.table.label) == [0, 1] * 3
    assert sum(data.dropped.values()) == 6
    np.testing.assert_array_equal(
        read_images(data, [2], 48)[0, :, :, 1], trees.pixels(10, 48, 1)
    )
    if form == "tables":
        assert reasons(report) == {"FER+ names no image here": 1}


def test_ferplus_soft_labels_train_only(trees, data_dir):
    prepare("ferplus", trees.ferplus(), data_dir=data_dir, progress=False)
    data = load("ferplus", data_dir=data_dir, label_mode="soft")
    assert list(data.table.split) == ["train"] * 3 + ["validation"] * 2 + ["test"] * 2
    np.testing.assert_allclose(data.table.target[0, [0, 3]], [0.8, 0.2])
    np.testing.assert_allclose(data.table.target[2, [0, 3]], [0.5, 0.5])
    assert set(data.table.target[3:].ravel()) == {0.0, 1.0}
    assert data.dropped == {
        "train: voted unknown or not a face": 1,
        "validation: no emotion has more than half of the votes": 1,
        "validation: voted unknown or not a face": 1,
        "test: no emotion has more than half of the votes": 1,
        "test: voted unknown or not a face": 1,
    }


def test_ferplus_bad_rows(trees, data_dir):
    table = (
        "Image name,box,neutral,happiness,surprise,sadness,anger,disgust,fear,"
        "contempt,unknown,NF\n"
        "fer0.png,box,8,0,0,0,0,0,0,0,0,0\n"
        "fer0.png,box,0,8,0,0,0,0,0,0,0,0\n"
        "gone.png,box,8,0,0,0,0,0,0,0,0,0\n"
        "fer1.png,box,8\n\n"
        "fer2.png,0,0,0,0,0,0,0,0,0,0\n"
    )
    source = trees.ferplus(
        **{"FER2013Test/label.csv": table, "FER2013Test/notes.txt": "text"}
    )
    report, data = prepared("ferplus", source, data_dir)
    assert (data.table.split == "test").sum() == 1
    text = "\n".join(f"{skip.file}: {skip.reason}" for skip in report.skips)
    for part in (
        "fer0.png: duplicate name: again in line 3",
        "gone.png: named in line 4",
        "label.csv:5: expected a name and 10 votes",
        "fer2.png: no votes",
        "fer3.png: no row in label.csv",
        "notes.txt: not an image file",
    ):
        assert part in text


def test_ferplus_tables_of_different_length(trees, data_dir):
    source = trees.ferplus_tables()
    with (source / "fer2013new.csv").open("a") as file:
        file.write("Training,x.png,1,1,1,1,1,1,1,1,1,1\n")
    with pytest.raises(DataError, match="number of rows"):
        prepare("ferplus", source, data_dir=data_dir)


@pytest.mark.parametrize("layout", ["rafdb", "rafdb_kaggle"])
def test_rafdb(trees, data_dir, layout):
    report, data = prepared("rafdb", getattr(trees, layout)(), data_dir)
    assert data.class_names[0] == "surprise"
    assert list(data.table.split) == ["train"] * 7 + ["test"] * 7
    assert list(data.table.label) == list(range(7)) * 2
    assert not report.skips


def test_rafdb_kaggle_folders_do_not_sort_by_class(trees, data_dir):
    source = trees.rafdb_kaggle()
    trees.write(source, {"DATASET/train/1/train_00009_aligned.jpg": trees.jpeg(9)})
    _, data = prepared("rafdb", source, data_dir)
    assert list(data.table.label[:8]) == [*range(7), 0]


def test_image_folder(trees, data_dir):
    report, data = prepared("image_folder", trees.image_folder(), data_dir)
    assert data.class_names == ("bored", "happiness", "sadness")
    assert report.counts == {"all": {"bored": 3, "happiness": 3, "sadness": 3}}
    assert report.published is None
    assert data.table.file[0] == "faces/Happy/0.png"
    assert [file[-5] for file in data.table.file] == [*"000111222"]
    np.testing.assert_array_equal(
        np.sort(data.table.label.reshape(3, 3)), [range(3)] * 3
    )


def test_image_folder_spreads_classes_of_different_size(trees, tmp_path, data_dir):
    files = {f"happy/h{i:02d}.png": trees.png(i) for i in range(20)}
    files |= {f"sad/s{i:02d}.png": trees.png(50 + i) for i in range(5)}
    _, data = prepared("image_folder", trees.write(tmp_path / "x", files), data_dir)
    blocks = data.table.label.reshape(5, 5)
    np.testing.assert_array_equal(blocks.sum(axis=1), np.ones(5))
    for k in range(2):
        of_class = list(data.table.file[data.table.label == k])
        assert of_class == sorted(of_class)


def test_image_folder_with_splits_in_a_zip(trees, data_dir):
    source = trees.zipped(trees.image_folder_splits())
    _, data = prepared("image_folder", source, data_dir)
    assert data.class_names == ("happiness", "sadness")
    assert Counter(data.table.split) == {"train": 4, "validation": 4, "test": 4}


def test_image_folder_of_many_identities(trees, tmp_path, data_dir):
    encoded = [trees.png(k, 8) for k in range(5)]
    files = {
        f"faces/n{person:04d}/{k}.png": encoded[(person + k) % 5]
        for person in range(400)
        for k in range(1 if person % 7 == 3 else 3)
    }
    report, data = prepared(
        "image_folder", trees.write(tmp_path / "many", files), data_dir
    )
    assert len(data.class_names) == 400 and len(data.table) == len(files)
    named = [data.class_names[k] for k in data.table.label]
    assert named == [file.split("/")[1] for file in data.table.file]
    text = str(report)
    assert len(text.splitlines()) < 40 and len(text) < 3000
    rows = [line.split() for line in text.splitlines()]
    assert ["n0019", "3"] in rows and ["(380", "more", "classes)", "1,032"] in rows
    assert ["total", f"{len(files):,}"] in rows
    assert "57 classes have one image: they cannot be trained and tested (n0003" in text
    settings = SimpleNamespace(
        kind="stratified",
        folds=2,
        validation=0.0,
        validation_kind="last",
        train_fraction=1.0,
        seed=0,
    )
    with pytest.raises(DataError, match=r"n0003: 1, .* and 47 more\. Use fewer"):
        make_folds(data.table, data.class_names, settings)


def test_image_folder_refuses_what_is_ambiguous(trees, data_dir):
    both = trees.image_folder_splits()
    trees.write(both, {"train/Happiness/0.png": trees.png(0)})
    with pytest.raises(DataError, match="both mean 'happiness'"):
        prepare("image_folder", both, data_dir=data_dir)
    trees.write(both, {"other/sad/0.png": trees.png(0)})
    with pytest.raises(DataError, match="mixes splits"):
        prepare("image_folder", both, data_dir=data_dir)


def test_image_folder_keeps_the_names_of_people(trees, tmp_path, data_dir):
    people = ("Happiness", "Happy", "Joy", "sad")
    files = {f"{name}/{k}.png": trees.png(k) for name in people for k in range(2)}
    source = trees.write(tmp_path / "people", files)
    with pytest.raises(DataError, match=r"both mean 'happiness'.* with --verbatim"):
        prepare("image_folder", source, data_dir=data_dir)
    _, data = prepared("image_folder", source, data_dir, verbatim=True)
    assert data.class_names == people
    named = [data.class_names[k] for k in data.table.label]
    assert named == [file.split("/")[0] for file in data.table.file]


def test_mmi_frames(trees, data_dir):
    report, data = prepared("mmi", trees.mmi_frames(), data_dir)
    assert len(data.table) == 8
    assert report.subjects == 2
    assert list(data.table.label[:4]) == [0, 1, 2, 3]
    assert data.table.sequence[0] == "S001/anger"


def test_mmi_folders_of_whole_recordings(trees, tmp_path, data_dir):
    files = {}
    for kind, frames in (("anger", 9), ("Fear", 4), ("sad", 2)):
        for frame in range(frames):
            files[f"S001/{kind}/S001-003_{frame}.png"] = trees.png(frame)
            files[f"S001/{kind}/S001-010_{frame + 5}.png"] = trees.png(frame)
    source = trees.write(tmp_path / "mmi", files)
    report, data = prepared("mmi", source, data_dir, frames=3)
    assert [f.rpartition("/")[2] for f in data.table.file[data.table.label == 0]] == [
        "S001-003_3.png",
        "S001-003_4.png",
        "S001-003_5.png",
        "S001-010_10.png",
        "S001-010_8.png",
        "S001-010_9.png",
    ]
    assert list(data.table.label) == [2] * 6 + [0] * 6
    assert data.table.sequence[0] == "S001/fear/S001-003"
    assert reasons(report) == {"2 frames where 3 are needed": 2}
    assert report.published.counts["all"]["anger"] == 99
    whole, data = prepared("mmi", source, data_dir, overwrite=True)
    assert len(data.table) == 2 * (9 + 4 + 2) and not whole.skips


@pytest.mark.parametrize("packed", [False, True])
def test_mmi_sessions_take_the_middle(trees, data_dir, packed):
    source = trees.mmi_sessions()
    source = trees.zipped(source) if packed else source
    report, data = prepared("mmi", source, data_dir, frames=3)
    assert [data.class_names[k] for k in data.table.label] == (
        ["happiness"] * 3 + ["surprise"] * 3
    )
    assert list(data.table.subject) == ["S001"] * 3 + ["S002"] * 3
    means = read_images(data, np.arange(6), 32).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(means, [60, 80, 100] * 2, atol=3)
    assert reasons(report) == {"session.xml names none of the six emotions": 1}


def test_mmi_broken_video_is_skipped(trees, data_dir):
    source = trees.mmi_sessions()
    (source / "Sessions/100/S001-001.avi").write_bytes(b"not a video")
    xml = '<session><Metatag Name="Emotion" Value="Fear"/></session>'
    (source / "Sessions/102/session.xml").write_text(xml)
    report, data = prepared("mmi", source, data_dir)
    assert len(data.table) == 2
    assert "unreadable or too short a video (0 frames)" in reasons(report)


@pytest.mark.parametrize("name", ["synthetic_faces", "synthetic_sessions"])
def test_synthetic_faces_draw_themselves(name, data_dir):
    report, data = prepared(name, None, data_dir, subjects=2, takes=2, size=24)
    assert report.images == 28
    assert report.subjects == 2
    again, _ = prepared(
        name,
        None,
        data_dir,
        subjects=2,
        takes=2,
        size=24,
        overwrite=True,
    )
    assert again.images == 28
    second = load(name, data_dir=data_dir)
    np.testing.assert_array_equal(second.table.sha256, data.table.sha256)
    assert len(set(data.table.sha256)) == 28


@pytest.mark.parametrize("name", [n for n in builders.BUILDERS if n[0] != "s"])
def test_wrong_folder_says_what_was_expected_and_found(name, tmp_path, trees, data_dir):
    source = trees.write(tmp_path / "wrong", {"a/b.txt": "x", "c.dat": "y"})
    with pytest.raises(DataError) as error:
        prepare(name, source, data_dir=data_dir)
    text = str(error.value)
    for part in ("Expected:", "Found:\n  a/b.txt\n  c.dat", "Where to get it:"):
        assert part in text
    assert str(source) in text
    assert not (data_dir / name).exists()


def test_unknown_data_set_and_option(data_dir, trees):
    with pytest.raises(DataError, match="Did you mean 'ckplus'"):
        prepare("ck_plus", ".", data_dir=data_dir)
    with pytest.raises(ConfigError, match="no option 'frames'; it takes: none"):
        prepare("ferplus", trees.ferplus(), data_dir=data_dir, frames=3)
    with pytest.raises(ConfigError, match="frames must be at least 1"):
        prepare("ckplus", trees.ckplus(), data_dir=data_dir, frames=0)


def test_zip_with_a_name_twice_and_damage(trees, tmp_path, data_dir):
    path = tmp_path / "twice.zip"
    with (
        zipfile.ZipFile(path, "w") as archive,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        for k in range(3):
            archive.writestr(f"sad/{k}.png", trees.png(k))
            archive.writestr(f"happy/{k}.png", trees.png(10 + k))
        archive.writestr("sad/0.png", trees.png(5))
    content = path.read_bytes()
    damaged = trees.png(2)
    at = content.index(damaged)
    path.write_bytes(content[: at + 90] + b"XXXX" + content[at + 94 :])
    report, data = prepared("image_folder", path, data_dir)
    assert report.images == 5
    found = reasons(report)
    assert found["duplicate name in the zip"] == 1
    assert any(reason.startswith("damaged in the zip") for reason in found)
    index = list(data.table.file).index("sad/0.png")
    first = trees.pixels(0)[:, :, ::-1]
    np.testing.assert_array_equal(read_images(data, [index], 24)[0], first)
