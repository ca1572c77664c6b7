"""Wrong arguments of Seq2Seq and TeacherForcing: exceptions, messages, and no changed array."""

import numpy as np
import pytest

import crnn
from support.running import fill
from support.seq2seqs import model_of
from support.wrong_calls import assert_all_fail, rows_of

CONSTRUCTORS = r"""
crnn.Seq2Seq(None, gru())
crnn.Seq2Seq(crnn.GRU, gru())
    TypeError encoder: expected a layer, got
crnn.Seq2Seq(gru(), 'decoder')
    TypeError decoder: expected a layer, got 'decoder'
crnn.Seq2Seq(gru())
    TypeError .*missing .*'decoder'
crnn.Seq2Seq(gru(), crnn.Bidirectional(gru()))
    ValueError decoder: expected a layer that runs step by step .*, got .*'backward'
crnn.Seq2Seq(gru(), crnn.GRU(3, 4, reverse=True))
crnn.Seq2Seq(gru(), crnn.Sequential([gru(), crnn.Pool()]))
crnn.Seq2Seq(gru(), crnn.Conditioned(gru(), crnn.Dense(2, 4)))
    ValueError decoder: expected a layer that runs step by step .*, got
crnn.Seq2Seq(gru(), crnn.Sequential([crnn.Embedding(5, 3), gru()]))
crnn.Seq2Seq(gru(), crnn.Dropout(0.1))
    ValueError decoder: expected a layer that reads vectors of a fixed size \(input_size\), got
crnn.Seq2Seq(gru(), crnn.Dense(3, 4))
    ValueError decoder: expected one with a state, got
crnn.Seq2Seq(crnn.Dense(3, 4), gru(), source_symbols=5)
    ValueError encoder: expected a layer with a state, .*, got
crnn.Seq2Seq(crnn.Sequential([gru(), crnn.Pool()]), gru(), attention='dot')
    ValueError encoder: expected a layer that keeps the time axis, .*, got
crnn.Seq2Seq(crnn.Conditioned(gru(), crnn.Dense(2, 4)), gru())
    ValueError encoder: expected a layer that reads one array, got
crnn.Seq2Seq(crnn.Dropout(0.1), gru(), attention='dot')
crnn.Seq2Seq(crnn.Sequential([crnn.Embedding(5, 3), gru()]), gru(), source_symbols=5)
    ValueError encoder: expected a layer that reads vectors of a fixed size \(input_size\), got
crnn.Seq2Seq(gru(), gru(), source_symbols=0)
    ValueError source_symbols: expected an integer of at least 1.*, got 0
crnn.Seq2Seq(gru(), gru(), target_symbols=-1)
crnn.Seq2Seq(gru(), gru(), target_symbols=2**70)
    ValueError target_symbols: expected an integer of at least 1.*, got
crnn.Seq2Seq(gru(), gru(), target_symbols=1.5)
crnn.Seq2Seq(gru(), gru(), target_symbols='a')
    TypeError target_symbols: expected an integer of at least 1.*, got
crnn.Seq2Seq(gru(), gru(), attention='bahdanau')
crnn.Seq2Seq(gru(), gru(), attention=True)
crnn.Seq2Seq(gru(), gru(), attention=['dot'])
    ValueError attention: expected None or one of 'additive', 'dot', 'general', got
crnn.Seq2Seq(crnn.GRU(3, 5), crnn.GRU(9, 4), attention='dot')
    ValueError attention: expected an encoder's output as wide as the decoder's .*, got 5 and 4
crnn.Seq2Seq(gru(), gru(), attention='dot')
crnn.Seq2Seq(gru(), crnn.GRU(4, 4), attention='general')
    ValueError decoder: expected an input_size above C=4, .*, got [34]
crnn.Seq2Seq(gru(), crnn.Sequential([crnn.GRU(9, 4), crnn.Dense(4, 2)]), attention='general')
    ValueError decoder: expected an output with as many units as its last h, .*, got 2 and 4
crnn.Seq2Seq(gru(), gru(), dtype='int32')
crnn.Seq2Seq(gru(), gru(), dtype='float16')
crnn.Seq2Seq(gru(), gru(), dtype='fish')
    ValueError dtype: expected 'float32' or 'float64', got
crnn.Seq2Seq(gru(), gru(), seed=-1)
crnn.Seq2Seq(gru(), gru(), seed=2**64)
    ValueError seed: expected None or an integer from 0 to 2\*\*64 - 1, got
crnn.Seq2Seq(gru(), gru(), seed='a')
    TypeError seed: expected None or an integer
crnn.Seq2Seq(gru(), gru(), 5)
    TypeError .*positional argument
crnn.TeacherForcing(gru())
crnn.TeacherForcing(None)
    TypeError model: expected a Seq2Seq, got
crnn.TeacherForcing(model, 1.1)
crnn.TeacherForcing(model, -0.1)
crnn.TeacherForcing(model, np.nan)
crnn.TeacherForcing(model, 'a')
crnn.TeacherForcing(model, None)
    ValueError probability: expected a number from 0 to 1, or a function that returns one, got
crnn.TeacherForcing(model, seed=-1)
    ValueError seed: expected
"""

