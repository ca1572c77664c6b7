"""Search of symbols: greedy, sampling and beam search, compared with plain loops.

Letters: B groups, K symbols, N steps.
"""

import itertools
import tracemalloc

import numpy as np
import pytest

import crnn._core as _core
from crnn._core import Search
from support.comparing import assert_close, assert_same_bits

B, K, N = 3, 5, 6
SAMPLE = int.from_bytes(b"sample")


def logits_after(group, tokens, K=K, scale=2.0):
    """Return the logits of a model whose next symbol depends on all symbols before it."""
    return scale * np.random.default_rng([group, *tokens]).normal(size=K)


def log_softmax(logits):
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def drive(search, groups=range(B), model=logits_after, dtype="f8"):
    """Run a search to its end on `model`; return the inputs of the unfinished rows of each step."""
    read = [(group, ()) for group in groups]
    steps = []
    while not search.done:
        logits = np.array([model(group, tokens) for group, tokens in read], dtype)
        symbols, parents = search.step(logits)
        read = [
            (read[parent][0], (*read[parent][1], int(symbol)))
            for symbol, parent in zip(symbols, parents, strict=True)
        ]
        steps.append(read)
    return steps


def filled(tokens, steps, stop):
    return [*tokens, *[-1 if stop is None else stop] * (steps - len(tokens))]


def assert_found(search, n_best, group, expected, stop):
    """Compare with `expected`, a list of (tokens, score) that may be shorter than n_best."""
    tokens, scores = search.result(n_best)
    steps = tokens.shape[2]
    for i in range(n_best):
        what, score = expected[i] if i < len(expected) else ((), -np.inf)
        assert tokens[group, i].tolist() == filled(what, steps, stop)
        if np.isfinite(score):
            assert_close(scores[group, i], np.float64(score), 1e-13)
        else:
            assert scores[group, i] == score


# ------------------------------------------------------------------------------ greedy and sampling


def follow(group, choose, steps, stop):
    """Return (tokens, score) of one row whose symbols are `choose(logits, step)`."""
    tokens, score = (), 0.0
    while len(tokens) < steps and (not tokens or tokens[-1] != stop):
        logits = logits_after(group, tokens)
        symbol = choose(logits, len(tokens))
        tokens, score = (*tokens, symbol), score + log_softmax(logits)[symbol]
    return tokens, score


@pytest.mark.parametrize("stop", [None, 2])
def test_greedy_selects_the_most_likely_symbol(stop):
    search = Search(B, K, N, stop=stop)
    steps = drive(search)
    for group in range(B):
        expected = follow(group, lambda logits, _: int(logits.argmax()), N, stop)
        assert_found(search, 1, group, [expected], stop)
    tokens, scores = search.result()
    assert (tokens.dtype, scores.dtype) == (np.int64, np.float64)
    assert (tokens.shape, scores.shape) == ((B, 1, len(steps)), (B, 1))
    assert stop is None or (tokens == stop).any()


def draw(logits, temperature, top_k, top_p, u):
    likeliest = np.argsort(-logits, kind="stable")[:top_k]
    if top_p is not None:
        shares = np.exp(logits[likeliest] / temperature).cumsum()
        likeliest = likeliest[: np.searchsorted(shares, top_p * shares[-1]) + 1]
    kept = np.sort(likeliest)
    shares = np.exp(logits[kept] / temperature).cumsum()
    return int(kept[np.searchsorted(shares, u * shares[-1], side="right")])


@pytest.mark.parametrize("top_k", [None, 1, 3, 99])
@pytest.mark.parametrize("top_p", [None, 0.01, 0.6, 1.0])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_samples_of_one_start(temperature, top_k, top_p):
    """Each sample has its own random numbers; scores are at temperature 1."""
    width, first = 4, 7
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": 11}
    search = Search(B, K, N, width=width, stop=2, first_group=first, **options)
    drive(search)
    for group in range(B):
        expected = []
        for place in range(width):
            row = (first + group) * width + place
            u = _core.random_uniform(11, SAMPLE, row << 32, N)

            def choose(logits, step, u=u):
                return draw(logits, temperature, top_k, top_p, u[step])

            expected.append(follow(group, choose, N, 2))
        assert_found(search, width, group, expected, 2)
    if top_k != 1 and top_p != 0.01:
        assert len({tuple(row) for row in search.result(width)[0].reshape(-1, N)}) > B


