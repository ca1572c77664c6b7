"""Losses of distributions, beside the reference, PyTorch and mpmath; draws, beside SciPy.

Letters: B sequences, T steps, P parameters.
"""

import math

import numpy as np
import pytest

import crnn
import crnn._core as _core
from crnn import reference
from crnn.losses.likelihoods import PARAMETERS
from support.comparing import assert_close, assert_same_bits

KINDS = tuple(PARAMETERS)
LOSSES = {kind: getattr(crnn.losses, f"{kind}_nll") for kind in KINDS}
every_kind = pytest.mark.parametrize("kind", KINDS)


def problem(kind, lead=(4, 5), dtype="float64", seed=0):
    """Return outputs, targets and the scales of rows."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(*lead, PARAMETERS[kind])).astype(dtype)
    scale = np.exp(rng.normal(size=lead[0]))
    if kind == "negative_binomial":
        return raw, rng.poisson(3.0, lead), scale
    return raw, 2 * rng.normal(size=lead), scale


def torch_log_p(kind, raw, target, scale):
    """Return the log-likelihoods, as PyTorch's distributions have them."""
    torch = pytest.importorskip("torch")
    sp = torch.nn.functional.softplus
    if kind == "gaussian":
        p = torch.distributions.Normal(scale * raw[..., 0], scale * sp(raw[..., 1]))
    elif kind == "student_t":
        freedom = 2 + sp(raw[..., 2])
        p = torch.distributions.StudentT(freedom, scale * raw[..., 0], scale * sp(raw[..., 1]))
    else:
        mean, alpha = scale * sp(raw[..., 0]), sp(raw[..., 1]) / scale.sqrt()
        p = torch.distributions.NegativeBinomial(1 / alpha, probs=alpha * mean / (1 + alpha * mean))
    return p.log_prob(target)


# ----------------------------------------------------------------------------- losses and gradients


@every_kind
@pytest.mark.parametrize("lead", [(4, 5), (6,), (1, 1), (2, 400)], ids=str)
def test_pytorch_agrees(kind, lead):
    torch = pytest.importorskip("torch")
    raw, target, scale = problem(kind, lead)
    x = torch.tensor(raw, requires_grad=True)
    nu = torch.tensor(scale.reshape(-1, *[1] * (len(lead) - 1)))
    expected = -torch_log_p(kind, x, torch.tensor(target, dtype=torch.float64), nu).mean()
    expected.backward()
    loss, draw = LOSSES[kind](raw, target, scale=scale)
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    assert loss.weight == math.prod(lead)
    assert_close(draw, x.grad.numpy(), 1e-10)


@every_kind
def test_the_reference_agrees_at_every_valid_step(kind, dtype):
    raw, target, scale = problem(kind, dtype=dtype)
    lengths, weights = [5, 0, 2, 4], np.random.default_rng(1).integers(0, 3, (4, 5))
    loss, draw = LOSSES[kind](raw, target, lengths, weights=weights, scale=scale)
    shares = weights * (np.arange(5) < np.array(lengths)[:, None])
    total, expected = 0.0, np.zeros(raw.shape)
    for b, t in zip(*shares.nonzero(), strict=True):
        each, d = getattr(reference, f"{kind}_nll")(raw[b, t].tolist(), scale[b], target[b, t])
        total += shares[b, t] * each
        expected[b, t] = shares[b, t] * np.array(d) / shares.sum()
    assert loss == pytest.approx(total / shares.sum(), rel=1e-12)
    assert loss.weight == shares.sum()
    assert draw.dtype == dtype
    assert_close(draw, expected, 1e-6 if dtype == "float32" else 1e-7)


@every_kind
@pytest.mark.parametrize("size", [1.0, 6.0])
def test_central_differences_agree(kind, size):
    raw, target, scale = problem(kind, (3, 4))
    raw *= size
    _, draw = LOSSES[kind](raw, target, scale=scale)
    measured, h = np.zeros_like(raw), 1e-5
    for at in np.ndindex(raw.shape):
        sides = [raw.copy(), raw.copy()]
        sides[0][at] += h
        sides[1][at] -= h
        up, down = (LOSSES[kind](side, target, scale=scale)[0] for side in sides)
        measured[at] = (up - down) / (2 * h)
    assert_close(draw, measured, 1e-7)