RUNS = r"""
call(source[0], target)
call(source[..., None], target)
    ValueError source: expected integers of shape \(B, T\), got shape
call(source + 0.0, target)
call(source > 0, target)
call('source', target)
call(None, target)
    TypeError source: expected integers of shape \(B, T\), got
call([[1], [2, 3]], target)
    TypeError|ValueError source: expected
call((source, target), target)
    TypeError source: expected one array, got a tuple \(crnn.TeacherForcing reads
call(source + 4, target)
    ValueError source: expected integers from 0 to K-1=4, got .*
call(source - 1, target)
    ValueError source: expected integers from 0 to K-1=4, got -1 to
call(source, target[0])
call(source, target[:2])
call(source, np.zeros((3, 4, 2), int))
    ValueError target_in: expected integers of shape \(B=3, T\), got shape
call(source, target + 0.0)
call(source, None)
    TypeError target_in: expected integers of shape \(B=3, T\), got
call(source, target - 1)
call(source, target + 4)
    ValueError target_in: expected integers from 0 to K-1=3, got
call(source)
    TypeError .*missing .*'target_in'
call(source, target, source_lengths=[7, 1, 1])
    ValueError source_lengths: expected integers from 0 to T=5, got .*7
call(source, target, source_lengths=[-1, 1, 1])
    ValueError source_lengths: expected integers from 0 to T=5, got -1
call(source, target, source_lengths=[1, 1])
call(source, target, source_lengths=2)
    ValueError source_lengths: expected shape \(B=3,\), got
call(source, target, source_lengths=[1.0, 1.0, 1.0])
call(source, target, source_lengths='abc')
    TypeError source_lengths: expected integers of shape \(B=3,\), got
call(source, target, target_lengths=[5, 1, 1])
    ValueError target_lengths: expected integers from 0 to T=4, got .*5
call(source, target, target_lengths=[[1, 1, 1]])
    ValueError target_lengths: expected shape \(B=3,\), got
call(source, target, target_lengths=[True, True, True])
    TypeError target_lengths: expected integers of shape \(B=3,\), got bool
call(source, target, lengths=[1, 1, 1])
    TypeError .*'lengths'
call(source, target, [1, 1, 1])
    TypeError .*positional argument
"""

FORWARD = r"""
model.forward(source, target, call=-1)
model.forward(source, target, call=2**64)
    ValueError call: expected an integer
model.forward(source, target, call=1.5)
    TypeError call: expected an integer
model.forward(source, target, first_row=-1)
    ValueError first_row: expected an integer
model.forward(source, target, layer='a')
    TypeError layer: expected an integer
tape.something
    AttributeError .*something
plain_tape.attention
    AttributeError attention: the model of this tape has none \(attention=None\)
"""

