"""The captioner: a text from a vector, in a requested language; and models of one vector.

Letters: n vectors, F features.
"""

import numpy as np
import pytest

import crnn
from crnn.data import Vocabulary
from crnn.layers.compose.last_state import LastState
from crnn.models import Captioner
from crnn.models.networks import CELLS
from crnn.storage import archive
from crnn.storage import models as storage_models
from support.comparing import assert_same_bits
from support.running import fill

F, F64 = 4, {"dtype": "float64"}
RNG = np.random.default_rng(0)
COLOURS = {"en": ["red", "green", "blue", "grey"], "es": ["rojo", "verde", "azul", "gris"]}
WHICH = RNG.integers(0, F, 60)
X = (np.eye(F)[WHICH] + 0.1 * RNG.normal(size=(60, F))).astype(np.float32)
LANGUAGES = [str(language) for language in RNG.choice(list(COLOURS), 60)]
NAMES = [COLOURS[language][which] for language, which in zip(LANGUAGES, WHICH, strict=True)]
SMALL = {"hidden_size": 24, "embedding": 8, "dropout": 0.0, "seed": 1}
QUICK = {"epochs": 30, "batch_size": 10, "lr": 0.02, "progress": False}


@pytest.fixture(scope="module")
def trained():
    model = Captioner.for_captions(F, NAMES, LANGUAGES, **SMALL)
    model.train(X, NAMES, LANGUAGES, **QUICK)
    return model


# ------------------------------------------------------------------ a model of one vector inside


def dense():
    return crnn.Dense(F, 3, seed=1, **F64), RNG.normal(size=(3, F))


def pooled():
    layers = [crnn.GRU(F, 3, seed=1, **F64), crnn.Pool("mean"), crnn.Dense(3, 3, seed=2, **F64)]
    return crnn.Sequential(layers), RNG.normal(size=(3, 5, F))


def last():
    return LastState(crnn.Bidirectional(crnn.LSTM(F, 2, seed=1, **F64)), "all"), RNG.normal(
        size=(3, 5, F)
    )


@pytest.mark.parametrize("encoder", [dense, pooled, last])
@pytest.mark.parametrize("cell", [crnn.GRU, crnn.LSTM])
@pytest.mark.parametrize("symbols", [None, 4])
def test_gradients_of_models_that_start_from_a_vector(encoder, cell, symbols):
    """The steps of the target do not depend on the lengths of the source."""
    layer, source = encoder()
    model = crnn.Seq2Seq(layer, cell(2, 3, seed=4, **F64), target_symbols=symbols, seed=5)
    target = RNG.integers(0, 4, (3, 7)) if symbols else RNG.normal(size=(3, 7, 2))
    x = (source, target) if encoder is dense else (source, target, np.array([5, 0, 2]))
    learner = crnn.TeacherForcing(fill(model), seed=1)
    report = crnn.gradcheck(learner, x, lengths=[7, 2, 0])
    assert report.ok, report
    assert (model.bridge is None) == (cell is crnn.GRU and encoder is not last)


def test_the_vector_is_the_state():
    layer, source = dense()
    model = fill(crnn.Seq2Seq(layer, crnn.GRU(2, 3, **F64), target_symbols=4, seed=1))
    target = RNG.integers(0, 4, (3, 5))
    y, _ = model.decoder(model.target_embedding(target)[0], layer(source)[0])
    logits, _ = model(source, target)
    np.testing.assert_allclose(logits, model.output(y)[0], rtol=1e-12)
    with pytest.raises(ValueError, match=r"source_lengths: expected None for .* \(B, I=4\), got"):
        model.forward(source, target, source_lengths=[4, 4, 4])
    with pytest.raises(ValueError, match=r"source: expected floats of shape \(B, I=4\), got shape"):
        model.forward(source[:, None], target)
    with pytest.raises(TypeError, match=r"source: expected floats of shape \(B, I=4\), got int64"):
        model.generate(target, start=0, stop=None, max_steps=2)


