"""The binary cross-entropy, beside PyTorch, the reference and central differences.

Letters: B sequences, T steps, K labels.
"""

import functools

import numpy as np
import pytest

import crnn
from crnn import reference
from crnn.losses import Mean, binary_cross_entropy
from support.comparing import assert_close, assert_same_bits

SHAPES = [(3, 5, 88), (2, 4, 1), (4, 7), (5, 1), (1, 1, 3), (2, 2, 200)]
TOLERANCE = {"float32": 1e-6, "float64": 1e-13}
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def problem(shape, dtype="float64", scale=3.0):
    """Return logits, targets, of which half are 0 or 1, and positive weights."""
    rng = np.random.default_rng(shape)
    logits = scale * rng.normal(size=shape)
    soft = rng.random(shape)
    targets = np.where(rng.random(shape) < 0.5, soft > 0.5, soft)
    return logits.astype(dtype), targets.astype(dtype), 3 * rng.random(shape[-1]).astype(dtype)


def torch_results(logits, targets, pos_weight=None):
    """Return the loss and its gradient in float64."""
    torch = pytest.importorskip("torch")
    x = torch.tensor(logits.astype("float64"), requires_grad=True)
    w = None if pos_weight is None else torch.tensor(np.asarray(pos_weight, "float64"))
    function = torch.nn.functional.binary_cross_entropy_with_logits
    loss = function(x, torch.tensor(targets.astype("float64")), pos_weight=w)
    loss.backward()
    return loss.item(), x.grad.numpy()


# ----------------------------------------------------------------------------- values and gradients


@every_shape
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "pos_weight"])
def test_pytorch_agrees(shape, weighted, dtype, isa):
    logits, targets, w = problem(shape, dtype)
    expected, dexpected = torch_results(logits, targets, w if weighted else None)
    loss, dlogits = binary_cross_entropy(logits, targets, pos_weight=w if weighted else None)
    assert loss == pytest.approx(expected, rel=TOLERANCE[dtype])
    assert (dlogits.dtype, dlogits.shape) == (dtype, shape)
    assert_close(dlogits, dexpected, TOLERANCE[dtype])
    assert loss.weight == logits.size


@pytest.mark.parametrize("dtype_name", ["float32", "float64"])
def test_the_reference_agrees_with_lengths(dtype_name):
    logits, targets, w = problem((4, 6, 9), dtype_name)
    lengths = [6, 0, 2, 5]
    expected, dexpected = reference.binary_cross_entropy(logits, targets, lengths, w)
    loss, dlogits = binary_cross_entropy(logits, targets, lengths, pos_weight=w)
    assert loss == pytest.approx(expected, rel=TOLERANCE[dtype_name])
    assert_close(dlogits, dexpected, TOLERANCE[dtype_name])
    assert loss.weight == 13 * 9
    assert not dlogits[1].any()


@every_shape
def test_central_differences(shape):
    logits, targets, w = problem(shape)
    rng = np.random.default_rng(1)
    options = {"pos_weight": w, "weights": rng.random(shape[:-1]), "labels": "sum"}
    _, dlogits = binary_cross_entropy(logits, targets, **options)
    for at in [np.unravel_index(i, shape) for i in rng.integers(0, logits.size, 12)]:
        ends = []
        for step in (1e-5, -1e-5):
            moved = logits.copy()
            moved[at] += step
            ends.append(binary_cross_entropy(moved, targets, **options)[0])
        assert dlogits[at] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-9)


def test_a_model_with_this_loss_passes_the_check():
    """The gradient of the loss reaches the parameters: a step of SGD along it lowers the loss."""
    model = crnn.Sequential([crnn.MinGRU(3, 8, seed=1), crnn.Dense(8, 5, seed=2)]).astype("float64")
    x, targets = np.random.default_rng(0).normal(size=(4, 6, 3)), problem((4, 6, 5))[1]
    y, _, tape = model.forward(x)
    loss, dy = binary_cross_entropy(y, targets)
    model.zero_grad()
    model.backward(tape, dy)
    slope = sum(float((grad**2).sum()) for grad in model.grads.values())
    for name, grad in model.grads.items():
        model.params[name] -= 1e-6 * grad
    assert loss - binary_cross_entropy(model(x)[0], targets)[0] == pytest.approx(
        1e-6 * slope, rel=1e-4
    )


