"""The spectral radius of a matrix, with the same bits on every machine.

The sums of BLAS and LAPACK have an order that depends on the library, on the processor and on the
number of threads, and they may use fused multiply-adds. This module uses neither of them (with the
exception that `spectral_radius` documents). It multiplies, adds, divides and takes square roots of
float64 arrays element by element, in a fixed order. IEEE 754 defines the result of each of these
operations. Complex arrays are avoided, because NumPy fuses their products on some processors.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

import crnn._core as _core
from crnn.common.arrays import Floats, described, first_nonfinite, underflows
from crnn.common.checks import check_array

_EPS = 2.0**-52
_DIRECT = 100  # a matrix of at most this size is reduced to Hessenberg form
_DIRECT_AFTER = 300  # the same, where the Krylov space did not contain the radius
_KRYLOV = (40, 56, 80, 112, 160, 240)  # dimensions at which the radius is computed
_AGREEMENT = 1e-11  # relative difference of two radii in succession that ends the search
_HOPELESS = 1e-5  # difference from 112 dimensions on that ends it without a radius
_LISTED = 0.5  # share of entries below which only those that are not 0 are kept
_STREAM = int.from_bytes(b"krylov")  # of the random numbers of the first vector


@underflows
def spectral_radius(W: ArrayLike) -> float:
    """Return the spectral radius of a square matrix: the largest modulus of its eigenvalues.

    The linear recurrence h' = W h forgets its initial state if and only if the radius is below 1.
    Units with tanh usually forget it, too; the radius times the largest slope of the activation is
    a first measure of the memory of a reservoir.

    Parameters
    ----------
    W : array (H, H) of real numbers
        The matrix, H >= 1. It is not changed.

    Returns
    -------
    float
        max abs(λ) over the eigenvalues λ of W, computed in float64.

    Raises
    ------
    TypeError
        If W does not hold real numbers.
    ValueError
        If W is not square, is empty, or has an entry that is not finite; or if the radius is above
        the range of float64.

    Notes
    -----
    The matrix is divided into its strongly connected components, whose eigenvalues are those of W.
    The radius of a triangular matrix is therefore exact, and that of a cycle is the geometric mean
    of its weights, correctly rounded. Other components are balanced by powers of two. Up to
    H = 100, they are reduced to Hessenberg form by reflections; larger ones are projected to a
    Krylov space (Arnoldi's method, orthogonalised twice, without restarts, from a vector that
    about 100 + H / 4 products with W have turned towards the leading eigenvectors). The space grows
    until two radii in succession agree to 1e-11. The eigenvalues of the Hessenberg matrix are
    those of the QR algorithm with double shifts.

    The error is a few units of rounding times the condition number of the leading eigenvalue, as
    that of ``numpy.linalg.eigvals``. A defective eigenvalue, such as the 0 of a nilpotent matrix
    that is not triangular in any order of its rows, has no finite condition number: of a Jordan
    block of size k, it is known to about 1e-16**(1/k).

    The bits of the result are the same on every machine and for every version of BLAS, with one
    exception. If a component has H > 300 and so many eigenvalues of about the largest modulus that
    a Krylov space of up to 240 dimensions does not contain the radius, ``numpy.linalg.eigvals``
    computes it, and the last digits depend on LAPACK. Large orthogonal matrices are of this kind.

    References: Arnoldi, "The principle of minimized iterations in the solution of the matrix
    eigenvalue problem" (1951); Francis, "The QR transformation" (1961, 1962); Tarjan, "Depth-first
    search and linear graph algorithms" (1972).

    Examples
    --------
    >>> import crnn
    >>> crnn.spectral_radius([[0.5, 9.0], [0.0, -0.75]])
    0.75
    >>> crnn.spectral_radius([[0.0, 2.0], [-2.0, 0.0]])  # the eigenvalues are 2i and -2i
    2.0
    >>> W = crnn.RNN(1, 50, seed=0).params["W_h"]  # orthogonal at first
    >>> round(crnn.spectral_radius(0.9 * W), 6)
    0.9
    """
    matrix = check_array("W", W, "real numbers", ("H", "H"))
    if matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"W: expected shape (H, H) with H >= 1, got {described(matrix)}")
    matrix = np.array(matrix, np.float64, order="C")
    if bad := first_nonfinite([("W", matrix)]):
        raise ValueError(f"W: expected finite numbers, got {bad.number}")
    return _radius(matrix, _radius_by_lapack)


@underflows
def fixed_radius(matrix: Floats) -> float:
    """Return the spectral radius of finite numbers (H, H) with the same bits on every machine.

    Where `spectral_radius` uses LAPACK, this function reduces the matrix to Hessenberg form, which
    takes some seconds for H = 1000. Random matrices with independent entries do not need it.
    """
    return _radius(matrix, _radius_by_reflections)


# -------------------------------------------------------------------------- structure of the matrix


def _components(edges: NDArray[np.bool_]) -> Iterator[NDArray[np.intp]]:
    """Yield the nodes of each strongly connected component of a graph (n, n), in ascending order.

    Tarjan's algorithm without recursion. `low` is the smallest number of a node of the stack that
    a node reaches; the node itself, if it is the first of its component.
    """
    n, count = len(edges), 0
    number, low = np.full(n, n), np.full(n, n)  # n: not visited
    unvisited, on_stack = np.ones(n, bool), np.zeros(n, bool)
    stack: list[int] = []
    for root in range(n):
        path = [root] if unvisited[root] else []
        while path:
            node = path[-1]
            if unvisited[node]:
                number[node] = low[node] = count
                count += 1
                unvisited[node], on_stack[node] = False, True
                stack.append(node)
            onward = edges[node] & unvisited
            if (child := int(onward.argmax())) or onward[0]:
                path.append(child)
                continue
            path.pop()
            low[node] = min(low[node], low[edges[node] & on_stack].min(initial=n))
            if low[node] == number[node]:
                first = stack.index(int(node))
                part = np.sort(stack[first:])
                del stack[first:]
                on_stack[part] = False
                yield part


def _radius(matrix: Floats, otherwise: Callable[[Floats], float]) -> float:
    """Return the radius of a matrix; `otherwise` gets large blocks that defeat Arnoldi's method."""
    parts = _components(matrix != 0)
    return max(_radius_of_component(matrix, part, otherwise) for part in parts)


