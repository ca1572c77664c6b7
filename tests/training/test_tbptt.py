"""Truncated BPTT: compared with an explicit loop; its memory, resumed runs, and its bias."""

import weakref

import numpy as np
import pytest

import crnn
from crnn.callbacks import Callback
from crnn.losses import mse
from crnn.training.evaluation import evaluate
from crnn.training.fitting import fit
from crnn.training.tbptt import WindowedModel, cuts_of
from crnn.training.trainer import Trainer
from crnn.training.windows import Item, Window, windows_of
from support.comparing import assert_close

PAIRS = [(4, 4), (4, 1), (4, 3), (4, 6), (4, 8), (4, 11), (1, 5), (6, 2), (24, 24), (3, 100)]
I, H, O = 2, 5, 3
rng = np.random.default_rng(0)


def tiny(dtype="float64"):
    layers = [crnn.RNN(I, H, dtype=dtype, seed=1), crnn.Dense(H, O, dtype=dtype, seed=2)]
    return crnn.Sequential(layers)


def item(T=24, B=2, dtype="float64", seed=0):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(B, T, I)).astype(dtype), draw.normal(size=(B, T, O)).astype(dtype)


class ByHand:
    """An Elman network in NumPy whose backward pass goes through a list of all steps."""

    def __init__(self, model, lr, k1, k2):
        self.p = {name: array.copy() for name, array in model.params.items()}
        self.lr, self.k1, self.k2 = lr, k1, k2
        self.past, self.h, self.norms = [], None, []  # (x, h before, h after)

    def window(self, x, target):
        p, steps = self.p, x.shape[1]
        h = np.zeros((len(x), H)) if self.h is None else self.h
        for t in range(steps):
            after = np.tanh(x[:, t] @ p["0.W_x"].T + h @ p["0.W_h"].T + p["0.b"])
            self.past.append((x[:, t], h, after))
            h = after
        self.h = h
        errors = [
            self.past[t - steps][2] @ p["1.W"].T + p["1.b"] - target[:, t] for t in range(steps)
        ]
        grads = {name: np.zeros_like(array) for name, array in p.items()}
        dys = [2 * error / target.size for error in errors]
        for t, dy in enumerate(dys):
            grads["1.W"] += dy.T @ self.past[t - steps][2]
            grads["1.b"] += dy.sum(axis=0)
        # The last k2 steps of the window; for k2 > k1 the window and the k2 - k1 before it.
        reach = min(self.k2, steps) if self.k2 <= self.k1 else steps + self.k2 - self.k1
        dh = np.zeros_like(h)
        for back in range(min(reach, len(self.past))):
            x_t, before, after = self.past[-1 - back]
            if back < steps:
                dh = dh + dys[steps - 1 - back] @ p["1.W"]
            ds = dh * (1 - after**2)
            grads["0.W_x"] += ds.T @ x_t
            grads["0.W_h"] += ds.T @ before
            grads["0.b"] += ds.sum(axis=0)
            dh = ds @ p["0.W_h"]
        for name, grad in grads.items():
            p[name] = p[name] - self.lr * grad
        return sum(np.sum(error**2) for error in errors) / target.size

    def epoch(self, items, stateful=False):
        losses, counts = [], []
        for x, target in items:
            if not stateful:
                self.h, self.past = None, []
            for start in range(0, x.shape[1], self.k1):
                steps = slice(start, start + self.k1)
                losses.append(self.window(x[:, steps], target[:, steps]))
                counts.append(target[:, steps].size)
        return np.average(losses, weights=counts)


@pytest.mark.parametrize("T", [24, 22, 3])
@pytest.mark.parametrize(("k1", "k2"), PAIRS)
def test_against_a_loop_by_hand(k1, k2, T):
    model, data = tiny(), [item(T), item(T, seed=1)]
    twin = ByHand(model, 0.3, k1, k2)
    options = {"loss": mse, "optimizer": crnn.optim.SGD(model, lr=0.3), "epochs": 2}
    history = fit(model, data, tbptt=(k1, k2), progress=False, **options)
    assert history.loss == pytest.approx([twin.epoch(data), twin.epoch(data)], rel=1e-12)
    for name, array in model.params.items():
        assert_close(array, twin.p[name], 1e-10, name)