def test_large_logits_keep_the_digits_of_small_losses(dtype):
    far = {"float32": 80.0, "float64": 700.0}[dtype]
    x = np.array([[-far, -40, 40, far]], dtype)
    loss, dx = binary_cross_entropy(x, [[0, 0, 1, 1]], labels="sum")
    tail = np.exp(-np.abs(x[0].astype("float64")))
    assert loss == pytest.approx(tail.sum(), rel=1e-5 if dtype == "float32" else 1e-12)
    np.testing.assert_allclose(dx[0], tail * [1, 1, -1, -1], rtol=3e-6)
    loss, dx = binary_cross_entropy(x, [[1, 1, 0, 0]], labels="sum")
    assert loss == pytest.approx(2 * (far + 40), rel=1e-6)
    np.testing.assert_allclose(dx[0], [-1, -1, 1, 1], rtol=1e-6)


def test_infinite_logits():
    loss, dx = binary_cross_entropy(np.array([[np.inf, -np.inf]]), [[1, 0]], labels="sum")
    assert loss == 0
    assert not dx.any()
    loss, dx = binary_cross_entropy(np.array([[np.inf, -np.inf]]), [[0, 1]], labels="sum")
    assert loss == np.inf
    assert dx.tolist() == [[1, -1]]


def test_nan_is_not_lost():
    for at in range(9):
        x = np.zeros((1, 2, 9), "float32")
        x[0, 1, at] = np.nan
        loss, dx = binary_cross_entropy(x, np.zeros((1, 2, 9)))
        assert np.isnan(loss)
        assert np.isnan(dx[0, 1, at])
        assert np.isfinite(dx[0, 0]).all()


# ----------------------------------------------------------------------------- means and weights


def test_the_mean_and_the_sum_over_labels():
    """A step of 88 keys: the sum is the number of nats of the step."""
    logits, targets, _ = problem((3, 5, 88))
    mean, dmean = binary_cross_entropy(logits, targets, [5, 2, 0])
    nats, dnats = binary_cross_entropy(logits, targets, [5, 2, 0], labels="sum")
    assert nats == pytest.approx(88 * mean, rel=1e-14)
    assert (mean.weight, nats.weight) == (7 * 88, 7)
    assert_close(dnats, 88 * dmean, 1e-14)


@pytest.mark.parametrize("labels", ["mean", "sum"])
def test_means_over_batches_combine(labels):
    logits, targets, w = problem((6, 4, 5))
    weights = np.random.default_rng(3).random((6, 4)) * (np.arange(6) != 2)[:, None]
    loss = functools.partial(binary_cross_entropy, pos_weight=w, labels=labels)
    whole, dwhole = loss(logits, targets, weights=weights)
    parts = [loss(logits[i], targets[i], weights=weights[i]) for i in (slice(0, 2), slice(2, 6))]
    assert all(type(value) is Mean for value, _ in parts)
    total = sum(value.weight for value, _ in parts)
    assert whole.weight == pytest.approx(total)
    assert whole == pytest.approx(sum(value * value.weight for value, _ in parts) / total)
    scaled = np.concatenate([d * value.weight / total for value, d in parts])
    assert_close(dwhole, scaled, 1e-13)


def test_weights_are_repetitions():
    logits, targets, w = problem((4, 3, 5))
    weights = np.array([2, 0, 1, 3])
    found, dfound = binary_cross_entropy(logits, targets, weights=weights, pos_weight=w)
    rows = np.repeat(np.arange(4), weights)
    expected, dexpected = binary_cross_entropy(logits[rows], targets[rows], pos_weight=w)
    assert found == pytest.approx(expected, rel=1e-14)
    assert found.weight == expected.weight
    for row, weight in enumerate(weights):
        assert_close(dfound[row], dexpected[rows == row].sum(axis=0), 1e-13)
        assert weight or not dfound[row].any()


def test_values_that_are_not_read_have_no_effect():
    logits, targets, _ = problem((3, 4, 5), "float32")
    weights, lengths = np.array([1.0, 1, 0.5]), [4, 2, 0]
    expected = binary_cross_entropy(logits, targets, lengths, weights=weights)
    unread = np.arange(4) >= np.array(lengths)[:, None]
    for garbage in (np.nan, np.inf, 1e30):
        strange = [np.where(unread[..., None], garbage, part) for part in (logits, targets)]
        strange = [part.astype("float32") for part in strange]
        found = binary_cross_entropy(*strange, lengths, weights=weights)
        assert_same_bits(found, expected)
        found = binary_cross_entropy(*strange, weights=np.where(unread, 0, weights[:, None]))
        assert_same_bits(found, expected)


