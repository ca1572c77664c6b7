"""A recurrent layer in NumPy that takes all options, and finite differences for any options.

Letters: B sequences, T steps, F features.
"""

import numpy as np

from crnn.layers.base.layer import Layer
from crnn.layers.recurrent.base import Recurrent
from support.comparing import assert_close
from support.running import leaves


class Tape:
    """Tape of `Leaky`; a separate class, so that tests can count its objects."""

    def __init__(self, **content):
        vars(self).update(content)


class Leaky(Recurrent):
    """h' = tanh(u∘h + w∘m∘x), where m is drawn for each call, layer, row and step in training.

    A masked step repeats the last output, 0 where there is none; a reset starts from h = 0.
    """

    _leading = ("size",)

    def __init__(self, size, seed=0, noise=0.0):
        self.size, self.seed, self.noise, self.reverse = size, seed, noise, False
        self.input_size = self.output_size = size
        rng = np.random.default_rng(seed)
        self._params = {name: rng.uniform(0.5, 1.5, size) for name in "wu"}
        self._grads = {name: np.zeros(size) for name in "wu"}
        self.heard = []

    config = property(
        lambda self: {name: getattr(self, name) for name in ("size", "seed", "noise")}
    )
    param_views = property(lambda self: self._params)
    grad_views = property(lambda self: self._grads)
    zero_grad = Layer.zero_grad
    __reduce__ = object.__reduce__
    __getstate__ = object.__getstate__
    __setstate__ = lambda self, state: vars(self).update(state)  # noqa: E731

    def _convert(self, dtype):
        assert dtype == np.float64

    def _noise(self, B, T, call, first_row, layer):
        draws = [np.random.default_rng([self.seed, call, layer, first_row + b]) for b in range(B)]
        numbers = [rng.uniform(-1, 1, (T, self.size)) for rng in draws]
        return 1 + self.noise * np.array(numbers).reshape(B, T, self.size)

    def __call__(self, x, state=None, *, lengths=None, mask=None, resets=None):
        self.heard.append({"lengths": lengths, "mask": mask, "resets": resets})
        return self._run(x, state, lengths, mask, resets, None)[:2]

    def forward(
        self,
        x,
        state=None,
        *,
        lengths=None,
        mask=None,
        resets=None,
        training=True,
        call=0,
        first_row=0,
        layer=0,
    ):
        self.heard.append({name: value for name, value in locals().items() if name != "self"})
        draws = (call, first_row, layer) if training else None
        return self._run(x, state, lengths, mask, resets, draws)

    def _run(self, x, state, lengths, mask, resets, draws):
        B, T, _ = x.shape
        own = np.ones((B, T), bool) if lengths is None else np.arange(T) < np.c_[lengths]
        read = own if mask is None else own & mask
        cut = np.zeros((B, T), bool) if resets is None else own & resets
        m = self._noise(B, T, *draws) if draws else np.ones(x.shape)
        h = np.zeros((B, self.size)) if state is None else state.copy()
        last, y, before, source = np.zeros_like(h), np.zeros(x.shape), np.zeros(x.shape), []
        place = np.full(B, -1)
        for t in range(T):
            gone = cut[:, t, None]
            h, last = np.where(gone, 0, h), np.where(gone, 0, last)
            before[:, t] = h
            new = np.tanh(self._params["u"] * h + self._params["w"] * m[:, t] * x[:, t])
            h = np.where(read[:, t, None], new, h)
            last = np.where(read[:, t, None], new, last)
            y[:, t] = np.where(own[:, t, None], last, 0)
            place = np.where(read[:, t], t, np.where(cut[:, t], -1, place))
            source.append(np.where(own[:, t], place, -1))
        return y, h, Tape(x=x, m=m, y=y.copy(), before=before, read=read, cut=cut, source=source)

    def check_backward(self, tape, dstate):
        if not isinstance(tape, Tape):
            raise TypeError("tape: expected one of Leaky, got another")

    def backward(self, tape, dy, dstate=None):
        B, T, _ = tape.x.shape
        direct, dx = np.zeros(tape.x.shape), np.zeros(tape.x.shape)
        for t in range(T if dy is not None else 0):
            for b in np.flatnonzero(tape.source[t] >= 0):
                direct[b, tape.source[t][b]] += dy[b, t]
        dh = np.zeros((B, self.size)) if dstate is None else dstate.copy()
        for t in reversed(range(T)):
            read = tape.read[:, t, None]
            ds = np.where(read, (dh + direct[:, t]) * (1 - tape.y[:, t] ** 2), 0)
            self._grads["u"] += (ds * tape.before[:, t]).sum(axis=0)
            self._grads["w"] += (ds * (tape.m * tape.x)[:, t]).sum(axis=0)
            dx[:, t] = ds * self._params["w"] * tape.m[:, t]
            dh = np.where(read, ds * self._params["u"], dh)
            dh = np.where(tape.cut[:, t, None], 0, dh)
        return dx, dh


def assert_differences(layer, x, options, limit=1e-7):
    """Compare gradients with differences as gradcheck does, with any options of forward."""
    layer.zero_grad()
    y, end, tape = layer.forward(x, **options)
    rng = np.random.default_rng(3)
    dy = rng.normal(size=y.shape)
    dend = [rng.normal(size=part.shape) for part in leaves(end).values()]
    loss = lambda: sum_of(layer.forward(x, **options), dy, dend)  # noqa: E731
    dx, _ = layer.backward(tape, dy, rebuilt(end, iter(dend)))
    pairs = [(layer.params[name], layer.grads[name]) for name in layer.params]
    pairs += list(zip(leaves(x).values(), leaves(dx).values(), strict=True))
    for array, grad in pairs:
        numeric = np.zeros(array.shape)
        for where in np.ndindex(array.shape):
            kept = array[where]
            array[where] = kept + 1e-5
            above = loss()
            array[where] = kept - 1e-5
            numeric[where] = (above - loss()) / 2e-5
            array[where] = kept
        assert_close(grad, numeric, limit)
        assert grad.any()


def sum_of(result, dy, dend):
    y, end, _ = result
    parts = zip(leaves(end).values(), dend, strict=True)
    return (y * dy).sum() + sum((part * weight).sum() for part, weight in parts)


def rebuilt(state, arrays):
    if isinstance(state, list | tuple):
        return type(state)(rebuilt(part, arrays) for part in state)
    return None if state is None else next(arrays)


class Times:
    """h' = x∘h: the Jacobian of a step is its input. It has the required methods only."""

    def __init__(self):
        self.params, self.grads = {}, {}

    def zero_grad(self):
        pass

    def __call__(self, x, state=None):
        return self.forward(x, state)[:2]

    def forward(self, x, state=None, *, training=True):
        h = np.ones((len(x), *x.shape[2:])) if state is None else state
        y = np.cumprod(np.concatenate([h[:, None], x], axis=1), axis=1)
        return y[:, 1:], y[:, -1], (x, y)

    def backward(self, tape, dy, dstate=None):
        (x, h), dh, dx = tape, dstate, np.zeros_like(dy)
        for t in reversed(range(x.shape[1])):
            dh = dh + dy[:, t]
            dx[:, t] = dh * h[:, t]
            dh = dh * x[:, t]
        return dx, dh
