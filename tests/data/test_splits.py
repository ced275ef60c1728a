from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from jaxfer.data.splits import KINDS, make_folds
from jaxfer.errors import ConfigError, DataError

NAMES = ("anger", "fear", "happiness")


def table(labels, subjects=None, split=None):
    n = len(labels)
    return SimpleNamespace(
        label=np.asarray(labels, np.int32),
        subject=np.asarray([""] * n if subjects is None else subjects, str),
        split=np.asarray(["all"] * n if split is None else split, str),
    )


def protocol(
    kind, folds=3, validation=0.0, validation_kind="random", seed=0, train_fraction=1.0
):
    return SimpleNamespace(
        kind=kind,
        folds=folds,
        validation=validation,
        validation_kind=validation_kind,
        train_fraction=train_fraction,
        seed=seed,
    )


def random_table(seed, n=90, subjects=12):
    rng = np.random.default_rng(seed)
    people = rng.integers(0, subjects, n)
    people[:subjects] = np.arange(subjects)
    labels = rng.permutation(np.arange(n) % 3)
    return table(labels, [f"S{p:03d}" for p in people], ["train", "test"] * (n // 2))


@given(
    st.integers(0, 10_000),
    st.sampled_from(KINDS),
    st.integers(2, 7),
    st.floats(0.0, 0.5),
    st.sampled_from(["last", "random", "stratified", "subject"]),
)
@settings(deadline=None, max_examples=150)
def test_folds_partition_the_table(seed, kind, k, share, validation_kind):
    data = random_table(seed)
    settings_ = protocol(kind, k, share, validation_kind, seed)
    try:
        folds = make_folds(data, NAMES, settings_)
    except DataError as error:  # chance put too few classes in some part
        assert "tests classes" in str(error) or "of the class" in str(error)
        reject()
    assert len(folds) == (1 if kind in ("given", "holdout") else k)
    for fold in folds:
        parts = np.concatenate(fold)
        np.testing.assert_array_equal(np.sort(parts), np.arange(90))
        for rows in fold:
            assert rows.dtype == np.int32
            assert (np.diff(rows) > 0).all()
        assert (fold.validation.size == 0) == (share == 0.0)
        classes = [set(data.label[rows]) for rows in fold]
        assert classes[2] <= classes[0]
        assert fold.validation.size < 5 or len(classes[1]) > 1
    if len(folds) > 1:
        tests = np.concatenate([fold.test for fold in folds])
        np.testing.assert_array_equal(np.sort(tests), np.arange(90))
    again = make_folds(data, NAMES, settings_)
    for a, b in zip(folds, again):
        for rows_a, rows_b in zip(a, b):
            np.testing.assert_array_equal(rows_a, rows_b)


@given(st.integers(0, 10_000), st.integers(2, 12))
@settings(deadline=None, max_examples=100)
def test_subject_folds_never_share_a_person(seed, k):
    data = random_table(seed)
    folds = make_folds(data, NAMES, protocol("subject", k, 0.2, "subject", seed))
    for fold in folds:
        people = [set(data.subject[rows]) for rows in fold]
        assert not people[0] & people[1]
        assert not people[0] & people[2]
        assert not people[1] & people[2]


def test_subject_folds_are_balanced_in_size_and_classes():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(120), rng.integers(1, 7, 120))
    data = table(rng.integers(0, 3, people.size), [f"S{p:03d}" for p in people])
    folds = make_folds(data, NAMES, protocol("subject", 10))
    sizes = np.array([fold.test.size for fold in folds])
    counts = np.array([np.bincount(data.label[f.test], minlength=3) for f in folds])
    assert np.ptp(sizes) <= 3
    assert np.ptp(counts, axis=0).max() <= 6


@pytest.mark.parametrize(
    "n, sizes", [(327, [65, 65, 65, 65, 67]), (208, [41, 41, 41, 41, 44])]
)
def test_file_order_cuts_blocks_and_the_last_takes_the_rest(n, sizes):
    folds = make_folds(table(np.arange(n) % 3), NAMES, protocol("file_order", 5))
    assert [fold.test.size for fold in folds] == sizes
    np.testing.assert_array_equal(
        np.concatenate([fold.test for fold in folds]), np.arange(n)
    )


def test_stratified_folds_hold_equal_shares():
    labels = np.repeat([0, 1, 2], [50, 23, 10])
    folds = make_folds(table(labels), NAMES, protocol("stratified", 5))
    counts = np.array([np.bincount(labels[f.test], minlength=3) for f in folds])
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert np.ptp(counts.sum(1)) <= 1


@given(
    st.lists(st.integers(1, 9), min_size=8, max_size=60),
    st.integers(2, 50),
    st.sampled_from([0.0, 0.02, 0.5]),
    st.sampled_from(["last", "random", "stratified"]),
    st.integers(0, 100),
)
@settings(deadline=None, max_examples=150)
def test_a_holdout_leaves_every_class_an_image_to_train_on(
    counts, k, share, validation_kind, seed
):
    counts = np.array([2, *counts])  # 10 images or more, of which one is tested
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(counts.size), counts))
    names = tuple(f"person {i}" for i in range(counts.size))
    settings_ = protocol("holdout", k, share, validation_kind, seed)
    try:
        (fold,) = make_folds(table(labels), names, settings_)
    except DataError as error:  # who has one image alone is not tested
        assert "no test images" in str(error) or "of the class" in str(error)
        reject()
    np.testing.assert_array_equal(np.sort(np.concatenate(fold)), np.arange(labels.size))
    trained, tested = (
        np.bincount(labels[rows], minlength=counts.size)
        for rows in (fold.train, fold.test)
    )
    assert (trained >= 1).all()
    assert (tested[counts == 1] == 0).all()
    shared = counts[counts > 1] / k
    assert (tested[counts > 1] >= np.floor(shared)).all()
    assert (tested[counts > 1] <= np.ceil(shared)).all()


