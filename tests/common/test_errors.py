"""Wrong arguments of public calls: the exception, its message, and that nothing changes."""

import os
import subprocess
import sys

import numpy as np
import pytest

import crnn
import crnn._core as _core
from crnn import optim
from crnn.layers.base.arguments import options_of
from support import error_tables
from support.running import fill, forward_backward
from support.tables import CELLS, LAYERS, every_cell
from support.wrong_calls import assert_all_fail, assert_fails, rows_of

# ------------------------------------------------------------------------------------- constructors

SIZES = {"0": ValueError, "-1": ValueError, "2**70": ValueError}
SIZES |= {"2.0": TypeError, "'2'": TypeError, "None": TypeError}
SEEDS = {"-1": ValueError, "2**64": ValueError, "1.5": TypeError, "'a'": TypeError}
DTYPES = ("'float16'", "int", "None", "'fish'", "3.5")
SIZED = {cell.layer.__name__: ("input_size", "hidden_size") for cell in CELLS.values()}
SIZED |= {"Dense": ("input_size", "output_size"), "Embedding": ("K", "size")}
SIZED |= {"LayerNorm": ("size",)}

# Wrong values of options; the message has the name of the argument before the place.
OPTIONS = {
    "crnn.RNN(2, 2, activation={})": ("'sin'", "None", "np.tanh", "b'tanh'"),
    "crnn.RNN(2, 2, leak={})": ("0", "-1", "1.5", "np.nan", "'a'", "True", "1j", "[0.1]", "[1, 0]"),
    "crnn.RNN(2, 2, learn_leak=True, leak={})": ("None", "1", "0", "[0.5, 1]"),
    "crnn.GRU(2, 2, reset={})": ("'never'", "True"),
    "crnn.LSTM(2, 2, forget_bias={})": ("'a'", "None", "np.nan", "np.inf", "1j", "[1]"),
    "crnn.JANET(2, 2, beta={})": ("'a'", "None", "np.nan", "-np.inf", "1j"),
    "crnn.LSTM(2, 2, activation={})": ("'sin'", "None", "1"),
    "crnn.LSTM(2, 2, recurrent_activation={})": ("'sin'", "None"),
    "crnn.LSTM(2, 2, output_activation={})": ("'Tanh'", "None"),
    "crnn.LSTM(2, 2, proj_size={})": ("0", "-1", "1.5", "2**70", "'2'"),
    "crnn.LSTM(2, 2, clip={})": ("0", "-1", "np.nan", "np.inf", "'a'"),
    "crnn.GRU(2, 2, recurrent_dropout={})": ("1", "-0.1", "np.nan", "'a'", "None"),
    "crnn.GRU(2, 2, weight_drop={})": ("1", "-0.1", "np.nan", "'a'", "None"),
    "crnn.GRU(2, 2, zoneout={})": ("1", "-0.1", "(0.1, 0.2)", "'a'", "None"),
    "crnn.LSTM(2, 2, zoneout={})": ("1", "(0.1,)", "(0.1, 1)", "('a', 0.1)", "None"),
    "crnn.LSTM(2, 2, proj_size=1, zoneout={})": ("0.1", "(0.1, 0)"),
    "crnn.JANET(2, 2, chrono={})": ("1", "'a'", "np.inf", "np.nan"),
    "crnn.LayerNorm(2, eps={})": ("0", "-1", "'a'", "np.nan", "np.inf", "None"),
    "crnn.Dropout(p={})": ("1", "-0.1", "'a'", "np.nan", "None", "1j"),
    "crnn.Dropout(0.5, seed={})": ("-1", "'a'", "2**64"),
    "crnn.Bidirectional(lstm, merge={})": ("'max'", "None", "1"),
    "crnn.Bidirectional(layer={})": ("dense", "None", "crnn.LSTM", "3", "backwards", "both"),
    "crnn.Residual(layer={})": ("None", "3", "crnn.LSTM", "[lstm]"),
    "crnn.Sequential(layers={})": ("[]", "lstm", "None", "'ab'"),
    "optim.Adam(model={})": ("None", "3", "[lstm]", "crnn.LSTM"),
    "optim.SGD(lstm, momentum={})": ("1", "-0.1", "'a'", "np.nan", "None"),
    "optim.RMSprop(lstm, alpha={})": ("1", "-0.1", "'a'", "None"),
    "optim.RMSprop(lstm, eps={})": ("-1", "'a'"),
    "optim.Adam(lstm, betas={})": ("0.9", "(0.9,)", "(0.9, 1)", "(-1, 0.9)", "('a', 0.9)", "None"),
    "optim.Adam(lstm, eps={})": ("-1", "None", "np.nan"),
    "optim.AdamW(lstm, weight_decay={})": ("-1", "'a'", "np.inf"),
}
for _make in ("SGD", "RMSprop", "Adam", "AdamW"):
    OPTIONS[f"optim.{_make}(lstm, lr={{}})"] = ("-1", "'a'", "np.nan", "np.inf", "None", "1j")
    OPTIONS[f"optim.{_make}(lstm, clip_norm={{}})"] = ("0", "-1", "'a'", "np.nan")


