"""Print a hash of the bits that layers and models compute.

Two versions of the core that print the same lines compute the same bits. Each line has the hash of
outputs, states, input gradients and parameter gradients of one kind of layer on one instruction set
and number type, over options and shapes:

    python benchmarks/bits.py > before        # in a checkout of the earlier version
    python benchmarks/bits.py | diff before -

The hash differs between machines only if their C libraries round `log` or `sqrt` differently.
"""

import argparse
import hashlib

import numpy as np

import crnn
from crnn import _core
from crnn.common.nested import gradient_form

SHAPES = ((5, 7, 6, 19), (1, 9, 33, 70), (7, 1, 4, 16), (40, 5, 17, 33), (6, 12, 64, 64))
GATED = {
    "plain": {},
    "reverse": {"reverse": True, "learn_state": True},
    "without bias": {"bias": False, "clip": 1.5},
    "noise": {"recurrent_dropout": 0.3, "zoneout": 0.2, "weight_drop": 0.25},
    "normalised": {"layer_norm": True, "zoneout": 0.1},
}
WITH_C = {
    "peepholes": {"peepholes": True},
    "projected": {"proj_size": 9, "recurrent_dropout": 0.2},
    "all": {"peepholes": True, "proj_size": 5, "layer_norm": True, "zoneout": (0.0, 0.2)},
}
KINDS = {
    "RNN tanh": (crnn.RNN, {}, GATED),
    "RNN relu": (crnn.RNN, {"activation": "relu"}, GATED),
    "RNN leaky": (crnn.RNN, {"leak": 0.3}, GATED),
    "RNN learned leak": (crnn.RNN, {"leak": 0.3, "learn_leak": True}, GATED),
    "RNN delay 3": (crnn.RNN, {"delays": 3}, GATED),
    "LSTM": (crnn.LSTM, {}, GATED | WITH_C),
    "LSTM delays": (crnn.LSTM, {"delays": (1, 4)}, GATED | WITH_C),
    "LSTM coupled": (crnn.LSTM, {"coupled": True}, GATED | WITH_C),
    "GRU after": (crnn.GRU, {}, GATED),
    "GRU before": (crnn.GRU, {"reset": "before"}, GATED),
    "GRU before, delays": (crnn.GRU, {"reset": "before", "delays": (3, 1, 2)}, GATED),
    "JANET": (crnn.JANET, {"beta": 0.7}, GATED),
    "MinGRU": (
        crnn.MinGRU,
        {},
        {name: GATED[name] for name in ("plain", "reverse")}
        | {"normalised": {"bias": False, "layer_norm": True, "zoneout": 0.1}},
    ),
}
#: Layers without a recurrence, made from the sizes I and H of a shape, and options of each.
TEMPORAL = {
    "CausalConv": (
        crnn.CausalConv,
        (
            {},
            {"dilation": 2, "activation": "relu"},
            {"taps": 9, "activation": "tanh", "weight_norm": True},
            {"bias": False, "reverse": True},
        ),
    ),
    "TCNBlock": (
        crnn.TCNBlock,
        (
            {},
            {"dilation": 3, "dropout": 0.2},
            {"taps": 2, "weight_norm": False, "variational": True, "dropout": 0.1},
        ),
    ),
    "SelfAttention": (
        lambda I, H, **options: crnn.SelfAttention(4 * I, 2, **options),
        (
            {},
            {"window": 3, "dropout": 0.2},
            {"rotary": False, "bias": False},
            {"causal": False, "dropout": 0.1},
        ),
    ),
    "TransformerBlock": (
        lambda I, H, **options: crnn.TransformerBlock(4 * I, 2, **options),
        (
            {"dropout": 0.2},
            {"window": 4, "activation": "swiglu"},
            {"rotary": False, "activation": "gelu_exact", "bias": False},
            {"activation": "relu", "feedforward_size": 7},
        ),
    ),
    "Positions": (
        lambda I, H, **options: crnn.Positions(H, **options),
        ({"steps": 24}, {"kind": "sinusoidal"}),
    ),
}


def leaves(value):
    """Yield the arrays of a nested state."""
    if isinstance(value, (tuple, list)):
        for part in value:
            yield from leaves(part)
    elif value is not None:
        yield np.asarray(value)


