"""The attributes that describe layers are right, and compositions use them."""

import copy
import dataclasses
import inspect
import pickle

import numpy as np
import pytest

import crnn
from crnn.layers.base.adapted import layer_of, named_layers
from support.comparing import assert_close, assert_same_bits
from support.running import leaves
from support.tables import LAYERS, READING_IDS, READINGS

B, T, I, H = 3, 7, 3, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(B, T, I))
ENDS = [7, 4, 0]


# ------------------------------------------------------------------- what every layer answers


@pytest.mark.parametrize(("name", "symbols"), READINGS, ids=READING_IDS)
def test_attributes_describe_the_layer(name, symbols):
    subject = LAYERS[name]
    layer, x = subject.layer(), subject.inputs(B, T, symbols=symbols)
    y, state = layer(x)
    assert layer.keeps_time == (y.ndim == 3)
    assert layer.has_state == bool(leaves(state))
    assert layer.output_size in (None, y.shape[-1])
    assert layer.output_size is not None or layer.keeps_features
    if symbols:
        assert layer.symbols == subject.symbols
    else:
        assert layer.input_size in (None, x.shape[-1])
        assert not layer.keeps_features or y.shape[-1] == x.shape[-1]


@pytest.mark.parametrize("name", LAYERS)
def test_a_step_depends_on_its_receptive_field(name):
    layer, x = LAYERS[name].layer(), LAYERS[name].inputs(1, T)
    if not layer.keeps_time:
        return
    y = layer(x)[0]
    depends = np.zeros((T, T), bool)  # [i, j]: whether y at step i depends on x at step j
    for step in range(T):
        other = x.copy()
        other[:, step] = (other[:, step] + 1) % LAYERS[name].symbols if x.ndim < 3 else 3
        depends[:, step] = (layer(other)[0] != y).any(axis=(0, 2))
    if layer.receptive_field == 1:
        assert not depends[~np.eye(T, dtype=bool)].any()
    elif layer.receptive_field > T:
        assert depends[-1, 0] or depends[0, -1]
    else:
        spans = [np.ptp(np.flatnonzero(steps)) + 1 for steps in depends if steps.any()]
        assert max(spans) == layer.receptive_field
    assert depends[0, 1:].any() == layer.reads_backwards


@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_read_backwards_have_no_stream(name):
    layer = LAYERS[name].layer()
    reversed_part = isinstance(layer, crnn.Bidirectional) or any(
        getattr(part, "reverse", False) or not getattr(part, "causal", True)
        for _, part in named_layers(layer)
    )
    assert layer.reads_backwards == reversed_part
    if layer.reads_backwards or not layer.keeps_time:
        with pytest.raises(ValueError, match="layer: expected one that runs step by step"):
            crnn.layers.compose.streams.stream_of(layer, 2, None)
    else:
        stream, x = layer.stream(B), LAYERS[name].inputs(B, T)
        steps = np.stack([stream.step(x[:, t]) for t in range(T)], axis=1)
        assert_close(steps, layer(x)[0], 1e-12)


def test_the_defaults_of_the_attributes():
    class Plain(crnn.Layer):
        def forward(self, x, state=None):
            return x, None, None

        def backward(self, tape, dy, dstate=None):
            return dy, None

    plain = Plain()
    assert (plain.input_size, plain.output_size, plain.symbols, dict(plain.parts)) == (
        None,
        None,
        None,
        {},
    )
    assert (plain.keeps_time, plain.has_state, plain.reads_backwards) == (True, False, False)
    assert plain.receptive_field == np.inf
    plain.input_size = 3  # as an attribute of an instance
    assert plain.input_size == 3


# ---------------------------------------------------------------------------------- widths