def constructors():
    """Return rows of the table for every class with sizes, a dtype and a seed."""
    for name, sizes in SIZED.items():
        fine = ", ".join("2" for _ in sizes)
        for size in sizes:
            for wrong, error in SIZES.items():
                given = ", ".join(wrong if one == size else "2" for one in sizes)
                expected = f"^{size}: expected an integer of at least 1.*, got"
                yield f"crnn.{name}({given})", (error,), expected
        for wrong in DTYPES:
            expected = "^dtype: expected 'float32' or 'float64', got"
            yield f"crnn.{name}({fine}, dtype={wrong})", (ValueError,), expected
        for wrong, error in SEEDS.items() if name != "LayerNorm" else ():
            expected = r"^seed: expected None or an integer from 0 to 2\*\*64 - 1, got"
            yield f"crnn.{name}({fine}, seed={wrong})", (error,), expected
        pairs = ("2**31, 2**31", "2**32, 2**32", "2**62, 2", "2, 2**62")
        for huge in pairs if len(sizes) == 2 else ("2**61", "2**62"):
            yield f"crnn.{name}({huge})", (ValueError,), rf"^({'|'.join(sizes)})\b.*: .*too large"
        yield f"crnn.{name}()", (TypeError,), f"missing .*'{sizes[0]}'"
        yield f"crnn.{name}({fine}, bais=True)", (TypeError,), "'bais'"
        yield f"crnn.{name}({fine}, True)", (TypeError,), "positional argument"


def options():
    for call, values in OPTIONS.items():
        name = call.partition("={}")[0].replace("(", " ").split()[-1]
        for value in values:
            expected = rf"^{name}(\[\d\])?: expected .*"
            yield call.format(value), (TypeError, ValueError), expected
    yield "crnn.Sequential([lstm, 3])", (TypeError,), r"^layers\[1\]: expected a layer, got 3"
    yield "crnn.Sequential([crnn.LSTM])", (TypeError,), r"^layers\[0\]: expected a layer, got"
    for name, first in (("Residual", "layer"), ("Bidirectional", "layer"), ("Dropout", "p")):
        yield f"crnn.{name}()", (TypeError,), f"'{first}'"


def single_calls():
    yield from constructors()
    yield from options()
    for name in ("LOSSES", "OPTIMIZERS", "CHECKS", "LAYERS", "TEMPORAL"):
        yield from rows_of(getattr(error_tables, name))