def test_samples_have_the_probabilities_of_the_model():
    p = np.array([0.5, 0.25, 0.125, 0.125])
    for temperature in (0.5, 1.0, 2.0):
        search = Search(20_000, 4, 1, temperature=temperature, seed=3)
        search.step(np.tile(np.log(p).astype("f4"), (20_000, 1)))
        found = np.bincount(search.result()[0].ravel(), minlength=4) / 20_000
        expected = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
        np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / 20_000))


@pytest.mark.parametrize("temperature", [5e-324, 1e-300])
def test_a_low_temperature_selects_the_most_likely_symbol(temperature):
    search = Search(50, K, 1, temperature=temperature)
    logits = np.random.default_rng(0).normal(size=(50, K))
    np.testing.assert_array_equal(search.step(logits)[0], logits.argmax(axis=1))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_infinite_logits(dtype):
    """They share the probability equally; all other symbols have none."""
    inf = np.inf
    rows = np.array([[0, inf, 1, inf], [-inf] * 4, [-inf, 3, -inf, 3], [0, -inf, inf, 1]], dtype)
    possible = [{1, 3}, {0, 1, 2, 3}, {1, 3}, {2}]
    greedy = Search(4, 4, 1)
    assert greedy.step(rows)[0].tolist() == [1, 0, 1, 2]
    assert_close(greedy.result()[1][:, 0], -np.log([2, 4, 2, 1]), 1e-15)
    drawn = Search(4, 4, 1, width=300, temperature=1.7, seed=1)
    drawn.step(rows)
    tokens, scores = drawn.result(300)
    assert [set(row) for row in tokens[..., 0]] == possible
    assert_close(scores, np.repeat(-np.log([[2], [4], [2], [1]]), 300, axis=1), 1e-15)
    few = Search(4, 4, 1, width=300, temperature=1.7, top_p=0.5, seed=1)
    few.step(rows)
    assert [set(row) for row in few.result(300)[0][..., 0]] == [{1}, {0, 1}, {1}, {2}]
    beam = Search(4, 4, 1, width=4, beam=True)
    beam.step(rows)
    tokens, scores = beam.result(4)
    assert tokens[..., 0].tolist() == [
        [1, 3, -1, -1],
        [0, 1, 2, 3],
        [1, 3, -1, -1],
        [2, -1, -1, -1],
    ]
    assert np.isfinite(scores).sum(axis=1).tolist() == [2, 4, 2, 1]


# -------------------------------------------------------------------------------------------- beams


def every_sequence(group, symbols, steps, stop, model):
    """Return all sequences as (tokens, score): those that end in stop or have all steps."""
    found = []
    for length in range(1, steps + 1):
        for tokens in itertools.product(range(symbols), repeat=length):
            if stop in tokens[:-1] or (length < steps and tokens[-1] != stop):
                continue
            parts = [log_softmax(model(group, tokens[:t]))[s] for t, s in enumerate(tokens)]
            found.append((tokens, float(np.sum(parts))))
    return found


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("stop", [None, 1])
def test_a_beam_of_all_sequences_finds_all_in_order(stop, penalty):
    def model(group, tokens):
        return logits_after(group, tokens, 3)

    width = 81 if stop is None else 31
    search = Search(B, 3, 4, width=width, beam=True, stop=stop, length_penalty=penalty)
    drive(search, model=model)
    for group in range(B):
        expected = [
            (tokens, score / len(tokens) ** penalty)
            for tokens, score in every_sequence(group, 3, 4, stop, model)
        ]
        assert len(expected) == width
        expected.sort(key=lambda found: -found[1])
        assert_found(search, width, group, expected, stop)


