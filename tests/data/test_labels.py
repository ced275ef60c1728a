import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxfer.data import labels

votes = hnp.arrays(np.float32, (4, 10), elements=st.integers(0, 10))


def one(*counts: int) -> np.ndarray:
    return np.asarray([counts], np.float32)


def test_canonical_names():
    assert labels.canonical(" Happy ") == "happiness"
    assert labels.canonical("ANGER") == "anger"
    assert labels.canonical("bored") is None
    assert all(labels.canonical(name) == name for name in labels.EXPRESSIONS)
    for space in (labels.CKPLUS, labels.FERPLUS, labels.MMI, labels.RAFDB):
        assert set(space) <= set(labels.EXPRESSIONS)
        assert len(set(space)) == len(space)


def test_majority_needs_more_than_half():
    assert labels.majority_votes(one(6, 4, 0, 0, 0, 0, 0, 0, 0, 0)).label == [0]
    tied = labels.majority_votes(one(5, 5, 0, 0, 0, 0, 0, 0, 0, 0))
    assert tied.label == [-1]
    assert "half" in tied.reason[0]


def test_majority_drops_single_votes_before_counting():
    # 4 of 10 is no majority, but 4 of the 6 votes that are not single is one.
    counted = labels.majority_votes(one(0, 4, 1, 1, 1, 1, 0, 0, 2, 0))
    assert counted.label == [1]


def test_majority_counts_unknown_and_no_face():
    assert labels.majority_votes(one(4, 0, 0, 0, 0, 0, 0, 0, 3, 3)).label == [-1]
    unknown = labels.majority_votes(one(0, 0, 0, 2, 0, 0, 0, 0, 8, 0))
    assert unknown.label == [-1]
    assert "unknown" in unknown.reason[0]
    assert labels.majority_votes(one(0, 0, 0, 0, 0, 0, 0, 0, 0, 10)).label == [-1]


def test_soft_is_the_distribution_without_single_votes():
    soft = labels.soft_votes(one(6, 3, 1, 0, 0, 0, 0, 0, 0, 0))
    np.testing.assert_allclose(soft.target, [[2 / 3, 1 / 3, 0, 0, 0, 0, 0, 0]])
    assert soft.label == [0]
    assert labels.soft_votes(one(3, 2, 0, 0, 0, 0, 0, 0, 5, 0)).label == [-1]


@given(votes)
def test_rules_agree_on_any_votes(counts):
    hard, soft = labels.majority_votes(counts), labels.soft_votes(counts)
    kept = soft.label >= 0
    np.testing.assert_allclose(soft.target.sum(axis=1), kept, rtol=1e-6)
    np.testing.assert_array_equal(hard.target.sum(axis=1), hard.label >= 0)
    # A majority is the largest class of the distribution too.
    assert kept[hard.label >= 0].all()
    np.testing.assert_array_equal(
        soft.label[hard.label >= 0], hard.label[hard.label >= 0]
    )
    for rule in (hard, soft):
        np.testing.assert_array_equal(rule.label < 0, rule.reason != "")
