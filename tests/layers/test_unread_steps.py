"""Values at masked steps and padding change no output, state or gradient."""

import numpy as np
import pytest

import crnn
from crnn.layers.base.arguments import options_of
from crnn.layers.compose.last_state import LastState
from crnn.losses import cross_entropy, mse
from support.comparing import assert_close, assert_same_bits
from support.running import fill, forward_backward, valid_steps
from support.tables import LAYERS

B, T, F = 4, 7, 4
RNG = np.random.default_rng(11)
MASK, RESETS = RNG.random((B, T)) < 0.5, RNG.random((B, T)) < 0.3
MASK[1] = False  # no step of this row is read
LENGTHS = np.array([7, 5, 0, 3])
F64 = {"dtype": "float64"}
STEPS = {
    "lengths": {"lengths": LENGTHS},
    "mask": {"mask": MASK},
    "both": {"mask": MASK, "lengths": LENGTHS},
    "all": {"mask": MASK, "lengths": LENGTHS, "resets": RESETS},
}
GARBAGE = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "huge": 1e300}


class Scale(crnn.Layer):
    """A layer of a user without the argument `mask`."""

    def __init__(self):
        self.gain, self.dgain = np.full(F, 0.7), np.zeros(F)

    param_views = property(lambda self: {"gain": self.gain})
    grad_views = property(lambda self: {"gain": self.dgain})

    def forward(self, x, state=None, *, lengths=None, training=True):
        there = np.ones(x.shape[:2], bool) if lengths is None else valid_steps(lengths, T)
        x = np.where(there[..., None], x, 0)
        return x * self.gain, None, x

    def backward(self, tape, dy, dstate=None):
        self.dgain += (dy * tape).sum(axis=(0, 1))
        return dy * self.gain, None


def dense(outputs=F):
    return crnn.Dense(F, outputs, **F64)


def lstm():
    return crnn.LSTM(F, F, **F64)


def norm():
    return crnn.LayerNorm(F, **F64)


def seq(*layers):
    return crnn.Sequential(list(layers))


POINTWISE = {
    "dense": dense,
    "ridge": lambda: crnn.Ridge(F, F, seed=5, **F64),
    "norm": norm,
    "dropout": lambda: crnn.Dropout(0.4, seed=3),
    "variational": lambda: crnn.Dropout(0.4, variational=True, seed=3),
    "tied": lambda: crnn.TiedDense(crnn.Embedding(5, F, **F64)),
    "residual": lambda: crnn.Residual(dense()),
    "several": lambda: seq(dense(), norm(), crnn.Residual(seq(dense(), norm()))),
}
MODELS = POINTWISE | {
    "dense-lstm": lambda: seq(dense(), lstm(), dense(2)),
    "norm-lstm": lambda: seq(norm(), crnn.Dropout(0.3, seed=1), lstm(), norm()),
    "nested": lambda: seq(seq(dense(), seq(norm(), lstm())), seq(dense(), norm()), lstm()),
    "residual-lstm": lambda: seq(crnn.Residual(lstm()), crnn.Residual(lstm()), dense()),
    "residual-nested": lambda: seq(crnn.Residual(seq(dense(), lstm())), norm()),
    "bidirectional": lambda: seq(norm(), crnn.Bidirectional(lstm(), "mul"), dense()),
    "reverse": lambda: seq(dense(), crnn.GRU(F, F, reverse=True, **F64), norm()),
    "pool-mean": lambda: seq(dense(), crnn.Pool("mean"), dense()),
    "pool-max": lambda: seq(norm(), crnn.Residual(lstm()), crnn.Pool("max"), dense()),
    "pool-last": lambda: seq(crnn.Residual(dense()), crnn.Pool("last")),
    "last-state": lambda: LastState(seq(dense(), lstm())),
    "learned-state": lambda: seq(dense(), crnn.GRU(F, F, learn_state=True, **F64), dense()),
    "checkpointed": lambda: crnn.Checkpointed(seq(dense(), lstm(), norm()), 3),
    "users-layer": lambda: seq(Scale(), lstm(), Scale()),
    "users-alone": lambda: seq(dense(), Scale(), crnn.Residual(Scale()), norm()),
}