def add(digest, *values):
    """Add the bytes of all arrays to the hash."""
    for array in leaves(values):
        digest.update(np.ascontiguousarray(array).tobytes())


def calls_of(shape, dtype):
    """Yield inputs and keyword arguments of several calls."""
    B, T, I, _ = shape
    rng = np.random.default_rng(shape)
    x = rng.standard_normal((B, T, I)).astype(dtype)
    lengths = rng.integers(0, T + 1, B)
    yield x, {}
    yield x, {"lengths": lengths}
    yield (
        x,
        {
            "lengths": lengths,
            "mask": rng.random((B, T)) < 0.8,
            "resets": rng.random((B, T)) < 0.1,
        },
    )
    yield rng.integers(0, I, (B, T)), {"lengths": lengths}


def add_passes(digest, layer, x, options):
    """Add forward, backward and the gradients of one call to the hash."""
    layer.zero_grad()
    y, state = layer(x, **options)
    add(digest, y, state)
    y, state, tape = layer.forward(x, training=True, call=3, **options)
    dx, dstate = layer.backward(tape, np.cos(y), gradient_form(state))
    add(digest, y, state, dx, dstate, list(layer.grads.values()))


def hash_of_layers(kind, dtype):
    """Return the hash of one kind of layer over options, shapes and calls."""
    make, fixed, options = KINDS[kind]
    digest = hashlib.sha256()
    for chosen in options.values():
        for shape in SHAPES:
            layer = make(shape[2], shape[3], dtype=dtype, seed=7, **fixed, **chosen)
            for x, arguments in calls_of(shape, dtype):
                add_passes(digest, layer, x, arguments)
            if not layer.reverse:
                add_stream(digest, layer, shape)
    return digest.hexdigest()


def hash_of_temporal(kind, dtype):
    """Return the hash of one kind of layer without a recurrence, as `hash_of_layers` does."""
    make, options = TEMPORAL[kind]
    digest = hashlib.sha256()
    for chosen in options:
        for B, T, I, H in SHAPES:
            layer = make(I, H, dtype=dtype, seed=7, **chosen)
            shape = B, T, layer.input_size, H
            for x, arguments in list(calls_of(shape, dtype))[:3]:  # of floats
                add_passes(digest, layer, x, arguments)
                add(digest, layer(x, layer(x)[1], **arguments))
            if not layer.reads_backwards:
                add_stream(digest, layer, shape)
    return digest.hexdigest()


def add_stream(digest, layer, shape):
    """Add two steps of a stream to the hash."""
    B, _, I, _ = shape
    stream = layer.stream(B)
    for x in np.random.default_rng(shape).standard_normal((2, B, I)):
        add(digest, stream.step(x))
    add(digest, stream.state)


def hash_of_pairs(dtype):
    """Return the hash of bidirectional layers with every merge."""
    digest = hashlib.sha256()
    for merge in ("concat", "sum", "mean", "mul"):
        for shape in SHAPES:
            layer = crnn.Bidirectional(
                crnn.LSTM(shape[2], shape[3], dtype=dtype, seed=2, recurrent_dropout=0.2), merge
            )
            for x, arguments in calls_of(shape, dtype):
                add_passes(digest, layer, x, arguments)
    return digest.hexdigest()


def hash_of_dense(dtype):
    """Return the hash of dense layers, losses and optimizers."""
    digest = hashlib.sha256()
    for B, T, I, H in SHAPES:
        rng = np.random.default_rng(I)
        layer = crnn.Dense(I, H, dtype=dtype, seed=1)
        x = rng.standard_normal((B, T, I)).astype(dtype)
        y, _, tape = layer.forward(x)
        loss, dy = crnn.losses.cross_entropy(y, rng.integers(0, H, (B, T)))
        dx, _ = layer.backward(tape, dy)
        error, dz = crnn.losses.mse(y, np.cos(y))
        add(digest, y, [loss, error], dy, dx, dz, list(layer.grads.values()))
        for optimizer in (
            crnn.optim.SGD(layer, 0.1, momentum=0.9),
            crnn.optim.RMSprop(layer),
            crnn.optim.AdamW(layer, clip_norm=0.1),
        ):
            layer.flat_grads[...] = rng.standard_normal(layer.flat_grads.shape)
            add(digest, [optimizer.step()], layer.flat_params)
    return digest.hexdigest()


