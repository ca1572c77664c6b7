"""A program as users write it, and lines with mistakes: mypy reads it, nothing runs it.

A line with a mistake ends in a comment with the code of mypy's error: ``error: arg-type``.
`tests/project/test_types.py` asserts that mypy reports these lines with these codes and no others.
"""

# ruff: noqa: B018

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

import crnn
from crnn.callbacks import Callback, Checkpoint, Cosine, EarlyStopping, OneCycle, Step
from crnn.callbacks.run import Run
from crnn.data import Batches, Standardizer, Streams, TextStreams, Vocabulary, pad, split, windows
from crnn.models import CharModel, Translator

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

# -------------------------------------------------------------------------- right: layers and calls

x = np.zeros((4, 5, 3), np.float32)
symbols = np.zeros((4, 5), np.int64)

rnn = crnn.RNN(3, 8, activation="relu", clip=5.0, dtype=np.float64, seed=0)
leaky = crnn.RNN(3, 8, leak=np.full(8, 0.5), learn_leak=True)
assert_type(leaky.leak, float | tuple[float, ...] | None)
lstm = crnn.LSTM(3, 8, forget_bias=0.0, peepholes=True, proj_size=4, zoneout=(0.1, 0.2))
gru = crnn.GRU(3, 8, reset="before", recurrent_activation="hard_sigmoid", zoneout=0.1)
janet = crnn.JANET(3, 8, beta=0.5, chrono=100, reverse=True, bias=False, dtype="float64")
mingru = crnn.MinGRU(3, 8, activation="tanh", delays=2, zoneout=0.1, recurrent_activation="sigmoid")
minlstm = crnn.MinLSTM(3, 8, forget_bias=0.5, chrono=None, layer_norm=True)
assert_type(mingru.delays, int)

y, (h, c) = lstm(x, lengths=[5, 3, 2, 1])
assert_type(y, Array)
assert_type(h, Array)
assert_type(c, Array)
y, h = gru(x)
assert_type(h, Array)
y, (h, c) = lstm(x.tolist(), (h, c), mask=symbols > 0)
y, (h, c) = lstm(symbols, [h, c])
y, h = janet(x, h, resets=None)
y, h = minlstm(x, mingru(x, lengths=None)[1])
best = int(rnn(x)[0].argmax())

ridge = crnn.Ridge(8, 2, alpha=[0.1, 1.0])
assert_type(ridge.alpha, float | tuple[float, ...])
ridge.alpha = np.logspace(-3, 0, 4)
assert_type(crnn.Dense(3, 2).output_size, int)

y, state, tape = lstm.forward(x, training=True, call=3)
assert_type(tape.gates["f"], Array)
norms = np.linalg.norm(tape.h - tape.c, axis=2)
dx, dstate = lstm.backward(tape, np.ones_like(y), state, trace=True)
assert_type(dstate, tuple[Array, Array])
reach = float(np.abs(tape.dh).max() + np.abs(tape.dgates["o"]).max())
y, h, rnn_tape = rnn.forward(x)
_, dh = rnn.backward(rnn_tape, None, h)

stream = lstm.stream(batch_size=4)
step: Array = stream.step(x[:, 0])
stream.reset(rows=[0])
h, c = stream.state
stream.state = None

# ---------------------------------------------------------------------- right: attributes of layers

assert_type(lstm.reverse, bool)
assert_type(lstm.clip, float | None)
assert_type(lstm.hidden_size, int)
assert_type(lstm.forget_bias, float)
sizes: list[int] = [lstm.input_size, lstm.output_size, gru.hidden_size]
if gru.reset == "after" or rnn.activation == "tanh" or janet.beta > 0 or lstm.coupled:
    gate = lstm.gate_order[0]
kind: np.dtype[Any] = lstm.dtype
lstm.params["W_x"][...] *= 0.5
lstm.params["b"] = np.zeros(32)
lstm.flat_params -= 0.1 * lstm.flat_grads
lstm.zero_grad()
other = crnn.GRU(3, 8, seed=gru.seed)
other.load_state_dict(gru.state_dict())
options: dict[str, Any] = gru.options

# ------------------------------------------------------------------------------ right: compositions