BACKWARD = r"""
model.backward(tape, dlogits[:, :-1])
model.backward(tape, dlogits[..., :-1])
model.backward(tape, dlogits[None])
    ValueError dlogits: expected floats of shape \(3, 4, 4\), got shape
model.backward(tape, dlogits.astype(int))
model.backward(tape, dlogits + 0j)
model.backward(tape, 'dlogits')
    TypeError dlogits: expected floats of shape \(3, 4, 4\), got
model.backward(tape, [[1.0], [2.0, 3.0]])
    TypeError|ValueError dlogits: expected
model.backward(None, dlogits)
model.backward(tape.encoder, dlogits)
model.backward(dlogits, dlogits)
    TypeError tape: expected the one that forward returned, got
model.backward(plain_tape, dlogits)
model.backward(wider_tape, dlogits)
model.backward(whole_tape, dlogits)
    ValueError tape: expected one of a model like this, got one of another
model.backward(other_cell_tape, dlogits)
    ValueError|TypeError tape: expected
own_decoder.backward(tape, dlogits)
relu.backward(tanh_tape, dlogits)
    ValueError tape: expected one of a decoder like .*, got one of
model.backward(tape)
    TypeError .*'dlogits'
teacher.backward(tape, dlogits)
    TypeError tape: expected the one that forward returned, got Seq2SeqTape
teacher.backward(teacher_tape, dlogits[:, :-1])
    ValueError dy: expected floats of shape \(3, 4, 4\), got shape
teacher.backward(teacher_tape, dlogits, np.zeros((3, 4)))
    ValueError dstate: TeacherForcing has no state
teacher.forward((source, target), np.zeros((3, 4)))
    ValueError state: TeacherForcing has no state
teacher.forward(source)
    TypeError x: expected the tuple \(source, target_in\) or .*, got ndarray
teacher.forward((source,))
teacher.forward((source, target, None, None))
    TypeError x: expected the tuple \(source, target_in\) or .*, got a tuple of
teacher.forward((source, target), lengths=[5, 1, 1])
    ValueError lengths: expected integers from 0 to T=4, got
teacher.forward((source, target, [9, 9, 9]))
    ValueError source_lengths: expected integers from 0 to T=5, got
teacher.forward((source, target), call=-1)
    ValueError call: expected an integer
crnn.TeacherForcing(model, lambda call: 2).forward((source, target))
    ValueError probability: expected a number from 0 to 1
crnn.Checkpointed(teacher, 2)
    ValueError layer: expected one that reads forwards, from arrays, .*, got
model.load_state_dict({})
    ValueError state_dict: expected .*missing
crnn.gradcheck(teacher, (source, target), lengths=[9, 9, 9])
    ValueError lengths: expected
"""