def read(steps):
    """Return the steps that are read, (B, T)."""
    there = valid_steps(LENGTHS, T) if "lengths" in steps else np.ones((B, T), bool)
    return there & steps.get("mask", True)


def known(layer, steps):
    return {name: value for name, value in steps.items() if name in options_of(layer)}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_floats(model, steps, garbage):
    layer = fill(model())
    steps = known(layer, steps)
    x = RNG.normal(size=(B, T, F))
    strange = np.where(read(steps)[..., None], x, garbage)
    blank = np.where(read(steps)[..., None], x, 0)
    with np.errstate(all="raise"):
        expected = forward_backward(layer, blank, **steps)
        found = forward_backward(layer, strange, **steps)
        assert_same_bits(layer(strange, **steps), layer(blank, **steps))
    assert_same_bits(found, expected)
    assert all(np.isfinite(array).all() for array in found.values())
    assert not found["dx"][~read(steps)].any()


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize(
    "model",
    [
        lambda: crnn.Embedding(5, F, **F64),
        lambda: seq(crnn.Embedding(5, F, **F64), lstm(), dense()),
        lambda: seq(crnn.Embedding(5, F, **F64), crnn.Dropout(0.3, seed=1), lstm(), dense()),
        lambda: seq(crnn.Embedding(5, F, **F64), crnn.Residual(lstm())),
        lambda: lstm(),
    ],
)
def test_symbols(model, steps):
    layer = fill(model())
    steps = known(layer, steps)
    x = RNG.integers(0, F, (B, T))
    expected = forward_backward(layer, np.where(read(steps), x, 0), **steps)
    assert_same_bits(forward_backward(layer, np.where(read(steps), x, -1), **steps), expected)


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_past_a_rows_end(name):
    """Gradients of y at these steps have no effect, either."""
    subject = LAYERS[name]
    layer, x = subject.layer(), subject.inputs(B, T, symbols=subject.features is None)
    there = valid_steps(LENGTHS, T)
    strange = x.copy()
    strange[~there] = -1 if x.dtype.kind == "i" else np.nan
    blank = np.where(there.reshape(there.shape + (1,) * (x.ndim - 2)), x, 0)

    def spoil(value):
        def write(dy):
            if dy.ndim == 3:
                dy[~there] = value

        return write

    expected = forward_backward(layer, blank, lengths=LENGTHS, spoil=spoil(0))
    found = forward_backward(layer, strange, lengths=LENGTHS, spoil=spoil(np.nan))
    assert_same_bits(found, expected)


@pytest.mark.parametrize("name", POINTWISE)
def test_a_layer_after_a_recurrent_one_reads_its_repetitions(name):
    """Outputs at masked steps are trained, because they have a loss."""
    layer, first = fill(POINTWISE[name]()), fill(lstm())
    x = RNG.normal(size=(B, T, F))
    for whole in (seq(first, layer), seq(first, seq(layer)), seq(seq(first), crnn.Residual(layer))):
        whole = whole if name != "tied" else seq(first, layer)
        behind = whole.layers[1]
        found = forward_backward(whole, x, mask=MASK, call=2)
        h = first.forward(x, mask=MASK)[0]
        expected = forward_backward(behind, h, call=2, layer=2)
        assert_close(found["y"], expected["y"], 1e-13)
        for key in behind.params:
            assert_close(found[f"grads.1.{key}"], expected[f"grads.{key}"], 1e-13, key)
        plain = whole(x, mask=MASK)[0]
        assert_close(plain, behind(h)[0], 1e-13)


@pytest.mark.parametrize("name", [*POINTWISE, "residual-lstm", "nested", "checkpointed"])
def test_gradients_with_a_mask(name):
    layer = fill(MODELS[name]())
    x = np.where(MASK[..., None], RNG.normal(size=(B, T, F)), np.nan)
    report = crnn.gradcheck(layer, x[:, :4], mask=MASK[:, :4], call=3)
    assert report.ok, f"\n{report}"


