import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxfer.data.samplers import PADDING, epoch_order
from jaxfer.errors import ConfigError, DataError

LABELS = np.zeros(1000, np.int32)


def order(name, rows, batch_size, seed=0):
    rng = np.random.default_rng(seed)
    return epoch_order(name, LABELS, rows, batch_size=batch_size, rng=rng)


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