def plain_beam(group, width, steps, stop):
    live, ended = [((), 0.0)], []
    for _ in range(steps):
        longer = [
            ((*tokens, symbol), score + log_p)
            for tokens, score in live
            for symbol, log_p in enumerate(log_softmax(logits_after(group, tokens)))
        ]
        longer.sort(key=lambda found: -found[1])
        kept = longer[: width - len(ended)]
        ended += [found for found in kept if found[0][-1] == stop]
        live = [found for found in kept if found[0][-1] != stop]
    return ended + live


@pytest.mark.parametrize("penalty", [0.0, 0.7])
@pytest.mark.parametrize("width", [1, 2, 3, 7])
def test_narrow_beams(width, penalty):
    search = Search(B, K, N, width=width, beam=True, stop=2, length_penalty=penalty)
    steps = drive(search)
    for group in range(B):
        expected = [
            (tokens, score / len(tokens) ** penalty)
            for tokens, score in plain_beam(group, width, N, 2)
        ]
        expected.sort(key=lambda found: -found[1])
        assert_found(search, width, group, expected, 2)
    assert all(len(rows) <= B * width for rows in steps)


def test_a_beam_of_one_is_greedy():
    def model(group, tokens):  # sums of such logits are often equal
        return logits_after(group, tokens, scale=1e-15)

    searches = [Search(B, K, N, stop=2), Search(B, K, N, stop=2, beam=True)]
    for search in searches:
        drive(search, model=model)
    for one, other in zip(searches[0].result(), searches[1].result(), strict=True):
        assert_same_bits(one, other)


def test_equal_scores_keep_the_order_of_symbols():
    search = Search(2, K, 2, width=3, beam=True)
    symbols, parents = search.step(np.zeros((2, K)))
    assert (symbols.tolist(), parents.tolist()) == ([0, 1, 2] * 2, [0, 0, 0, 1, 1, 1])
    symbols, parents = search.step(np.zeros((6, K)))
    assert (symbols.tolist(), parents.tolist()) == ([0, 1, 2] * 2, [0, 0, 0, 3, 3, 3])
    tokens, scores = search.result(3)
    assert tokens.tolist() == [[[0, 0], [0, 1], [0, 2]]] * 2
    assert_close(scores, np.full((2, 3), -2 * np.log(K)), 1e-15)


def test_fewer_sequences_than_places():
    search = Search(1, 2, 5, width=4, beam=True, stop=0)
    symbols, parents = search.step([[1.0, 0.0]])
    assert (symbols.tolist(), parents.tolist()) == ([1], [0])
    tokens, scores = search.result(4)
    assert tokens.tolist() == [[[0], [1], [0], [0]]]
    assert np.isfinite(scores).tolist() == [[True, True, False, False]]


# ------------------------------------------------------------------------------- all ways to choose

WAYS = [
    {},
    {"width": 3, "beam": True, "length_penalty": 0.6},
    {"width": 3, "temperature": 0.8, "top_k": 4, "top_p": 0.9, "seed": 2},
]