GENERATE = r"""
model.generate(source)
    TypeError .*missing
model.generate(source, start=0, max_steps=3)
    TypeError .*'stop'
model.generate(source, start=4, stop=1, max_steps=3)
model.generate(source, start=-1, stop=1, max_steps=3)
model.generate(source, start=[0, 1, 9], stop=1, max_steps=3)
    ValueError start: expected an integer from 0 to K-1=3, or one for each of the B=3 rows, got
model.generate(source, start=[0, 1], stop=1, max_steps=3)
model.generate(source, start=[[0, 1, 1]], stop=1, max_steps=3)
    ValueError start: expected an integer .*, got shape
model.generate(source, start=0.0, stop=1, max_steps=3)
model.generate(source, start=None, stop=1, max_steps=3)
model.generate(source, start='a', stop=1, max_steps=3)
model.generate(source, start=True, stop=1, max_steps=3)
    TypeError start: expected an integer from 0 to K-1=3, .*, got
model.generate(source, start=0, stop=4, max_steps=3)
model.generate(source, start=0, stop=-1, max_steps=3)
model.generate(source, start=0, stop=2**70, max_steps=3)
    ValueError stop: expected None or an integer from 0 to K-1=3, got
model.generate(source, start=0, stop=1.0, max_steps=3)
model.generate(source, start=0, stop='a', max_steps=3)
model.generate(source, start=0, stop=[1], max_steps=3)
    TypeError stop: expected None or an integer from 0 to K-1=3, got
model.generate(source, start=0, stop=1, max_steps=0)
model.generate(source, start=0, stop=1, max_steps=-1)
model.generate(source, start=0, stop=1, max_steps=2**70)
    ValueError max_steps: expected an integer of at least 1
model.generate(source, start=0, stop=1, max_steps=2.5)
model.generate(source, start=0, stop=1, max_steps=None)
    TypeError max_steps: expected an integer of at least 1
model.generate(source + 9, start=0, stop=1, max_steps=3)
    ValueError source: expected integers from 0 to K-1=4, got
model.generate(source + 0.5, start=0, stop=1, max_steps=3)
    TypeError source: expected integers
model.generate(source, start=0, stop=1, max_steps=3, source_lengths=[9, 9, 9])
    ValueError source_lengths: expected integers from 0 to T=5, got
model.generate(source, start=0, stop=1, max_steps=3, beam=0)
    ValueError beam: expected an integer of at least 1
model.generate(source, start=0, stop=1, max_steps=3, beam=1.5)
    TypeError beam: expected an integer of at least 1
model.generate(source, start=0, stop=1, max_steps=3, beam=2, temperature=1.0)
    ValueError beam: expected 1 with a temperature, got 2
model.generate(source, start=0, stop=1, max_steps=3, n_best=2)
    ValueError n_best: expected at most beam=1 without a temperature, got 2
model.generate(source, start=0, stop=1, max_steps=3, beam=2, n_best=3)
    ValueError n_best: expected at most beam=2 without a temperature, got 3
model.generate(source, start=0, stop=1, max_steps=3, n_best=0)
    ValueError n_best: expected an integer of at least 1
model.generate(source, start=0, stop=1, max_steps=3, top_k=2)
    ValueError top_k: expected None without a temperature, got 2
model.generate(source, start=0, stop=1, max_steps=3, top_p=0.5)
    ValueError top_p: expected None without a temperature, got 0.5
model.generate(source, start=0, stop=1, max_steps=3, temperature=-1.0)
model.generate(source, start=0, stop=1, max_steps=3, temperature=np.nan)
model.generate(source, start=0, stop=1, max_steps=3, temperature='a')
    ValueError|TypeError temperature: expected
model.generate(source, start=0, stop=1, max_steps=3, temperature=1.0, top_k=0)
    ValueError top_k: expected
model.generate(source, start=0, stop=1, max_steps=3, temperature=1.0, top_p=1.5)
model.generate(source, start=0, stop=1, max_steps=3, temperature=1.0, top_p=0.0)
    ValueError top_p: expected
model.generate(source, start=0, stop=1, max_steps=3, length_penalty=-1.0)
model.generate(source, start=0, stop=1, max_steps=3, length_penalty=np.inf)
    ValueError length_penalty: expected
model.generate(source, start=0, stop=1, max_steps=3, temperature=1.0, seed=-1)
    ValueError seed: expected
model.generate(source, start=0, stop=1, max_steps=3, beam=2**62)
    ValueError beam, B, K: expected sizes .*, got \(4611686018427387904, 3, 4\).* too large
model.generate(source, start=0, stop=1, max_steps=3, temperature=1.0, n_best=2**62)
    ValueError n_best, B, K: expected sizes .*, got \(4611686018427387904, 3, 4\).* too large
vectors.generate(floats, start=np.zeros(2), stop=1, max_steps=3)
    ValueError stop: expected None for vectors, got 1
vectors.generate(floats, start=np.zeros(2), stop=None, max_steps=3, beam=2)
    ValueError beam: expected 1 for vectors, got 2
vectors.generate(floats, start=np.zeros(2), stop=None, max_steps=3, n_best=2)
    ValueError n_best: expected 1 for vectors, got 2
vectors.generate(floats, start=np.zeros(2), stop=None, max_steps=3, temperature=1.0)
    ValueError temperature: expected None for vectors, got 1.0
vectors.generate(floats, start=0, stop=None, max_steps=3)
vectors.generate(floats, start=np.zeros(2, int), stop=None, max_steps=3)
    TypeError start: expected floats of shape \(E=2,\) or \(B=3, E=2\), got int64
vectors.generate(floats, start=np.zeros(3), stop=None, max_steps=3)
vectors.generate(floats, start=np.zeros((2, 2)), stop=None, max_steps=3)
    ValueError start: expected floats of shape \(E=2,\) or \(B=3, E=2\), got shape
vectors.generate(floats, start=np.zeros(2), stop=None, max_steps=0)
    ValueError max_steps: expected an integer of at least 1
vectors.forward(source, floats)
    TypeError source: expected floats of shape \(B, T, 2\), got int64
vectors.forward(floats[..., :1], floats)
    ValueError source: expected floats of shape \(B, T, 2\), got shape
vectors.forward(floats, source)
    TypeError target_in: expected floats of shape \(B=3, T, 2\), got int64
vectors.forward(floats, floats[..., :1])
    ValueError target_in: expected floats of shape \(B=3, T, 2\), got shape
"""


class OwnGRU(crnn.GRU):
    """A layer that the core does not run, because its forward is overridden."""

    def forward(self, *args, **options):
        return super().forward(*args, **options)