def test_no_valid_step():
    for shape, options in (
        ((0, 3, 2), {}),
        ((2, 0, 2), {}),
        ((2, 3, 2), {"lengths": [0, 0]}),
        ((2, 3, 2), {"weights": [0, 0]}),
    ):
        loss, dx = binary_cross_entropy(np.ones(shape), np.ones(shape), **options)
        assert (loss, loss.weight) == (0, 0)
        assert dx.shape == shape
        assert not dx.any()


def test_one_number_for_all_labels():
    logits, targets, _ = problem((3, 4, 5))
    each = binary_cross_entropy(logits, targets, pos_weight=np.full(5, 19))
    assert_same_bits(binary_cross_entropy(logits, targets, pos_weight=19), each)


def test_kinds_of_targets_are_equal():
    logits, targets, _ = problem((3, 4, 5), "float32")
    hard = targets > 0.5
    expected = binary_cross_entropy(logits, hard)
    for kind in (int, np.uint8, "float64", "float32"):
        assert_same_bits(binary_cross_entropy(logits, hard.astype(kind)), expected)
    assert_same_bits(binary_cross_entropy(logits, hard.tolist()), expected)
    assert_same_bits(binary_cross_entropy(logits[:, ::-1], hard[:, ::-1])[0], Mean(
        binary_cross_entropy(logits[:, ::-1].copy(), hard[:, ::-1].copy())[0], 60
    ))  # fmt: skip


def test_any_number_of_threads_has_the_same_bits(dtype, isa, threads):
    logits, targets, w = problem((50, 90, 33), dtype)
    results = []
    for count in (1, 2, 5):
        threads(count)
        results.append(binary_cross_entropy(logits, targets, pos_weight=w))
    assert_same_bits(results[0], results[1])
    assert_same_bits(results[0], results[2])


# ----------------------------------------------------------------------------- bad arguments


def z(*shape, kind=float):
    return np.zeros(shape, kind)


