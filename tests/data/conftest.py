"""Small source trees in the layouts of the data sets' owners."""

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

CKPLUS = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
FERPLUS_FOLDERS = ("FER2013Train", "FER2013Valid", "FER2013Test")
VOTES = {
    "fer0.png": (8, 0, 0, 2, 0, 0, 0, 0, 0, 0),  # neutral
    "fer1.png": (0, 9, 1, 0, 0, 0, 0, 0, 0, 0),  # happiness; the single vote is out
    "fer2.png": (5, 0, 0, 5, 0, 0, 0, 0, 0, 0),  # no majority
    "fer3.png": (0, 0, 0, 2, 0, 0, 0, 0, 8, 0),  # unknown
}


def pixels(seed: int, side: int = 24, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(
        0, 256, (side, side, channels)[: 2 + (channels > 1)], np.uint8
    )


def png(seed: int, side: int = 24, channels: int = 3) -> bytes:
    return cv2.imencode(".png", pixels(seed, side, channels))[1].tobytes()


def jpeg(seed: int, side: int = 24) -> bytes:
    return cv2.imencode(".jpg", pixels(seed, side))[1].tobytes()


def write(root: Path, files: dict[str, bytes | str]) -> Path:
    """Writes files by relative name."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def zipped(root: Path) -> Path:
    """Packs a folder, under a folder of its own name, without compression."""
    target = root.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, path.relative_to(root.parent))
    return target


class Trees:
    """Makes source trees below a folder; `files` are overrides by name."""

    png, jpeg, pixels = staticmethod(png), staticmethod(jpeg), staticmethod(pixels)
    write, zipped = staticmethod(write), staticmethod(zipped)

    def __init__(self, root: Path):
        self.root = root

    def ckplus(self, **files: bytes | str) -> Path:
        """Three subjects x 7 labelled sequences of 5 frames, one unlabelled."""
        tree: dict[str, bytes | str] = {}
        for subject in (5, 10, 11):
            for number in range(1, 9):
                stem = f"S{subject:03d}/{number:03d}/S{subject:03d}_{number:03d}"
                for frame in range(1, 6):
                    seed = subject * 1000 + number * 10 + frame
                    name = f"cohn-kanade-images/{stem}_{frame:08d}.png"
                    tree[name] = png(seed, channels=1)
                if number < 8:
                    tree[f"Emotion/{stem}_00000005_emotion.txt"] = f"   {number:.7e}\n"
        return write(self.root / "ckplus", tree | files)

    def ck48(self, **files: bytes | str) -> Path:
        tree: dict[str, bytes | str] = {}
        for k, kind in enumerate(CKPLUS):
            for subject in (10, 11):
                for frame in (15, 16, 17):
                    name = f"CK+48/{kind}/S{subject:03d}_{k:03d}_{frame:08d}.png"
                    tree[name] = png(k * 100 + subject + frame * 7, 48, 1)
        return write(self.root / "ck48", tree | files)

    def ferplus(self, **files: bytes | str) -> Path:
        tree: dict[str, bytes | str] = {}
        for i, folder in enumerate(FERPLUS_FOLDERS):
            rows = []
            for k, (name, votes) in enumerate(VOTES.items()):
                tree[f"{folder}/{name}"] = png(10 * i + k, 48, 1)
                rows.append(f'{name},"(0, 0, 48, 48)",' + ",".join(map(str, votes)))
            tree[f"{folder}/label.csv"] = "\n".join(rows) + "\n"
        return write(self.root / "ferplus", tree | files)

    def ferplus_tables(self) -> Path:
        faces, votes = ["emotion,pixels,Usage"], ["Usage,Image name,neutral"]
        for i, usage in enumerate(("Training", "PublicTest", "PrivateTest")):
            for k, (name, counts) in enumerate(VOTES.items()):
                image = pixels(10 * i + k, 48, 1).reshape(-1)
                faces.append(f"0,{' '.join(map(str, image))},{usage}")
                votes.append(f"{usage},{i}{name}," + ",".join(map(str, counts)))
        faces.append(f"0,{' '.join(['0'] * 48 * 48)},Training")
        votes.append("Training,," + ",".join("0" * 10))
        content = {"fer2013.csv": faces, "fer2013new.csv": votes}
        return write(
            self.root / "tables", {n: "\n".join(c) + "\n" for n, c in content.items()}
        )

    def image_folder(self, **files: bytes | str) -> Path:
        tree: dict[str, bytes | str] = {}
        for k, kind in enumerate(("Happy", "sad", "bored")):
            for i in range(3):
                tree[f"faces/{kind}/{i}.png"] = png(10 * k + i)
        return write(self.root / "images", tree | files)

    def image_folder_splits(self) -> Path:
        tree: dict[str, bytes | str] = {}
        for s, split in enumerate(("train", "val", "Test")):
            for k, kind in enumerate(("happy", "sad")):
                for i in range(2):
                    tree[f"{split}/{kind}/{i}.jpg"] = jpeg(100 * s + 10 * k + i)
        return write(self.root / "splits", tree)

    def rafdb(self) -> Path:
        tree: dict[str, bytes | str] = {}
        lines = []
        for split in ("train", "test"):
            for k in range(1, 8):
                tree[f"basic/Image/aligned/{split}_{k:05d}_aligned.jpg"] = jpeg(k)
                lines.append(f"{split}_{k:05d}.jpg {k}")
        tree["basic/EmoLabel/list_patition_label.txt"] = "\n".join(lines) + "\n"
        return write(self.root / "rafdb", tree)

    def rafdb_kaggle(self) -> Path:
        tree: dict[str, bytes | str] = {}
        for split in ("train", "test"):
            for k in range(1, 8):
                name = f"DATASET/{split}/{k}/{split}_{k:05d}_aligned.jpg"
                tree[name] = jpeg(k)
        return write(self.root / "kaggle", tree)

    def mmi_frames(self) -> Path:
        tree: dict[str, bytes | str] = {}
        for subject in ("S001", "S002"):
            for k, kind in enumerate(("Anger", "Disgust", "Fear", "Happiness")):
                tree[f"{subject}/{kind}/a.png"] = png(k + len(subject))
        return write(self.root / "mmi", tree)

    def mmi_sessions(self) -> Path:
        root = self.root / "mmi_sessions"
        for k, value in enumerate(("4", "Surprise", "9")):
            folder = root / "Sessions" / str(100 + k)
            xml = f'<session><Metatag Name="Emotion" Value="{value}"/></session>'
            write(folder, {"session.xml": xml})
            stem = f"S{k + 1:03d}-00{k + 1}"
            video = cv2.VideoWriter(
                str(folder / f"{stem}.avi"),
                cv2.VideoWriter_fourcc(*"MJPG"),
                25.0,
                (32, 32),
            )
            for frame in range(9):  # brightness tells the frames apart
                video.write(np.full((32, 32, 3), 20 * frame, np.uint8))
            video.release()
        return root


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees(tmp_path / "sources")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"