both = crnn.Bidirectional(crnn.LSTM(3, 8), merge="sum")
y, (first, last) = both(x)
y, pair, both_tape = both.forward(x)
forget_gate: Array = both_tape.forward.gates["f"]
model = crnn.Sequential([crnn.Embedding(10, 3), both, crnn.Dropout(0.1), crnn.Dense(8, 10)])
model.layers[3] = crnn.TiedDense(crnn.Embedding(10, 8))
first_name: str = model.layers[1].forward_layer.gate_order[0]
logits, states = model(symbols, lengths=[5, 5, 5, 1])
logits, states, tapes = model.forward(symbols)
dsymbols, dstates = model.backward(tapes, logits)
model.append(crnn.Dense(10, 4))
halves: list[crnn.Sequential] = [model[:2], model[2:]]
count = len(model) + sum(len(layer.params) for layer in model)
last_layer = model[-1]
classifier = crnn.Sequential([crnn.LastState(both, of="h"), crnn.LayerNorm(8), crnn.Dense(8, 2)])
pooled = crnn.Sequential((gru, crnn.Residual(crnn.GRU(8, 8)), crnn.Pool("mean")))
long = crnn.Checkpointed(crnn.LSTM(3, 8), every=16)
conditioned = crnn.Conditioned(crnn.LSTM(3, 8), crnn.Dense(20, 16))
y, state = conditioned((x, np.zeros((4, 20))))
scores, _ = crnn.Dense(3, 2)(x)
print(model.summary(), scores.shape, model.input_size, model.output_size, model.keeps_time)
double: crnn.Sequential = model.astype("float64")
assert_type(states, list[Any])


def trained(model: crnn.Layer) -> float:
    """Use any layer."""
    y, state = model(x)
    y, state, tape = model.forward(x, state, lengths=[1, 2, 3, 4])
    dx, _ = model.backward(tape, y, state)
    return crnn.optim.Adam(model).step() + float(y.sum() + dx.sum())


parts = [crnn.Embedding(10, 3), crnn.LSTM(3, 8), crnn.Dense(8, 10)]
stacked = crnn.Sequential(parts)
stacked = crnn.Sequential([crnn.GRU(3, 3) for _ in range(3)] + [crnn.Dense(3, 2)])
settings: dict[str, Any] = {"bias": False, "activation": "relu"}
gru = crnn.GRU(3, 8, **settings)
trained(stacked)

# ---------------------------------------------------------------- right: layers and losses of users


class Scale(crnn.Layer):
    """y = a x."""

    keeps_features = True
    receptive_field = 1
    input_size: int

    def __init__(self, size: int) -> None:
        self.input_size = size
        self.a, self.da = np.ones(size), np.zeros(size)

    @property
    def param_views(self) -> dict[str, Array]:
        return {"a": self.a}

    @property
    def grad_views(self) -> dict[str, Array]:
        return {"a": self.da}

    def forward(
        self, x: Array, state: None = None, *, lengths: npt.ArrayLike | None = None, **_: Any
    ) -> tuple[Array, None, Array]:
        return self.a * x, None, x.copy()

    def backward(self, tape: Array, dy: Array, dstate: None = None) -> tuple[Array, None]:
        self.da += (tape * dy).sum(axis=(0, 1))
        return self.a * dy, None


class Leaky(crnn.Temporal):
    """A layer with a decaying state."""

    @property
    def output_size(self) -> int:
        return 3

    def forward(self, x: Array, state: Array | None = None, **_: Any) -> tuple[Array, Array, Any]:
        return x, np.zeros((len(x), 3)), None

    def backward(self, tape: Any, dy: Array, dstate: Array | None = None) -> tuple[Array, Array]:
        return dy, dy[:, 0]


class Slow(crnn.LSTM):
    """An LSTM with a constructor and a forward of a user."""

    def __init__(self, size: int) -> None:
        super().__init__(size, size, forget_bias=2.0, seed=1)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


class Foreign:
    """A class that is not a subclass of `crnn.Layer`."""

    def __init__(self) -> None:
        self.params: dict[str, Floats] = {}
        self.grads: dict[str, Floats] = {}

    def forward(self, x: Array, state: None = None) -> tuple[Array, None, None]:
        return x, None, None

    def backward(self, tape: None, dy: Array, dstate: None = None) -> tuple[Array, None]:
        return dy, None


mine = crnn.Sequential([Scale(3), crnn.Bidirectional(Leaky()), Slow(6), Foreign()])
adam = crnn.optim.Adam(Foreign(), 1e-3)