def test_a_layer_by_itself_returns_zero_at_masked_steps():
    x = RNG.normal(size=(B, T, F))
    for name, make in POINTWISE.items():
        layer = fill(make())
        y, _ = layer(x, mask=MASK)
        assert not y[~MASK].any(), name
        assert_same_bits(y[MASK], layer(x)[0][MASK])


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (MASK * 1.0, TypeError, r"mask: expected booleans, .*\(B=4, T=7\), got float64"),
        (~MASK * 2, ValueError, r"mask: expected booleans, .*\(B=4, T=7\), got 2 in row"),
        (MASK[:2], ValueError, r"mask: expected booleans, .*\(B=4, T=7\), got shape \(2, 7\)"),
    ],
)
def test_a_wrong_mask(mask, error, message):
    x = RNG.normal(size=(B, T, F))
    for layer in (dense(), crnn.Residual(dense()), seq(Scale())):
        with pytest.raises(error, match=message):
            layer(x, mask=mask)


def test_a_mask_for_input_without_steps():
    with pytest.raises(ValueError, match="mask: expected none for an input without a time axis"):
        dense()(np.zeros((B, F)), mask=MASK)


def test_losses_do_not_read_masked_steps():
    """Also at weights of padding, and at targets of classes with weight 0."""
    there = valid_steps(LENGTHS, T)
    y, targets = RNG.normal(size=(B, T, F)), RNG.integers(0, 2, (B, T))
    classes, weights = [1.0, 0.0, 2.0, 1.0], RNG.random((B, T))
    left_out = (~there | (targets == 1))[..., None]
    for garbage in GARBAGE.values():
        strange = np.where(there, weights, garbage)
        options = {"class_weights": classes, "weights": weights}
        expected = cross_entropy(np.where(left_out, 0, y), targets, LENGTHS, **options)
        options["weights"] = strange
        found = cross_entropy(np.where(left_out, garbage, y), targets, LENGTHS, **options)
        assert_same_bits(found, expected)
        past = ~there[..., None]
        expected = mse(np.where(past, 0, y), y + 1, LENGTHS, weights=weights)
        found = mse(np.where(past, garbage, y), y + 1, LENGTHS, weights=strange)
        assert_same_bits(found, expected)


@pytest.mark.parametrize("steps", [{"mask": MASK}, {"lengths": LENGTHS}], ids="-".join)
def test_numbers_that_are_not_finite_are_located_at_steps_that_are_read(steps):
    x = np.where(read(steps)[..., None], RNG.normal(size=(B, T, F)), np.nan)
    target, model = np.zeros((B, T, F)), lstm()
    target[0, 0, 0] = np.inf
    data = [(x, target, steps.get("lengths"), {"mask": steps.get("mask")})]
    with pytest.raises(FloatingPointError, match="the target is not finite"):
        crnn.fit(model, data, loss=mse, optimizer=crnn.optim.SGD(model), epochs=1, progress=False)


@pytest.mark.parametrize("tbptt", [None, (3, 3), (3, 5), (3, 2)])
def test_fit_with_missing_inputs(tbptt):
    """A loss at every step, also at steps without an input."""
    x, target = RNG.normal(size=(B, T, F)), RNG.integers(0, 3, (B, T))
    found = []
    for value in (np.nan, 0.0):
        model = seq(dense(), crnn.Residual(lstm()), crnn.Dense(F, 3, **F64))
        fill(model)
        data = [(np.where(MASK[..., None], x, value), target, None, {"mask": MASK})]
        optimizer = crnn.optim.Adam(model)
        history = crnn.fit(
            model, data, loss=crnn.losses.cross_entropy, optimizer=optimizer, epochs=3, tbptt=tbptt,
            validation=data, progress=False,
        )  # fmt: skip
        found.append((model.state_dict(), history.loss, history.val_loss))
    assert_same_bits(found[0], found[1])