def test_a_last_state_is_that_of_the_layer():
    layer = fill(crnn.Bidirectional(crnn.LSTM(F, 2, **F64)))
    x, lengths = RNG.normal(size=(3, 5, F)), np.array([5, 2, 0])
    y, state = LastState(layer, of="all")(x, lengths=lengths)
    assert_same_bits(state, layer(x, lengths=lengths)[1])
    assert_same_bits(y, np.concatenate([part for pair in state for part in pair], axis=1))
    with pytest.raises(ValueError, match="layer: expected one with a state, got Dense"):
        LastState(crnn.Dense(F, 2))(X[None])
    with pytest.raises(TypeError, match="layer: expected a layer, got 3"):
        LastState(3)


# ------------------------------------------------------------------------------------ the model


def test_it_learns_to_write_in_the_requested_language(trained):
    clean = np.eye(F, dtype=np.float32)
    for language, names in COLOURS.items():
        assert trained.caption(clean, language) == names
        assert trained.caption(clean, [language] * F, beam=3) == names
    assert trained.evaluate(X, NAMES, LANGUAGES) > 0.95
    swapped = ["es" if language == "en" else "en" for language in LANGUAGES]
    assert trained.evaluate(X, NAMES, swapped) == 0


def test_words_without_languages():
    names = [f"a {COLOURS['en'][which]} thing" for which in WHICH]
    model = Captioner.for_captions(F, names, words=True, **SMALL)
    assert set(model.vocabulary.symbols) == {"\n", "a", "thing", *COLOURS["en"], "<unk>"}
    history = model.train(X, names, **QUICK)
    assert history.loss[-1] < 0.1 * history.loss[0]
    assert model.caption(X) == names
    assert model.evaluate(X, [name.replace(" ", "  ") for name in names]) == 1
    assert model.languages == ()


@pytest.mark.parametrize("cell", sorted(CELLS))
@pytest.mark.parametrize("layers", [1, 2])
def test_every_cell_can_be_stacked(cell, layers):
    options = SMALL | {"cell": cell, "layers": layers, "dropout": 0.1}
    model = Captioner.for_captions(F, NAMES, LANGUAGES, **options)
    history = model.train(X, NAMES, LANGUAGES, epochs=2, progress=False)
    assert history.loss[1] < history.loss[0]
    assert len(model.caption(X[:3], "en")) == 3
    again = Captioner.for_captions(F, NAMES, LANGUAGES, **options)
    again.train(X, NAMES, LANGUAGES, epochs=2, progress=False)
    assert_same_bits(again.network.state_dict(), model.network.state_dict())


def test_batches_have_each_caption_once():
    model = Captioner.for_captions(F, NAMES, LANGUAGES, **SMALL)
    data, captions = model.batches(X, NAMES, LANGUAGES, batch_size=8, seed=0), []
    assert len(data) == len(list(data)) == 8
    assert repr(data) == (
        "<CaptionBatches: 60 captions in 8 batches of 8, bucketed, shuffled with seed 0>"
    )
    for (vectors, target_in), target, lengths in data:
        np.testing.assert_array_equal(target_in[:, 1:], target[:, :-1])
        for vector, row, first, length in zip(
            vectors, target, target_in[:, 0], lengths, strict=True
        ):
            assert row[length - 1] == 0
            text = model.vocabulary.decode(row[: length - 1])
            captions.append((vector.tobytes(), text, model.vocabulary.symbols[first]))
    starts = [f"<{language}>" for language in LANGUAGES]
    everything = zip([vector.tobytes() for vector in X], NAMES, starts, strict=True)
    assert sorted(captions) == sorted(everything)
    data.set_epoch(1)
    assert [text for _, text, _ in captions] != [
        model.vocabulary.decode(row[: n - 1])
        for _, target, ns in data
        for row, n in zip(target, ns, strict=True)
    ]
    in_order = [n for _, _, ns in model.batches(X, NAMES, LANGUAGES) for n in ns]
    assert in_order == sorted(in_order)