@pytest.fixture(scope="module")
def scene():
    """Return the values of the names in these calls."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4, 3))
    lstm, dense = crnn.LSTM(3, 4), crnn.Dense(3, 2)
    both, summed = (crnn.Bidirectional(crnn.LSTM(3, 4), merge) for merge in ("concat", "sum"))
    seq = crnn.Sequential([crnn.GRU(3, 3), dense])
    lookup = crnn.Sequential([crnn.Embedding(5, 3), crnn.RNN(3, 4)])
    symbols = rng.integers(0, 5, (3, 4))
    conv, block = crnn.CausalConv(3, 4, dilation=2), crnn.TCNBlock(3, 4, dilation=2)
    tcn = crnn.TCN(3, [4, 4])
    inputs = {lstm: x, both: x, seq: x, lookup: symbols, conv: x, block: x, tcn: x}
    for layer, given in inputs.items():
        forward_backward(layer, given)

    def lookup_tape(symbols, layer):
        """Return the tape of an embedding of K symbols that uses the last one, and of a layer."""
        whole = crnn.Sequential([crnn.Embedding(symbols, 3), layer])
        return whole.forward(np.full((3, 4), symbols - 1))[2]

    adam = optim.Adam(lstm)
    adam.step()
    forward_backward(lstm, x)  # gradients that are not 0
    return {
        "x": x,
        "dy": rng.normal(size=(3, 4, 2)),
        "lstm": lstm,
        "dense": dense,
        "dropout": crnn.Dropout(0.5),
        "embedding": crnn.Embedding(3, 4),
        "backwards": crnn.GRU(2, 2, reverse=True),
        "both": both,
        "both_tape": both.forward(x)[2],
        "summed_tape": summed.forward(x)[2],
        "seq": seq,
        "seq_tape": seq.forward(x)[2],
        "short_tape": seq.forward(x[:2])[2],
        "lookup": lookup,
        "lookup_tape": lookup_tape,
        "conv": conv,
        "conv_tape": conv.forward(x)[2],
        "block": block,
        "block_tape": block.forward(x)[2],
        "tcn": tcn,
        "adam": adam,
        "kept": adam.state_dict(),
    }


WATCHED = ("lstm", "dense", "embedding", "both", "seq", "lookup", "conv", "block", "tcn")
SINGLE_CALLS = list(single_calls())


@pytest.mark.parametrize("row", SINGLE_CALLS, ids=[row[0] for row in SINGLE_CALLS])
def test_a_call(row, scene):
    def watched():
        layers = [scene[name] for name in WATCHED]
        threads = np.array(_core.num_threads())
        return [[one.params, one.grads] for one in layers] + [scene["adam"].state_dict(), threads]

    assert_fails(row, scene, watched)


# ----------------------------------------------------------------------------- every layer and cell


@pytest.fixture(scope="module")
def foreign():
    """Return tapes of layers that are not in the tables."""
    x = np.zeros((3, 4, 7))
    layers = {"lstm": crnn.LSTM(7, 7), "dense": crnn.Dense(7, 7), "layernorm": crnn.LayerNorm(7)}
    layers["bidirectional"] = crnn.Bidirectional(crnn.LSTM(7, 7))
    layers["sequential"] = crnn.Sequential([crnn.LayerNorm(7) for _ in range(4)])
    tapes = {name: layer.forward(x)[2] for name, layer in layers.items()}
    return tapes | {"embedding": crnn.Embedding(9, 7).forward(np.zeros((3, 4), int) + 8)[2]}


class Lesson:
    """Return a layer of the table with gradients, and the values of names in the calls."""

    def __init__(self, name):
        self.subject = LAYERS[name]
        self.layer, x = self.subject.layer(), self.subject.inputs(3, 4)
        forward_backward(self.layer, x)
        y, state, tape = self.layer.forward(x)
        self.names = {"layer": self.layer, "x": x, "tape": tape, "state": state}
        self.names |= {"dy": np.ones_like(y), "given": self.layer.state_dict()}

    def watched(self):
        return [self.layer.params, self.layer.grads]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("way", ["__call__", "forward"])
def test_forward_of_every_layer(name, way):
    one = Lesson(name)
    call = {"call": getattr(one.layer, way)}
    assert_all_fail(rows_of(error_tables.EVERY_LAYER), one.names | call, one.watched)


def mask_rows(names):
    """The rows of EVERY_MASK for each argument that is such a mask."""
    for name in sorted(names & {"mask", "resets"}):
        for call, errors, message in rows_of(error_tables.EVERY_MASK):
            yield call.replace("MASK", name), errors, message.replace("MASK", name)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("way", ["__call__", "forward"])
def test_masks_of_every_layer(name, way):
    one = Lesson(name)
    call = {"call": getattr(one.layer, way)}
    reads_none = {"resets"} if name == "residual-dense" else set()  # no part of it has a state
    rows = mask_rows(options_of(one.layer) - reads_none)
    assert_all_fail(rows, one.names | call, one.watched)


@pytest.mark.parametrize("name", LAYERS)
def test_backward_of_every_layer(name, foreign):
    one = Lesson(name)
    names = one.names | {"foreign": foreign}
    assert_all_fail(rows_of(error_tables.EVERY_BACKWARD), names, one.watched)


@pytest.mark.parametrize("name", LAYERS)
def test_every_parameter(name):
    one = Lesson(name)
    for key in one.layer.params:
        rows = [
            (call, errors, message.replace("ONE", key))
            for call, errors, message in rows_of(error_tables.EVERY_PARAMETER)
        ]
        assert_all_fail(rows, one.names | {"one": key}, one.watched)


@every_cell
@pytest.mark.parametrize("way", ["__call__", "forward"])
def test_every_cell(kind, way):
    layer = fill(CELLS[kind](3, 4, dtype="float64"))
    x = np.random.default_rng(0).normal(size=(3, 4, 3))
    forward_backward(layer, x)
    _, state, tape = layer.forward(x)
    stream = layer.stream(3)
    stream.step(x[:, 0])

    def other(inputs=3, hidden=4, dtype="float64", **options):
        layer = CELLS[kind](inputs, hidden, dtype=dtype, **options)
        return layer.forward(np.zeros((3, 4, inputs)))[2]

    def pack(part):
        return (state[0], part) if isinstance(state, tuple) else part

    names = {"layer": layer, "call": getattr(layer, way), "x": x, "tape": tape, "stream": stream}
    names |= {"dy": np.ones((3, 4, 4)), "pack": pack, "other": other}
    rows = rows_of(error_tables.EVERY_CELL)
    assert_all_fail(rows, names, lambda: [layer.params, layer.grads, stream.state])


@every_cell
def test_tapes_of_layers_with_other_options(kind):
    """A tape of a layer with another option, or of another cell, raises."""
    layer = CELLS[kind](3, 4)
    for name, cell in CELLS.items():
        tape = cell(3, 4).forward(np.zeros((3, 4, 3)))[2]
        if name == kind:
            layer.backward(tape, None)
        else:
            with pytest.raises(ValueError, match=r"^tape: expected .* layer like this"):
                layer.backward(tape, None)
    if kind == "janet":
        with pytest.raises(ValueError, match=r"^tape: expected .* layer like this"):
            layer.backward(crnn.JANET(3, 4, beta=2.0).forward(np.zeros((3, 4, 3)))[2], None)


# ---------------------------------------------------------------------------------- the environment


def python(program, **environment):
    return subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CRNN_ISA", "sse"),
        ("CRNN_ISA", "AVX2"),
        *(("CRNN_NUM_THREADS", value) for value in ("0", "-2", "two", "2.5", "2x", " ")),
    ],
)
def test_a_wrong_environment(name, value):
    done = python("import crnn", **{name: value})
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: {name}: expected ")
    assert last.endswith(f"got '{value}'")
    if name == "CRNN_ISA":
        assert all(level in last for level in _core.isa_available())


@pytest.mark.parametrize("level", ["", *_core.isa_available()])
@pytest.mark.parametrize("threads", ["", "1", "3"])
def test_a_valid_environment(level, threads):
    program = "import crnn; found = crnn.show_config(); print(found['isa'], found['threads'])"
    done = python(program, CRNN_ISA=level, CRNN_NUM_THREADS=threads)
    assert done.returncode == 0, done.stderr
    isa, count = done.stdout.strip().splitlines()[-1].split()
    assert isa == (level or _core.isa_available()[0])
    assert int(count) == int(threads) if threads else int(count) >= 1


def test_the_error_for_a_series_of_integers_explains_symbols():
    """The most frequent error with a time series: counts that are passed as integers."""
    series = np.full((2, 3), 112)
    message = (
        "x: expected symbols from 0 to I-1=0, got 112 in row 0 at step 0; "
        "integers are read as symbols: give numbers as floats"
    )
    for run in (crnn.GRU(1, 4), crnn.GRU(1, 4).forward, crnn.Bidirectional(crnn.LSTM(1, 4))):
        with pytest.raises(ValueError, match=f"^{message}"):
            run(series)
    with pytest.raises(ValueError, match=f"^{message}"):
        crnn.GRU(1, 4).stream(2).step(series[:, 0])