@pytest.mark.parametrize(
    ("layers", "place", "width", "reads"),
    [
        ([crnn.LSTM(3, 8), crnn.Dense(7, 4)], 1, 8, 7),
        ([crnn.Bidirectional(crnn.LSTM(3, 8)), crnn.Dense(8, 4)], 1, 16, 8),
        ([crnn.Bidirectional(crnn.LSTM(3, 8), "sum"), crnn.GRU(16, 4)], 1, 8, 16),
        ([crnn.LSTM(3, 8, proj_size=5), crnn.Dropout(0.5), crnn.Dense(8, 4)], 2, 5, 8),
        ([crnn.Embedding(9, 5), crnn.GRU(4, 4)], 1, 5, 4),
        ([crnn.GRU(3, 8), crnn.Pool("mean"), crnn.Dense(4, 4)], 2, 8, 4),
        ([crnn.LastState(crnn.Bidirectional(crnn.GRU(3, 8))), crnn.Dense(8, 2)], 1, 16, 8),
        ([crnn.Sequential([crnn.GRU(3, 8), crnn.Dropout(0.1)]), crnn.LayerNorm(9)], 1, 8, 9),
        ([crnn.Residual(crnn.GRU(3, 3)), crnn.RNN(4, 2)], 1, 3, 4),
        ([crnn.Checkpointed(crnn.GRU(3, 3), 2), crnn.RNN(4, 2)], 1, 3, 4),
        ([crnn.Conditioned(crnn.GRU(3, 3), crnn.Dense(2, 3)), crnn.RNN(4, 2)], 1, 3, 4),
    ],
)
def test_widths_that_do_not_fit_are_refused(layers, place, width, reads):
    message = (
        rf"layers\[{place}\]: expected a layer that reads the {width} features of "
        rf".*{type(layers[0]).__name__}.*got {type(layers[place]).__name__}.*, which reads {reads}$"
    )
    if place > 1:
        message = message.replace(rf".*{type(layers[0]).__name__}", "")
    with pytest.raises(ValueError, match=message):
        crnn.Sequential(layers)


def test_widths_of_a_class_that_overrides_forward_are_not_relied_on():
    class Twice(crnn.Dense):
        def forward(self, x, state=None, **options):
            y, _, tape = super().forward(x, state, **options)
            return np.concatenate([y, y], axis=-1), None, tape

    model = crnn.Sequential([Twice(I, H, dtype="float64"), crnn.Dense(2 * H, 2, dtype="float64")])
    assert model(X)[0].shape == (B, T, 2)


# ------------------------------------------------------------------------------- the plan


def doubled(layer):
    """Return another forward for one object."""
    own = type(layer).forward

    def forward(*args, **kwargs):
        y, *others = own(layer, *args, **kwargs)
        return (2 * y, *others)

    return forward


def last_two(kind="dense"):
    return crnn.GRU(I, H, dtype="float64", seed=1), crnn.Dense(H, 2, dtype="float64", seed=2)


def test_a_forward_that_is_replaced_is_noticed(monkeypatch):
    model = crnn.Sequential([*last_two()])
    y = model.forward(X)[0]
    model.layers[1].forward = doubled(model.layers[1])
    assert_close(model.forward(X)[0], 2 * y, 1e-15)
    assert_close(model(X)[0], 2 * y, 1e-15)
    del model.layers[1].forward
    assert_same_bits(model.forward(X)[0], y)
    original = crnn.Dense.forward
    monkeypatch.setattr(
        crnn.Dense, "forward", lambda self, *a, **k: (0 * original(self, *a, **k)[0], None, None)
    )
    assert not model.forward(X)[0].any()


def test_an_embedding_with_another_forward_does_not_run_as_one_with_the_next_layer():
    def made():
        options = {"dtype": "float64"}
        return crnn.Embedding(5, I, seed=1, **options), crnn.GRU(I, H, seed=2, **options)

    x = RNG.integers(0, 5, (B, T))
    embedding, layer = made()
    model = crnn.Sequential([embedding, layer])
    y = model.forward(x)[0]
    embedding.forward = doubled(embedding)
    expected = layer.forward(2 * embedding.params["W"][x])[0]
    assert_close(model.forward(x)[0], expected, 1e-12)
    del embedding.forward
    layer.forward = doubled(layer)
    assert_close(model.forward(x)[0], 2 * y, 1e-12)


