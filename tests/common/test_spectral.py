"""`crnn.spectral_radius` against `numpy.linalg.eigvals`, known radii and exact arithmetic."""

import fractions
import math

import numpy as np
import pytest

import crnn
from crnn.common import spectral

pytestmark = pytest.mark.filterwarnings("error")


def peer(W):
    return float(np.abs(np.linalg.eigvals(np.asarray(W, np.float64))).max())


def orthogonal(rng, n):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def sparse(rng, n, degree):
    return rng.standard_normal((n, n)) * (rng.random((n, n)) < degree / n)


def graded(rng, n):
    scales = 10.0 ** rng.uniform(-6, 6, n)
    return rng.standard_normal((n, n)) * scales / scales[:, None]


def rotations(rng, n):
    """Pairs of complex eigenvalues, the two largest of one modulus, in a random basis."""
    W = np.zeros((n, n))
    for i in range(0, n - 1, 2):
        angle, modulus = rng.uniform(0, np.pi), 1.0 if i < 4 else rng.uniform(0, 0.9)
        c, s = modulus * np.cos(angle), modulus * np.sin(angle)
        W[i : i + 2, i : i + 2] = [[c, -s], [s, c]]
    basis = orthogonal(rng, n) * rng.uniform(0.5, 2, n)
    return basis @ W @ np.linalg.inv(basis)


def leslie(rng, n):
    W = np.diag(rng.uniform(0.1, 1, n - 1), -1)
    W[0] = rng.random(n)
    return W


def blocks(rng, n):
    """Blocks on the diagonal and above, in a random order of the units."""
    W = np.triu(rng.standard_normal((n, n)))
    for first in range(0, n, 7):
        W[first : first + 7, first : first + 7] = rng.standard_normal(
            W[first : first + 7, first : first + 7].shape
        )
    order = rng.permutation(n)
    return W[np.ix_(order, order)]


KINDS = {
    "normal": lambda rng, n: rng.standard_normal((n, n)),
    "uniform": lambda rng, n: rng.uniform(-1, 1, (n, n)),
    "positive": lambda rng, n: rng.random((n, n)),
    "symmetric": lambda rng, n: (lambda A: A + A.T)(rng.standard_normal((n, n))),
    "skew": lambda rng, n: (lambda A: A - A.T)(rng.standard_normal((n, n))),
    "orthogonal": orthogonal,
    "float32": lambda rng, n: rng.standard_normal((n, n)).astype(np.float32),
    "degree-1": lambda rng, n: sparse(rng, n, 1.5),
    "degree-3": lambda rng, n: sparse(rng, n, 3),
    "half": lambda rng, n: sparse(rng, n, n / 2),
    "triangular": lambda rng, n: np.triu(rng.standard_normal((n, n))),
    "blocks": blocks,
    "rank-1": lambda rng, n: np.outer(rng.random(n), rng.random(n)),
    "graded": graded,
    "rotations": rotations,
    "permutation": lambda rng, n: np.eye(n)[rng.permutation(n)] * rng.uniform(0.5, 2, n),
    "repeated": lambda rng, n: np.kron(np.eye(2), rng.standard_normal((n, n))),
    "alternating": lambda rng, n: np.kron([[0, 1], [1, 0]], rng.standard_normal((n, n))),
    "leslie": leslie,
    "stochastic": lambda rng, n: (lambda A: A / A.sum(axis=1, keepdims=True))(rng.random((n, n))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_random_matrices(kind):
    rng = np.random.default_rng([ord(letter) for letter in kind])
    for n in (1, 2, 3, 4, 5, 7, 10, 15, 24, 40):
        for _ in range(3):
            W = KINDS[kind](rng, n)
            before = W.copy()
            assert crnn.spectral_radius(W) == pytest.approx(peer(W), rel=1e-11, abs=1e-300)
            np.testing.assert_array_equal(W, before)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "orthogonal"])
def test_larger_matrices(kind):
    W = KINDS[kind](np.random.default_rng(1), 100 if kind in ("repeated", "alternating") else 150)
    assert crnn.spectral_radius(W) == pytest.approx(peer(W), rel=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "n"), [("normal", 420), ("degree-3", 400), ("orthogonal", 320)])
