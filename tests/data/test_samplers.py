import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxfer.data.samplers import PADDING, epoch_order
from jaxfer.errors import ConfigError, DataError

LABELS = np.zeros(1000, np.int32)


def order(name, rows, batch_size, seed=0, labels=LABELS):
    rng = np.random.default_rng(seed)
    subjects = np.zeros(labels.shape, "<U1")
    return epoch_order(
        name, labels, rows, batch_size=batch_size, rng=rng, subjects=subjects
    )


def several_classes(counts, seed=0):
    """Labels of classes of these sizes, mixed; class 1 has none."""
    classes = [0, *range(2, len(counts) + 1)]
    return np.random.default_rng(seed).permutation(
        np.repeat(np.array(classes, np.int32), counts)
    )


@given(st.sets(st.integers(0, 999), min_size=1), st.integers(1, 40))
@settings(deadline=None, max_examples=50)
def test_batches_hold_every_row_once(rows, batch_size):
    rows = np.array(sorted(rows), np.int32)
    sequential = order("sequential", rows, batch_size)
    assert sequential.dtype == np.int32 and sequential.shape[1] == batch_size
    flat = sequential.ravel()
    np.testing.assert_array_equal(flat[: rows.size], rows)
    assert (flat[rows.size :] == PADDING).all() and flat.size - rows.size < batch_size
    if rows.size < batch_size:
        return
    shuffled = order("shuffle", rows, batch_size)
    assert shuffled.shape == (rows.size // batch_size, batch_size)
    assert shuffled.dtype == np.int32
    assert np.unique(shuffled).size == shuffled.size
    assert np.isin(shuffled, rows).all()


def test_shuffle_depends_on_the_generator_alone():
    rows = np.arange(100, dtype=np.int32)
    np.testing.assert_array_equal(order("shuffle", rows, 8), order("shuffle", rows, 8))
    assert (order("shuffle", rows, 8) != order("shuffle", rows, 8, seed=1)).any()
    assert (order("shuffle", rows, 8).ravel() != rows[:96]).any()
    np.testing.assert_array_equal(rows, np.arange(100))


def test_errors_say_what_to_do():
    rows = np.arange(5, dtype=np.int32)
    with pytest.raises(DataError, match=r"5 images.*batch of 6"):
        order("shuffle", rows, 6)
    with pytest.raises(ConfigError, match="Did you mean 'shuffle'"):
        order("shufle", rows, 2)
    with pytest.raises(ConfigError, match="at least 1"):
        order("shuffle", rows, 0)


def test_no_rows_give_no_steps():
    assert order("sequential", np.array([], np.int32), 4).shape == (0, 4)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.integers(1, 12),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=60)
def test_drawn_batches_hold_rows_of_the_part_alone(counts, t, seed):
    labels = several_classes(counts)
    rows = np.arange(0, labels.size, 2, dtype=np.int32)
    classes = np.unique(labels[rows])
    for name, batch_size in (("balanced", t), ("triplet", t * classes.size)):
        if (name == "balanced" and rows.size < t) or classes.size < 2:
            continue
        drawn = order(name, rows, batch_size, seed, labels)
        again = order(name, rows, batch_size, seed, labels)
        np.testing.assert_array_equal(drawn, again)
        assert drawn.dtype == np.int32
        assert drawn.shape == (max(1, rows.size // batch_size), batch_size)
        assert np.isin(drawn, rows).all()


def test_balanced_draws_classes_and_their_images_equally():
    labels = several_classes([4000, 1000, 200])
    rows = np.arange(labels.size, dtype=np.int32)
    drawn = order("balanced", rows, 5, 0, labels)
    share = np.bincount(labels[drawn.ravel()], minlength=4) / drawn.size
    # The mean of 5,200 draws at 1/3 strays by 0.0065 (one standard deviation).
    np.testing.assert_allclose(share, [1 / 3, 0, 1 / 3, 1 / 3], atol=0.03)
    rare = np.bincount(drawn[labels[drawn] == 3], minlength=labels.size)
    assert (rare[labels == 3] > 0).mean() > 0.99
    assert rare.max() < 30  # about 8.7 on average
    assert (drawn != order("balanced", rows, 5, 1, labels)).any()


@given(
    st.lists(st.integers(1, 30), min_size=2, max_size=5),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=60)
def test_triplet_batches_hold_t_of_each_class(counts, t, seed):
    labels = several_classes(counts)
    rows = np.arange(labels.size, dtype=np.int32)
    drawn = order("triplet", rows, t * len(counts), seed, labels)
    for batch in drawn:
        times = np.bincount(batch, minlength=labels.size)
        for k, count in zip(np.unique(labels), counts):
            of_class = times[labels == k]
            assert of_class.sum() == t
            assert of_class.max() == -(-t // count)
            assert of_class.min() == t // count


def test_triplet_shows_every_image_before_it_repeats_one():
    labels = several_classes([64, 32, 32])
    rows = np.arange(labels.size, dtype=np.int32)
    drawn = order("triplet", rows, 12, 0, labels)
    assert len(drawn) == 10
    seen = np.bincount(drawn.ravel(), minlength=labels.size)
    assert seen[labels == 0].max() == 1
    assert (seen[labels > 0] >= 1).all() and seen.max() == 2


def test_triplet_says_which_batch_sizes_fit():
    labels = several_classes([4, 4, 4])
    rows = np.arange(12, dtype=np.int32)
    with pytest.raises(DataError, match=r"3 classes.*found 7\. Use 6 or 9"):
        order("triplet", rows, 7, 0, labels)
    with pytest.raises(DataError, match=r"found 2\. Use 3 or 6"):
        order("triplet", rows, 2, 0, labels)
    with pytest.raises(DataError, match="at least 2 classes"):
        order("triplet", rows[labels == 0], 4, 0, labels)
    with pytest.raises(DataError, match=r"12 images.*batch of 13"):
        order("balanced", rows, 13, 0, labels)
