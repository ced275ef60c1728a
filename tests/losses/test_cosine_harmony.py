import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import losses

VARIANTS = ["released", "printed", "separating"]
LABELS = np.array([0, 2, 1, 0, 2, 0], np.int32)
ALL = np.ones(6, bool)
WHERE = np.array([True, True, False, True, False, True])
CLASSES, WIDTH = 3, 8
RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.standard_normal((6, WIDTH)).astype(np.float32)
CENTERS = RANDOM.standard_normal((CLASSES, WIDTH)).astype(np.float32)
OTHERS = ~np.eye(CLASSES, dtype=bool)[LABELS]

each_variant = pytest.mark.parametrize("variant", VARIANTS)


@jax.jit
def all_variants(features, centers, labels, alpha, where):
    def loss_fn(features, centers, variant):
        return losses.cosine_harmony(
            features, labels, centers, alpha, variant, where=where
        )

    run = jax.value_and_grad(loss_fn, argnums=(0, 1))
    return {variant: run(features, centers, variant) for variant in VARIANTS}


def run(variant, features, centers, labels=LABELS, alpha=0.1, where=ALL):
    """The loss and its gradients by features and centers."""
    results = all_variants(features, centers, labels, alpha, where)
    loss, slopes = results[variant]
    return np.asarray(loss), *map(np.asarray, slopes)


def similarities(features, centers):
    """Cosines of centred vectors are correlations."""
    return np.corrcoef(features, centers)[: len(features), len(features) :]


@each_variant
def test_equals_its_formula(variant):
    distances = 1 - similarities(FEATURES, CENTERS)
    intra, others = distances[~OTHERS].sum() / 6, distances[OTHERS].sum() / 12
    inter = {"released": intra / 2, "printed": others, "separating": -others}[variant]
    variance = FEATURES.var(axis=0, ddof=1).sum()
    for alpha in [0.0, 0.1, 1.0]:
        loss, _, _ = run(variant, FEATURES, CENTERS, alpha=alpha)
        expected = alpha * intra / variance + (1 - alpha) * inter
        np.testing.assert_allclose(loss, expected, rtol=1e-5)


@each_variant
def test_examples_at_their_centers_are_at_no_distance(variant):
    loss, _, _ = run(variant, 5 * CENTERS[LABELS] + 3, CENTERS, alpha=1.0)
    np.testing.assert_allclose(loss, 0, atol=1e-6)


def test_separating_pushes_classes_apart_and_printed_pulls_them_together():
    similar = {}
    for variant in ["printed", "separating"]:
        _, _, slope = run(variant, FEATURES, CENTERS)
        moved = similarities(FEATURES, CENTERS - 0.1 * slope)
        similar[variant] = moved[OTHERS].sum()
    before = similarities(FEATURES, CENTERS)[OTHERS].sum()
    assert similar["separating"] < before < similar["printed"]