def mean_and_alpha(o, nu):
    mp = pytest.importorskip("mpmath")
    first, second = (mp.log1p(mp.exp(mp.mpf(x))) for x in o)
    return nu * first, second / mp.sqrt(nu)


@pytest.mark.parametrize("exponent", range(-12, 4))
def test_negative_binomial_keeps_its_digits(exponent):
    """d/dα within 1e-8 of mpmath, α from 1e-12 to 1e3, means and counts up to a million."""
    mp = pytest.importorskip("mpmath")
    rng = np.random.default_rng(exponent + 20)
    with mp.workdps(60):
        for _ in range(25):
            nu = 10 ** rng.uniform(-3, 4)
            mean = 10 ** rng.uniform(-6, 6)
            z = float(rng.choice([np.floor(10 ** rng.uniform(-1, 6)), np.round(mean)]))
            alpha = 10 ** (exponent + rng.uniform(-0.5, 0.5))
            o = [float(mp.log(mp.expm1(mp.mpf(x)))) for x in (mean / nu, alpha * np.sqrt(nu))]
            loss, draw = crnn.losses.negative_binomial_nll([[o]], [[z]], scale=[nu])
            m, a = mean_and_alpha(o, mp.mpf(nu))
            r = 1 / a
            log_p = mp.loggamma(z + r) - mp.loggamma(r) - mp.loggamma(z + 1)
            log_p += r * mp.log(r / (r + m)) + z * mp.log(m / (r + m))
            slope = mp.psi(0, z + r) - mp.psi(0, r) - mp.log1p(m / r) + (m - z) / (r + m)
            dalpha = float(-r * r * slope)
            chain = float(1 / (1 + mp.exp(-mp.mpf(o[1]))) / mp.sqrt(nu))
            assert loss == pytest.approx(float(-log_p), rel=1e-9)
            assert draw[0, 0, 1] / chain == pytest.approx(-dalpha, rel=1e-8)


@pytest.mark.parametrize("o", [[-800.0, 0.0], [0.0, -800.0], [-800.0, -800.0], [700.0, 700.0]])
@pytest.mark.parametrize("z", [0, 5])
def test_outputs_of_any_size_give_finite_losses(o, z):
    for kind in KINDS:
        loss, draw = LOSSES[kind]([[[*o, 0.0][: PARAMETERS[kind]]]], [[z]])
        assert math.isfinite(loss), kind
        assert np.isfinite(draw).all(), kind


def test_a_small_alpha_is_the_poisson_distribution():
    """log p and the limit of d/dα, ((z - m)² - z) / 2."""
    m = math.log(2)
    for z in (0, 1, 7):
        loss, draw = crnn.losses.negative_binomial_nll([[[0.0, -40.0]]], [[z]])
        assert -loss == pytest.approx(z * math.log(m) - m - math.lgamma(z + 1), rel=1e-13)
        limit = ((z - m) ** 2 - z) / 2 * math.exp(-40.0)
        assert -draw[0, 0, 1] == pytest.approx(limit, rel=1e-10)


@every_kind
def test_what_is_left_out_has_no_effect(kind):
    """The number stored at a missing step, and rows of other lengths, change no bit."""
    raw, target, scale = problem(kind)
    weights = np.ones((4, 5))
    weights[1, 2] = weights[3, 0] = 0
    expected = LOSSES[kind](raw, target, [5, 4, 2, 0], weights=weights, scale=scale)
    other = target.astype(float)
    other[1, 2], other[3, 0], other[2, 2:], other[3] = np.nan, -1.5, np.inf, np.nan
    spoiled = raw.copy()
    spoiled[1, 2] = spoiled[2, 3] = np.nan
    loss, draw = LOSSES[kind](spoiled, other, [5, 4, 2, 0], weights=weights, scale=scale)
    assert loss == expected[0]
    assert_same_bits(draw, expected[1])
    assert not draw[1, 2].any()
    assert not draw[3].any()