def test_files(trained, tmp_path):
    trained.save(tmp_path / "model")
    again = Captioner.load(tmp_path / "model")
    assert repr(again) == repr(trained)
    assert (again.languages, again.max_steps) == (("en", "es"), trained.max_steps)
    assert again.vocabulary == trained.vocabulary
    assert again.caption(X, LANGUAGES) == trained.caption(X, LANGUAGES)


def test_files_of_others(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint\.npz in this directory"):
        Captioner.load(tmp_path)
    tree = {"vocabulary": Vocabulary("\na").config, "languages": [], "words": False}
    tree |= {"max_length": 3, "network": storage_models.model_tree(crnn.GRU(2, 3))}
    archive.write(tmp_path / "checkpoint.npz", "captioner", tree)
    with pytest.raises(ValueError, match="expected a Seq2Seq, got a GRU"):
        Captioner.load(tmp_path)
    archive.write(tmp_path / "checkpoint.npz", "soup", tree)
    with pytest.raises(
        ValueError, match="expected a file with a captioner, got a file with a soup"
    ):
        Captioner.load(tmp_path)


def test_vocabulary_and_network_must_fit(trained):
    network = trained.network
    with pytest.raises(ValueError, match=r"vocabulary: expected one with '\\n'"):
        Captioner(Vocabulary("abc"), network)
    with pytest.raises(ValueError, match="vocabulary: expected one with '<fr>'"):
        Captioner(trained.vocabulary, network, ["en", "fr"])
    with pytest.raises(ValueError, match=r"network: expected target_symbols=2, .*, got"):
        Captioner(Vocabulary("\na"), network)
    with pytest.raises(TypeError, match="languages: expected a list of texts, got a single one"):
        Captioner(trained.vocabulary, network, "en")


def test_wrong_arguments(trained):
    for call, error, message in [
        (lambda: trained.caption(X[:, :2], "en"), ValueError, r"features: .* \(n, F=4\), got"),
        (lambda: trained.caption(WHICH, "en"), ValueError, "features: expected floats"),
        (lambda: trained.caption(X), ValueError, "languages: expected 60 of en, es, got none"),
        (lambda: trained.caption(X, "fr"), ValueError, "languages: .* of en, es, got fr"),
        (lambda: trained.caption(X, ["en"]), ValueError, "languages: expected 60, .*, got 1"),
        (lambda: trained.caption(X[:1], [3]), TypeError, "languages: expected strings, got 3"),
        (lambda: trained.caption(X, "en", beam=0), ValueError, "beam: expected"),
        (lambda: trained.train(X, NAMES), ValueError, "languages: expected 60 of en, es, got none"),
        (lambda: trained.train(X, NAMES[:2]), ValueError, "captions: expected n=60, .*, got 2"),
        (lambda: trained.train(X, "red"), TypeError, "captions: expected a list of texts, got"),
        (lambda: trained.train(X, [1] * 60), TypeError, "captions: expected strings, got 1"),
        (lambda: trained.train(X, NAMES, LANGUAGES, lr=0), ValueError, "lr: expected a positive"),
        (lambda: trained.train(X, NAMES, LANGUAGES, epochs=0), ValueError, "epochs: expected"),
        (lambda: trained.evaluate(X, NAMES[:3], "en"), ValueError, "captions: expected n=60"),
        (lambda: Captioner.for_captions(F, []), ValueError, "captions: expected at least one"),
        (lambda: Captioner.for_captions(F, NAMES, cell="mlp"), ValueError, "cell: expected one of"),
        (lambda: Captioner.for_captions(0, NAMES), ValueError, "features: expected"),
        (lambda: Captioner.for_captions(F, NAMES, ["en"]), ValueError, "languages: expected 60"),
    ]:
        with pytest.raises(error, match=message):
            call()


def test_a_captioner_without_languages_takes_none():
    model = Captioner.for_captions(F, NAMES, **SMALL)
    with pytest.raises(ValueError, match="languages: expected None, got en"):
        model.caption(X, "en")
