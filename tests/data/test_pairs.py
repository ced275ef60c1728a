import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxfer.data.pairs import pair_order, pairable
from jaxfer.errors import ConfigError, DataError


def people(n, subjects, classes, seed):
    rng = np.random.default_rng(seed)
    who = np.array([f"S{k:02d}" for k in rng.integers(subjects, size=n)])
    return rng.integers(classes, size=n, dtype=np.int32), who


def order(labels, who, rows, batch_size, seed=0):
    rng = np.random.default_rng(seed)
    flat = pair_order(labels, who, rows, batch_size=2 * batch_size, rng=rng)
    return flat.reshape(-1, batch_size, 2)


@given(
    st.integers(2, 80),
    st.integers(1, 12),
    st.integers(2, 5),
    st.integers(1, 6),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=80)
def test_partners_are_the_same_person_with_another_expression(
    n, subjects, classes, batch_size, seed
):
    labels, who = people(n, subjects, classes, seed)
    rows = np.arange(0, n, 2, dtype=np.int32)
    expected = [
        row
        for row in rows
        if any(who[o] == who[row] and labels[o] != labels[row] for o in rows)
    ]
    if len(expected) < batch_size:
        with pytest.raises(DataError, match=r"fewer than one batch|no pairs"):
            order(labels, who, rows, batch_size, seed)
        return
    found = pairable(labels, who, rows)
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_array_equal(np.sort([*found.rows, *found.alone]), rows)
    assert set(found.subjects) == set(who[found.alone])
    pairs = order(labels, who, rows, batch_size, seed)
    np.testing.assert_array_equal(pairs, order(labels, who, rows, batch_size, seed))
    assert pairs.shape == (len(expected) // batch_size, batch_size, 2)
    assert pairs.dtype == np.int32
    source, target = pairs.reshape(-1, 2).T
    assert np.unique(source).size == source.size
    assert np.isin(source, expected).all() and np.isin(target, rows).all()
    np.testing.assert_array_equal(who[source], who[target])
    assert (labels[source] != labels[target]).all()


def test_other_expressions_are_equally_likely():
    labels = np.repeat(np.arange(4, dtype=np.int32), (1, 2, 30, 7))
    who = np.full(labels.size, "S001")
    rows = np.arange(labels.size, dtype=np.int32)
    rng = np.random.default_rng(0)
    drawn = np.concatenate(
        [pair_order(labels, who, rows, batch_size=80, rng=rng)[0] for _ in range(200)]
    ).reshape(-1, 2)
    table = np.zeros((4, 4))
    np.add.at(table, (labels[drawn[:, 0]], labels[drawn[:, 1]]), 1)
    table /= table.sum(axis=1, keepdims=True)
    # The rarest source is drawn 200 times; one standard deviation is 0.033.
    np.testing.assert_allclose(table, (1 - np.eye(4)) / 3, atol=0.12)
    assert np.unique(drawn[:, 1]).size == labels.size


def test_who_is_left_out_is_listed():
    labels = np.array([0, 1, 2, 2, 0, 1], np.int32)
    who = np.array(["b", "b", "a", "a", "c", "c"])
    found = pairable(labels, who, np.arange(5, dtype=np.int32))
    assert found.rows.tolist() == [0, 1]
    assert found.alone.tolist() == [2, 3, 4]
    assert found.subjects == ("a", "c")


def test_errors_say_what_to_do():
    labels = np.array([0, 1, 0], np.int32)
    rows = np.arange(3, dtype=np.int32)
    with pytest.raises(DataError, match="1 of 3 images have no subject"):
        order(labels, np.array(["a", "a", ""]), rows, 1)
    with pytest.raises(DataError, match="None of the 3 subjects"):
        order(labels, np.array(["a", "b", "c"]), rows, 1)
    with pytest.raises(DataError, match=r"2 images have a partner \(1 are"):
        order(labels, np.array(["a", "a", "b"]), rows, 3)
    with pytest.raises(ConfigError, match="even number"):
        order(labels, np.array(["a", "a", "b"]), rows, 0)
