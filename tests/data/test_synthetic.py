import cv2
import numpy as np
import pytest

from jaxfer.data.synthetic import ACTION_UNITS, EXPRESSIONS, NEUTRAL, render
from jaxfer.data.synthetic.face import draw
from jaxfer.data.synthetic.people import person, take
from jaxfer.data.synthetic.units import activate
from jaxfer.errors import ConfigError

NAMES = sorted(EXPRESSIONS)


def rng(*seed):
    return np.random.default_rng(seed)


def test_expressions_are_those_of_facs():
    assert dict(EXPRESSIONS) == {
        "anger": (4, 5, 7, 23),
        "contempt": (12, 14),
        "disgust": (9, 15, 17),
        "fear": (1, 2, 4, 5, 20, 26),
        "happiness": (6, 12),
        "sadness": (1, 4, 15),
        "surprise": (1, 2, 5, 26),
    }
    assert {unit for units in EXPRESSIONS.values() for unit in units} <= set(
        ACTION_UNITS
    )


@pytest.mark.parametrize("size", [16, 48, 64, 224])
def test_a_picture_is_rgb_bytes(size):
    picture = render("fear", 0, 0, size=size)
    assert picture.shape == (size, size, 3) and picture.dtype == np.uint8
    assert picture.std() > 10


def test_a_picture_follows_from_its_numbers():
    first = render("anger", 3, 1, seed=5, size=48)
    render("fear", 4, 0, size=48)
    np.testing.assert_array_equal(first, render("anger", 3, 1, seed=5, size=48))
    others = [
        render("fear", 3, 1, seed=5, size=48),
        render("anger", 2, 1, seed=5, size=48),
        render("anger", 3, 2, seed=5, size=48),
        render("anger", 3, 1, seed=6, size=48),
        render("anger", 3, 1, seed=5, size=48, intensity=0.1),
    ]
    for other in others:
        assert np.abs(first.astype(int) - other).mean() > 1


def test_sizes_show_the_same_picture():
    for name in (*NAMES, NEUTRAL):
        small, large = (render(name, 1, 0, size=size) for size in (48, 96))
        large = cv2.resize(large, (48, 48), interpolation=cv2.INTER_AREA)
        assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.96


@pytest.mark.parametrize("name", [*NAMES, NEUTRAL])
def test_activation_has_the_expressions_units(name):
    shown = EXPRESSIONS.get(name, ())
    for seed in range(20):
        units = activate(name, 0.8, rng(seed))
        assert units.min() >= 0 and units.max() <= 1
        others = np.delete(units, [*shown, 25], axis=1)
        assert others.max() <= 0.07
        if name == "contempt":
            assert (units[:, shown].max(1) > 0.5).sum() == 1
            assert units[:, shown].min() <= 0.07
        elif shown:
            assert units[:, shown].min() > 0.5
        none = activate(name, 0.0, rng(seed))
        assert none.max() <= 0.07


UPPER = (1, 2, 4, 5, 6, 7, 9)
LOWER = (12, 15, 17, 20, 23, 25, 26)


@pytest.mark.parametrize("unit", [*UPPER, *LOWER])
def test_each_unit_changes_its_part_of_the_face(unit):
    who = person(rng(1))._replace(beard="none", glasses="none")
    where = take(rng(2))._replace(yaw=0.0, pitch=0.0, roll=0.0, shift=(0.0, 0.0))
    rest = np.zeros((2, 27))
    active = rest.copy()
    active[:, unit] = 1.0
    change = np.abs(
        draw(who, where, active, 192).astype(int) - draw(who, where, rest, 192)
    ).sum((1, 2))
    upper, lower = change[:115].sum(), change[115:].sum()
    assert change.sum() > 0
    assert (upper > lower) == (unit in UPPER)


@pytest.mark.parametrize("unit", [12, 14])
def test_a_unit_of_one_side_leaves_the_other_still(unit):
    who = person(rng(1))._replace(beard="none", glasses="none")
    where = take(rng(2))._replace(yaw=0.0, pitch=0.0, roll=0.0, shift=(0.0, 0.0))
    rest = np.zeros((2, 27))
    active = rest.copy()
    active[1, [12, unit]] = 1.0
    change = np.abs(
        draw(who, where, active, 192).astype(int) - draw(who, where, rest, 192)
    ).sum((0, 2))
    assert change[96:].sum() > 2 * change[:96].sum()


def test_pictures_of_a_session_differ_in_little_but_the_expression():
    def distance(*pictures):
        one, other = (
            render(*p, size=48, intensity=0.8, session=session).astype(int)
            for p in pictures
        )
        return np.abs(one - other).mean()

    for who in range(3):
        same, smile, stranger = ("fear", who, 0), ("happiness", who, 0), ("fear", 9, 0)
        session = True
        movement = distance(same, ("fear", who, 1))
        assert 1 < movement < distance(same, smile) < distance(same, stranger)
        session = False
        assert distance(same, ("fear", who, 1)) > 2 * movement


def ridge(images, labels, test):
    """One-against-all ridge regression on standardised grey images."""

    def standard(x):
        x = x.reshape(len(x), -1).astype(np.float64)
        return (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)

    x, y = standard(images), np.eye(len(NAMES))[labels]
    kernel = x @ x.T
    weights = np.linalg.solve(kernel + 300.0 * np.eye(len(x)), y)
    return (standard(test) @ x.T @ weights).argmax(1)


def test_new_people_are_recognised_but_not_trivially():
    def pictures(people):
        made = [
            (cv2.cvtColor(render(name, who, n, size=48), cv2.COLOR_RGB2GRAY), label)
            for who in people
            for label, name in enumerate(NAMES)
            for n in range(2)
        ]
        return np.stack([image for image, _ in made]), np.array([y for _, y in made])

    images, labels = pictures(range(16))
    test, truth = pictures(range(100, 108))
    accuracy = (ridge(images, labels, test) == truth).mean()
    assert 2.0 / 7 < accuracy < 0.9


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        (("joy", 0, 0), {}, "Unknown expression 'joy'; expected one of"),
        (("fear", -1, 0), {}, "identity must be 0 or more, found -1"),
        (("fear", 0, -2), {}, "take must be 0 or more, found -2"),
        (("fear", 0, 0), {"seed": -1}, "seed must be 0 or more"),
        (("fear", 0, 0), {"size": 8}, "at least 16 pixels, found 8"),
        (("fear", 0, 0), {"intensity": 1.5}, r"in \[0, 1\], found 1.5"),
    ],
)
def test_errors_name_what_is_wrong(arguments, options, message):
    with pytest.raises(ConfigError, match=message):
        render(*arguments, **options)
