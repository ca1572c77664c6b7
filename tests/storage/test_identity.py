"""Classes in files: crnn's by name, others by module and name; abstract classes."""

import gc
import inspect
import json
import subprocess
import sys
import types
import weakref

import numpy as np
import pytest

import crnn
from crnn.callbacks import Schedule
from crnn.data import Batches, Vocabulary
from crnn.diagnostics.display import Display
from crnn.layers.base.layer import Layer
from crnn.layers.pointwise.rows import Pointwise
from crnn.models import Captioner, CharModel, SequenceAutoencoder, Translator
from crnn.models.folder import InFolder
from crnn.optim import Optimizer
from crnn.training.trainer import Trainer
from support.folders import OLD

x = np.random.default_rng(0).normal(size=(2, 3, 2)).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.npz"


def user_pool(module_name=__name__):
    """Define a class of the user with the name of a class of crnn."""
    body = {"__module__": module_name, "forward": forward, "backward": backward, "config": CONFIG}
    return types.new_class("Pool", (crnn.Layer,), exec_body=lambda space: space.update(body))


def forward(self, x, state=None, *, lengths=None, training=True):
    return 5 * np.asarray(x), None, None


def backward(self, tape, dy, dstate=None):
    return 5 * dy, None


CONFIG = property(lambda self: {})


def document_of(path):
    with np.load(path) as file:
        return json.loads(file["crnn"].tobytes())


# ---------------------------------------------------------------------------------- names that meet


def test_a_class_of_the_user_never_takes_the_place_of_crnns(path):
    Pool = user_pool()
    crnn.save(path, crnn.Sequential([crnn.Pool("mean")]))
    again = crnn.load(path)
    assert type(again.layers[0]) is crnn.Pool
    np.testing.assert_array_equal(again(x)[0], crnn.Pool("mean")(x)[0])
    both = crnn.Sequential([Pool(), crnn.Pool("max")])
    crnn.save(path, both)
    for classes in (None, {"Pool": Pool}, {f"{__name__}:Pool": Pool}):
        again = crnn.load(path, classes=classes)
        assert [type(layer) for layer in again.layers] == [Pool, crnn.Pool]
        np.testing.assert_array_equal(again(x)[0], both(x)[0])
    names = [layer["class"] for layer in document_of(path)["tree"]["layer"]["config"]["layers"]]
    assert names == [f"{__name__}:Pool", "Pool"]


@pytest.mark.parametrize("name", ["LSTM", "Dense", "Sequential"])
def test_no_class_of_crnns_can_be_shadowed(path, name):
    own = getattr(crnn, name)
    shadow = types.new_class(name, (own,), exec_body=lambda space: space.update(__module__="mine"))
    model = crnn.Sequential([crnn.LSTM(2, 3, seed=1), crnn.Dense(3, 2, seed=2)])
    crnn.save(path, model)
    again = crnn.load(path, classes={name: shadow})
    assert repr(again) == repr(model)
    assert shadow not in [type(again), *map(type, again.layers)]
    assert Layer.registry[name] is own


def test_the_last_class_defined_under_a_name_is_the_one_known(path):
    first, second = user_pool(), user_pool()
    crnn.save(path, second())
    assert type(crnn.load(path)) is second
    with pytest.raises(TypeError, match=r"the last one defined under its name, got .*Pool"):
        crnn.save(path, first())


def test_classes_of_two_modules_with_one_name(path):
    here, there = user_pool("here"), user_pool("there")
    crnn.save(path, crnn.Sequential([here(), there()]))
    assert [type(layer) for layer in crnn.load(path).layers] == [here, there]
    given = {"here:Pool": there, "Pool": here}  # the full name wins
    assert [type(layer) for layer in crnn.load(path, given).layers] == [there, here]


def test_classes_inside_of_others(path):
    class Outer:
        class Inner(crnn.GRU):
            pass

    model = crnn.Residual(Outer.Inner(2, 2, seed=1))
    crnn.save(path, model)
    assert type(crnn.load(path).layer) is Outer.Inner
    assert type(crnn.load(path, {"Inner": crnn.GRU}).layer) is crnn.GRU


def test_classes_are_not_kept_alive(path):
    gone = weakref.ref(user_pool("gone"))
    gc.collect()
    assert gone() is None
    assert "gone:Pool" not in Layer.registry


