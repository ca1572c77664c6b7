"""The repr of callbacks, schedules and runs."""

import copy

import numpy as np
import pytest

import crnn
from crnn import callbacks
from crnn.callbacks.translations import ExactMatch, TranslationProgress
from crnn.common.representation import call_text
from support.runs import run_of

CALLS = [
    "Constant(lr=0.1)",
    "Constant(lr=0.1, warmup=5)",
    "Step(lr=0.1, every=10)",
    "Step(lr=0.1, every=10, factor=0.5)",
    "Cosine(lr=0.1)",
    "Cosine(lr=0.1, total=20, low=0.001)",
    "Cosine(lr=0.1, total=20, warmup=5)",
    "OneCycle(peak=0.02)",
    "OneCycle(peak=0.02, total=400)",
    "OnPlateau()",
    "OnPlateau(factor=0.5, patience=2, min_delta=0.1, low=0.001)",
    "KeepBest()",
    "KeepBest(path='best.npz', restore=False, min_delta=0.1)",
    "EarlyStopping(patience=3)",
    "EarlyStopping(patience=3, min_delta=0.5, path='best.npz', restore=False)",
    "Checkpoint(path='run.npz', updates=100)",
    "Checkpoint(path='run.npz', epochs=1)",
    "Checkpoint(path='run.npz', seconds=60.0)",
    "Progress()",
    "Progress(unit='symbol', label='bits', scale=1.5)",
]


@pytest.mark.parametrize("call", CALLS)
def test_a_callback_is_the_call_that_makes_it(call):
    callback = eval(call, vars(callbacks).copy())
    assert repr(callback) == call
    assert repr(copy.deepcopy(callback)) == call


def test_a_checkpoint_without_an_interval_is_saved_after_each_epoch():
    assert repr(callbacks.Checkpoint("run.npz")) == "Checkpoint(path='run.npz', epochs=1)"


def test_a_run_does_not_change_the_text():
    texts = ["OneCycle(peak=0.05)", "KeepBest()", "EarlyStopping(patience=9)", "Progress()"]
    made = [eval(text, vars(callbacks).copy()) for text in texts]
    run_of(made, epochs=2).run()
    assert list(map(repr, made)) == texts


def test_functions_have_their_name_and_long_values_are_shortened():
    def sample():
        return "text"

    assert repr(callbacks.Progress(glimpse=sample)) == "Progress(glimpse=sample)"
    text = repr(ExactMatch(sample, [("source", "target")] * 100))
    assert text.startswith("<ExactMatch: evaluate=sample, pairs=[('source', 'target'), ")
    assert text.endswith("...>")
    assert len(text) < 120
    exact = TranslationProgress(ExactMatch(sample, []))
    assert repr(exact) == "TranslationProgress(exact=ExactMatch(evaluate=sample, pairs=[]))"


class NoArguments(callbacks.Callback):
    pass


class Hidden(callbacks.Callback):
    def __init__(self, size, name="x"):
        self._size, self.name = size, name


class Variadic(callbacks.Callback):
    def __init__(self, *values, **options):
        self.values = values


class Raises(callbacks.Callback):
    def __init__(self, size):
        pass

    @property
    def size(self):
        raise OSError("no size")


class BadValue:
    def __repr__(self):
        raise ValueError("no text")

    def __eq__(self, other):
        raise ValueError("not comparable")

    __hash__ = None


class Holder(callbacks.Callback):
    def __init__(self, value=None):
        self.value = value


@pytest.mark.parametrize(
    ("callback", "text"),
    [
        (NoArguments(), "NoArguments()"),
        (Hidden(3), "<Hidden>"),
        (Hidden(3, "y"), "<Hidden: name='y'>"),
        (Variadic(1, b=2), "<Variadic: values=(1,)>"),
        (Raises(3), "<Raises>"),
        (Holder(BadValue()), "<Holder: value=...>"),
        (Holder(np.zeros(2)), "Holder(value=array([0., 0.]))"),
        (Holder(), "Holder()"),
    ],
)
def test_callbacks_of_a_user(callback, text):
    assert repr(callback) == text


@pytest.mark.parametrize(
    "cls", [getattr(callbacks, name) for name in callbacks.__all__] + [crnn.Trainer]
)
def test_an_object_without_attributes_has_a_text(cls):
    assert cls.__name__ in repr(object.__new__(cls) if cls is not callbacks.Schedule else cls)


def test_an_object_that_holds_itself_has_a_text():
    holder = Holder()
    holder.value = holder
    assert repr(holder).startswith("<Holder: value=<Holder: value=")


def test_a_class_without_a_signature():
    assert call_text(3) == "int()"


def test_a_run():
    run = run_of(epochs=2)
    assert repr(run) == "<Trainer of Sequential with Adam: 0 of 2 epochs, 0 updates>"
    run.run()
    assert repr(run) == "<Trainer of Sequential with Adam: 2 of 2 epochs, 6 updates>"
    run.stop()
    assert repr(run).endswith("6 updates, stopped>")