def test_large_matrices(kind, n):
    W = KINDS[kind](np.random.default_rng(2), n)
    assert crnn.spectral_radius(W) == pytest.approx(peer(W), rel=1e-11)


@pytest.mark.slow
def test_an_orthogonal_matrix_whose_space_is_too_small():
    W = np.float32(0.9) * orthogonal(np.random.default_rng(3), 200).astype(np.float32)
    assert spectral._krylov_radius(W.astype(np.float64)) is None
    assert crnn.spectral_radius(W) == pytest.approx(peer(W), rel=1e-12)


# ----------------------------------------------------------------------------------- known radii


@pytest.mark.parametrize("n", [1, 2, 50, 2000])
def test_no_weights(n):
    assert crnn.spectral_radius(np.zeros((n, n))) == 0
    assert crnn.spectral_radius(0.75 * np.eye(n)) == 0.75


@pytest.mark.parametrize("n", [2, 3, 101, 2000])
def test_cycles(n):
    order = np.random.default_rng(n).permutation(n)
    W = np.zeros((n, n))
    W[order, np.roll(order, 1)] = 0.9
    assert crnn.spectral_radius(W) == 0.9
    assert crnn.spectral_radius(np.where(W > 0, -0.3, 0)) == 0.3
    W[order[0]] *= 2.0**n if n < 900 else 1
    assert crnn.spectral_radius(W) == (1.8 if n < 900 else 0.9)
    W[order[0]] = 0  # the cycle is cut: a chain, which is nilpotent
    assert crnn.spectral_radius(W) == 0


@pytest.mark.parametrize("n", [2, 40, 300])
def test_nilpotent_and_triangular_matrices(n):
    rng = np.random.default_rng(n)
    order = rng.permutation(n)
    W = np.triu(rng.standard_normal((n, n)), 1)
    assert crnn.spectral_radius(W[np.ix_(order, order)]) == 0
    W += np.diag(rng.standard_normal(n))
    largest = float(np.abs(W.diagonal()).max())
    assert crnn.spectral_radius(W[np.ix_(order, order)]) == largest


def test_nilpotent_matrices_that_are_not_triangular():
    assert crnn.spectral_radius([[1.0, -1.0], [1.0, -1.0]]) == 0
    assert crnn.spectral_radius([[2.0, -1.0], [4.0, -2.0]]) == 0
    u, w = np.random.default_rng(0).standard_normal((2, 120))
    w -= u * (u @ w) / (u @ u)
    W = np.outer(u, w)
    assert crnn.spectral_radius(W) < 1e-6 * np.linalg.norm(W)


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("n", [12, 130])
def test_defective_leading_eigenvalues(size, n):
    """A Jordan block of size k in a random basis: the error is about the k-th root of rounding."""
    rng = np.random.default_rng(size)
    W = np.diag(rng.uniform(-0.5, 0.5, n))
    W[:size, :size] = np.eye(size) + np.eye(size, k=1)
    basis = orthogonal(rng, n)
    radius = crnn.spectral_radius(basis @ W @ basis.T)
    assert radius == pytest.approx(1, abs=30 * (n * 2.0**-52) ** (1 / size))


def test_a_defective_matrix_that_is_triangular_is_exact():
    order = np.random.default_rng(0).permutation(60)
    W = (0.5 * np.eye(60) + np.eye(60, k=1))[np.ix_(order, order)]
    assert crnn.spectral_radius(W) == 0.5


def test_companion_matrices():
    """The eigenvalues are the roots of a polynomial: 1.0 and -1.0, +-1i, and smaller ones."""
    roots = [1.0, -1.0, 1j, -1j, 0.3, -0.2 + 0.5j, -0.2 - 0.5j]
    coefficients = np.poly(roots).real
    W = np.diag(np.ones(6), -1)
    W[0] = -coefficients[1:]
    assert crnn.spectral_radius(W) == pytest.approx(1, abs=1e-13)


@pytest.mark.parametrize("exponent", [-1060, -300, 0, 300, 1015])
def test_any_magnitude(exponent):
    W = np.random.default_rng(0).standard_normal((9, 9))
    expected = math.ldexp(crnn.spectral_radius(W), exponent)
    scaled = np.ldexp(W, exponent)
    relative = 1e-14 if exponent > -1000 else 1e-2  # subnormal numbers have few digits
    assert crnn.spectral_radius(scaled) == pytest.approx(expected, rel=relative, abs=0)