def hash_of_reservoirs(dtype):
    """Return the hash of layers with blocks of zeros in W_h."""
    digest = hashlib.sha256()
    for H in (130, 300):
        layer = crnn.Reservoir(6, H, leak=0.5, noise=0.1, dtype=dtype, seed=5)
        layer.trainable = True
        for x, arguments in calls_of((5, 7, 6, H), dtype):
            add_passes(digest, layer, x, arguments)
        add_stream(digest, layer, (5, 7, 6, H))
    return digest.hexdigest()


def hash_of_readouts():
    """Return the hash of readouts that are fitted to states."""
    digest = hashlib.sha256()
    for B, T, I, H in SHAPES:
        rng = np.random.default_rng(H)
        h, target = rng.standard_normal((B, T, H)), rng.standard_normal((B, T, I))
        lengths = rng.integers(1, T + 1, B)
        ridge = crnn.Ridge(H, I, alpha=(1e-3, 1.0), dtype="float64")
        add(digest, list(ridge.fit(h, target, lengths, folds=2 if B > 1 else None).params.values()))
        rls = crnn.RLS(H, I, forgetting=0.99)
        add(digest, [rls.step(h[:, t], target[:, t]) for t in range(T)], rls.params["W"])
    return digest.hexdigest()


def decoders(dtype, attention, feeding):
    """Yield models from encoder to decoder."""
    yield crnn.Seq2Seq(
        crnn.GRU(5, 8, dtype=dtype, seed=1),
        crnn.LSTM(12 if attention and feeding else 4, 8, dtype=dtype, seed=2),
        source_symbols=11,
        target_symbols=13,
        attention=attention,
        input_feeding=feeding,
        seed=3,
    )
    yield crnn.Seq2Seq(
        crnn.Bidirectional(crnn.GRU(5, 6, dtype=dtype, seed=1)),
        crnn.Sequential(
            [
                crnn.GRU(16 if attention and feeding else 4, 8, dtype=dtype, seed=2),
                crnn.Dropout(0.2, seed=5),
                crnn.LSTM(8, 12, dtype=dtype, seed=4, zoneout=0.1),
            ]
        ),
        source_symbols=11,
        target_symbols=13,
        attention=attention,
        input_feeding=feeding,
        seed=3,
    )


def add_decoding(digest, model):
    """Add training and generation of a model to the hash."""
    rng = np.random.default_rng(3)
    source, target = rng.integers(0, 11, (6, 9)), rng.integers(0, 13, (6, 7))
    lengths = {
        "source_lengths": [9, 4, 7, 1, 9, 2],
        "target_lengths": [7, 7, 3, 1, 5, 0],
    }
    model.zero_grad()
    logits, tape = model.forward(source, target, **lengths)
    model.backward(tape, np.cos(logits))
    add(digest, logits, list(model.grads.values()))
    for options in ({}, {"beam": 3, "n_best": 2}, {"temperature": 0.8, "seed": 4}):
        add(digest, model.generate(source, start=0, stop=1, max_steps=8, **options))


def hash_of_decoders(dtype):
    """Return the hash of encoder-decoder models."""
    digest = hashlib.sha256()
    for attention in (None, "additive", "dot", "general"):
        for feeding in (True, False):
            for model in decoders(dtype, attention, feeding):
                if attention != "dot":
                    add_decoding(digest, model)
    return digest.hexdigest()


def main():
    """Print a line for each kind, number type and instruction set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    crnn.set_num_threads(parser.parse_args().threads)
    for isa in _core.isa_available():
        _core.select_isa(isa)
        for dtype in ("float32", "float64"):
            for kind in KINDS:
                print(isa, dtype, kind, hash_of_layers(kind, dtype)[:32], flush=True)
            for kind in TEMPORAL:
                print(isa, dtype, kind, hash_of_temporal(kind, dtype)[:32], flush=True)
            print(isa, dtype, "Bidirectional", hash_of_pairs(dtype)[:32], flush=True)
            print(isa, dtype, "Dense", hash_of_dense(dtype)[:32], flush=True)
            print(isa, dtype, "Seq2Seq", hash_of_decoders(dtype)[:32], flush=True)
            print(isa, dtype, "Reservoir", hash_of_reservoirs(dtype)[:32], flush=True)
        print(isa, "float64 readouts", hash_of_readouts()[:32], flush=True)


if __name__ == "__main__":
    main()