def test_an_embedding_made_anew_with_other_vectors_is_noticed():
    embedding, layer = crnn.Embedding(5, I, seed=1), crnn.GRU(I, H, seed=2)
    model = crnn.Sequential([embedding, layer])
    model.forward([[1, 2]])
    embedding.__init__(5, I - 1, seed=1)
    with pytest.raises(
        ValueError, match=r"x: expected floats of shape .*I=3.*got .*shape \(1, 2, 2\)"
    ):
        model.forward([[1, 2]])


def test_layers_that_are_replaced_appended_or_removed_are_noticed():
    first, second = last_two()
    model = crnn.Sequential([first, second])
    y = model.forward(X)[0]
    model.layers.append(crnn.Dense(2, 5, dtype="float64", seed=3))
    assert model.forward(X)[0].shape == (B, T, 5)
    assert list(model.parts) == ["0", "1", "2"]
    del model.layers[2]
    assert_same_bits(model.forward(X)[0], y)
    model.layers[1] = crnn.Pool("last")
    assert not model.keeps_time
    assert model.forward(X)[0].shape == (B, H)
    model.layers = [second]
    assert model.forward(np.zeros((B, T, H)))[0].shape == (B, T, 2)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_copies_run_their_own_layers(copied):
    for model in (
        crnn.Sequential([*last_two()]),
        crnn.Residual(crnn.GRU(I, I, dtype="float64", seed=1)),
        crnn.Conditioned(last_two()[0], crnn.Dense(2, H, dtype="float64", seed=3)),
    ):
        x = (X, np.ones((B, 2))) if isinstance(model, crnn.Conditioned) else X
        y = model.forward(x)[0]
        other = copied(model)
        assert_same_bits(other.forward(x)[0], y)
        for array in other.params.values():
            array[...] = 0
        assert_same_bits(model.forward(x)[0], y)
        assert not np.array_equal(other.forward(x)[0], y)


# ------------------------------------------------------------- layers that are no crnn.Layer


class Duck:
    """y = 2 x."""

    keeps_features = True

    def __init__(self):
        self.params, self.grads, self.heard = {}, {}, []

    def forward(self, x, state=None, *, lengths=None, training=True):
        self.heard.append(lengths)
        return 2 * x, None, None

    def __call__(self, x, state=None, **options):
        return self.forward(x, state, training=False, **options)[:2]

    def backward(self, tape, dy, dstate=None):
        return 2 * dy, None


def test_a_layer_of_another_maker_runs_in_compositions():
    duck = Duck()
    first, second = last_two()
    model = crnn.Sequential([duck, first, duck, second])
    assert model.layers[0] is duck
    assert (model.input_size, model.output_size) == (I, 2)
    assert crnn.gradcheck(model, X, lengths=ENDS).ok
    assert_same_bits(model(X)[0], second(2 * first(2 * X)[0])[0])
    assert duck.heard[-1] is None
    assert layer_of(duck).keeps_features
    with pytest.raises(ValueError, match=r"layers\[2\]: expected a layer that reads the 4 feat"):
        crnn.Sequential([first, duck, crnn.Dense(5, 1)])


# --------------------------------------------------------- any layer in Bidirectional


class Wrapped(crnn.Temporal):
    """A layer in Python around a layer of the core, without the option `reverse`."""

    def __init__(self, cell="LSTM", seed=0):
        self.cell, self.seed = cell, seed
        self.own = getattr(crnn, cell)(I, H, dtype="float64", seed=seed)
        self.input_size, self.output_size = I, H

    config = property(lambda self: {"cell": self.cell, "seed": self.seed})
    param_views = property(lambda self: self.own.param_views)
    grad_views = property(lambda self: self.own.grad_views)

    def forward(self, x, state=None, *, lengths=None, mask=None, resets=None, training=True):
        steps = {"lengths": lengths, "mask": mask, "resets": resets}
        return self.own.forward(x, state, training=training, **steps)

    def backward(self, tape, dy, dstate=None):
        return self.own.backward(tape, dy, dstate)


MARKS = {
    "plain": {},
    "lengths": {"lengths": ENDS},
    "mask": {"mask": RNG.random((B, T)) < 0.6},
    "resets": {"resets": RNG.random((B, T)) < 0.4, "lengths": ENDS},
}