def absolute(y: Array, target: Array, lengths: Any = None) -> tuple[float, Array]:
    """Mean absolute error."""
    return float(np.abs(y - target).mean()), np.sign(y - target) / y.size


class Stop(Callback):
    """Callback that ends a run at a certain loss."""

    def on_epoch(self, run: Run) -> None:
        if run.history.loss[-1] < 0.1:
            run.stop()


# ---------------------------------------------------------------------------- right: data, training

train, held_out = split(np.zeros(100), share=0.2, by="time", gap=5)
table = crnn.data.read_csv("sales.csv", target="sold", missing="interpolate")
scaler = Standardizer().fit(train)
inputs, targets = windows(scaler.transform(train), 10, horizon=1)
batches = Batches([[1, 2], [3]], [0, 1], batch_size=2, seed=None)
streams = Streams(train, batch_size=2, steps=10)
padded, lengths = pad([[1, 2, 3], [4]])
vocabulary = Vocabulary.from_text("hello")
texts = TextStreams(vocabulary.encode("hello"), batch_size=1)

sgd = crnn.optim.SGD(model, 0.1, momentum=0.9, clip_norm=1.0, freeze=["0.*"])
optimizer = crnn.optim.AdamW(model, lr=1e-3, weight_decay=0.1)
optimizer.lr = 1e-4
norm: float = optimizer.step()
loss, dlogits = crnn.losses.cross_entropy(logits, symbols, [5, 5, 5, 1], label_smoothing=0.1)
assert_type(dlogits, Array)
bits = loss / np.log(2)
error, dy = crnn.losses.mse(y, x.tolist(), weights=None)
error, dy = crnn.losses.binary_cross_entropy(y, y > 0, pos_weight=2, labels="sum")
history = crnn.fit(
    model,
    texts,
    loss=crnn.losses.cross_entropy,
    optimizer=optimizer,
    epochs=2,
    tbptt=(10, 20),
    validation=[(symbols, symbols), (symbols, symbols, [1, 2, 3, 4])],
    callbacks=[EarlyStopping(patience=3), OneCycle(0.01), Checkpoint("run.npz", epochs=1), Stop()],
    progress=False,
    resume=Path("run.npz"),
)
outputs: Array = crnn.predict(model, x, batch_size=2)
several: list[Array] = crnn.predict(model, [x[0], x[1, :3]])
entropy = crnn.losses.cross_entropy
result = crnn.evaluate(model, texts, loss=entropy, metrics={"accuracy": crnn.metrics.accuracy})
accuracy = float(result["accuracy"]) + result
trainer = crnn.Trainer(model, texts, loss=entropy, optimizer=optimizer, epochs=1)
trainer.run()
crnn.fit(mine, batches, loss=absolute, optimizer=adam, epochs=1, callbacks=(Cosine(0.1),))
last_loss: float = history.loss[-1]
crnn.save("model.npz", model)
crnn.save(Path("model.npz"), Scale(3))
loaded: crnn.Layer = crnn.load("model.npz", classes={"Scale": Scale})
prediction: Array = loaded(x)[0]

# ---------------------------------------------------------- right: generation, seq2seq, diagnostics

written: Array = crnn.generate(model, [0, 1], 20, temperature=0.8, top_k=3, seed=1, stop=2)
seq2seq = crnn.Seq2Seq(
    crnn.GRU(3, 8), crnn.GRU(11, 8), source_symbols=9, target_symbols=9, attention="additive"
)
logits, memory = seq2seq.forward(symbols, symbols, source_lengths=[5, 4, 3, 2])
attention: Array = memory.attention
dsource = seq2seq.backward(memory, logits)
tokens, log_p = seq2seq.generate(symbols, start=0, stop=1, max_steps=9, beam=4)
taught = crnn.TeacherForcing(seq2seq, probability=lambda update: 0.99**update)
logits, _ = taught((symbols, symbols, None))
crnn.fit(
    taught,
    [((symbols, symbols), symbols, [5, 4, 3, 2])],
    loss=crnn.losses.cross_entropy,
    optimizer=crnn.optim.RMSprop(taught),
    epochs=1,
)