def _radius_of_component(
    matrix: Floats, part: NDArray[np.intp], otherwise: Callable[[Floats], float]
) -> float:
    """Return the radius of the rows and columns `part` of a matrix."""
    if len(part) == 1:
        return abs(float(matrix[part[0], part[0]]))
    block = matrix[np.ix_(part, part)]
    if ((block != 0).sum(axis=1) == 1).all():  # connected, with one entry in each row: a cycle
        return _geometric_mean(np.abs(block[block != 0]).tolist())
    block = _balanced(block)
    exponent = math.frexp(float(np.abs(block).max()))[1]
    radius = _radius_of_block(np.ldexp(block, -exponent), otherwise)
    try:
        return math.ldexp(radius, exponent)
    except OverflowError:
        raise ValueError(
            f"W: expected a radius in the range of float64, got {radius:g} * 2**{exponent}"
        ) from None


def _radius_of_block(block: Floats, otherwise: Callable[[Floats], float]) -> float:
    """Return the radius of a balanced matrix with entries of at most 1."""
    radius = _krylov_radius(block) if len(block) > _DIRECT else None
    if radius is not None:
        return radius
    return (_radius_by_reflections if len(block) <= _DIRECT_AFTER else otherwise)(block)


def _radius_by_reflections(block: Floats) -> float:
    return _largest_of_hessenberg(_hessenberg(block))


def _radius_by_lapack(block: Floats) -> float:
    return float(np.abs(np.linalg.eigvals(block)).max())


def _geometric_mean(weights: Sequence[float]) -> float:
    """Return the geometric mean of positive numbers, with 40 digits before it is rounded."""
    with decimal.localcontext(decimal.Context(prec=40)):
        total = sum((decimal.Decimal(weight).ln() for weight in weights), decimal.Decimal(0))
        return float((total / len(weights)).exp())


def _balanced(matrix: Floats, sweeps: int = 20) -> Floats:
    """Return a similar matrix whose largest entries of row i and of column i are about equal.

    Osborne, "On pre-conditioning of matrices" (1960), with maxima in place of norms. The factors
    are powers of two, so that no entry is rounded.
    """
    balanced = matrix.copy()
    for _ in range(sweeps):
        changed = False
        for i in range(len(balanced)):
            row, column = np.abs(balanced[i]), np.abs(balanced[:, i])
            row[i] = column[i] = 0
            difference = math.frexp(float(row.max()))[1] - math.frexp(float(column.max()))[1]
            if exponent := int(difference / 2):
                balanced[i] = np.ldexp(balanced[i], -exponent)
                balanced[:, i] = np.ldexp(balanced[:, i], exponent)
                changed = True
        if not changed:
            break
    return balanced


# ------------------------------------------------------------------------ products in a fixed order


