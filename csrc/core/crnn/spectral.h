/* Sums and eigenvalues with the same bits on every machine. Each product, sum, quotient and square
 * root is rounded to double in a stated order, whatever the instruction set: no fused multiply-adds
 * and no partial sums. */
#ifndef CRNN_SPECTRAL_H
#define CRNN_SPECTRAL_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rows for a sum. */
typedef struct crnn_ordered_rows {
    size_t count;          /* K. */
    size_t n;              /* Elements of a row. */
    const double *values;  /* in (K, n), rows `pitch` apart; or, where there are starts, [E]: */
    size_t pitch;          /* At least n. */
    const int64_t *starts; /* in [K + 1], ascending from 0 to E, or NULL: values starts[k] to */
    const int64_t *places; /* starts[k + 1] - 1 are elements places[...] of row k; others are 0. */
} crnn_ordered_rows;

/* Computes the sum of factors[k] times row k, k ascending. factors: in [K]. total: out [n]. */
CRNN_API void crnn_ordered_sum(const crnn_ordered_rows *rows, const double *factors, double *total);

/* Returns the largest modulus of the eigenvalues of a matrix of Hessenberg form, by the QR
 * algorithm with the double shifts of Francis: after Martin, Peters and Wilkinson, "The QR
 * algorithm for real Hessenberg matrices" (1970). Returns -1 if it does not converge. a: in and
 * scratch (n, n), n at least 1, finite. */
CRNN_API double crnn_hessenberg_radius(size_t n, double *a);

#ifdef __cplusplus
}
#endif

#endif