report = crnn.gradcheck(crnn.Residual(Leaky()), x, lengths=[1, 2, 3, 4])
assert report.ok
assert report.max_error < 1e-6
assert crnn.gradcheck(Foreign(), x)
jacobians = crnn.diagnostics.state_jacobians(lstm, x)
flow = crnn.diagnostics.gradient_flow(tape)
saliency = crnn.diagnostics.input_saliency(model, symbols, method="occlusion")
capacity: float = crnn.diagnostics.memory_capacity(lstm, delays=20).total
radius: float = crnn.spectral_radius(lstm.params["W_h"][:8])
series: Array = crnn.data.mackey_glass(100, tau=30, method="rk4", seed=0)
inputs, targets = crnn.data.narma(100, order=10, seed=0)
watched = crnn.watch(model, every=10)
ax = watched.plot(what="reach")
ax = crnn.plotting.loss_curve(history, ax, unit="bits")
ax = crnn.plotting.unfolded(model, steps=3)
ax = crnn.plotting.gates_over_text("text", y[0, :, 0])
written_text: str = CharModel.for_text("text", cell="gru", hidden_size=8).sample("t")
translator = Translator.for_pairs([("one", "1")], attention="dot", cell="janet")
crnn.set_num_threads(2)
threads: int = crnn.show_config()["threads"]

# ----------------------------------------------------------------------------------- wrong: options

crnn.LSTM(3, 8.0)  # error: arg-type
crnn.LSTM(3, 8, forget_bais=1.0)  # error: call-arg
crnn.GRU(3, 8, peepholes=True)  # error: call-arg
crnn.LSTM(3, 8, batch_first=True)  # error: call-arg
crnn.LSTM(3, 8, True)  # error: call-arg
crnn.RNN(3, 8, activation="tahn")  # error: arg-type
crnn.GRU(3, 8, reset="befor")  # error: arg-type
crnn.LSTM(3, 8, output_activation="softmax")  # error: arg-type
crnn.RNN(3, 8, learn_leak="yes")  # error: arg-type
crnn.GRU(3, 8, leak=0.5)  # error: call-arg
crnn.GRU(3, 8, zoneout=(0.1, 0.2))  # error: arg-type
crnn.JANET(3, 8, beta="1")  # error: arg-type
crnn.Bidirectional(lstm, merge="add")  # error: arg-type
crnn.Bidirectional(crnn.Dense(3, 3))  # error: arg-type
crnn.Pool("min")  # error: arg-type
crnn.LastState(lstm, of="hidden")  # error: arg-type
crnn.Seq2Seq(gru, gru, attention="bahdanau")  # error: arg-type
CharModel.for_text("text", cell="lsmt")  # error: arg-type
CharModel.for_text("text", hidden=8)  # error: call-arg
Translator.for_pairs([("one", "1")], attention="luong")  # error: arg-type
crnn.data.read_csv("sales.csv", missing="zero")  # error: arg-type
crnn.data.mackey_glass(100, method="heun")  # error: arg-type
crnn.metrics.nrmse(scale="var")  # error: arg-type
split(train, by="random")  # error: arg-type
crnn.diagnostics.input_saliency(model, x, method="lime")  # error: arg-type
watched.plot(what="norm")  # error: arg-type

# ------------------------------------------------------------------------------------ wrong: layers

crnn.Sequential([lstm, 3])  # error: list-item
crnn.Sequential([lstm, None])  # error: list-item
crnn.Sequential([lstm, crnn.Dense])  # error: list-item
crnn.Sequential(lstm)  # error: arg-type
crnn.Residual(None)  # error: arg-type
model.append("dense")  # error: arg-type
crnn.Checkpointed("lstm", 4)  # error: arg-type
conditioned.init = "dense"  # error: assignment
crnn.Seq2Seq(None, gru)  # error: arg-type
crnn.gradcheck("x", x)  # error: arg-type
crnn.optim.Adam(3)  # error: arg-type
crnn.optim.Adam(model.params)  # error: arg-type
crnn.optim.SGD([lstm, gru])  # error: arg-type
crnn.generate(x, [0], 3)  # error: arg-type
crnn.diagnostics.state_jacobians(x, lstm)  # error: arg-type
crnn.plotting.unfolded("model")  # error: arg-type
crnn.save(model, "model.npz")  # error: arg-type
crnn.save("model.npz", Foreign())  # error: arg-type
crnn.load("model.npz", classes=[Scale])  # error: arg-type