def test_a_holdout_is_the_first_of_the_stratified_folds():
    data = random_table(0)
    first, *_ = make_folds(data, NAMES, protocol("stratified", 6, 0.2, seed=3))
    (fold,) = make_folds(data, NAMES, protocol("holdout", 6, 0.2, seed=3))
    for mine, its in zip(fold, first, strict=True):
        np.testing.assert_array_equal(mine, its)


def test_a_holdout_of_many_people_is_its_share():
    counts = np.random.default_rng(0).integers(1, 90, 5000)
    names = tuple(map(str, range(5000)))
    data = table(np.repeat(np.arange(5000), counts))
    (fold,) = make_folds(data, names, protocol("holdout", 50, 0.02, "stratified"))
    n = len(data.label)
    assert fold.test.size == pytest.approx(0.02 * n, rel=0.02)
    assert fold.validation.size == pytest.approx(0.02 * 0.98 * n, rel=0.02)
    assert np.unique(data.label[fold.train]).size == 5000


def test_validation_last_is_the_end_of_the_training_part():
    data = table(np.arange(100) % 3)
    first, *_, last = make_folds(data, NAMES, protocol("file_order", 5, 0.2, "last"))
    np.testing.assert_array_equal(first.validation, np.arange(84, 100))
    np.testing.assert_array_equal(last.validation, np.arange(64, 80))


def test_a_part_of_the_training_rows_has_the_share_of_every_class():
    data = random_table(0)
    whole, half, tenth = (
        make_folds(data, NAMES, protocol("stratified", 3, 0.1, train_fraction=share))
        for share in (1.0, 0.5, 0.1)
    )
    for all_rows, some, few in zip(whole, half, tenth, strict=True):
        np.testing.assert_array_equal(some.test, all_rows.test)
        np.testing.assert_array_equal(some.validation, all_rows.validation)
        assert some.train.size == round(0.5 * all_rows.train.size)
        assert set(few.train) < set(some.train) < set(all_rows.train)
        kept = np.bincount(data.label[some.train]) / np.bincount(
            data.label[all_rows.train]
        )
        np.testing.assert_allclose(kept, 0.5, atol=0.05)


def test_validation_stratified_takes_the_share_of_every_class():
    labels = np.repeat([0, 1, 2], [200, 100, 30])
    data = table(labels, split=["test"] + ["train"] * 329)
    (fold,) = make_folds(data, NAMES, protocol("given", 1, 0.2, "stratified"))
    counts = np.bincount(labels[fold.validation])
    np.testing.assert_allclose(counts, [40, 20, 6], atol=1)
    assert fold.validation.size == 66


def test_validation_by_subject_is_near_its_share():
    data = random_table(0, n=300, subjects=30)
    for fold in make_folds(data, NAMES, protocol("subject", 5, 0.2, "subject")):
        rest = fold.train.size + fold.validation.size
        assert abs(fold.validation.size / rest - 0.2) < 0.05


