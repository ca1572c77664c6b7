/* Windows of many series that lie one after another in a store: the inputs, targets and weights of
 * a batch for a model that reads earlier numbers of a series and forecasts the next one. */
#ifndef CRNN_WINDOWS_H
#define CRNN_WINDOWS_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The windows of one batch. Row b is a window of T steps of one series, from step begins[b] of the
 * series on. Steps before the first one of the series are left out, so that the row begins with
 * step 0 of the series and is shorter; steps after the last number are kept. Letters: F numbers
 * known of each step, S numbers of each series, L lags. The caller owns all buffers. Every sum of a
 * begin or a lag and a size fits int64_t. */
typedef struct crnn_windows {
    crnn_dtype dtype;       /* Of the inputs. */
    size_t batch, steps;    /* B, T */
    const double *store;    /* in: the numbers z of all series. NaN: missing. */
    const int64_t *firsts;  /* in [B]: the place in the store of the first number of the series. */
    const int64_t *lengths; /* in [B]: how many numbers the series has. */
    const int64_t *begins;  /* in [B] */
    const double *scales;   /* in [B], > 0: numbers of the row are divided by it. */
    size_t known_count;     /* F */
    const double *known;    /* in [...][F]: of the steps of all series; NULL if F = 0. */
    const int64_t *known_firsts; /* in [B]: the place in `known` of step 0 of the series. */
    size_t constants_count;      /* S */
    const double *constants;     /* in [B][S]; NULL if S = 0. */
    size_t lags_count;           /* L */
    const int64_t *lags;         /* in [L], at least 1 each. */
    bool age;                    /* log10(2 + step of the series) is an input. */
    bool log_scale;              /* log(scale) is an input. */
    bool indicators;             /* For each lag it is an input whether its number is there. */
} crnn_windows;

/* Returns I, the number of inputs of a step. CRNN_OVERFLOW: it does not fit. */
CRNN_API crnn_status crnn_windows_inputs(const crnn_windows *windows, size_t *inputs);
/* Writes the windows, with zeros behind the end of each row. Threads divide the rows; the results
 * are the same for any number of them.
 * inputs: out [B][T][I], of `dtype`. A step t of the series has its F known numbers, the S numbers
 *   of the series, the age, log(scale), for each lag l 1 if z_(t-l) is there and 0 if not, and
 *   z_(t-l) / scale, 0 if it is not there: missing, or before the first or after the last number.
 * targets: out [B][T]: z_t, 0 if it is not there. weights: out [B][T]: 1, 0 if it is not there.
 * row_lengths: out [B]: the steps of each row, 0 ... T. */
CRNN_API void crnn_windows_gather(const crnn_windows *windows, void *inputs, double *targets,
                                  double *weights, int64_t *row_lengths);

/* Adds up the numbers of n ranges of a store, each in the order of its steps. NaN: missing.
 * from, to: in [n]: places in the store, from <= to. magnitudes: add |z| in place of z.
 * sums: out [n]. counts: out [n]: how many numbers are there. */
CRNN_API void crnn_windows_sums(const double *store, size_t n, const int64_t *from,
                                const int64_t *to, bool magnitudes, double *sums, int64_t *counts);

#ifdef __cplusplus
}
#endif

#endif