# --------------------------------------------------------------------------------------- not found


def test_a_class_that_is_not_imported(path):
    crnn.save(path, user_pool("my.module")())
    gc.collect()
    message = (
        r"model\.npz: cannot be read: layer: no class 'my\.module:Pool' is known; import my\.module"
        r", or pass the class: crnn\.load\(path, classes=\{'Pool': \.\.\.\}\)"
    )
    with pytest.raises(ValueError, match=message):
        crnn.load(path)
    mine = user_pool("another.module")
    assert type(crnn.load(path, {"Pool": mine})) is mine


def test_the_process_that_loads_need_not_have_the_module_of_the_one_that_saved(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import crnn\nclass Doubled(crnn.RNN):\n    pass\n", encoding="utf-8"
    )
    code = "import sys; sys.path.insert(0, sys.argv[1]); import crnn\n"
    save = code + "import mine; crnn.save(sys.argv[1] + '/m', mine.Doubled(1, 1, seed=3))"
    load = code + "import mine; print(type(crnn.load(sys.argv[1] + '/m')) is mine.Doubled)"
    for lines in (save, load):
        out = subprocess.run(
            [sys.executable, "-c", lines, str(tmp_path)], capture_output=True, text=True, check=True
        ).stdout
    assert out == "True\n"
    with pytest.raises(ValueError, match="import mine, or"):
        crnn.load(tmp_path / "m")
    assert type(crnn.load(tmp_path / "m", classes={"Doubled": crnn.RNN})) is crnn.RNN


def test_crnns_own_classes_need_no_import(path):
    crnn.save(path, SequenceAutoencoder(crnn.GRU(2, 2), crnn.GRU(2, 2), code=1))
    code = "import sys, crnn; print(type(crnn.load(sys.argv[1])).__name__)"
    run = [sys.executable, "-c", code, str(path)]
    out = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert out == "SequenceAutoencoder\n"


@pytest.mark.parametrize(
    "classes", [[crnn.GRU], {"GRU": crnn.GRU(1, 1)}, {"GRU": dict}, {3: crnn.GRU}, "GRU"]
)
def test_classes_are_names_with_subclasses_of_layer(path, classes):
    crnn.save(path, crnn.GRU(2, 3))
    with pytest.raises(TypeError, match="classes: expected "):
        crnn.load(path, classes=classes)
    with pytest.raises(TypeError, match="classes: expected "):
        CharModel.load(path.parent, classes)


def test_a_model_in_a_folder_of_the_users_layers(tmp_path):
    class Mine(crnn.GRU):
        pass

    network = crnn.Sequential([Mine(3, 4, seed=1), crnn.Dense(4, 3, seed=2)])
    CharModel(Vocabulary("abc"), network).save(tmp_path)
    assert type(CharModel.load(tmp_path).network.layers[0]) is Mine
    again = CharModel.load(tmp_path, classes={"Mine": crnn.GRU})
    assert type(again.network.layers[0]) is crnn.GRU


def test_a_layer_that_is_no_layer_of_crnn_is_not_written(path):
    class Duck:
        params = grads = config = {}  # noqa: RUF012
        forward, backward = forward, backward

    with pytest.raises(TypeError, match=r"layer: expected one of a subclass of crnn.Layer"):
        crnn.save(path, crnn.Sequential([Duck()]))
    assert not path.exists()


# --------------------------------------------------------------------------------------- old files


def test_models_of_old_files():
    model = crnn.load(OLD / "layers.npz")
    assert model.layers[-1].embedding is model.layers[0]
    assert model([[0, 1, 2]])[0].shape == (1, 3, 3)
    taught = crnn.load(OLD / "seq2seq.npz")
    assert taught.model.attention.kind == "additive"
    assert crnn.load(OLD / "autoencoder.npz").encode(x).shape == (2, 1)


@pytest.mark.parametrize(
    ("cls", "name"),
    [(CharModel, "characters"), (Translator, "translator"), (Captioner, "captioner")],
)
def test_models_of_old_folders(tmp_path, cls, name):
    (tmp_path / "checkpoint.npz").write_bytes((OLD / f"{name}.npz").read_bytes())
    assert cls.load(tmp_path).network.params


