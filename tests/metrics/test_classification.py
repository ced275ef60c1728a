"""Metrics against formulas written out in NumPy, and their laws."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxfer import metrics

K = 5
classify, compute = jax.jit(metrics.classification), jax.jit(metrics.compute)


def make(seed=0, n=64, k=K, scale=3.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (n, k)).astype(np.float32)
    labels = rng.integers(0, k, n).astype(np.int32)
    return logits, labels


def reference(logits, labels, bins=15):
    """Every metric, example by example, in float64."""
    logits = np.asarray(logits, np.float64)
    n, k = logits.shape
    shifted = logits - logits.max(1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    predicted = logits.argmax(1)
    confusion = np.zeros((k, k))
    for true, guess in zip(labels, predicted):
        confusion[true, guess] += 1
    recalls, scores = [], []
    for c in range(k):
        if not (labels == c).any():
            continue
        hit = np.sum((labels == c) & (predicted == c))
        recall = hit / np.sum(labels == c)
        called = np.sum(predicted == c)
        precision = hit / called if called else 0.0
        recalls.append(recall)
        total = precision + recall
        scores.append(2 * precision * recall / total if total else 0.0)
    confidence = probabilities.max(1)
    error = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if inside.any():
            gap = np.mean(predicted[inside] == labels[inside])
            gap -= confidence[inside].mean()
            error += inside.mean() * abs(gap)
    return confusion, {
        "loss": np.mean(-np.log(probabilities[np.arange(n), labels])),
        "accuracy": np.mean(predicted == labels),
        "balanced_accuracy": np.mean(recalls),
        "macro_f1": np.mean(scores),
        "ece": error,
    }


MANY = metrics.CONFUSION_CLASSES + 1


@given(st.integers(0, 2**16), st.sampled_from([1, 40]), st.sampled_from([2, 7, MANY]))
@settings(max_examples=40, deadline=None)
def test_agrees_with_the_formulas(seed, n, k):
    logits, labels = make(seed, n, k)
    state = classify(jnp.asarray(logits), jnp.asarray(labels))
    confusion, expected = reference(logits, labels)
    chex.assert_trees_all_equal(state.hits, np.diag(confusion).astype(np.float32))
    chex.assert_trees_all_equal(state.support, confusion.sum(1).astype(np.float32))
    chex.assert_trees_all_equal(state.predicted, confusion.sum(0).astype(np.float32))
    if k < MANY:
        chex.assert_trees_all_equal(state.confusion, confusion.astype(np.float32))
    values = compute(state)
    assert values.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(values[name], expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("k", [K, MANY - 1, MANY])
def test_merging_parts_is_the_whole(k):
    logits, labels = make(k=k)
    whole = classify(jnp.asarray(logits), jnp.asarray(labels))
    merged = metrics.zeros(k)
    for start in range(0, 64, 20):  # the last part is smaller
        part = slice(start, start + 20)
        merged = metrics.merge(
            merged,
            classify(jnp.asarray(logits[part]), jnp.asarray(labels[part])),
        )
    chex.assert_trees_all_close(merged, whole, rtol=1e-6)
    chex.assert_trees_all_equal(merged.confusion, whole.confusion)
    chex.assert_trees_all_equal_shapes_and_dtypes(merged, whole)


def test_many_classes_need_no_confusion_matrix():
    """The same examples among classes that never occur, too many for a matrix."""
    logits, labels = make()
    absent = np.full((len(logits), MANY - K), -1e9, np.float32)
    few = classify(jnp.asarray(logits), jnp.asarray(labels))
    many = classify(
        jnp.asarray(np.concatenate([logits, absent], axis=1)), jnp.asarray(labels)
    )
    assert few.confusion.shape == (K, K) and many.confusion.size == 0
    assert max(leaf.size for leaf in many) == MANY
    chex.assert_trees_all_close(compute(many), compute(few), rtol=1e-6)
    for name, values in metrics.per_class(few).items():
        found = metrics.per_class(many)[name]
        chex.assert_trees_all_equal(found[:K], values)
        assert not found[K:].any()


def test_where_is_the_subset_whatever_stands_in_the_rest():
    logits, labels = make()
    keep = np.random.default_rng(1).random(64) < 0.6
    dirty = np.where(keep[:, None], logits, np.nan)
    padded = np.where(keep, labels, -1).astype(np.int32)
    masked = classify(jnp.asarray(dirty), jnp.asarray(padded), jnp.asarray(keep))
    subset = classify(jnp.asarray(logits[keep]), jnp.asarray(labels[keep]))
    chex.assert_trees_all_close(masked, subset, rtol=1e-6)
    assert masked.count == float(keep.sum())


def test_vmap_and_jit_are_one_run_at_a_time():
    runs = [make(seed) for seed in range(3)]
    logits = jnp.stack([jnp.asarray(r[0]) for r in runs])
    labels = jnp.stack([jnp.asarray(r[1]) for r in runs])
    state = jax.jit(jax.vmap(metrics.classification))(logits, labels)
    values = jax.vmap(metrics.compute)(state)
    for i, (x, y) in enumerate(runs):
        one = compute(metrics.classification(jnp.asarray(x), jnp.asarray(y)))
        chex.assert_trees_all_close(
            jax.tree.map(lambda v, i=i: v[i], values), one, rtol=1e-6
        )


def test_perfect_predictor():
    labels = jnp.arange(K, dtype=jnp.int32)
    state = classify(50.0 * jnp.eye(K), labels)
    values = compute(state)
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert values[name] == 1.0
    assert values["loss"] == 0.0
    assert values["ece"] == pytest.approx(0.0, abs=1e-6)
    chex.assert_trees_all_equal(state.confusion, jnp.eye(K))


def test_constant_predictor():
    labels = jnp.asarray([0, 0, 0, 1, 2, 2], jnp.int32)
    logits = jnp.tile(jnp.asarray([[0.0, 5.0, 0.0]]), (6, 1))
    values = compute(classify(logits, labels))
    assert values["accuracy"] == pytest.approx(1 / 6)
    assert values["balanced_accuracy"] == pytest.approx(1 / 3)
    assert values["macro_f1"] == pytest.approx((2 * 1 / (1 + 6)) / 3)


def test_absent_classes_are_left_out_of_the_means():
    labels = jnp.asarray([0, 0, 1, 1], jnp.int32)
    predicted = jnp.asarray([0, 0, 1, 3])  # one example mistaken for absent class 3
    state = classify(9.0 * jax.nn.one_hot(predicted, 4), labels)
    values = compute(state)
    assert values["balanced_accuracy"] == pytest.approx((1.0 + 0.5) / 2)
    assert values["macro_f1"] == pytest.approx((1.0 + 2 / 3) / 2)
    classes = metrics.per_class(state)
    np.testing.assert_array_equal(classes["support"], [2, 2, 0, 0])
    np.testing.assert_allclose(classes["precision"], [1, 1, 0, 0])
    np.testing.assert_allclose(classes["recall"], [1, 0.5, 0, 0])


@pytest.mark.parametrize("confidence", [0.6, 0.75, 0.9])
def test_calibrated_toy_has_no_calibration_error(confidence):
    """A share of `confidence` is right, and says so: the error is zero."""
    n, right = 20, round(20 * confidence)
    logit = np.log(confidence / (1 - confidence))
    logits = jnp.tile(jnp.asarray([[logit, 0.0]], jnp.float32), (n, 1))
    labels = jnp.asarray([0] * right + [1] * (n - right), jnp.int32)
    state = classify(logits, labels)
    assert compute(state)["ece"] == pytest.approx(0.0, abs=1e-6)
    wrong = classify(logits, 1 - labels)
    assert compute(wrong)["ece"] == pytest.approx(2 * confidence - 1, abs=1e-5)
    table = metrics.calibration(state)
    assert table["count"].sum() == n
    assert table["accuracy"].max() == pytest.approx(confidence, abs=1e-6)


def test_of_nothing_is_not_a_number():
    assert all(np.isnan(v) for v in compute(metrics.zeros(K)).values())


def test_low_precision_logits_are_judged_in_float32():
    logits, labels = make()
    half = jnp.asarray(logits).astype(jnp.bfloat16)
    state = classify(half, jnp.asarray(labels))
    expected = classify(half.astype(jnp.float32), jnp.asarray(labels))
    chex.assert_trees_all_equal(state, expected)
    assert {leaf.dtype for leaf in state} == {jnp.dtype("float32")}