@pytest.mark.parametrize("options", WAYS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_group_does_not_depend_on_other_groups(options, dtype):
    width = options.get("width", 1)
    together = Search(B, K, N, stop=2, **options)
    drive(together, dtype=dtype)
    tokens, scores = together.result(width)
    for group in range(B):
        alone = Search(1, K, N, stop=2, first_group=group, **options)
        drive(alone, [group], dtype=dtype)
        own, score = alone.result(width)
        assert_same_bits(score[0], scores[group])
        assert own[0].tolist() == tokens[group, :, : own.shape[2]].tolist()
        assert (tokens[group, :, own.shape[2] :] == 2).all()


@pytest.mark.parametrize("options", WAYS)
def test_logits_of_any_memory_layout(options):
    logits = np.random.default_rng(0).normal(size=(B, K)).astype("f4")
    wide = np.zeros((2 * B, 2 * K), "f4")
    wide[::2, ::2] = logits
    found = []
    for given in (
        logits,
        logits.astype("f8"),
        logits.tolist(),
        wide[::2, ::2],
        logits.astype(">f4"),
    ):
        search = Search(B, K, 1, **options)
        search.step(given)
        found.append(search.result(options.get("width", 1)))
    for tokens, scores in found[1:]:
        assert_same_bits(tokens, found[0][0])
        assert_same_bits(scores, found[0][1])


def test_memory_grows_with_the_steps_that_were_run():
    """A large limit of steps alone needs no memory."""
    search = Search(1, K, 1000, width=2, beam=True)
    steps = drive(search, [0], lambda group, tokens: logits_after(group, tokens[-2:]))
    assert search.result(2)[0][0].tolist() in (
        [list(row[1]) for row in steps[-1]],
        [list(row[1]) for row in steps[-1][::-1]],
    )
    tracemalloc.start()
    endless = Search(2, K, 10**18, stop=1)
    endless.step(np.eye(2, K, 1))
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()
    assert not endless.done
    assert endless.step(np.eye(1, K, 1))[0].tolist() == []
    assert endless.done
    assert endless.result()[0].tolist() == [[[1, 1]], [[2, 1]]]


@pytest.mark.parametrize("options", [WAYS[0], WAYS[2]])
def test_forced_symbols_replace_chosen_symbols(options):
    options = options | {"width": 1}
    forced = np.array([[0, -1, 3], [-1, -1, -1], [4, 4, 4]])
    search = Search(B, K, N, forced=forced, **options)
    steps = drive(search)
    tokens, scores = search.result()
    own = -np.ones((B, N), int)
    own[:, :3] = forced
    read = np.array([row[1] for row in steps[-1]])
    np.testing.assert_array_equal(read, np.where(own < 0, tokens[:, 0], own))
    expected = [
        sum(log_softmax(logits_after(b, read[b, :t]))[tokens[b, 0, t]] for t in range(N))
        for b in range(B)
    ]
    assert_close(scores[:, 0], np.array(expected), 1e-13)
    free = Search(B, K, N, **options)
    drive(free)
    np.testing.assert_array_equal(free.result()[0][1], tokens[1])
    assert (free.result()[0] != tokens).any()
    forced[:] = 0  # the search has a copy
    np.testing.assert_array_equal(search.result()[0], tokens)


@pytest.mark.parametrize("options", WAYS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_nan_logits_raise_and_change_nothing(options, dtype):
    search, other = Search(B, K, N, **options), Search(B, K, N, **options)
    rows = B
    for step in range(N):
        logits = np.random.default_rng(step).normal(size=(rows, K)).astype(dtype)
        broken = logits.copy()
        broken[-1, -1] = np.nan
        with pytest.raises(
            FloatingPointError, match=rf"^logits: expected numbers at step {step}, got NaN$"
        ):
            search.step(broken)
        got, expected = search.step(logits), other.step(logits)
        for one, two in zip(got, expected, strict=True):
            np.testing.assert_array_equal(one, two)
        rows = len(got[0])
    for one, two in zip(search.result(), other.result(), strict=True):
        assert_same_bits(one, two)


def test_nothing_to_do():
    none = Search(0, K, N, width=2, beam=True)
    assert none.done
    assert [array.shape for array in none.result(2)] == [(0, 2, 0), (0, 2)]
    still = Search(B, K, 0)
    assert still.done
    tokens, scores = still.result()
    assert tokens.shape == (B, 1, 0)
    assert (scores == 0).all()


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": -1}, r"groups: expected an integer from 0 to 2\*\*64 - 1, got -1"),
        ({"groups": 2.0}, r"groups: expected an integer from 0 .*, got 2.0"),
        ({"groups": 2**63 - 1}, r"groups, width, symbols: expected .*that are too large"),
        ({"symbols": 0}, r"symbols: expected an integer of at least 1 .*, got 0"),
        ({"symbols": 2**63 - 1}, r"groups, width, symbols: expected .*that are too large"),
        ({"max_steps": -1}, r"max_steps: expected an integer from 0 .*, got -1"),
        ({"width": 0}, r"width: expected an integer of at least 1 .*, got 0"),
        ({"width": 2}, r"width: expected 1 without a beam or a temperature, got 2"),
        ({"stop": -1}, r"stop: expected None or a symbol, an integer of at least 0, got -1"),
        ({"stop": -(2**70)}, r"stop: expected None or a symbol, an integer of at least 0, got -1"),
        ({"stop": "a"}, r"stop: expected None or a symbol, an integer of at least 0, got 'a'"),
        ({"stop": K}, r"stop: expected None or a symbol, an integer below K=5, got 5"),
        ({"stop": 2**70}, r"stop: expected None or a symbol, an integer below K=5, got 11805"),
        ({"length_penalty": -1}, r"length_penalty: expected a finite number of at least 0, got -1"),
        ({"length_penalty": "1"}, r"length_penalty: expected a finite number .*, got '1'"),
        ({"temperature": np.inf}, r"temperature: expected a positive number, or None .*, got inf"),
        ({"temperature": 0}, r"temperature: expected a positive number, or None .*, got 0"),
        ({"temperature": "a"}, r"temperature: expected a positive number, or None .*, got 'a'"),
        ({"temperature": 1, "beam": True}, r"temperature: expected None in a beam search, got 1"),
        ({"top_k": 1}, r"top_k: expected None without a temperature, got 1"),
        ({"top_p": 0.5}, r"top_p: expected None without a temperature, got 0.5"),
        ({"top_p": 0.5, "beam": True}, r"top_p: expected None without a temperature, got 0.5"),
        ({"top_k": 0, "temperature": 1}, r"top_k: expected an integer of at least 1"),
        ({"top_p": 0, "temperature": 1}, r"top_p: expected a positive number, got 0"),
        ({"top_p": 1.1, "temperature": 1}, r"top_p: expected a probability, 0 < p <= 1, got 1.1"),
        ({"seed": -1}, r"seed: expected an integer from 0 to 2\*\*64 - 1, got -1"),
        ({"first_group": 2**64}, r"first_group: expected an integer from 0 .*, got 18446744"),
        ({"forced": [0, 1, 2]}, r"forced: expected integers of shape \(rows=3, T\), got int64 of"),
        ({"forced": [[0.5]] * B}, r"forced: expected integers of shape \(rows=3, T\), got float64"),
        ({"forced": [[K]] * B}, r"forced: expected integers from -1 to 4, got 5"),
        ({"forced": [[0]] * B, "beam": True}, r"forced: expected None in a beam search, got \[\["),
    ],
)
def test_wrong_options(options, message):
    options = {"groups": B, "symbols": K, "max_steps": N} | options
    with pytest.raises((TypeError, ValueError), match="^" + message):
        Search(**options)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (np.zeros((B, K + 1)), r"logits: expected floats of shape \(live=3, K=5\), got float64 of"),
        (np.zeros((B + 1, K)), r"logits: expected floats of shape \(live=3, K=5\), got float64 of"),
        (np.zeros(K), r"logits: expected floats of shape \(live=3, K=5\), got .* shape \(5,\)"),
        (np.zeros((B, K), int), r"logits: expected floats of shape .*, got int64"),
        ([[1.0], [1.0, 2.0]], r"logits: expected an array"),
    ],
)
def test_wrong_logits(logits, message):
    search = Search(B, K, N)
    with pytest.raises((TypeError, ValueError), match="^" + message):
        search.step(logits)


def test_steps_after_the_end_and_missing_results_raise():
    search = Search(B, K, 1)
    search.step(np.zeros((B, K)))
    with pytest.raises(
        ValueError, match=r"^logits: expected no further step, because the search has ended"
    ):
        search.step(np.zeros((B, K)))
    with pytest.raises(ValueError, match=r"^n_best: expected at most width=1, got 2"):
        search.result(2)
    with pytest.raises(ValueError, match=r"^n_best: expected an integer of at least 1"):
        search.result(0)
