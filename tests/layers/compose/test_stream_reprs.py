"""The reprs of streams in Python have a form, and never raise."""

import numpy as np
import pytest

import crnn
from crnn.layers.base.adapted import layer_of
from crnn.layers.base.streams import CalledStream
from crnn.layers.compose.streams import ResidualStream, SequentialStream
from support.planning import LayerByLayer


class Plain:
    """A layer that is no `crnn.Layer`, without a stream, whose repr raises."""

    def __init__(self):
        self.params, self.grads = {}, {}

    def __repr__(self):
        raise RuntimeError("not shown")

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(name)


class Unshowable:
    state = None

    def __repr__(self):
        raise RuntimeError("not shown")


def test_streams_of_compositions():
    gru = crnn.Residual(crnn.GRU(3, 3))
    layers = [gru, crnn.Sequential([crnn.Dense(3, 2), crnn.RNN(2, 1)])]
    assert repr(gru.stream(2)) == "<ResidualStream of <Stream of GRU: B=2, H=3>>"
    assert repr(crnn.Sequential(layers).stream(2)) == "<Stream of GRU, RNN: B=2>"
    assert repr(LayerByLayer(layers).stream(2)) == (
        "<SequentialStream of <ResidualStream of <Stream of GRU: B=2, H=3>>, <Stream of RNN: B=2>>"
    )
    both = crnn.Sequential([crnn.GRU(3, 3), crnn.Dropout(0.5), crnn.LSTM(3, 2)])
    assert repr(both.stream(4)) == "<Stream of GRU, LSTM: B=4>"


def test_a_stream_of_a_layer_of_another_maker():
    layer = crnn.Dropout(0.5)
    assert repr(layer.stream(3)) == "<CalledStream of Dropout: B=3>"
    plain = object.__new__(CalledStream)
    plain._layer, plain._batch = Plain(), 2
    assert repr(plain) == "<CalledStream of Plain: B=2>"
    adapted = layer_of(crnn.LayerNorm(3))
    assert repr(CalledStream(adapted, 2, None)) == "<CalledStream of LayerNorm: B=2>"


def test_parts_that_cannot_be_shown():
    stream = LayerByLayer([crnn.Residual(crnn.GRU(3, 3))]).stream()
    stream._streams[0] = Unshowable()
    assert "Unshowable object" in repr(stream)


@pytest.mark.parametrize("cls", [CalledStream, SequentialStream, ResidualStream])
def test_streams_without_init(cls):
    assert repr(cls.__new__(cls)).startswith(f"<{cls.__name__} of ")


def test_after_the_layers_were_made_anew():
    model = crnn.Sequential([crnn.GRU(3, 3), crnn.Dense(3, 2)])
    stream = model.stream(2)
    shown = repr(stream)
    model.layers[0].__init__(4, 5)
    assert repr(stream) == shown
    stream.step(np.ones((2, 3)))
    assert repr(stream) == shown