@pytest.mark.parametrize("marks", MARKS.values(), ids=MARKS)
@pytest.mark.parametrize("merge", ["concat", "sum", "mean", "mul"])
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_both_directions_of_any_layer_are_those_of_the_core(cell, merge, marks):
    mine = crnn.Bidirectional(Wrapped(cell, 5), merge)
    core = crnn.Bidirectional(getattr(crnn, cell)(I, H, dtype="float64", seed=5), merge)
    assert type(mine) is type(core) is crnn.Bidirectional
    assert (mine.input_size, mine.output_size) == (core.input_size, core.output_size)
    assert list(mine.params) == list(core.params)
    assert_same_bits(dict(mine.params), dict(core.params))
    (y, end, tape), (y2, end2, tape2) = mine.forward(X, **marks), core.forward(X, **marks)
    assert_close(y, y2, 1e-14)
    assert type(end) is type(end2)
    assert_same_bits(end.backward, end[1])
    dy = RNG.normal(size=y.shape)
    found, expected = mine.backward(tape, dy, end), core.backward(tape2, dy, end2)
    for name, array in leaves((end, found, dict(mine.grads))).items():
        assert_close(array, leaves((end2, expected, dict(core.grads)))[name], 1e-13, name)
    assert_close(mine(X, **marks)[0], y, 1e-15)


def test_both_directions_of_any_layer_are_a_layer_like_others(tmp_path):
    mine = crnn.Bidirectional(Wrapped(seed=3), "mul")
    assert repr(mine) == "Bidirectional(Wrapped(seed=3), merge='mul')"
    assert crnn.gradcheck(mine, X, lengths=ENDS).ok
    crnn.save(tmp_path / "model.npz", mine)
    for other in (
        crnn.load(tmp_path / "model.npz", classes={"Wrapped": Wrapped}),
        copy.deepcopy(mine),
        pickle.loads(pickle.dumps(mine)),
    ):
        assert_same_bits(other(X)[0], mine(X)[0])

    class Backwards(Wrapped):
        reads_backwards = True

    with pytest.raises(ValueError, match="layer: expected one that reads forwards"):
        crnn.Bidirectional(Backwards())
    with pytest.raises(ValueError, match=r"merge: expected 'concat', .*, got 'min'"):
        crnn.Bidirectional(Wrapped(), "min")
    with pytest.raises(TypeError, match=r"layer: expected a recurrent layer .*, got Dense"):
        crnn.Bidirectional(crnn.Dense(2, 2))
    y, _ = crnn.LastState(mine)(X, lengths=ENDS)
    assert y.shape == (B, H)


# ------------------------------------------------- a Temporal layer wherever one is expected


def test_any_layer_with_a_state_in_windows_that_are_computed_twice():
    plain, layer = Wrapped(), crnn.Checkpointed(Wrapped(), 3)
    (y, end, tape), (y2, end2, tape2) = (
        plain.forward(X, lengths=ENDS),
        layer.forward(X, lengths=ENDS),
    )
    assert_same_bits((y2, end2), (y, end))
    found, expected = layer.backward(tape2, y, end), plain.backward(tape, y, end)
    assert_same_bits((found, dict(layer.grads)), (expected, dict(plain.grads)))


@pytest.mark.parametrize("attention", [None, "additive"])
def test_any_layers_with_a_state_as_encoder_and_decoder(attention):
    class Wide(Wrapped):
        def __init__(self, cell="GRU", seed=0):
            super().__init__(cell, seed)
            self.own = crnn.GRU(I + H, H, dtype="float64", seed=seed)
            self.input_size = I + H

    decoder = Wrapped("GRU", 2) if attention is None else Wide(seed=2)
    options = {"source_symbols": 5, "target_symbols": 6, "attention": attention, "seed": 3}
    model = crnn.Seq2Seq(Wrapped("GRU", 1), decoder, **options)
    size = I if attention is None else I + H
    twins = crnn.GRU(I, H, dtype="float64", seed=1), crnn.GRU(size, H, dtype="float64", seed=2)
    core = crnn.Seq2Seq(*twins, **options)
    source, target = RNG.integers(0, 5, (B, 4)), RNG.integers(0, 6, (B, 5))
    assert_close(model.forward(source, target)[0], core.forward(source, target)[0], 1e-13)
    x = (source, target, np.array([4, 2, 3]))
    assert crnn.gradcheck(crnn.TeacherForcing(model, seed=0), x, lengths=[5, 1, 3]).ok