class _Rows:
    """Rows (K, N) for sums in the order of the rows. Few entries that are not 0 are listed.

    A sum of products that leaves out the zeros has the same bits, because it never is -0.
    """

    def __init__(self, rows: Floats) -> None:
        self._rows, self._starts, self._places = rows, None, None
        entries = rows != 0
        if entries.mean() < _LISTED:
            self._starts = np.append(0, np.cumsum(entries.sum(axis=1)))
            self._places = np.flatnonzero(entries) % rows.shape[1]
            self._rows = rows[entries]
        self._size = rows.shape[1]

    def combined(self, factors: Floats) -> Floats:
        """Return Σ_k factors[k] rows[k], added in the order of k."""
        return _core.ordered_sum(self._rows, factors, self._size, self._starts, self._places)


def _combined(rows: Floats, factors: Floats) -> Floats:
    """Return Σ_k factors[k] rows[k], added in the order of k."""
    return _core.ordered_sum(rows, factors, rows.shape[1], None, None)


def _norm(vector: Floats) -> float:
    """Return the Euclidean norm: fsum rounds the exact sum, in any order of its terms."""
    return math.sqrt(math.fsum(np.square(vector).tolist()))


def _of_length_1(vector: Floats) -> Floats:
    """Return a vector divided by its norm, after a division that prevents underflow."""
    scaled = vector / np.abs(vector).max()
    return np.asarray(scaled / _norm(scaled))


# ------------------------------------------------------------------------ the projection of Arnoldi


def _krylov_radius(matrix: Floats) -> float | None:
    """Return the radius from a Krylov space; None if it does not contain it."""
    n, last = len(matrix), None
    columns = _Rows(np.ascontiguousarray(matrix.T))  # row k is column k, a term of the product
    m = min(n, _KRYLOV[-1])
    basis, across = np.zeros((m + 1, n)), np.zeros((n, m + 1))  # vectors in rows; in columns
    projected = np.zeros((m + 1, m))
    basis[0] = across[:, 0] = _first_vector(columns, n)
    for j in range(m):
        w = columns.combined(basis[j])
        before = _norm(w)
        for _ in range(2):
            h = _combined(across[:, : j + 1], w)
            w -= _combined(basis[: j + 1], h)
            projected[: j + 1, j] += h
        norm = _norm(w)
        if norm <= n * _EPS * before or j + 1 == n:  # the space contains its image
            return _largest_of_hessenberg(projected[: j + 1, : j + 1])
        projected[j + 1, j] = norm
        basis[j + 1] = across[:, j + 1] = w / norm
        if j + 1 in _KRYLOV:
            radius = _largest_of_hessenberg(projected[: j + 1, : j + 1])
            change = math.inf if last is None else abs(radius - last)
            if change <= _AGREEMENT * radius:
                return radius
            if j + 1 >= 112 and change > _HOPELESS * radius:
                return None
            last = radius
    return None


def _first_vector(columns: _Rows, n: int) -> Floats:
    """Return a random vector, turned towards the leading eigenvectors by products with a matrix.

    These products remove the directions of small eigenvalues, which would need dimensions of the
    Krylov space.
    """
    vector = _of_length_1(_core.random_uniform(0, _STREAM, 0, n) - 0.5)
    for _ in range(100 + n // 4):
        product = columns.combined(vector)
        if not product.any():
            break
        vector = _of_length_1(product)
    return vector


# ---------------------------------------------------------------- the eigenvalues of small matrices


def _hessenberg(matrix: Floats) -> Floats:
    """Return a similar matrix of Hessenberg form, by Householder's reflections."""
    a = matrix.copy()
    for k in range(len(a) - 2):
        below = a[k + 1 :, k]
        if not below[1:].any():
            continue
        v = _of_length_1(below)
        v[0] += math.copysign(1.0, float(v[0]))
        factor = 1 / abs(float(v[0]))  # 2 / (v'v)
        right = a[k + 1 :]
        right -= np.multiply.outer(v * factor, _combined(right, v))
        left = a[:, k + 1 :]
        left -= np.multiply.outer(_combined(np.ascontiguousarray(left.T), v), v * factor)
        a[k + 2 :, k] = 0
    return a


def _largest_of_hessenberg(matrix: Floats) -> float:
    """Return the largest modulus of the eigenvalues of a Hessenberg matrix, by the QR algorithm."""
    radius = _core.hessenberg_radius(matrix.copy())
    if radius < 0:
        raise np.linalg.LinAlgError("W: the QR algorithm did not converge")
    return radius
