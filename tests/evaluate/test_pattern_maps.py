"""Distances from sums against all pairs, and nearest means by hand."""

import itertools

import numpy as np
import pytest

from jaxfer.evaluate.pattern_maps import (
    add,
    class_means,
    distances,
    nearest,
    principal_plane,
    sums,
)


def by_pairs(x, label, subject):
    """Mean squared distances, one pair after the other."""
    found = {}
    for i, j in itertools.combinations(range(len(x)), 2):
        d = np.mean((x[i] - x[j]) ** 2)
        same = label[i] == label[j]
        known = min(subject[i], subject[j]) >= 0
        names = ["within_class" if same else "between_classes"]
        if known and same and subject[i] != subject[j]:
            names.append("within_class_across_identities")
        if known and not same and subject[i] == subject[j]:
            names.append("between_classes_same_identity")
        for name in names:
            found.setdefault(name, []).append(d)
    return {name: np.mean(values) for name, values in found.items()}


@pytest.mark.parametrize("unknown", [0, 1])
def test_distances_are_those_of_all_pairs(unknown):
    rng = np.random.default_rng(unknown)
    x = rng.random((40, 3, 2, 1)).astype(np.float32)
    label, subject = rng.integers(0, 3, 40), rng.integers(0, 4, 40) - unknown
    keys, group = np.unique(np.stack([label, subject]), axis=1, return_inverse=True)
    groups = keys.shape[1]
    first, second = (sums(x[s], group[s], groups) for s in (slice(25), slice(25, 40)))
    found = distances(add(first, second), *keys)
    expected = by_pairs(x, label, subject)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    within, between = expected["within_class"], expected["between_classes"]
    assert found["ratio"] == pytest.approx(between / within)


def test_absent_pairs_and_equal_pictures_have_no_ratio():
    x = np.repeat(np.array([[0.1, 0.7], [0.3, 0.3]]), 2, axis=0)
    label = np.array([0, 1])
    part = sums(x, np.array([0, 0, 1, 1]), 2)
    found = distances(part, label, np.array([-1, -1]))
    assert found["within_class"] == pytest.approx(0, abs=1e-12)
    assert found["between_classes"] == pytest.approx((0.2**2 + 0.4**2) / 2)
    for name in ("within_class_across_identities", "ratio_across_identities"):
        assert np.isnan(found[name])


def test_the_nearest_class_mean_decides():
    x = np.array([[0.0, 0.0], [0.0, 2.0], [10.0, 10.0]])
    part = sums(x, np.array([0, 0, 1]), 2)
    means = class_means(part, np.array([0, 2]), 3)  # class 1 has no picture
    np.testing.assert_array_equal(means[[0, 2]], [[0, 1], [10, 10]])
    assert np.isnan(means[1]).all()
    asked = np.array([[0.0, 5.0], [6.0, 6.0], [0.0, 0.0]])
    assert nearest(asked, means).tolist() == [0, 2, 0]


def test_the_plane_holds_what_varies_most():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(50, 2)) * [5.0, 2.0]
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0][:2]
    found, share = principal_plane(flat @ basis + 3)
    assert share.sum() == pytest.approx(1)
    lengths = np.linalg.norm(flat - flat.mean(0), axis=1)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), lengths, rtol=1e-6)
    assert found.var(axis=0)[0] > found.var(axis=0)[1]
    assert (found[np.abs(found).argmax(0), [0, 1]] > 0).all()