def test_any_layer_with_a_state_is_looked_into():
    layer, core = Wrapped("GRU", 4), crnn.GRU(I, H, dtype="float64", seed=4)
    for look in (
        lambda model: crnn.diagnostics.state_jacobians(model, X).norms,
        lambda model: crnn.diagnostics.input_saliency(model, X, output=1).values,
    ):
        assert_close(look(layer), look(core), 1e-9)
    conditioned = crnn.Conditioned(layer, crnn.Dense(2, H, dtype="float64", seed=1))
    assert crnn.gradcheck(conditioned, (X, RNG.normal(size=(B, 2)))).ok
    assert_same_bits(crnn.LastState(layer)(X)[0], layer(X)[1])


def test_any_layer_with_a_state_in_truncated_backpropagation():
    models = []
    for recurrent in (Wrapped("GRU", 4), crnn.GRU(I, H, dtype="float64", seed=4)):
        model = crnn.Sequential([recurrent, crnn.Dense(H, 1, dtype="float64", seed=1)])
        options = {"loss": crnn.losses.mse, "epochs": 2, "progress": False, "tbptt": (2, 5)}
        crnn.fit(model, [(X, X[..., :1])], optimizer=crnn.optim.Adam(model, lr=0.1), **options)
        models.append(model)
    assert_same_bits(dict(models[0].params), dict(models[1].params))


def test_a_subclass_of_bidirectional_may_have_other_arguments():
    class Mine(crnn.Bidirectional):
        def __init__(self, size):
            super().__init__(crnn.GRU(size, H, dtype="float64", seed=1))

    assert Mine(size=I)(X)[0].shape == (B, T, 2 * H)
    names = list(inspect.signature(crnn.Bidirectional).parameters)
    assert names == ["layer", "merge"]


# ----------------------------------------------------------------- what reads backwards by itself


class Backwards(crnn.Layer):
    """A layer that passes each row in reverse order to another layer."""

    has_state = reads_backwards = True

    def __init__(self, seed=1):
        self.own = crnn.GRU(I, H, dtype="float64", seed=seed)

    parts = property(lambda self: {"own": self.own})
    config = property(lambda self: {})
    param_views = property(lambda self: {f"own.{k}": v for k, v in self.own.params.items()})
    grad_views = property(lambda self: {f"own.{k}": v for k, v in self.own.grads.items()})

    def forward(self, x, state=None, *, training=True):
        y, end, tape = self.own.forward(x[:, ::-1], state)
        return y[:, ::-1], end, tape

    def backward(self, tape, dy, dstate=None):
        dx, dstate = self.own.backward(tape, None if dy is None else dy[:, ::-1], dstate)
        return dx[:, ::-1], dstate


@pytest.mark.parametrize("make", [lambda: crnn.Bidirectional(Wrapped("GRU")), Backwards])
def test_a_layer_that_reads_backwards_without_an_option_cannot_run_step_by_step(make):
    layer = make()
    width = layer(X)[0].shape[-1]
    with pytest.raises(ValueError, match="layer: expected one that reads forwards"):
        crnn.Checkpointed(layer, 3)
    with pytest.raises(ValueError, match="decoder: expected a layer that runs step by step"):
        crnn.Seq2Seq(crnn.GRU(I, H), layer, target_symbols=4)
    with pytest.warns(UserWarning, match=r"Pool\('last'\) takes the last step"):
        crnn.Sequential([layer, crnn.Pool("last")])
    model = crnn.Sequential([layer, crnn.Dense(width, 1, dtype="float64", seed=1)])
    options = {"loss": crnn.losses.mse, "epochs": 1, "progress": False}
    for more in ({"tbptt": (2, 2)}, {"tbptt": (2, 4)}, {"stateful": True}):
        data = [(X, X[..., :1])] * 2
        with pytest.raises(ValueError, match="tbptt, stateful: expected layers that read forwards"):
            crnn.fit(model, data, optimizer=crnn.optim.Adam(model), **options, **more)


