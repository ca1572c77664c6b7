"""Small valid files of every kind that crnn writes, which `fuzzing.py` changes."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import crnn
from crnn.callbacks import EarlyStopping, KeepBest, OnPlateau
from crnn.data import Batches, Vocabulary
from crnn.models import Captioner, CharModel, SequenceAutoencoder, Translator
from crnn.training.trainer import Trainer

REFUSALS = (
    ValueError,
    TypeError,
    FloatingPointError,
)  # errors for an input that no longer matches the model


@dataclass(frozen=True)
class Subject:
    """A file: its content, its place in a folder, and functions that load and use it."""

    content: bytes
    load: Callable[[Path], Any]
    use: Callable[[Any], None]
    place: str = "file.npz"


def content_of(save, place="file.npz"):
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder, place))
        return Path(folder, place).read_bytes()


# ------------------------------------------------------------------------------------------- layers


def model_subject(model, *x):
    return Subject(content_of(partial(crnn.save, model=model)), crnn.load, partial(use_model, x=x))


def use_model(model, x):
    """Use a loaded model in all ways."""
    repr(model)
    with tempfile.TemporaryDirectory() as folder:
        crnn.save(Path(folder, "again"), model)
        again = crnn.load(Path(folder, "again"))
    assert repr(again) == repr(model)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(again.params[name], array)
    try:
        with np.errstate(all="ignore"):
            model(*x)
    except REFUSALS:
        pass


def layers():
    """Return layers of every class, and compositions, with an input."""
    floats, symbols = np.ones((2, 3, 2), np.float32), np.ones((2, 3), np.int64)
    embedding = crnn.Embedding(4, 2, seed=1)
    gru = partial(crnn.GRU, 2, 2, seed=2)
    return {
        "rnn": (crnn.RNN(2, 3, activation="relu", seed=1), floats),
        "leaky": (crnn.RNN(2, 3, leak=[0.5, 1.0, 0.1], seed=1), floats),
        "reservoir": (crnn.Reservoir(2, 3, input_scaling=(0.5, 2.0), leak=0.5, seed=1), floats),
        "lstm": (crnn.LSTM(2, 3, proj_size=2, peepholes=True, chrono=8.0, seed=1), floats),
        "gru": (crnn.GRU(2, 3, reset="before", layer_norm=True, zoneout=0.1, seed=1), floats),
        "janet": (crnn.JANET(2, 3, learn_state=True, clip=3.0, dtype="float64", seed=1), floats),
        "mingru": (crnn.MinGRU(2, 3, activation="tanh", delays=2, chrono=5.0, seed=1), floats),
        "minlstm": (crnn.MinLSTM(2, 3, layer_norm=True, forget_bias=0.5, seed=1), floats),
        "conv": (
            crnn.CausalConv(2, 3, 2, dilation=3, activation="tanh", weight_norm=True, seed=1),
            floats,
        ),
        "block": (crnn.TCNBlock(2, 3, 2, dropout=0.1, variational=True, seed=1), floats),
        "tcn": (crnn.TCN(2, [3, 3], 2, dilations=[2, 1], weight_norm=False, seed=1), floats),
        "dense": (crnn.Dense(2, 3, seed=1), floats),
        "ridge": (crnn.Ridge(2, 3, alpha=(0.5, 1.0), seed=1), floats),
        "esn": (
            crnn.ESN(
                crnn.Reservoir(2, 3, leak=0.5, seed=1),
                crnn.Ridge(4, 1, seed=1),
                feedback=True,
                join_input=True,
            ),
            floats,
        ),
        "rls": (crnn.RLS(2, 3, alpha=2.0, forgetting=0.9), floats.astype(np.float64)),
        "embedding": (embedding, symbols),
        "norm": (crnn.LayerNorm(2), floats),
        "pool": (crnn.Sequential([crnn.Dropout(0.5, seed=1), crnn.Pool("mean")]), floats),
        "stack": (
            crnn.Sequential([crnn.Embedding(4, 2, seed=1), gru(), crnn.LayerNorm(2)]),
            symbols,
        ),
        "tied": (crnn.Sequential([embedding, gru(), crnn.TiedDense(embedding)]), symbols),
        "residual": (crnn.Residual(crnn.Sequential([gru(), crnn.Dense(2, 2, seed=1)])), floats),
        "both": (crnn.Bidirectional(crnn.LSTM(2, 2, zoneout=(0.1, 0.2), seed=1), "sum"), floats),
        "checkpointed": (crnn.Checkpointed(crnn.RNN(2, 2, seed=1), 10_000_000), floats),
        "conditioned": (
            crnn.Conditioned(gru(), crnn.Dense(3, 2, seed=1)),
            (floats, np.ones((2, 3), np.float32)),
        ),
        "autoencoder": (
            SequenceAutoencoder(gru(), crnn.LSTM(2, 1, seed=1), code=2, seed=3),
            floats,
        ),
    }


def seq2seqs():
    source, target = np.ones((2, 3), np.int64), np.ones((2, 2), np.int64)
    sizes = {"source_symbols": 4, "target_symbols": 5, "seed": 1}
    both = crnn.Bidirectional(crnn.GRU(2, 1, seed=1))
    attending = crnn.Seq2Seq(both, crnn.LSTM(3, 2, seed=2), attention="additive", **sizes)
    plain = crnn.Seq2Seq(crnn.LSTM(2, 2, seed=1), crnn.GRU(2, 1, seed=2), **sizes)
    return {
        "attending": (attending, source, target),
        "taught": (crnn.TeacherForcing(plain, 0.5, seed=1), (source, target)),
    }


# -------------------------------------------------------------------------------- models in folders


def folder_subject(model, use):
    def save(path):
        model.save(path.parent)

    def load(path):
        return type(model).load(path.parent)

    return Subject(content_of(save, "checkpoint.npz"), load, use, "checkpoint.npz")


def use_text_model(model, write):
    repr(model)
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        assert repr(type(model).load(folder)) == repr(model)
    model.max_steps = min(4, getattr(model, "max_steps", 4))
    try:
        with np.errstate(all="ignore"):
            write(model)
    except REFUSALS:
        pass


def text_models():
    letters = CharModel.for_text("ab", hidden_size=2, layers=2, seed=1)
    lines = CharModel.for_text("ab\nba", cell="gru", hidden_size=2, embedding=0, lines=True, seed=1)
    translator = Translator.for_pairs(
        [("ab", "x y")], words=True, hidden_size=2, embedding=2, seed=1
    )
    captioner = Captioner.for_captions(
        2, ["a", "b"], ["en", "es"], hidden_size=2, embedding=1, seed=1
    )
    x = np.ones((1, 2), np.float32)

    def sample(model):
        model.sample("a", max_steps=3, seed=1)

    return {
        "letters": folder_subject(letters, partial(use_text_model, write=sample)),
        "lines": folder_subject(lines, partial(use_text_model, write=sample)),
        "translator": folder_subject(
            translator, partial(use_text_model, write=lambda m: m.translate(["ab"]))
        ),
        "captioner": folder_subject(
            captioner, partial(use_text_model, write=lambda m: m.caption(x, "en"))
        ),
    }


def vocabulary_subject():
    vocabulary = Vocabulary("abc", unknown="?")
    return Subject(
        content_of(vocabulary.save), Vocabulary.load, lambda v: v.decode(v.encode(v.symbols))
    )


# ------------------------------------------------------------------------------------ training runs


def trainer(**options):
    """Return a new run of two epochs."""
    rng = np.random.default_rng(0)
    model = crnn.Sequential([crnn.GRU(1, 2, seed=1), crnn.Dense(2, 1, seed=2)])
    x = rng.normal(size=(4, 4, 1)).astype(np.float32)
    callbacks = [EarlyStopping(3), OnPlateau(0.5, 1), KeepBest()]
    return Trainer(
        model,
        Batches(x, x, batch_size=2, seed=1),
        loss=crnn.losses.mse,
        optimizer=crnn.optim.Adam(model),
        epochs=2,
        callbacks=callbacks,
        **options,
    )


def trainer_subject(**options):
    def save(path):
        run = trainer(**options)
        run.run()
        run.save(path)

    def load(path):
        run = trainer(**options)
        run.resume(path)
        return run

    return Subject(content_of(save), load, use_trainer)


def use_trainer(run):
    repr(run.history)
    with tempfile.TemporaryDirectory() as folder:
        run.save(Path(folder, "again"))
        run.resume(Path(folder, "again"))


SUBJECTS: dict[str, Subject] = {
    **{name: model_subject(*given) for name, given in (layers() | seq2seqs()).items()},
    **text_models(),
    "vocabulary": vocabulary_subject(),
    "run": trainer_subject(),
    "windows": trainer_subject(tbptt=(2, 3)),
}
