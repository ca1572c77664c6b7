"""The reprs of tapes, streams and searches of the core: their text; they never raise."""

import gc
import threading

import numpy as np
import pytest

import crnn
import crnn._core as _core
from crnn.layers.compose.planned import PlannedTape
from support.tables import CELLS, every_cell

X = np.ones((2, 7, 3))


@every_cell
def test_tapes_and_streams_of_every_cell(kind):
    layer = CELLS[kind](3, 5)
    name, gates = type(layer).__name__, " ".join(layer.gate_order)
    tape = layer.forward(X)[2]
    assert repr(tape) == str(tape) == f"<Tape of {name}: B=2, T=7, H=5, gates {gates}>"
    assert repr(layer.stream(4)) == f"<Stream of {name}: B=4, H=5>"


def test_a_projection():
    layer = crnn.LSTM(3, 5, proj_size=2)
    assert repr(layer.forward(X)[2]) == "<Tape of LSTM: B=2, T=7, H=5, P=2, gates i f g o>"
    assert repr(layer.stream()) == "<Stream of LSTM: B=1, H=5, P=2>"


@pytest.mark.parametrize("shape", [(0, 7), (2, 0), (0, 0)])
def test_empty_inputs(shape):
    tape = crnn.GRU(3, 5).forward(np.ones((*shape, 3)))[2]
    assert repr(tape) == f"<Tape of GRU: B={shape[0]}, T={shape[1]}, H=5, gates r z n>"


@pytest.mark.parametrize(("merge", "F"), [("concat", 10), ("sum", 5), ("mean", 5), ("mul", 5)])
def test_pair_tapes(merge, F):
    tape = crnn.Bidirectional(crnn.GRU(3, 5), merge).forward(X)[2]
    assert repr(tape) == f"<PairTape of GRU and GRU: B=2, T=7, F={F}, merge '{merge}'>"


class Other(crnn.GRU):
    """A layer whose tapes are not tapes of the core, and whose repr raises."""

    def forward(self, *args, **options):
        y, state, tape = super().forward(*args, **options)
        return y, state, Unshowable(tape)


class Unshowable:
    def __init__(self, tape):
        self.tape = tape

    def __repr__(self):
        raise RuntimeError("not shown")


def test_a_pair_of_other_tapes():
    tape = crnn.Bidirectional(Other(3, 5)).forward(X)[2]
    assert repr(tape) == "<PairTape: B=2, T=7, F=10, merge 'concat'>"


def test_a_pair_tape_that_garbage_collection_has_cleared():
    """Another object that is collected at the same time may still call repr."""
    seen = []

    class Last:
        def __del__(self):
            seen.append(repr(self.tape))

    class Knot(crnn.GRU):
        def forward(self, *args, **options):
            y, state, tape = super().forward(*args, **options)
            last = Last()
            knot = [tape, last]
            knot.append(knot)
            return y, state, knot

    y, state, tape = crnn.Bidirectional(Knot(3, 5)).forward(X)
    tape.forward[1].tape = tape
    tape.backward[1].tape = tape
    del y, state, tape
    gc.collect()
    assert seen == ["<PairTape: B=2, T=7, F=10, merge 'concat'>"] * 2


def test_unfinished_objects_that_gc_get_objects_returns():
    """repr of objects while another thread creates them."""
    done, failed = threading.Event(), []

    def show():
        while not done.is_set():
            for one in gc.get_objects():
                if type(one) is PlannedTape:
                    try:
                        repr(one)
                    except Exception as error:
                        failed.append(error)

    thread = threading.Thread(target=show)
    thread.start()
    layer = crnn.Bidirectional(crnn.GRU(3, 5), "mul")
    kept = [layer.forward(X)[2] for _ in range(200)]
    done.set()
    thread.join()
    assert not failed
    assert len({repr(one) for one in kept}) == 1


def test_plan_tapes():
    encoder = crnn.Sequential([crnn.GRU(4, 5), crnn.GRU(5, 5)])
    decoder = crnn.Sequential([crnn.GRU(4 + 5, 5), crnn.GRU(5, 5)])
    model = crnn.Seq2Seq(
        encoder, decoder, source_symbols=4, target_symbols=4, attention="dot", input_feeding=True
    )
    source, target = np.zeros((2, 6), int), np.zeros((2, 3), int)
    found = []
    _search(model.forward(source, target)[1], found)
    expected = [
        "<PlanTape of GRU, GRU: B=2, T=6>",
        "<PlanTape of GRU, GRU: B=2, T=3, T_source=6>",
    ]
    assert [repr(one) for one in found] == expected


def _search(value, found):
    """Append all PlanTapes in a tape."""
    if type(value) is _core.PlanTape:
        found.append(value)
    elif isinstance(value, list | tuple):
        for part in value:
            _search(part, found)
    elif type(value) is PlannedTape:
        found.append(value.core)
    elif hasattr(value, "__dict__"):
        _search(list(vars(value).values()), found)


def test_searches():
    search = _core.Search(2, 10, 3, width=4, beam=True)
    assert repr(search) == "<Search: groups=2, width=4, K=10, step 0 of 3>"
    rows = 2
    for step in range(1, 4):
        rows = len(search.step(np.zeros((rows, 10)))[0])
        done = ", done" if step == 3 else ""
        assert repr(search) == f"<Search: groups=2, width=4, K=10, step {step} of 3{done}>"
    assert repr(_core.Search(0, 10, 2**63)).startswith(
        "<Search: groups=0, width=1, K=10, step 0 of"
    )


def test_after_the_layer_was_initialized_again():
    layer = crnn.LSTM(3, 5)
    tape, stream = layer.forward(X)[2], layer.stream(2)
    shown = repr(tape), repr(stream)
    both = crnn.Bidirectional(crnn.LSTM(3, 5))
    pair = both.forward(X)[2]
    layer.__init__(4, 6)
    both.__init__(crnn.GRU(7, 8), "sum")
    assert (repr(tape), repr(stream)) == shown
    assert repr(pair) == "<PairTape of LSTM and LSTM: B=2, T=7, F=10, merge 'concat'>"
    del layer, both
    gc.collect()
    assert (repr(tape), repr(stream)) == shown


def test_after_the_arrays_were_freed():
    x, lengths, mask = X.copy(), np.array([7, 3]), np.ones((2, 7), int)
    layer = crnn.GRU(3, 5)
    tape = layer.forward(x, lengths=lengths, mask=mask)[2]
    x.shape = (42,)
    del x, lengths, mask
    gc.collect()
    crnn.release_memory()
    assert repr(tape) == "<Tape of GRU: B=2, T=7, H=5, gates r z n>"