# ------------------------------------------------------------------------- answers that change


def test_parts_that_are_equal_are_not_taken_for_the_same():
    @dataclasses.dataclass
    class Encoder(Wrapped):
        cell: str = "GRU"
        seed: int = 0

        def __post_init__(self):
            Wrapped.__init__(self, self.cell, self.seed)

    options = {"source_symbols": 5, "target_symbols": 6, "attention": "additive", "seed": 3}
    decoder = crnn.GRU(I + H, H, dtype="float64", seed=2)
    model = crnn.Seq2Seq(Encoder(), decoder, **options)
    source, target = RNG.integers(0, 5, (B, 4)), RNG.integers(0, 6, (B, 5))
    model.forward(source, target)
    other = Encoder()
    other.params["W_x"] = 0.5
    assert other == model.encoder
    model.encoder = other
    assert model.params["encoder.W_x"] is other.params["W_x"]
    assert_same_bits(
        model.forward(source, target)[0], copy.deepcopy(model).forward(source, target)[0]
    )


def test_attributes_may_change():
    class Mean(crnn.Layer):
        keeps_time, keeps_features = True, True

        def forward(self, x, state=None, *, lengths=None, training=True):
            return (x if self.keeps_time else x.mean(axis=1)), None, x.shape

        def backward(self, tape, dy, dstate=None):
            return np.zeros(tape), None

    layer, duck = Mean(), Duck()
    model = crnn.Sequential([layer, crnn.Dense(I, 2, dtype="float64", seed=1)])
    assert model(X, lengths=ENDS)[0].shape == (B, T, 2)
    layer.keeps_time = False
    assert model(X, lengths=ENDS)[0].shape == (B, 2)
    model = crnn.Sequential([duck])
    assert model.output_size is None
    duck.output_size = 7
    assert model.output_size == model.parts["0"].output_size == 7


def test_parameters_of_other_makers_are_converted_or_refused():
    class Scale(Duck):
        def __init__(self):
            super().__init__()
            self.params, self.grads = {"w": np.ones(I, "f4")}, {"w": np.zeros(I, "f4")}

        def forward(self, x, state=None, *, training=True):
            return x * self.params["w"], None, np.array(x)

        def backward(self, tape, dy, dstate=None):
            self.grads["w"] += (tape * dy).sum(axis=(0, 1))
            return dy * self.params["w"], None

    class Fixed(Scale):
        params = property(lambda self: {"w": self.w}, lambda self, value: None)

        def __init__(self):
            super().__init__()
            self.w = np.ones(I, "f4")

    model = crnn.Sequential([Scale(), crnn.Dense(I, 2, seed=1)])
    assert {array.dtype for array in model.astype("f8").params.values()} == {np.dtype("f8")}
    assert crnn.gradcheck(model, X).ok
    with pytest.raises(
        TypeError, match="astype: expected parameters that can be converted to float64"
    ):
        crnn.Sequential([Fixed()]).astype("float64")


def test_something_that_is_no_layer_in_the_list_is_named():
    model = crnn.Sequential([crnn.Dense(I, 2)])
    model.layers.append("abc")
    with pytest.raises(TypeError, match=r"^layers\[1\]: expected a layer, got 'abc'"):
        model(X)


def test_the_item_of_an_error_is_named_where_several_are_gathered():
    model = crnn.Sequential([crnn.Dense(I, 2, dtype="float64", seed=1)])
    items = [(X, np.zeros((B, T, 2)))] * 2 + [(X[..., :1], np.zeros((B, T, 2)))]
    options = {"loss": crnn.losses.mse, "optimizer": crnn.optim.Adam(model), "epochs": 1}
    with pytest.raises(ValueError, match=r"^x: expected floats") as caught:
        crnn.fit(model, (item for item in items), accumulate=3, progress=False, **options)
    assert caught.value.__notes__[-1] == "in data, item 2"
    with pytest.raises(ValueError, match=r"^data: expected items"):
        crnn.fit(model, iter([*items[:2], None]), accumulate=3, progress=False, **options)
    assert not any(grad.any() for grad in model.grads.values())