def test_entries_of_very_different_magnitudes():
    for tiny in (1e-300, 1e-200, 1e-30):  # the product of both is 1
        assert crnn.spectral_radius([[0.0, tiny], [1 / tiny, 0.0]]) == pytest.approx(1, rel=1e-15)
        W = [[0.0, tiny, 1.0], [1 / tiny, 0.0, 0.0], [1.0, 0.0, 0.0]]
        assert crnn.spectral_radius(W) == pytest.approx(math.sqrt(2), rel=1e-14)


def test_the_geometric_mean_is_rounded_correctly():
    rng = np.random.default_rng(0)
    for n in (2, 3, 5):
        weights = rng.uniform(0.1, 3, n).tolist()
        product = math.prod(fractions.Fraction(weight) for weight in weights)
        mean = spectral._geometric_mean(weights)
        low, high = (fractions.Fraction(math.nextafter(mean, end)) for end in (0, 9))
        exact = fractions.Fraction(mean)
        assert ((low + exact) / 2) ** n <= product <= ((exact + high) / 2) ** n


# --------------------------------------------------------------------------------------- the parts


def test_components_are_those_of_scipy():
    graph = pytest.importorskip("scipy.sparse.csgraph")
    rng = np.random.default_rng(0)
    for n in (1, 2, 5, 30, 80):
        for degree in (0.5, 1, 2, 4):
            edges = rng.random((n, n)) < degree / n
            parts = list(spectral._components(edges))
            count, labels = graph.connected_components(edges, connection="strong")
            assert len(parts) == count
            assert sorted(i for part in parts for i in part.tolist()) == list(range(n))
            assert all(len(set(labels[part].tolist())) == 1 for part in parts)


def test_balancing_is_a_similarity_by_powers_of_two():
    W = graded(np.random.default_rng(0), 30)
    balanced = spectral._balanced(W)
    mantissas = [np.frexp(array)[0] for array in (W, balanced)]
    np.testing.assert_array_equal(*mantissas)
    assert np.abs(balanced).max() < 1e-3 * np.abs(W).max()
    ours, theirs = (np.sort_complex(np.linalg.eigvals(a)) for a in (balanced, W))
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_the_hessenberg_form_is_similar():
    W = np.random.default_rng(0).standard_normal((25, 25))
    H = spectral._hessenberg(W)
    assert not np.tril(H, -2).any()
    ours, theirs = (np.sort_complex(np.linalg.eigvals(a)) for a in (H, W))
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


# ------------------------------------------------------------------------- the same bits everywhere


def in_exact_order(rows, factors):
    """The sum of products with Python's floats, whose operations are those of IEEE 754."""
    totals = [0.0] * rows.shape[1]
    for row, factor in zip(rows.tolist(), factors.tolist(), strict=True):
        totals = [total + value * factor for total, value in zip(totals, row, strict=True)]
    return np.array(totals)


@pytest.mark.parametrize("shape", [(1, 1), (7, 1), (1, 7), (33, 40)])
def test_sums_have_one_order(shape):
    rng = np.random.default_rng(0)
    rows, factors = rng.standard_normal(shape), rng.standard_normal(shape[0])
    expected = in_exact_order(rows, factors)
    np.testing.assert_array_equal(spectral._combined(rows, factors), expected)
    part = np.pad(rows, ((0, 0), (2, 3)))[:, 2:-3]
    np.testing.assert_array_equal(spectral._combined(part, factors), expected)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_sums_of_listed_entries_have_the_bits_of_all_entries(share):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((33, 40)) * (rng.random((33, 40)) < share)
    factors = rng.standard_normal(33)
    expected = in_exact_order(rows, factors)
    assert spectral._Rows(rows).combined(factors).tobytes() == expected.tobytes()


