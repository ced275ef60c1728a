"""`jaxfer synthesize`: faces, sheets, strips, animations; and what it refuses."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxfer import cli, methods, synthesize
from jaxfer.evaluate.drawing import between
from jaxfer.image_arguments import read_image
from jaxfer.methods import fersnet
from jaxfer.train import Trained, checkpoints

NAMES = ("anger", "happiness", "surprise")
SIZE = 8


def painted(variables, images, target):
    """The middle of the image, with the expression as its colour."""
    middle = images[:, 1:-1, 1:-1].astype(jnp.float32) / 255
    return variables * middle.mean(axis=-1, keepdims=True) * target[:, None, None]


@pytest.fixture
def model(monkeypatch):
    config = fersnet.default_config()
    config.data.image_size = SIZE
    trained = Trained(config, NAMES, None, jnp.ones(()))
    monkeypatch.setattr(synthesize, "load_trained", lambda *args, **options: trained)
    monkeypatch.setattr(methods, "create_synthesis", lambda *args, **options: painted)
    return trained


def command(capsys, *words):
    status = cli.main(["synthesize", *map(str, words)])
    return status, *capsys.readouterr()


def read(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_every_face_is_drawn_with_every_expression(model, faces, tmp_path, capsys):
    (faces / "broken.png").write_bytes(b"no image")
    out = tmp_path / "out"
    status, printed, errors = command(capsys, "run", faces, "--to", "all", "--out", out)
    assert status == 0
    assert "broken.png" in errors and "skipped 1 of 3 files" in errors
    pictures = [f"one{n}_{k}{m}.png" for n, m in (("", ""), ("", "_2")) for k in NAMES]
    assert [out / name for name in (*pictures, "sheet.png")] == [
        out / line.rsplit("/", 1)[1] for line in printed.split()
    ]
    # Sorted: faces/more/one.png comes first.
    for source, names in (("more/one.png", pictures[:3]), ("one.png", pictures[3:])):
        whole = read_image(faces / source, SIZE).astype(np.float32)
        middle = whole[1:-1, 1:-1].mean(axis=-1)
        for k, name in enumerate(names):
            drawn = read(out / name).astype(np.float32)
            assert drawn.shape == (SIZE - 2, SIZE - 2, 3)
            np.testing.assert_allclose(drawn[..., k], middle, atol=0.51)
            assert not drawn[..., np.arange(3) != k].any()
    assert read(out / "sheet.png").std() > 10


def test_one_expression_of_one_face_is_one_picture(model, faces, tmp_path, capsys):
    out = tmp_path / "out"
    words = ("run", faces / "one.png", "--to", "Happiness", "--out", out)
    assert command(capsys, *words)[0] == 0
    assert [path.name for path in out.iterdir()] == ["one_happiness.png"]


def test_the_last_face_of_many_has_a_sheet_too(
    model, faces, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(synthesize, "FACES", 1)
    out = tmp_path / "out"
    words = ("run", faces, "--to", "anger", "--to", "Anger", "--out", out)
    assert command(capsys, *words)[0] == 0
    names = ["one_anger.png", "one_anger_2.png", "sheet.png", "sheet_2.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    words = ("run", faces, "--to", "anger", "--to", "anger", "--interpolate")
    status, _, errors = command(capsys, *words, "--out", out)
    assert status == 2 and "from one expression to another" in errors


def test_expressions_are_joined_by_straight_lines(model, faces, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["run", faces / "one.png", "--interpolate", "--steps", 3, "--out", out]
    words += ["--to", "anger", "--to", "surprise", "--to", "anger"]
    assert command(capsys, *words)[0] == 0
    assert read(out / "one_interpolation.png").std() > 10
    with Image.open(out / "one_interpolation.gif") as film:
        shown = []
        for number in range(film.n_frames):
            film.seek(number)
            red, green, blue = np.asarray(film.convert("RGB"), np.float32).mean((0, 1))
            shown.append(red / (red + blue))
            assert green < 3 and film.size == (synthesize.GIF_SIDE,) * 2
    expected = [1, 0.5, 0, 0.5, 1, 0.5, 0, 0.5]  # and back again
    np.testing.assert_allclose(shown, expected, atol=0.05)


def test_a_line_has_its_ends_and_sums_to_one():
    line = between(2, 0, 5, 3)
    np.testing.assert_array_equal(line[[0, -1]], [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_allclose(line.sum(axis=1), 1)
    np.testing.assert_allclose(np.diff(line, n=2, axis=0), 0, atol=1e-6)


def test_what_cannot_be_drawn_is_said_clearly(model, faces, tmp_path, capsys):
    def fails(*words):
        status, printed, errors = command(capsys, *words, "--out", tmp_path / "out")
        assert status == 2 and not printed
        return errors

    said = fails("run", faces, "--to", "hapiness")
    assert "no class is called 'hapiness'; did you mean 'happiness'?" in said
    assert "give it alone" in fails("run", faces, "--to", "all", "--to", "anger")
    assert "is an image: expected first" in fails(faces / "one.png", faces, "--to", "x")
    assert "holds a recogniser" in fails("a.safetensors", faces, "--to", "anger")
    assert "does not exist" in fails("run", tmp_path / "absent", "--to", "anger")
    one = ("run", faces, "--to", "anger")
    assert "--to anger --to happiness" in fails(*one, "--interpolate")
    assert "needs --interpolate" in fails(*one, "--steps", "4")
    two = (*one, "--to", "surprise", "--interpolate")
    assert "takes 2 or more" in fails(*two, "--steps", "1")
    assert not (tmp_path / "out").exists()


def test_a_diverged_model_draws_nothing(model, faces, tmp_path, capsys, monkeypatch):
    diverged = model._replace(variables=jnp.full((), np.nan))
    monkeypatch.setattr(synthesize, "load_trained", lambda *args, **options: diverged)
    out = tmp_path / "out"
    words = ("run", faces, "--to", "anger", "--out", out)
    status, _, errors = command(capsys, *words)
    assert status == 2 and "training diverged" in errors and not out.exists()


def test_a_run_that_draws_no_faces_says_so(finished_toy, faces, capsys, monkeypatch):
    import toy

    toy.stand_in(monkeypatch)
    words = ("synthesize", finished_toy, faces, "--to", "left")
    assert cli.main(list(map(str, words))) == 2
    assert "method toy draws no faces: expected one of fersnet" in (
        capsys.readouterr().err
    )
    config = fersnet.default_config()
    assert methods.draws_faces(config)
    config.method.multi_task = False
    assert not methods.draws_faces(config)
    assert not methods.draws_faces({"method": {"name": "eac"}})


def test_a_run_of_fersnet_draws_by_its_working_folder(tmp_path, faces, capsys):
    config = fersnet.default_config()
    config.method.width = 0.03125
    config.method.image_size = config.data.image_size = 32
    config.method.weights.identity = 0.0
    folder = tmp_path / "run"
    (folder / "fold_00").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    facts = {
        "dataset": "faces",
        "class_names": NAMES,
        "method": "fersnet",
        "stages": ["joint"],
        "runs": [{"seed": 0, "fold": 0, "dir": "fold_00"}],
    }
    (folder / "run.json").write_text(json.dumps(facts))
    method = fersnet.create(config, num_classes=len(NAMES), steps_per_epoch=1)
    example = jax.ShapeDtypeStruct((1, 32, 32, 3), np.uint8)
    state = jax.eval_shape(method.init, jax.random.key(0), example)
    rng = np.random.default_rng(1)
    variables = jax.tree.map(
        lambda a: rng.uniform(0.1, 0.3, a.shape).astype(a.dtype), state.variables
    )
    checkpoints.save_variables(folder / "fold_00" / "model_last", variables)
    out = tmp_path / "out"
    words = (folder, faces / "one.png", "--to", "surprise", "--out", out)
    status, _, errors = command(capsys, *words)
    assert (status, errors) == (0, "")
    assert read(out / "one_surprise.png").shape == (32, 32, 3)
