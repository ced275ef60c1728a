"""A sequence of which a chosen frame cannot be used is left out, and told."""

import zipfile

import pytest

from jaxfer.data.dataset import load
from jaxfer.data.prepare import prepare
from jaxfer.errors import DataError

FORMS = ("folder", "zip")
LEFT = "; its sequence is left out"


def prepared(name, source, data_dir, **options):
    report = prepare(
        name, source, data_dir=data_dir, workers=2, progress=False, **options
    )
    frames = {}
    table = load(name, data_dir=data_dir).table
    for file, sequence in zip(table.file, table.sequence):
        frames.setdefault(str(sequence), []).append(file.rpartition("/")[2])
    skips = {skip.file.rpartition("/")[2]: skip.reason for skip in report.skips}
    return report, frames, skips


def kinds(trees, side):
    """Contents that are no image, and what is said of them."""
    whole = trees.png(1, side)
    return {
        "empty file": b"",
        "truncated": whole[: len(whole) // 2],
        "not an image": b"some text",
        "unreadable": whole[:40] + b"IEND",
    }


def as_form(form, trees, source):
    return trees.zipped(source) if form == "zip" else source


def spoil(path, name, at=50):
    """Changes bytes of a file within a zip, so that its checksum is wrong."""
    with zipfile.ZipFile(path) as archive:
        (info,) = [i for i in archive.infolist() if i.filename.endswith(name)]
    content = bytearray(path.read_bytes())
    at += info.header_offset + 30 + len(info.filename)
    content[at : at + 4] = bytes(255 - value for value in content[at : at + 4])
    path.write_bytes(content)


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("form", FORMS)
def test_ckplus_official(trees, data_dir, form, frames):
    stem = "S005/{0:03d}/S005_{0:03d}"
    peak = f"cohn-kanade-images/{stem}_00000005.png"
    broken = kinds(trees, 40)
    source = trees.ckplus(
        **{peak.format(k): data for k, data in enumerate(broken.values(), 1)}
    )
    (source / peak.format(5)).unlink()
    # Frames 3 and 2 of other sequences: the first is chosen where three are.
    for sequence, frame in ((6, 3), (7, 2)):
        name = f"cohn-kanade-images/{stem}_{frame:08d}.png".format(sequence)
        (source / name).write_bytes(b"")
    if form == "folder":
        link = source / "cohn-kanade-images/S010/001/S010_001_00000005.png"
        link.unlink()
        link.symlink_to(source / "nowhere.png")
    source = as_form(form, trees, source)
    if form == "zip":
        spoil(source, "S010_001_00000005.png")
    report, found, skips = prepared("ckplus", source, data_dir, frames=frames)

    lost = {f"S005_{k:03d}" for k in range(1, 6 + (frames == 3))} | {"S010_001"}
    every = {f"S{s:03d}_{k:03d}" for s in (5, 10, 11) for k in range(1, 8)}
    assert set(found) == every - lost
    for sequence, files in found.items():
        numbers = range(6 - frames, 6)
        assert files == [f"{sequence}_{number:08d}.png" for number in numbers]
    for k, reason in enumerate(broken, 1):
        assert skips[f"S005_{k:03d}_00000005.png"] == reason + LEFT
        assert f"{reason}{LEFT} (" in str(report)
    missing = skips["S005_005_00000005_emotion.txt"]
    assert missing == "the peak frame, which it names, is missing"
    third = skips.get("S005_006_00000003.png")
    assert third == (None if frames == 1 else "empty file" + LEFT)
    assert "S005_007_00000002.png" not in skips  # it is not chosen
    assert skips["S010_001_00000005.png"].endswith(LEFT)


def test_ckplus_labels_that_cannot_be_read(trees, data_dir):
    name = "Emotion/S005/00{0}/S005_00{0}_00000005_emotion.txt"
    source = trees.zipped(trees.ckplus(**{name.format(1): b"\xff" * 100}))
    spoil(source, name.format(2).rpartition("/")[2], at=0)
    _, found, skips = prepared("ckplus", source, data_dir)
    assert len(found) == 19
    for k in (1, 2):
        assert skips[f"S005_00{k}_00000005_emotion.txt"] == "label cannot be read"


def test_ckplus_neutral_frame(trees, data_dir):
    first = "cohn-kanade-images/S005/{0:03d}/S005_{0:03d}_00000001.png"
    source = trees.ckplus(**{first.format(1): b"", first.format(2): b"text"})
    for frame in (1, 2):  # too short to have a neutral frame beside the three
        name = f"cohn-kanade-images/S005/003/S005_003_{frame:08d}.png"
        (source / name).unlink()
    _, found, skips = prepared("ckplus", source, data_dir, frames=3, neutral=True)
    assert len(found) == 21 - 3
    assert not {"S005_001", "S005_002", "S005_003"} & set(found)
    assert {len(files) for files in found.values()} == {4}
    assert skips["S005_001_00000001.png"] == "empty file" + LEFT
    assert skips["S005_002_00000001.png"] == "not an image" + LEFT
    assert skips["S005_003_00000005_emotion.txt"] == "3 frames where 4 are needed"


@pytest.mark.parametrize("form", FORMS)
def test_ckplus_copy(trees, data_dir, form):
    folders = ("anger", "contempt", "disgust", "fear")
    name = "CK+48/{1}/S010_{0:03d}_00000017.png"
    broken = kinds(trees, 48)
    source = trees.ck48(
        **{
            name.format(k, folder): content
            for k, (folder, content) in enumerate(zip(folders, broken.values()))
        }
    )
    (source / name.format(4, "happy")).unlink()
    (source / name.format(5, "sadness").replace("17", "15")).write_bytes(b"")
    big = source / name.format(6, "surprise")
    big.rename(big.with_suffix(".PNG"))
    _, found, skips = prepared("ckplus", as_form(form, trees, source), data_dir)
    assert set(found) == {f"S011_{k:03d}" for k in range(7)} | {"S010_005", "S010_006"}
    assert all(file[9:17] == "00000017" for (file,) in found.values())
    for k, reason in enumerate(broken):
        assert skips[f"S010_{k:03d}_00000017.png"] == reason + LEFT
    assert "2 of 3 frames" in skips["S010_004_00000016.png"]
    assert "S010_005_00000015.png" not in skips


@pytest.mark.parametrize("form", FORMS)
def test_oulu_casia(trees, tmp_path, data_dir, form):
    emotions = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
    name = "Oulu/VL_Acropped/Strong/P001/{}/{:03d}.png"
    files = {name.format(e, k): trees.png(k) for e in emotions for k in range(3)}
    broken = kinds(trees, 24)
    for emotion, content in zip(emotions, broken.values()):
        files[name.format(emotion, 2)] = content
    source = as_form(form, trees, trees.write(tmp_path / "source", files))
    report, found, _ = prepared("oulu_casia", source, data_dir)
    assert found == {"P001/sadness": ["002.png"], "P001/surprise": ["002.png"]}
    assert [(s.file.split("/")[-2], s.reason) for s in report.skips] == [
        (emotion, reason + LEFT) for emotion, reason in zip(emotions, broken)
    ]


@pytest.mark.parametrize("form", FORMS)
def test_mmi_frames(trees, tmp_path, data_dir, form):
    emotions = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
    name = "S001/{0}/S001-{0}_{1}.png"
    files = {name.format(e, k): trees.png(k) for e in emotions for k in range(5)}
    broken = kinds(trees, 24)
    for emotion, content in zip(emotions, broken.values()):
        files[name.format(emotion, 3)] = content
    files[name.format("sadness", 0)] = b""  # it is not in the middle, but counts
    source = as_form(form, trees, trees.write(tmp_path / "source", files))
    _, found, skips = prepared("mmi", source, data_dir, frames=3)
    assert found == {
        f"S001/{e}/S001-{e}": [f"S001-{e}_{k}.png" for k in (1, 2, 3)]
        for e in emotions[4:]
    }
    assert skips == {
        f"S001-{e}_3.png": reason + LEFT for e, reason in zip(emotions, broken)
    }


def test_mmi_videos(trees, data_dir):
    source = trees.mmi_sessions()
    xml = '<session><Metatag Name="Emotion" Value="Fear"/></session>'
    (source / "Sessions/102/session.xml").write_text(xml)
    cut = source / "Sessions/100/S001-001.avi"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    _, found, skips = prepared("mmi", source, data_dir, frames=3)
    assert sorted(map(len, found.values())) == [3, 3]
    assert skips == {f"S001-001.avi#{k}": "truncated" for k in range(3)}
    # Nine frames are one too few for ten.
    cut.unlink()
    with pytest.raises(DataError, match="too short a video"):
        prepare("mmi", source, data_dir=data_dir, save_as="ten", frames=10)


def test_no_whole_sequence_is_an_error(trees, tmp_path, data_dir):
    name = "VL_Acropped/Strong/P001/{}/000.jpeg"
    files = {name.format(e): b"" for e in ("Anger", "Fear")}
    source = trees.write(tmp_path / "source", files)
    with pytest.raises(DataError, match=r"None of the 2 sequences.*jpeg: empty file"):
        prepare("oulu_casia", source, data_dir=data_dir)