def gru(dtype="float32"):
    return crnn.GRU(3, 4, dtype=dtype)


@pytest.fixture(scope="module")
def names():
    model, plain, vectors = model_of("additive"), model_of("plain"), model_of("vectors")
    rng = np.random.default_rng(0)
    source, target = rng.integers(0, 5, (3, 5)), rng.integers(0, 4, (3, 4))
    source[0, :2], target[0, :2] = (0, 4), (0, 3)
    logits, tape = model.forward(source, target)
    wider = crnn.Seq2Seq(
        model.encoder,
        crnn.GRU(9, 3, dtype="float64"),
        source_symbols=5,
        target_symbols=4,
        attention="additive",
    )
    cell = crnn.GRU(5, 3, reset="before", dtype="float64")
    options = {"source_symbols": 5, "target_symbols": 4, "attention": "additive"}
    janet = fill(crnn.Seq2Seq(model.encoder, cell, **options))
    own_decoder = crnn.Seq2Seq(model.encoder, OwnGRU(5, 3, dtype="float64"), **options)
    relu, tanh = (
        crnn.Seq2Seq(
            model.encoder, crnn.RNN(5, 3, activation=activation, dtype="float64"), **options
        )
        for activation in ("relu", "tanh")
    )
    teacher = crnn.TeacherForcing(model)
    whole_model = model_of("additive-whole")
    return {
        "model": model,
        "plain": plain,
        "vectors": vectors,
        "teacher": teacher,
        "gru": gru,
        "source": source,
        "target": target,
        "floats": rng.normal(size=(3, 4, 2)),
        "dlogits": np.ones_like(logits),
        "tape": tape,
        "teacher_tape": teacher.forward((source, target))[2],
        "plain_tape": plain.forward(source, target)[1],
        "wider_tape": wider.forward(source, target)[1],
        "whole_tape": whole_model.forward(source, target)[1],
        "own_decoder": own_decoder,
        "relu": relu,
        "tanh_tape": tanh.forward(source, target)[1],
        "other_cell_tape": janet.forward(source, target)[1],
    }


def watched(names):
    """Return a function that returns the parameters and gradients of the models."""
    models = [names[name] for name in ("model", "plain", "vectors", "own_decoder", "relu")]
    return lambda: [[dict(model.params), dict(model.grads)] for model in models]


TABLES = {"constructors": CONSTRUCTORS, "forward": FORWARD, "backward": BACKWARD}
TABLES |= {"generate": GENERATE}


@pytest.mark.parametrize("table", TABLES)
def test_wrong_arguments(names, table):
    assert_all_fail(rows_of(TABLES[table]), names, watched(names))


@pytest.mark.parametrize("how", ["forward", "call"])
@pytest.mark.parametrize("name", ["model", "plain"])
def test_wrong_arrays(names, name, how):
    model = names[name]
    call = model.forward if how == "forward" else model
    assert_all_fail(rows_of(RUNS), names | {"call": call}, watched(names))


def test_errors_of_fit(names):
    teacher, source, target = (names[name] for name in ("teacher", "source", "target"))
    options = {"loss": crnn.losses.cross_entropy, "epochs": 1, "progress": False}

    def fit(item, model=teacher, **more):
        optimizer = crnn.optim.SGD(model, lr=0.0)
        crnn.fit(model, [item], optimizer=optimizer, **(options | more))

    with pytest.raises(ValueError, match=r"^data: lengths: expected integers from 0 to T=4"):
        fit(((source, target), target, [5, 1, 1]))
    with pytest.raises(ValueError, match=r"^tbptt: expected None, because TeacherForcing has no"):
        fit(((source, target), target), tbptt=(2, 2))
    with pytest.raises(ValueError, match=r"mask: expected none, the forward of TeacherForcing"):
        fit(((source, target), target, None, {"mask": np.ones((3, 4), bool)}))
    with pytest.raises(TypeError, match=r"^x: expected the tuple") as caught:
        fit((source, target))
    assert caught.value.__notes__ == ["in data, item 0"]
    with pytest.raises(ValueError, match=r"^layer: expected one that reads forwards"):
        fit(((source, target), target), checkpoint_every=2)
    with pytest.raises(TypeError, match=r"^model: expected .* wrap it in crnn.TeacherForcing"):
        fit(((source, target), target), teacher.model)