@pytest.mark.parametrize("lengths", [(8, 8, 8, 5), (7, 7, 7, 7), (3, 3, 3, 3, 3, 1)])
@pytest.mark.parametrize(("k1", "k2"), PAIRS)
def test_stateful_items_are_one_stream(k1, k2, lengths):
    model = tiny()
    data = [item(T, seed=seed) for seed, T in enumerate(lengths)]
    twin = ByHand(model, 0.3, k1, k2)
    options = {"loss": mse, "optimizer": crnn.optim.SGD(model, lr=0.3), "epochs": 1}
    history = fit(model, iter(data), tbptt=(k1, k2), stateful=True, progress=False, **options)
    assert history.loss == pytest.approx([twin.epoch(data, stateful=True)], rel=1e-12)
    for name, array in model.params.items():
        assert_close(array, twin.p[name], 1e-10, name)


def test_k1_and_k2_of_all_steps_are_plain_backpropagation_to_the_last_bit():
    found = []
    for tbptt in (None, (24, 24), (24, 100), (1000, 1000)):
        model = tiny("float32")
        optimizer = crnn.optim.Adam(model)
        options = {"loss": mse, "optimizer": optimizer, "epochs": 3, "progress": False}
        fit(model, [item(dtype="float32")], tbptt=tbptt, **options)
        found.append(model.state_dict())
    for other in found[1:]:
        np.testing.assert_equal(other, found[0])


def test_stateful_goes_from_item_to_item_and_starts_anew_each_epoch():
    x, target = item(24)
    parts = [(x[:, s : s + 8], target[:, s : s + 8]) for s in (0, 8, 16)]
    found = []
    for data, stateful, tbptt in ([(x, target)], False, (8, 8)), (parts, True, None):
        model = tiny()
        run = Trainer(
            model, data, loss=mse, optimizer=crnn.optim.SGD(model, 0.1), epochs=2,
            tbptt=tbptt, stateful=stateful, validation=data,
        )  # fmt: skip
        run.run()
        found.append((model.state_dict(), run.history.loss, run.history.val_loss))
    np.testing.assert_equal(found[0], found[1])


def test_an_iterator_may_use_its_arrays_again():
    found = []
    for again in (False, True):

        def stream(again=again):
            place, ends = np.empty((2, 24, I)), np.array([24, 20])
            for seed in range(3):
                x, target = item(seed=seed)
                place[...], ends[...] = x, [24, 20]
                yield place if again else x, target, ends if again else ends.copy()
                place[...] = ends[...] = 0

        model = tiny()
        options = {"loss": mse, "optimizer": crnn.optim.SGD(model, 0.3), "epochs": 1}
        fit(model, stream(), tbptt=(8, 30), stateful=True, progress=False, **options)
        found.append(model.state_dict())
    np.testing.assert_equal(found[0], found[1])


def test_stateful_items_must_have_the_same_rows():
    model = tiny()
    options = {"loss": mse, "optimizer": crnn.optim.SGD(model), "epochs": 1, "progress": False}
    with pytest.raises(ValueError, match=r"data: expected items of B=2 rows .*, got shape \(3, 4"):
        fit(model, [item(4), item(4, B=3)], stateful=True, **options)
    with pytest.raises(ValueError, match=r"data: .*expected items of B=2 rows"):
        evaluate(model, [item(4), item(4, B=3)], loss=mse, stateful=True)


