"""The repr of optimizers."""

import copy
import gc
import pickle

import pytest

import crnn
from crnn import optim
from crnn.callbacks import Constant


def model():
    return crnn.Sequential([crnn.GRU(2, 3, seed=0), crnn.Dense(3, 4, seed=1)])


TEXTS = {
    optim.SGD: "lr=0.01, momentum=0.0",
    optim.RMSprop: "lr=0.01, alpha=0.99, eps=1e-08",
    optim.Adam: "lr=0.001, betas=(0.9, 0.999), eps=1e-08",
    optim.AdamW: ("lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01, decay_biases=True"),
}


@pytest.mark.parametrize("cls", TEXTS)
def test_arguments_and_steps(cls):
    optimizer = cls(model())
    text = f"<{cls.__name__} of 73 parameters: {TEXTS[cls]}, "
    assert repr(optimizer) == f"{text}0 steps>"
    optimizer.step()
    assert repr(optimizer) == f"{text}1 step>"
    optimizer.steps = 1234
    assert repr(optimizer) == f"{text}1,234 steps>"


def test_clipping_and_frozen_parameters():
    optimizer = optim.SGD(model(), 0.5, clip_norm=1.0, clip_value=2.0, freeze="1.*")
    assert repr(optimizer) == (
        "<SGD of 73 parameters, 16 frozen: lr=0.5, clip_norm=1.0, momentum=0.0, clip_value=2.0, "
        "0 steps>"
    )


def test_parameters_with_two_names_count_once():
    embedding = crnn.Embedding(5, 4, seed=0)
    tied = crnn.Sequential([embedding, crnn.RNN(4, 4, seed=1), crnn.TiedDense(embedding)])
    assert f"of {sum(a.size for a in set_of(tied))} parameters" in repr(optim.SGD(tied))


def set_of(layer):
    """Return the parameters of a layer, each once."""
    return {array.ctypes.data: array for array in layer.params.values()}.values()


def test_the_rate_is_the_current_one():
    layer, shown = crnn.Dense(2, 1, seed=0), []
    optimizer = optim.SGD(layer)

    class Records(crnn.callbacks.Callback):
        def on_update(self, run):
            shown.append(repr(run.optimizer))

    data = [([[[1.0, 2.0]]], [[[1.0]]])]
    crnn.fit(
        layer, data, loss=crnn.losses.mse, optimizer=optimizer, epochs=1, progress=False,
        callbacks=[Constant(0.25), Records()],
    )  # fmt: skip
    assert shown == ["<SGD of 3 parameters: lr=0.25, momentum=0.0, 1 step>"]
    assert optimizer.given_lr == 0.01


COPIES = [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy(copied):
    pair = model(), None
    pair = pair[0], optim.Adam(pair[0])
    other = copied(pair)
    assert repr(other[1]) == repr(pair[1])
    alone = copied(pair[1])
    del other, pair
    gc.collect()
    if copied is not copy.copy:
        assert repr(alone) == f"<Adam without a model: {TEXTS[optim.Adam]}, 0 steps>"
    assert isinstance(repr(alone), str)


@pytest.mark.parametrize("cls", TEXTS)
def test_an_optimizer_without_attributes_has_a_text(cls):
    assert repr(object.__new__(cls)).startswith(f"<{cls.__name__} without a model")


def test_an_optimizer_whose_constructor_raised_has_a_text():
    optimizer = object.__new__(optim.Adam)
    with pytest.raises(ValueError, match="clip_norm"):
        optimizer.__init__(model(), clip_norm=-1.0)
    assert repr(optimizer).startswith("<Adam of 73 parameters: lr=0.001, betas=(0.9, 0.999)")


class Own(optim.Optimizer):
    """An optimizer with a constructor that takes anything."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)

    def _update(self, updates, scale):
        pass


def test_an_optimizer_of_a_user():
    assert repr(Own(model(), 0.1)) == "<Own of 73 parameters: lr=0.1, 0 steps>"