def test_given_uses_the_parts_of_the_source():
    split = ["train"] * 6 + ["validation"] * 3 + ["test"] * 3
    data = table([0, 1, 2] * 4, split=split)
    (fold,) = make_folds(data, NAMES, protocol("given", 1, 0.1, "given"))
    assert [rows.tolist() for rows in fold] == [
        [0, 1, 2, 3, 4, 5],
        [6, 7, 8],
        [9, 10, 11],
    ]
    (fold,) = make_folds(data, NAMES, protocol("given", 1, 0.0, "last"))
    assert fold.train.tolist() == list(range(9)) and fold.validation.size == 0


def test_the_seed_matters():
    data = random_table(0)
    for kind in ("subject", "stratified"):
        a = make_folds(data, NAMES, protocol(kind))[0].test
        b = make_folds(data, NAMES, protocol(kind, seed=1))[0].test
        assert a.tolist() != b.tolist()


def test_a_class_must_be_trained_to_be_tested():
    data = table(np.repeat([0, 1, 2], 10), np.arange(30) % 6)
    with pytest.raises(DataError, match=r"Fold 0 tests .* lacks: anger .*'stratified'"):
        make_folds(data, NAMES, protocol("file_order"))
    for kind in ("stratified", "subject"):
        for fold in make_folds(data, NAMES, protocol(kind, 3, 0.2, "stratified")):
            assert set(data.label[fold.test]) <= set(data.label[fold.train])
    only_fear_of_one = table([0, 2, 1, 0, 2, 0, 2], [*"aaabbcc"])
    with pytest.raises(DataError, match="lacks: fear"):
        make_folds(only_fear_of_one, NAMES, protocol("subject"))


def test_validation_must_hold_more_than_one_class():
    split = ["train"] * 60 + ["test"] * 3
    data = table([*np.repeat([0, 1, 2], 20), 0, 1, 2], split=split)
    with pytest.raises(
        DataError, match=r"Fold 0's 6 validation .* the class happiness"
    ):
        make_folds(data, NAMES, protocol("given", 1, 0.1, "last"))
    few = make_folds(data, NAMES, protocol("given", 1, 0.05, "last"))[0].validation
    assert 0 < few.size < 5
    (fold,) = make_folds(data, NAMES, protocol("given", 1, 0.1, "stratified"))
    assert set(data.label[fold.validation]) == {0, 1, 2}


TWO = table([0, 0, 0, 1, 1], ["a", "a", "b", "b", "b"])


@pytest.mark.parametrize(
    "data, settings_, error, message",
    [
        (TWO, protocol("subject", 3), DataError, "at least 3 subjects, found 2"),
        (table([0, 1, 0, 1]), protocol("subject", 2), DataError, "4 of 4 images"),
        (TWO, protocol("stratified", 3), DataError, "every class; found fear: 2"),
        (table([0, 1]), protocol("file_order", 3), DataError, "at least 3 images"),
        (TWO, protocol("given", 1), DataError, "'train' and 'test' parts; found"),
        (
            table([0, 1], split=["train", "test"]),
            protocol("given", 1, 0.1, "given"),
            DataError,
            "own 'validation' part",
        ),
        (
            table([0, 1], split=["train", "test"]),
            protocol("given", 1, 0.5, "last"),
            DataError,
            "no train images",
        ),
        (
            TWO,
            protocol("subject", 2, 0.5, "subject"),
            DataError,
            "at least 2 subjects in the training part, found 1",
        ),
        (TWO, protocol("subjct"), ConfigError, "Did you mean 'subject'"),
        (TWO, protocol("subject", 1), ConfigError, "at least 2"),
        (TWO, protocol("holdout", 1), ConfigError, "at least 2"),
        (table([0, 1, 2]), protocol("holdout", 2), DataError, "no test images"),
        (TWO, protocol("subject", 2, 1.0), ConfigError, "below 1"),
        (TWO, protocol("subject", train_fraction=0.0), ConfigError, "at most 1"),
        (TWO, protocol("subject", 2, 0.1, "given"), ConfigError, "needs protocol.kind"),
        (TWO, protocol("subject", 2, 0.1, "lst"), ConfigError, "Did you mean 'last'"),
    ],
)
def test_errors_say_what_was_expected_and_found(data, settings_, error, message):
    with pytest.raises(error, match=message):
        make_folds(data, NAMES, settings_)