def test_lists_that_do_not_fit_are_refused():
    values, factors = np.ones(3), np.ones(2)
    starts, places = np.array([0, 1, 3]), np.array([0, 0, 3])
    assert crnn._core.ordered_sum(values, factors, 4, starts, places).tolist() == [2, 0, 0, 1]
    wrong = {
        "starts, places": [
            (values, factors, 3, starts, places),
            (values, factors, 4, starts, places - 1),
            (values, factors, 4, starts[:2], places),
            (values, factors, 4, np.array([0, 4, 3]), places),
            (values, factors, 4, np.array([0, 1, 2]), places),
            (values, factors, 4, starts, places[:2]),
        ],
        "starts": [(values, factors, 4, starts.astype(np.int32), places)],
        "places": [(values, factors, 4, starts, None)],
        "rows": [
            (values, factors, 4, None, None),
            (np.ones((2, 3)), factors, 4, None, None),
            (np.ones((3, 4)), factors, 4, None, None),
            (np.ones((4, 2)).T, factors, 4, None, None),
            (np.ones((2, 4), np.float32), factors, 4, None, None),
        ],
        "factors": [(values, [1.0, 1.0], 4, starts, places)],
        "n": [(values, factors, -1, starts, places)],
    }
    for name, calls in wrong.items():
        for arguments in calls:
            with pytest.raises(ValueError, match=f"^{name}: expected sizes and types that fit"):
                crnn._core.ordered_sum(*arguments)
    for matrix in (np.zeros((0, 0)), np.zeros((2, 3)), np.zeros(4), np.zeros((2, 2), np.float32)):
        with pytest.raises(ValueError, match=r"^a: expected sizes and types that fit"):
            crnn._core.hessenberg_radius(matrix)


def drawn(n):
    """A matrix with the same bits everywhere."""
    return crnn._core.random_uniform(1, 2, 0, n * n).reshape(n, n) - 0.5


def test_bits():
    radii = [crnn.spectral_radius(drawn(n)).hex() for n in (5, 60, 120)]
    assert radii == ["0x1.0b43dc274c235p-1", "0x1.35640cd3cadfbp+1", "0x1.b639c46452b85p+1"]


def test_no_product_of_blas_is_used(monkeypatch):
    expected = crnn.spectral_radius(drawn(110))

    def refuse(*args, **kwargs):
        raise AssertionError("a function of BLAS or LAPACK")

    for name in ("dot", "vdot", "inner", "matmul", "einsum", "tensordot"):
        monkeypatch.setattr(np, name, refuse)
    for name in ("norm", "eigvals", "qr", "solve"):
        monkeypatch.setattr(np.linalg, name, refuse)
    assert crnn.spectral_radius(drawn(110)) == expected


def test_numpy_may_raise_for_underflow():
    W = drawn(110) * 10.0 ** np.linspace(-200, 0, 110)
    with np.errstate(all="raise"):
        assert crnn.spectral_radius(W) == pytest.approx(peer(W), rel=1e-12)


# ---------------------------------------------------------------------------------- wrong arguments


@pytest.mark.parametrize(
    ("W", "error", "message"),
    [
        (np.ones((2, 3)), ValueError, r"W: expected shape \(H, H\) .*float64 of shape \(2, 3\)"),
        (np.ones((0, 0)), ValueError, r"W: expected shape \(H, H\) with H >= 1, got .*\(0, 0\)"),
        (np.ones(4), ValueError, r"W: expected real numbers of shape \(H, H\), got shape \(4,\)"),
        (np.ones((2, 2, 2)), ValueError, r"W: expected real numbers .* got shape \(2, 2, 2\)"),
        (1.0, ValueError, r"W: expected real numbers of shape \(H, H\), got shape \(\)"),
        ([[1j]], TypeError, "W: expected real numbers .*got complex128"),
        ([[True]], TypeError, "W: expected real numbers .*got bool"),
        ([["a"]], TypeError, "W: expected real numbers"),
        ([[1.0, 2.0], [3.0]], TypeError, "W: expected an array, got a value that NumPy cannot"),
        ([[1.0, math.nan], [0, 1]], ValueError, r"W: expected finite numbers, got nan at \(0, 1\)"),
        ([[1.0, 0], [-math.inf, 1]], ValueError, r"W: expected finite .*, got -inf at \(1, 0\)"),
        (1.7e308 * np.ones((2, 2)), ValueError, r"W: expected a radius in the range of float64"),
    ],
)
def test_wrong_matrices(W, error, message):
    with pytest.raises(error, match=message):
        crnn.spectral_radius(W)
