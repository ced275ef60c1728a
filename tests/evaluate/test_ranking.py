"""AUROC and precision by their definitions, ties included."""

import numpy as np
import pytest

from jaxfer.evaluate.ranking import auroc, highest_first, precision_at


def pairs(scores, sought):
    """The definition: over all pairs of a sought and another item."""
    wins = [
        (a > b) + 0.5 * (a == b)
        for a in scores[sought].tolist()
        for b in scores[~sought].tolist()
    ]
    return np.mean(wins)


@pytest.mark.parametrize("levels", [1, 2, 5, 1000])
def test_auroc_counts_pairs(levels):
    rng = np.random.default_rng(levels)
    for _ in range(20):
        size = rng.integers(2, 40)
        scores = rng.integers(0, levels, size) / 7
        sought = rng.random(size) < 0.4
        sought[:2] = True, False
        assert auroc(scores, sought) == pytest.approx(pairs(scores, sought))
        assert auroc(-scores, sought) == pytest.approx(1 - pairs(scores, sought))


def test_nothing_to_tell_apart_is_no_number():
    assert auroc(np.arange(3.0), np.ones(3, bool)) is None
    assert auroc(np.arange(3.0), np.zeros(3, bool)) is None


def test_precision_counts_the_first():
    scores = np.array([0.1, 0.9, 0.5, 0.9, 0.2])
    sought = np.array([True, False, True, True, False])
    np.testing.assert_array_equal(highest_first(scores), [1, 3, 2, 4, 0])
    shares = [precision_at(k, scores, sought) for k in range(1, 6)]
    assert shares == pytest.approx([0, 1 / 2, 2 / 3, 2 / 4, 3 / 5])
    assert precision_at(0, scores, sought) is None
    assert precision_at(6, scores, sought) is None