@each_variant
def test_a_mask_equals_the_subset(variant):
    broken = np.where(WHERE[:, None], FEATURES, np.float32(np.nan))
    padded = np.where(WHERE, LABELS, -1)
    masked, slope, center_slope = run(variant, broken, CENTERS, padded, where=WHERE)
    subset, *expected = run(
        variant, FEATURES[WHERE], CENTERS, LABELS[WHERE], where=None
    )
    np.testing.assert_allclose(masked, subset, rtol=1e-5)
    np.testing.assert_allclose(slope[WHERE], expected[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(slope[~WHERE], np.zeros((2, WIDTH)))
    np.testing.assert_allclose(center_slope, expected[1], rtol=1e-4, atol=1e-6)


def test_the_order_of_examples_does_not_matter():
    loss, slope, _ = run("released", FEATURES, CENTERS)
    turned, slopes, _ = run("released", FEATURES[::-1], CENTERS, LABELS[::-1])
    np.testing.assert_allclose(turned, loss, rtol=1e-6)
    np.testing.assert_allclose(slopes[::-1], slope, rtol=1e-4, atol=1e-6)


@each_variant
@pytest.mark.parametrize("scale", [0, 1e-4, 1, 100])
def test_equal_features_leave_out_the_first_term(variant, scale):
    features = np.repeat(np.float32(scale) * FEATURES[:1], 6, axis=0)
    loss, *slopes = run(variant, features, CENTERS)
    second, _, _ = run(variant, features, CENTERS, alpha=0.0)
    np.testing.assert_allclose(loss, 0.9 * second, rtol=1e-6)
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_one_example_and_none():
    alone = np.arange(6) == 3
    loss, *slopes = run("released", FEATURES, CENTERS, where=alone)
    distance = 1 - similarities(FEATURES, CENTERS)[3, LABELS[3]]
    np.testing.assert_allclose(loss, 0.9 * distance / 2, rtol=1e-5)
    assert all(np.isfinite(slope).all() for slope in slopes)
    loss, *slopes = run("released", FEATURES, CENTERS, where=np.zeros(6, bool))
    assert loss == 0
    assert not any(slope.any() for slope in slopes)


def test_zero_vectors_are_at_distance_one_of_everything():
    for features, centers in [(FEATURES, 0 * CENTERS), (0 * FEATURES, CENTERS)]:
        loss, *slopes = run("printed", features, centers, alpha=0.0)
        np.testing.assert_allclose(loss, 1, rtol=1e-6)
        assert not any(slope.any() for slope in slopes)


def test_half_precision_gives_single_precision():
    half = jnp.asarray(FEATURES, jnp.bfloat16)
    loss = jax.eval_shape(losses.cosine_harmony, half, LABELS, CENTERS)
    assert loss.dtype == jnp.float32
    assert loss.shape == ()


@pytest.mark.parametrize("label", [-1, CLASSES])
def test_a_class_that_does_not_exist_is_nan(label):
    labels = np.where(np.arange(6) == 1, label, LABELS)
    assert np.isnan(run("released", FEATURES, CENTERS, labels)[0])


def test_what_cannot_be_computed():
    with pytest.raises(ValueError, match="expected a variant of"):
        losses.cosine_harmony(FEATURES, LABELS, CENTERS, variant="paper")
    with pytest.raises(ValueError, match="at least two centers, got 1"):
        losses.cosine_harmony(FEATURES, LABELS, CENTERS[:1])
    with pytest.raises(ValueError, match=r"centers \(K, D\), got"):
        losses.cosine_harmony(FEATURES, LABELS, CENTERS.T)


GOLDEN, INDEX = golden_rule.load("losses")


def reference(case):
    rule = INDEX["harmony"][case]
    x = np.random.default_rng(rule["seed"]).standard_normal(rule["shape"])
    centers = golden_rule.draw(
        "affinity", f"{case}.centers", "normal", rule["centers"], keras=False
    )
    return x.astype(np.float32), np.array(rule["labels"], np.int32), centers


@pytest.mark.parametrize("case", INDEX["harmony"])
@pytest.mark.parametrize("variant", ["released", "printed"])
def test_equals_the_released_code_and_the_formula_of_the_paper(variant, case):
    name = f"harmony/{case}/{variant}"
    x, labels, centers = reference(case)
    pooled = x.astype(np.float64).mean(axis=(1, 2))
    with jax.enable_x64():
        loss, slope, center_slope = run(
            variant, pooled, centers.astype(np.float64), labels, where=None
        )
    np.testing.assert_allclose(loss, GOLDEN[f"{name}/loss"], rtol=1e-10)
    if variant == "released":  # its gradient is that of the map before the pooling
        slope = np.broadcast_to(slope[:, None, None] / x[0, ..., 0].size, x.shape)
        slope, expected = golden_rule.sample(slope, GOLDEN, INDEX, f"{name}/grad_x")
    else:
        expected = GOLDEN[f"{name}/grad_pooled"]
    np.testing.assert_allclose(slope, expected, atol=1e-7 * np.abs(expected).max())
    expected = GOLDEN[f"{name}/grad_centers"]
    np.testing.assert_allclose(
        center_slope, expected, atol=1e-7 * np.abs(expected).max()
    )