def test_lengths_are_inert_padding_for_every_pair():
    """The gradient of a row does not depend on the other rows."""
    for pair in ((4, 4), (4, 7)):
        grads = []
        for rows in ([0], [1], [0, 1]):
            x, target = item(14)
            lengths = np.array([14, 9])
            model = tiny()
            windowed, state = WindowedModel(model, pair, False), None
            for window in windows_of(Item(x[rows], target[rows], lengths[rows]), pair):
                window_pass = windowed.forward(window, state)
                within = np.arange(window_pass.y.shape[1]) < window.item.lengths[:, None]
                windowed.backward(window_pass, np.where(within[..., None], window.item.target, 0.0))
                windowed.store(window_pass)
                state = window_pass.state
            grads.append(model.layers[0].flat_grads.copy())
        assert_close(grads[0] + grads[1], grads[2], 1e-12)


# ---------------------------------------------------------------------------------------- the head


def heads():
    options = {"dtype": "float64"}
    lstm, dense = crnn.LSTM(I, H, seed=1, **options), crnn.Dense(H, O, seed=2, **options)
    norm = crnn.LayerNorm(H, **options)
    embedding = crnn.Embedding(4, I, seed=4, **options)
    return {
        "flat": (crnn.Sequential([lstm, norm, dense]), ["1.", "2."]),
        "nested": (crnn.Sequential([crnn.Sequential([lstm, norm]), dense]), ["0.1.", "1."]),
        "inner": (crnn.Sequential([crnn.Sequential([lstm, dense])]), ["0.1."]),
        "residual": (
            crnn.Sequential([lstm, crnn.Residual(crnn.Sequential([norm])), dense]), ["1.", "2."],
        ),
        "embedded": (crnn.Sequential([embedding, lstm, dense]), ["2."]),
        "none": (lstm, []),
        "all": (crnn.Sequential([crnn.Dense(I, H, dtype="float64"), norm, dense]), [""]),
    }  # fmt: skip


@pytest.mark.parametrize("name", heads())
def test_steps_further_back_train_the_head_alone(name):
    """With dy only at the first steps and k2 < k1 only the head has a gradient."""
    model, head = heads()[name]
    x = rng.integers(0, 4, (2, 6)) if name == "embedded" else rng.normal(size=(2, 6, I))
    windowed = WindowedModel(model, (6, 2), False)
    window_pass = windowed.forward(Window(Item(x, x), 0, 6, 6), None)
    dy = np.zeros_like(window_pass.y)
    dy[:, :4] = rng.normal(size=dy[:, :4].shape)
    windowed.backward(window_pass, dy)
    found = {key: grad.copy() for key, grad in model.grads.items()}
    model.zero_grad()
    y, _, tape = model.forward(x)
    np.testing.assert_allclose(y, window_pass.y, rtol=1e-12)
    model.backward(tape, dy)
    for key, grad in found.items():
        if any(key.startswith(prefix) for prefix in head):
            assert_close(grad, model.grads[key], 1e-12, key)
            assert grad.any(), key
        else:
            assert not grad.any(), key


def test_the_bias_of_a_small_k2():
    """The relative distance from the full gradient decreases with k2, and is 0 at k2 = T."""
    T, B = 40, 16
    x, target = rng.normal(size=(B, T, I)), rng.normal(size=(B, T, O))
    target[:, 10:] += 3 * np.repeat(x[:, :-10, :1], O, axis=2)  # depends on x of 10 steps before
    model = tiny()
    bias, whole = {}, np.empty(0)
    for k2 in (40, 20, 10, 5, 2, 1):
        model.zero_grad()
        windowed = WindowedModel(model, (T, k2), False)
        window_pass = windowed.forward(Window(Item(x, target), 0, T, T), None)
        windowed.backward(window_pass, mse(window_pass.y, target)[1])
        grad = model.layers[0].flat_grads.copy()
        whole = grad if k2 == T else whole
        bias[k2] = np.linalg.norm(grad - whole) / np.linalg.norm(whole)
    assert bias[40] == 0
    assert list(bias.values()) == sorted(bias.values())
    assert bias[20] < bias[1]
    assert bias[1] > 0.3


# ------------------------------------------------------------------------------------------ memory