BAD = {
    "above 1": ((z(2, 3), z(2, 3) + 1.01), {}, ValueError, "targets: expected numbers from 0 to 1"),
    "below 0": ((z(2, 3), z(2, 3) - 1e-9), {}, ValueError, "targets: expected numbers from 0 to 1"),
    "nan": ((z(2, 3), z(2, 3) * np.nan), {}, ValueError, "targets: expected numbers from 0 to 1"),
    "classes": ((z(2, 4, 3), z(2, 4, kind=int)), {}, ValueError, "use crnn.losses.cross_entropy"),
    "last axis": ((z(2, 4, 1), z(2, 4)), {}, ValueError, r"targets\[..., None\]"),
    "one a row": ((z(2, 4, 3), z(2, 3)), {}, ValueError, r"crnn.Pool\(\)"),
    "shape": ((z(2, 4, 3), z(2, 4, 2)), {}, ValueError, "shape .2, 4, 3., that of logits"),
    "complex": ((z(2, 3), z(2, 3, kind=complex)), {}, TypeError, "targets: expected real numbers"),
    "none": ((z(2, 3), None), {}, TypeError, "targets"),
    "integers": ((z(2, 3, kind=int), z(2, 3)), {}, TypeError, "logits: expected floats"),
    "vector": ((z(3), z(3)), {}, ValueError, r"logits: expected .* \(B, T, K\) or \(B, K\)"),
    "no label": ((z(2, 0), z(2, 0)), {}, ValueError, "logits: expected logits of K >= 1 labels"),
    "lengths": ((z(2, 5, 3), z(2, 5, 3), [6, 0]), {}, ValueError, "lengths"),
    "lengths of rows": ((z(2, 3), z(2, 3), [1, 1]), {}, ValueError, "lengths: expected none"),
    "weights": ((z(2, 3), z(2, 3)), {"weights": [1, -1]}, ValueError, "weights: expected finite"),
    "other rows": ((z(2, 3), z(2, 3)), {"weights": [1]}, ValueError, r"weights: .* shape \(2,\)"),
    "positive": ((z(2, 3), z(2, 3)), {"pos_weight": [1, 2]}, ValueError, r"pos_weight: .*\(3,\)"),
    "negative": ((z(2, 3), z(2, 3)), {"pos_weight": -1}, ValueError, "pos_weight: expected finite"),
    "infinite": ((z(2, 3), z(2, 3)), {"pos_weight": np.inf}, ValueError, "pos_weight: expected"),
    "range": ((z(2, 3, kind="f"), z(2, 3)), {"pos_weight": 1e300}, ValueError, "range of float32"),
    "word": ((z(2, 3), z(2, 3)), {"pos_weight": "a"}, ValueError, "pos_weight: expected real"),
    "labels": ((z(2, 3), z(2, 3)), {"labels": "max"}, ValueError, "labels: expected 'mean' or"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case):
    arguments, options, error, text = BAD[case]
    copies = [np.copy(part) for part in arguments]
    with pytest.raises(error, match=text):
        binary_cross_entropy(*arguments, **options)
    assert_same_bits([np.asarray(part) for part in arguments[:1]], copies[:1])


# ----------------------------------------------------------------------------- training


def labelled(rows=64, steps=12, seed=0):
    """Two labels of each step: whether x is positive, and whether it ever was above 2."""
    x = np.random.default_rng(seed).normal(size=(rows, steps, 1)).astype("float32")
    return x, np.concatenate([x > 0, np.maximum.accumulate(x, axis=1) > 2], axis=2)


@pytest.mark.parametrize("kind", [bool, int, "float32"])
@pytest.mark.parametrize("tbptt", [None, (4, 4)], ids=["whole", "windows"])
def test_fit_learns_labels_of_each_step(kind, tbptt):
    x, targets = labelled()
    model = crnn.Sequential([crnn.GRU(1, 16, seed=1), crnn.Dense(16, 2, seed=2)])
    lengths = np.full(64, 12)
    lengths[::3] = 7
    data = [(x[i : i + 16], targets[i : i + 16].astype(kind), lengths[i : i + 16])
            for i in range(0, 64, 16)]  # fmt: skip
    optimizer = crnn.optim.Adam(model, lr=2e-2)
    options = {"loss": binary_cross_entropy, "progress": False}
    history = crnn.fit(
        model, data, optimizer=optimizer, epochs=25, tbptt=tbptt, validation=data, **options
    )
    assert history.loss[0] > 0.4
    assert history.loss[-1] < 0.2
    found = crnn.evaluate(model, data, loss=binary_cross_entropy)
    assert float(found) == pytest.approx(
        binary_cross_entropy(model(x, lengths=lengths)[0], targets, lengths)[0], rel=1e-5
    )


def test_weights_of_rare_labels_move_the_decision():
    """One row in 20 is true and not separable: with a weight of 19 the odds of both are equal."""
    targets = (np.arange(400) % 20 == 0).astype(int)[:, None]
    x = np.ones((400, 1, 1), "float32")
    logit = {}
    for weight in (1, 19):
        model = crnn.Sequential([crnn.Pool("last"), crnn.Dense(1, 1, bias=False, seed=0)])
        loss = functools.partial(binary_cross_entropy, pos_weight=weight)
        optimizer = crnn.optim.SGD(model, lr=1.0)
        crnn.fit(model, [(x, targets)], loss=loss, optimizer=optimizer, epochs=400, progress=False)
        logit[weight] = float(model(x)[0][0, 0])
    assert logit[1] == pytest.approx(np.log(0.05 / 0.95), rel=1e-3)
    assert logit[19] == pytest.approx(0, abs=1e-3)


def test_targets_out_of_range_are_found_before_the_first_update():
    x, targets = labelled(8)
    model = crnn.Sequential([crnn.GRU(1, 4, seed=1), crnn.Dense(4, 2, seed=2)])
    before = model.state_dict()
    data = [(x, targets.astype(int)), (x, 2 * targets.astype(int))]
    optimizer = crnn.optim.Adam(model)
    with pytest.raises(ValueError, match="data: item 1: targets: expected numbers from 0 to 1"):
        crnn.fit(
            model, data, loss=binary_cross_entropy, optimizer=optimizer, epochs=1, progress=False
        )
    assert_same_bits(model.state_dict(), before)


@pytest.mark.parametrize("name", ["bce", "binary_crossentropy", "BCEWithLogitsLoss"])
def test_names_of_other_libraries(name):
    model = crnn.Dense(1, 1)
    optimizer = crnn.optim.SGD(model)
    with pytest.raises(TypeError, match=r"write loss=crnn\.losses\.binary_cross_entropy"):
        crnn.fit(model, [(np.ones((1, 1, 1)), np.ones((1, 1, 1)))], loss=name,
                 optimizer=optimizer, epochs=1)  # fmt: skip
