"""Targets in another common form: the error message names the conversion."""

import numpy as np
import pytest

import crnn
from crnn import losses, metrics

B, T, K = 4, 6, 3
rng = np.random.default_rng(0)
STEPS, ROWS = rng.normal(size=(B, T, K)), rng.normal(size=(B, K))
CLASSES, LABELS = rng.integers(0, K, (B, T)), rng.integers(0, K, B)

WRONG = [
    (STEPS, np.eye(K)[CLASSES], r": of one-hot rows: {0}.argmax\(axis=-1\)$", "argmax(axis=-1)"),
    (ROWS, np.eye(K)[LABELS], r": of one-hot rows: {0}.argmax\(axis=-1\)$", "argmax(axis=-1)"),
    (ROWS, LABELS[:, None], r": without the last axis: {0}\[\.\.\., 0\]$", "__getitem__((..., 0))"),
    (
        STEPS,
        CLASSES[..., None],
        r": without the last axis: {0}\[\.\.\., 0\]$",
        "__getitem__((..., 0))",
    ),
    (ROWS, LABELS.astype(float), r": of whole numbers: {0}.astype\(int\)$", "astype(int)"),
    (STEPS, LABELS, r": for one target for each sequence put crnn.Pool\(\) into the model$", None),
]


@pytest.mark.parametrize(("y", "target", "hint", "way"), WRONG)
def test_classes(y, target, hint, way):
    for function, name in (
        (losses.cross_entropy, "targets"),
        (metrics.accuracy, "target"),
        (metrics.f1, "target"),
        (metrics.bits, "target"),
        (metrics.perplexity, "target"),
    ):
        with pytest.raises((TypeError, ValueError), match=hint.format(name)):
            function(y, target)
        if way is not None:  # the conversion in the message works
            function(y, eval(f"target.{way}"))


@pytest.mark.parametrize(
    ("y", "target", "hint"),
    [
        (ROWS[:, :1], LABELS, r"that of y, got .*: with the last axis: target\[\.\.\., None\]$"),
        (
            STEPS[..., :1],
            CLASSES,
            r"that of y, got .*: with the last axis: target\[\.\.\., None\]$",
        ),
        (STEPS, ROWS, r": for one target for each sequence put crnn.Pool\(\) into the model$"),
        (STEPS, LABELS, r": for one target for each sequence put crnn.Pool\(\) into the model$"),
    ],
)
def test_values(y, target, hint):
    for function in (losses.mse, metrics.mae):
        with pytest.raises((TypeError, ValueError), match=hint):
            function(y, target)
        if "None" in hint:
            function(y, target[..., None])


def model():
    return crnn.Sequential([crnn.GRU(2, 3, seed=0), crnn.Dense(3, K, seed=1)])


def sequences():
    return [rng.normal(size=(n, 2)) for n in (3, 5, 4, 6, 7)], [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: (x, y),
        lambda x, y: (x, np.array(y)),
        lambda x, y: [x, y],
        lambda x, y: [(x, y)],
        lambda x, y: list(zip(x, y, strict=True)),
        lambda x, y: zip(x, y, strict=True),
        lambda x, y: ((x, y) for _ in range(2)),
    ],
)
def test_sequences_that_are_no_batches(make):
    built, x_y = model(), sequences()
    options = {"loss": losses.cross_entropy}
    with pytest.raises(ValueError, match=r"data: .*crnn\.data\.Batches"):
        crnn.fit(built, make(*x_y), optimizer=crnn.optim.SGD(built), epochs=1, **options)
    with pytest.raises(ValueError, match=r"data: .*crnn\.data\.Batches"):
        crnn.evaluate(built, make(*x_y), **options)
    with pytest.raises(ValueError, match=r"validation: .*crnn\.data\.Batches"):
        crnn.fit(
            built, [(np.zeros((1, 2, 2)), np.zeros((1, 2), int))], validation=make(*x_y),
            optimizer=crnn.optim.SGD(built), epochs=1, progress=False, **options,
        )  # fmt: skip


def test_a_loss_without_a_gradient():
    data = [(np.zeros((1, 2, 2)), np.zeros((1, 2), int))]
    for wrong in (lambda y, target, lengths: 0.5, lambda *args: [0.5, 1], lambda *args: (1, 2, 3)):
        built = model()
        with pytest.raises(TypeError, match=r"loss: expected a function that returns \(value, gr"):
            crnn.fit(built, data, loss=wrong, optimizer=crnn.optim.SGD(built), epochs=1)


def test_one_sequence_is_answered():
    (x, *_), _ = sequences()
    with pytest.raises(ValueError, match=r"one sequence of shape \(3, 2\): write crnn.predict\("):
        crnn.predict(model(), x)
    with pytest.raises(ValueError, match=r"got one sequence of shape \(2,\)"):
        crnn.predict(model(), np.array([0, 1]))
    for wrong in (x, np.array([0, 1])):
        with pytest.raises(
            ValueError, match=r"x: expected .*: a batch of one sequence is x\[None\]"
        ):
            model()(wrong)
    assert crnn.predict(crnn.Dense(2, 3), x).shape == (3, 3)  # rows of a layer without steps


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i8"])
def test_targets_of_any_integer_type(dtype):
    targets, lengths = CLASSES.astype(dtype), [6, 3, 0, 1]
    for options in ({}, {"label_smoothing": 0.1}):
        loss, dy = losses.cross_entropy(STEPS, targets, lengths, **options)
        expected, dexpected = losses.cross_entropy(STEPS, CLASSES, lengths, **options)
        assert loss == expected
        np.testing.assert_array_equal(dy, dexpected)
    assert metrics.bits(STEPS, targets, lengths) == metrics.bits(STEPS, CLASSES, lengths)


def test_half_precision_is_computed_in_single_precision():
    logits, targets = np.zeros((1, 70_000), np.float16), np.array([3])
    plain, _ = losses.cross_entropy(logits, targets)
    weighted, dlogits = losses.cross_entropy(logits, targets, weights=[1.0])
    assert float(weighted) == pytest.approx(float(plain), rel=1e-3)
    assert dlogits.dtype == np.float16


def test_parameters_in_place_of_a_model():
    with pytest.raises(TypeError, match=r"model: expected a layer, got a Parameters: write crnn"):
        crnn.optim.Adam(model().params)


def test_metrics_without_scores():
    for metric in (metrics.perplexity, metrics.f1, metrics.confusion_matrix):
        with pytest.raises(TypeError, match="y: expected an array beside weights, got None"):
            metric(weights=[1.0])
    for wrong in (0, None):
        with pytest.raises(TypeError, match="ignore: expected a sequence of classes, got"):
            metrics.f1(ignore=wrong)
    with pytest.raises(ValueError, match="average: expected 'macro'"):
        metrics.f1(average=np.ones(2))
