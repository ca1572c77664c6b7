"""Files that once caused failures, and similar ones: (name, subject, content, is it refused).

They are the first cases of `fuzzing.py`.
"""

import json

import numpy as np

from crnn.storage import archive
from support.mutations import DOCUMENT, npy, packed
from support.subjects import SUBJECTS


def model(description, arrays, names=None):
    """Return the file of a model; `names` may rename the arrays."""
    names = {name: name for name in arrays} if names is None else names
    tree = {
        "layer": description,
        "params": {name: {"$array": array} for name, array in names.items()},
    }
    head = {"format": archive.FORMAT, "version": archive.VERSION, "kind": "model"}
    document = json.dumps(head | {"tree": tree}).encode()
    members = {f"{name}.npy": npy(array) for name, array in arrays.items()}
    return packed([*members.items(), (DOCUMENT, npy(np.frombuffer(document, np.uint8)))])


def layer(name, **config):
    return {"class": name, "config": config}


def floats(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def rnn(I=2, H=2, **options):
    return layer("RNN", input_size=I, hidden_size=H, **options)


RNN = {"W_x": floats(2, 2), "W_h": floats(2, 2), "b": floats(2)}


def sequential(*layers):
    return layer("Sequential", layers=list(layers))


def many(count, part, name, shape):
    """Return a model of `count` layers whose parameters are all one array."""
    names = {f"{i}.{name}": "one" for i in range(count)}
    return model(sequential(*[part] * count), {"one": floats(*shape)}, names)


def tied(count, K):
    """Return a model of layers that share one embedding."""
    layers = [layer("Embedding", K=K, size=1), *[layer("TiedDense", embedding="0")] * count]
    names = {"0.W": "one", **{f"{i + 1}.b": "two" for i in range(count)}}
    return model(sequential(*layers), {"one": floats(K, 1), "two": floats(K)}, names)


def nested(depth):
    description = rnn()
    for _ in range(depth):
        description = layer("Residual", layer=description)
    prefix = "layer." * depth
    return model(description, {prefix + name: array for name, array in RNN.items()})


def seq2seq(**sizes):
    return layer("Seq2Seq", encoder=rnn(), decoder=rnn(), **sizes)


def autoencoder(**sizes):
    return layer("SequenceAutoencoder", encoder=rnn(), decoder=rnn(), **sizes)


def conv(**options):
    return layer("CausalConv", **{"input_size": 1, "hidden_size": 1, "taps": 1} | options)


CONV = {"W": floats(1, 1, 1), "b": floats(1)}
PAIR = {f"{side}.{name}": array for side in ("encoder", "decoder") for name, array in RNN.items()}
BEYOND = {**RNN, "b": np.full(2, 1e300)}

MODELS = {
    "no bias": (model(rnn(10**7, 10, bias=0), RNN), True),
    "a size of 0": (model(layer("Dense", input_size=0, output_size=10**9, bias=0), RNN), True),
    "in a tuple": (model({"$tuple": [rnn(10_000, 10_000)]}, RNN), True),
    "layers in a tuple": (
        model(layer("Sequential", layers={"$tuple": [rnn(10_000, 10_000)]}), RNN),
        True,
    ),
    "one array for many layers": (
        many(300, layer("Embedding", K=1000, size=100), "W", (1000, 100)),
        True,
    ),
    "many layers without parameters": (
        model(sequential(*[layer("Dropout", p=0.5)] * 20_000), {}),
        False,
    ),
    "one embedding for many": (tied(2000, 20_000), True),
    "symbols": (model(seq2seq(source_symbols=10**7, target_symbols=2), PAIR), True),
    "symbols written": (model(seq2seq(target_symbols=10**7), PAIR), True),
    "a code": (model(autoencoder(code=10**7), PAIR), True),
    "symbols of a code": (model(autoencoder(code=1, symbols=10**7), PAIR), True),
    "a gap of steps": (model(layer("Checkpointed", layer=rnn(), every=10**15), RNN), False),
    "beyond the type": (model(rnn(), BEYOND), True),
    "an option beyond the type": (
        model(layer("LSTM", input_size=1, hidden_size=1, forget_bias=1e300), {}),
        True,
    ),
    "taps": (model(conv(taps=10**9), CONV), True),
    "taps of one weight": (model(conv(taps=2**20 + 2), CONV), True),
    "a dilation": (model(conv(taps=2, dilation=2**61), CONV | {"W": floats(2, 1, 1)}), True),
    "a dilation within the limit": (model(conv(taps=1, dilation=2**61), CONV), False),
    "taps that are true": (model(conv(taps=True), CONV), True),
    "taps in a list": (model(conv(taps=[1]), CONV), True),
    "sizes of a block": (
        model(layer("TCNBlock", input_size=10**5, hidden_size=10**5), CONV),
        True,
    ),
    "sizes of a stack": (model(layer("TCN", input_size=1, hidden_sizes=[10**5] * 99), CONV), True),
    "no sizes of a stack": (model(layer("TCN", input_size=1, hidden_sizes=[]), CONV), True),
    "a size for a stack": (model(layer("TCN", input_size=1, hidden_sizes=10**9), CONV), True),
    "nested": (nested(20), False),
    "nested too deeply": (nested(400), True),
    "an unknown class of a module": (model(layer("os:system"), {}), True),
    "bytes": (b"PK" + bytes(1000), True),
    **{
        f"abstract: {name}": (model(layer(name), {}), True)
        for name in ("Recurrent", "Pointwise", "WithParameters", "InOneBuffer", "Composition")
    },
    **{
        f"abstract: {name}": (
            model(layer(name, layer=rnn()), {f"layer.{key}": RNN[key] for key in RNN}),
            True,
        )
        for name in ("Layer", "RunsParts", "Wrapper", "EncoderDecoder", "Seq2SeqParts")
    },
}

CORPUS = [(name, SUBJECTS["rnn"], *case) for name, case in MODELS.items()]