# ------------------------------------------------------------------------- wrong: calls and results

lstm(x).argmax()  # error: attr-defined
model(symbols).argmax()  # error: attr-defined
model.forward(symbols)[2].gates  # error: attr-defined
trained(Foreign())  # error: arg-type
trained(x)  # error: arg-type
lstm(x, h)  # error: arg-type
gru(x, [5, 3], length=[1])  # error: call-arg
crnn.Dense(3, 2)(x, [5, 3, 2, 1])  # error: arg-type
lstm.forward(x, train=True)  # error: call-arg
lstm.stream(batch=1)  # error: call-arg
tape.gate  # error: attr-defined
tape.gates.f  # error: attr-defined
lstm.hiden_size  # error: attr-defined
lstm.reset  # error: attr-defined
gru.peepholes  # error: attr-defined
model.layer  # error: attr-defined
model.eval()  # error: attr-defined
lstm.bias = False  # error: assignment
lstm.hidden_size = 4  # error: misc
crnn.Dense(3, 2).output_size = 4  # error: assignment
crnn.Embedding(3, 2).seed = 1  # error: assignment
crnn.Lstm(3, 8)  # error: attr-defined
crnn.optim.adam(model)  # error: attr-defined
crnn.losses.crossentropy(logits, symbols)  # error: attr-defined
seq2seq.forward(symbols, symbols, lengths=[1])  # error: call-arg
memory.weights  # error: attr-defined
report.okay  # error: attr-defined

# ---------------------------------------------------------------------------------- wrong: training

crnn.fit(model, texts, loss="mse", optimizer=adam, epochs=1)  # error: arg-type
crnn.fit(model, texts, loss=entropy, optimizer="adam", epochs=1)  # error: arg-type
crnn.fit(model, texts, loss=entropy, optimizer=crnn.optim.Adam, epochs=1)  # error: arg-type
crnn.fit(model, texts, loss=entropy, optimizer=adam, epochs=1.5)  # error: arg-type
crnn.fit(model, texts, loss=entropy, optimizer=adam, epoch=1)  # error: call-arg
crnn.fit(model, texts, entropy, adam, 1)  # error: call-arg
crnn.fit(model, 3, loss=entropy, optimizer=adam, epochs=1)  # error: arg-type
crnn.fit(model, [x], loss=entropy, optimizer=adam, epochs=1)  # error: list-item
crnn.fit(model, texts, loss=entropy, optimizer=adam, epochs=1, metrics=[entropy])  # error: arg-type
crnn.evaluate(model, texts, entropy)  # error: call-arg
crnn.predict(model)  # error: call-overload
crnn.fit("m", texts, loss=entropy, optimizer=adam, epochs=1)  # error: arg-type
stops: list[Callback] = [EarlyStopping]  # error: list-item
crnn.fit(model, texts, loss=entropy, optimizer=adam, epochs=1, callbacks=[Stop])  # error: list-item
crnn.optim.Adam(model, "1e-3")  # error: arg-type
crnn.optim.Adam(model, 1e-3, 1.0)  # error: call-arg
crnn.optim.Adam(model, clip=1.0)  # error: call-arg
Step(0.1, 10)  # error: call-arg
Cosine("0.1")  # error: arg-type
adam.lr = "fast"  # error: assignment
crnn.losses.mse(x)  # error: call-arg
crnn.losses.binary_cross_entropy(x, x, labels="max")  # error: arg-type
crnn.MinGRU(3, 8, recurrent_dropout=0.1)  # error: call-arg
EarlyStopping(3, monitor="val_accuracy", mode="auto")  # error: arg-type
EarlyStopping(patience="3")  # error: arg-type
crnn.metrics.f1(average="binary")  # error: arg-type
crnn.metrics.f1(avg="macro")  # error: call-arg
crnn.metrics.accuracy(x)  # error: call-arg
crnn.predict(model, x, batch_size="all")  # error: call-overload
crnn.predict(model, x).hidden  # error: attr-defined
crnn.evaluate(model, texts, loss=entropy, metrics={"a": "b"})  # error: dict-item
model.eval()  # error: attr-defined
model.fit(x, x)  # error: attr-defined
model.append("layer")  # error: arg-type
crnn.LSTM(3, 8, num_layers=2)  # error: call-arg