class Counted(crnn.Layer):
    """An LSTM that counts the steps of all tapes that are alive."""

    def __init__(self):
        self.lstm, self.alive, self.most, self.bases = crnn.LSTM(I, O, seed=0), 0, 0, []

    param_views = property(lambda self: self.lstm.params)
    grad_views = property(lambda self: self.lstm.grads)

    def forward(self, x, state=None, *, lengths=None, training=True):
        class Tape:
            pass

        kept, steps = Tape(), x.shape[1]
        self.alive += steps
        self.most = max(self.most, self.alive)
        self.bases.append(x)
        weakref.finalize(kept, self.gone, steps)
        y, after, kept.tape = self.lstm.forward(x, state, lengths=lengths)
        return y, after, kept

    def gone(self, steps):
        self.alive -= steps

    def backward(self, tape, dy, dstate=None):
        return self.lstm.backward(tape.tape, dy, dstate)


@pytest.mark.parametrize(("k1", "k2"), [(4, 4), (4, 2), (4, 10), (4, 16), (5, 6)])
@pytest.mark.parametrize("stateful", [False, True])
def test_memory_depends_on_k1_and_k2_alone(k1, k2, stateful):
    most = []
    for T in (100, 1000):
        model = Counted()
        parts = 5 if stateful else 1

        def stream(T=T, parts=parts):
            for seed in range(parts):
                yield item(T // parts, seed=seed)

        fit(
            model, stream(), loss=mse, optimizer=crnn.optim.SGD(model), epochs=1,
            tbptt=(k1, k2), stateful=stateful, progress=False,
        )  # fmt: skip
        most.append(model.most)
    assert most == [max(k1, k2)] * 2


def test_a_memory_mapped_file_is_read_window_by_window(tmp_path):
    x, target = item(64)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "target.npy", target)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("x", "target")]
    model = Counted()
    options = {"loss": mse, "optimizer": crnn.optim.SGD(model), "epochs": 1, "progress": False}
    fit(model, [tuple(mapped)], tbptt=(8, 8), **options)
    assert all(np.shares_memory(part, mapped[0]) for part in model.bases)
    assert {part.shape for part in model.bases} == {(2, 8, I)}


def test_windows_are_cut_no_more_than_they_must():
    def cuts(start, k1, k2, total=20, stateful=False):
        window = Window(None, start, min(start + k1, total), total)
        return cuts_of(window, (k1, k2), stateful)

    assert cuts(0, 5, 5) == cuts(0, 5, 10) == cuts(0, 5, 15) == []
    assert cuts(0, 5, 2) == [3]
    assert cuts(0, 5, 7) == [3]
    assert cuts(15, 5, 7) == []  # no window follows
    assert cuts(15, 5, 7, stateful=True) == [18]
    assert cuts(0, 8, 11, total=20) == [5]
    assert cuts(16, 8, 11, total=20, stateful=True) == [17]


# ------------------------------------------------------------------------------- state and calls


def test_pieces_continue_the_step_numbers_of_dropout():
    calls = []

    class Watched(crnn.Dropout):
        def forward(self, x, state=None, *, call=0, first_step=0, **options):
            calls.append((call, first_step))
            return super().forward(x, state, call=call, first_step=first_step, **options)

    model = crnn.Sequential([crnn.RNN(I, H), Watched(0.5), crnn.Dense(H, O)])
    options = {"loss": mse, "optimizer": crnn.optim.SGD(model), "epochs": 1, "progress": False}
    fit(model, [item(12)], tbptt=(6, 2), **options)
    assert calls == [(0, 0), (0, 4), (1, 0), (1, 4)]


def test_the_state_at_an_update_is_that_of_its_windows():
    class Looks(Callback):
        def on_update(self, run):
            self.state = run.position.state

    looks, (x, target) = Looks(), item(12)
    model = tiny()
    options = {"loss": mse, "optimizer": crnn.optim.SGD(model, 0.0), "epochs": 1}
    fit(model, [(x, target)], tbptt=(6, 9), callbacks=[looks], progress=False, **options)
    _, state = model(x)
    assert_close(looks.state[0], state[0], 1e-12)