@pytest.fixture
def no_doubled():
    """Hide classes of other tests that have the name in the old file."""
    gc.collect()
    others = {name: cls for name, cls in Layer.registry.items() if name.endswith("Doubled")}
    for name in others:
        del Layer.registry[name]
    yield
    Layer.registry.update(others)


@pytest.mark.usefixtures("no_doubled")
def test_a_users_class_in_an_old_file():
    old = OLD / "class.npz"
    with pytest.raises(ValueError, match="no class 'Doubled' is known; import the module that has"):
        crnn.load(old)
    assert type(crnn.load(old, classes={"Doubled": crnn.RNN})) is crnn.RNN
    first = types.new_class("Doubled", (crnn.RNN,), exec_body=lambda s: s.update(__module__="a"))
    assert type(crnn.load(old)) is first
    second = types.new_class("Doubled", (crnn.RNN,), exec_body=lambda s: s.update(__module__="b"))
    with pytest.raises(
        ValueError, match="'Doubled' may be any of a:Doubled, b:Doubled; pass the class"
    ):
        crnn.load(old)
    assert type(crnn.load(old, classes={"Doubled": second})) is second
    del first, second
    gc.collect()


def test_a_run_of_an_old_file():
    model = crnn.Sequential([crnn.RNN(1, 1, seed=1), crnn.Dense(1, 1, seed=2)])
    x = np.arange(8.0).reshape(4, 2, 1)
    run = Trainer(
        model,
        Batches(x, x, batch_size=2, seed=1),
        loss=crnn.losses.mse,
        optimizer=crnn.optim.Adam(model),
        epochs=2,
        callbacks=[crnn.callbacks.KeepBest()],
    )
    run.resume(OLD / "run.npz")
    assert (run.position.epoch, run.position.update, len(run.history)) == (2, 4, 2)


# ---------------------------------------------------------------------------------------- abstract


@pytest.mark.parametrize(
    "cls", [crnn.Layer, Pointwise, Schedule, Optimizer, Display, InFolder, crnn.reference.Cell]
)
def test_bases_cannot_be_made(cls):
    assert inspect.isabstract(cls)
    with pytest.raises(TypeError, match="abstract"):
        cls(*[None] * (cls is Optimizer))


def test_a_layer_says_which_methods_it_lacks():
    with pytest.raises(TypeError, match=r"Layer.*backward.*forward"):
        crnn.Layer()

    class Half(crnn.Layer):
        def forward(self, x, state=None, *, training=True):
            return x, state, None

    with pytest.raises(TypeError, match=r"Half.*backward"):
        Half()

    class Whole(Half):
        def backward(self, tape, dy, dstate=None):
            return dy, dstate

    class Mixin:
        def forward(self, x, state=None, *, training=True):
            return x, state, None

        def backward(self, tape, dy, dstate=None):
            return dy, dstate

    class Mixed(Mixin, crnn.Layer):
        pass

    Whole(), Mixed()
    crnn.Sequential([Whole(), crnn.Dense(2, 1)])(x)

    class Row(Pointwise):
        def _check(self, x):
            return x

    with pytest.raises(TypeError, match="_steps"):
        Row()


def test_a_schedule_without_a_rate():
    class Silent(Schedule):
        pass

    with pytest.raises(TypeError, match=r"Silent.*rate"):
        Silent()

    class Half(Silent):
        def rate(self, update):
            return 0.5

    assert Half().rate(1) == 0.5


def test_no_abstract_class_is_loaded(path):
    abstract = [
        name for name, cls in Layer.registry.items() if ":" not in name and inspect.isabstract(cls)
    ]
    assert {"Composition", "RunsParts", "Wrapper", "Recurrent", "Seq2SeqParts"} <= set(abstract)
    crnn.save(path, crnn.Pool())
    with np.load(path) as file:
        arrays = dict(file)
    for name in abstract:
        document = json.loads(arrays["crnn"].tobytes())
        document["tree"]["layer"] = {"class": name, "config": {}}
        np.savez(path, crnn=np.frombuffer(json.dumps(document).encode(), np.uint8))
        with pytest.raises(ValueError, match=f"got '{name}', which is abstract: it lacks"):
            crnn.load(path)