@every_kind
def test_threads_give_the_same_bits(kind, threads):
    raw, target, scale = problem(kind, (40, 300))
    threads(1)
    loss, draw = LOSSES[kind](raw, target, scale=scale)
    threads(2)
    other, dother = LOSSES[kind](raw, target, scale=scale)
    assert loss == other
    assert_same_bits(draw, dother)


def test_quantiles_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    y, target, levels = rng.normal(size=(3, 7, 3)), rng.normal(size=(3, 7)), [0.1, 0.5, 0.9]
    weights = rng.random((3, 7))
    loss, dy = crnn.losses.quantile(y, target, levels=levels, weights=weights)
    expected = np.mean(
        [
            metrics.mean_pinball_loss(
                target.ravel(), y[..., i].ravel(), sample_weight=weights.ravel(), alpha=q
            )
            for i, q in enumerate(levels)
        ]
    )
    assert loss == pytest.approx(expected, rel=1e-12)
    h = 1e-6
    for at in np.ndindex(y.shape):
        up, down = y.copy(), y.copy()
        up[at] += h
        down[at] -= h
        both = [
            crnn.losses.quantile(v, target, levels=levels, weights=weights)[0] for v in (up, down)
        ]
        assert dy[at] == pytest.approx((both[0] - both[1]) / (2 * h), abs=1e-8)


def test_quantile_loss_is_minimal_at_the_quantile():
    """A constant trained on a sample becomes the sample's quantiles."""
    z = np.random.default_rng(0).exponential(size=(1, 2000))
    levels, y = [0.1, 0.5, 0.9], np.zeros((1, 1, 3))
    for step in range(3000):
        _, dy = crnn.losses.quantile(np.repeat(y, 2000, axis=1), z, levels=levels)
        y -= 3 / (1 + step / 100) * dy.sum(axis=1, keepdims=True)
    assert_close(y[0, 0], np.quantile(z, levels), 0.01)


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"raw": np.zeros((4, 5, 4))},
            r"raw: expected floats of shape \(B, T, [23]\) or \(B, [23]\), got",
        ),
        ({"raw": np.zeros((4, 5, 3), int)}, "raw: expected floats"),
        ({"target": np.zeros((4, 4))}, r"target: expected real numbers of shape \(4, 5\)"),
        ({"scale": np.zeros(4)}, "scale: expected positive numbers"),
        ({"scale": np.full(4, np.inf)}, "scale: expected positive numbers"),
        ({"scale": np.ones(5)}, r"scale: expected positive numbers of shape \(4,\) or \(4, 5\)"),
        ({"scale": ["a"] * 4}, "scale: expected positive numbers of shape"),
        ({"weights": -np.ones((4, 5))}, "weights: expected finite numbers of at least 0"),
        ({"lengths": [6, 0, 0, 0]}, "lengths: expected integers from 0 to T=5"),
        ({"target": np.full((4, 5), np.nan)}, r"target: .* got nan at target\[0, 0\]; leave steps"),
    ],
    ids=lambda x: "" if isinstance(x, str) else next(iter(x)),
)
@every_kind
def test_bad_arguments_are_named(kind, change, message):
    raw, target, scale = problem(kind)
    if "raw" in change and change["raw"].dtype == int:
        change = {"raw": change["raw"][..., : PARAMETERS[kind]]}
    given = {"raw": raw, "target": target, "scale": scale} | change
    with pytest.raises((ValueError, TypeError), match=message):
        LOSSES[kind](given.pop("raw"), given.pop("target"), **given)


@pytest.mark.parametrize("z", [-1, 0.5, 1e-9])
def test_counts_are_whole_and_not_negative(z):
    target = np.zeros((2, 3))
    target[1, 2] = z
    with pytest.raises(ValueError, match=r"target: expected whole numbers .* at target\[1, 2\]"):
        crnn.losses.negative_binomial_nll(np.zeros((2, 3, 2)), target)
    crnn.losses.negative_binomial_nll(np.zeros((2, 3, 2)), target, lengths=[3, 2])


@pytest.mark.parametrize("levels", [[0.5], [0, 0.5, 1], [0.1, 0.5, np.nan], "high"])
def test_levels_are_checked(levels):
    with pytest.raises((ValueError, TypeError), match="levels: expected"):
        crnn.losses.quantile(np.zeros((2, 3, 3)), np.zeros((2, 3)), levels=levels)


# -------------------------------------------------------------------------------------------- draws


def draws(kind, o, n, *, nu=1.0, seed=0, series=3):
    """Return n draws of one series: n samples of one step."""
    outputs = np.tile(np.asarray(o, float), (n, 1))
    samples = np.arange(n, dtype=np.int64)
    places = np.full(n, series, np.int64), samples, np.full(n, 7, np.int64)
    return _core.draw_observed(KINDS.index(kind), outputs, np.full(n, nu), seed, *places)


def inverse_softplus(x):
    return float(np.log(np.expm1(x))) if x < 30 else float(x)


@pytest.mark.slow
@pytest.mark.parametrize(
    "freedom", [2.1, 3.0, 7.5, 1e3, 1e6, None], ids=lambda v: f"v={v}" if v else "gaussian"
)
def test_a_million_draws_have_the_distribution(freedom):
    """Kolmogorov and Smirnov's test, with the bound of the level 0.001."""
    stats = pytest.importorskip("scipy.stats")
    n, spread = 1_000_000, inverse_softplus(2.0)
    if freedom is None:
        x, law = draws("gaussian", [0.5, spread], n, nu=3.0), stats.norm(1.5, 6.0)
    else:
        o = [0.5, spread, inverse_softplus(freedom - 2)]
        x, law = draws("student_t", o, n, nu=3.0), stats.t(freedom, 1.5, 6.0)
    assert stats.kstest(x, law.cdf).statistic < 1.95 / math.sqrt(n)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1e-12, 0.01, 0.5, 3.0, 40.0])
@pytest.mark.parametrize("mean", [0.05, 3.0, 9.9, 10.1, 1000.0])
def test_a_million_counts_have_the_distribution(mean, alpha):
    """The chi-squared test over cells that expect at least 50 counts."""
    stats = pytest.importorskip("scipy.stats")
    n = 1_000_000
    x = draws("negative_binomial", [inverse_softplus(mean), inverse_softplus(alpha)], n)
    assert (x == np.floor(x)).all()
    assert x.min() >= 0
    law = stats.poisson(mean) if alpha < 1e-9 else stats.nbinom(1 / alpha, 1 / (1 + alpha * mean))
    edges = np.unique(law.ppf(np.linspace(0, 1, 201)[1:-1]))
    counted = np.histogram(x, np.r_[-0.5, edges + 0.5, np.inf])[0]
    expected = n * np.diff(np.r_[0, law.cdf(edges), 1])
    keep = expected >= 50
    cells = np.r_[counted[keep], counted[~keep].sum()], np.r_[expected[keep], expected[~keep].sum()]
    use = cells[1] > 5
    statistic = ((cells[0] - cells[1]) ** 2 / np.maximum(cells[1], 1e-300))[use].sum()
    assert statistic < stats.chi2(max(use.sum() - 1, 1)).ppf(0.999)


def test_draws_are_functions_of_their_numbers():
    """Any subset, in any order, has the same bits; seed, series, sample and step count."""
    rng = np.random.default_rng(0)
    for kind in KINDS:
        outputs = rng.normal(size=(50, PARAMETERS[kind]))
        numbers = [rng.integers(0, 2**31, 50) for _ in range(3)]
        call = KINDS.index(kind), outputs, None, 9
        whole = _core.draw_observed(*call, *numbers)
        some = rng.permutation(50)[:20]
        part = _core.draw_observed(call[0], outputs[some], None, 9, *(n[some] for n in numbers))
        assert_same_bits(part, whole[some])
    same = np.zeros((4, 2))
    for changed in range(4):
        numbers = [np.arange(4) if i == changed else np.zeros(4, int) for i in range(3)]
        seeds = range(4) if changed == 3 else [0] * 4
        x = [
            _core.draw_observed(0, same[:1], None, s, *(n[i : i + 1] for n in numbers))[0]
            for i, s in enumerate(seeds)
        ]
        assert len(set(x)) == 4


@every_kind
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters_that_are_not_finite_give_nan(kind, value):
    assert np.isnan(draws(kind, [value] * PARAMETERS[kind], 2)).all()
