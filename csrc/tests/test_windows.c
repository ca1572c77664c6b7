/* Windows of many series: against plain loops, for both types of numbers, with enough work for
 * three threads. */
#include "check.h"

#include <math.h>
#include <string.h>

#include "crnn.h"

enum { B = 40, T = 400, N = 60, F = 2, S = 1, L = 3, MOST = F + S + 2 + 2 * L };

static double store[N], known[(N + T) * F], constants[B * S], scales[B];
static int64_t firsts[B], lengths[B], begins[B];
static const int64_t lags[L] = {7, 2, 1};

static void set_problem(void) {
    for (int i = 0; i < N; i++) store[i] = i % 7 == 3 ? NAN : sin(i) * (i + 1);
    for (int i = 0; i < (N + T) * F; i++) known[i] = cos(i);
    for (int b = 0; b < B; b++) {
        firsts[b] = b % 3 == 0 ? 0 : b; /* series may overlap in the store */
        lengths[b] = b % 5 == 4 ? 0 : N - b;
        begins[b] = b % 4 == 3 ? -T - b : b % 13 - 6;
        if (begins[b] > lengths[b]) begins[b] = lengths[b];
        scales[b] = 0.5 + b;
        constants[b] = b - 7.25;
    }
}

/* What step t of row b has of the number at `at`. */
static bool is_there(int b, int64_t at) {
    return at >= 0 && at < lengths[b] && !isnan(store[firsts[b] + at]);
}

/* Row b, step i, by the words of the header. */
static size_t expected_inputs(const crnn_windows *w, int b, int64_t t, double *to) {
    size_t n = 0;
    for (size_t k = 0; k < w->known_count; k++) to[n++] = known[(firsts[b] + t) * F + (int64_t)k];
    for (size_t k = 0; k < w->constants_count; k++) to[n++] = constants[b * S + (int)k];
    if (w->age) to[n++] = log10(2 + (double)t);
    if (w->log_scale) to[n++] = log(scales[b]);
    for (int k = 0; w->indicators && k < L; k++) to[n++] = is_there(b, t - lags[k]);
    for (int k = 0; k < L; k++)
        to[n++] = is_there(b, t - lags[k]) ? store[firsts[b] + t - lags[k]] / scales[b] : 0;
    return n;
}

static double number(const crnn_windows *w, const void *x, size_t i) {
    return w->dtype == CRNN_F32 ? ((const float *)x)[i] : ((const double *)x)[i];
}

static void check_windows(const crnn_windows *w) {
    size_t I;
    CHECK(crnn_windows_inputs(w, &I) == CRNN_OK, "the width fits");
    void *x = check_memory(B * T * I * crnn_dtype_size(w->dtype));
    double *targets = check_memory(sizeof(double[B * T]));
    double *weights = check_memory(sizeof(double[B * T]));
    int64_t *rows = check_memory(sizeof(int64_t[B]));
    crnn_windows_gather(w, x, targets, weights, rows);
    for (int b = 0; b < B; b++) {
        int64_t steps = 0;
        for (int64_t i = 0; i < T; i++) steps += begins[b] + i >= 0;
        CHECK(rows[b] == steps, "row %d has %d steps", b, (int)rows[b]);
        for (int64_t i = 0; i < T; i++) {
            double expected[MOST] = {0};
            const int64_t t = i + (begins[b] > 0 ? begins[b] : 0);
            const bool there = i < steps && is_there(b, t);
            const size_t at = (size_t)(b * T + i);
            if (i < steps)
                CHECK(expected_inputs(w, b, t, expected) == I, "%zu inputs are expected", I);
            for (size_t k = 0; k < I; k++) {
                const double e = w->dtype == CRNN_F32 ? (float)expected[k] : expected[k];
                CHECK(number(w, x, at * I + k) == e, "row %d, step %d, input %zu: %g, not %g", b,
                      (int)i, k, number(w, x, at * I + k), e);
            }
            CHECK(weights[at] == there, "row %d, step %d: weight %g", b, (int)i, weights[at]);
            CHECK(targets[at] == (there ? store[firsts[b] + t] : 0), "row %d, step %d: target %g",
                  b, (int)i, targets[at]);
        }
    }
}

static void check_gather(void) {
    for (int kind = 0; kind < 8; kind++) {
        const bool much = kind & 1, plain = kind & 2;
        const crnn_windows w = {.dtype = kind & 4 ? CRNN_F64 : CRNN_F32,
                                .batch = B,
                                .steps = T,
                                .store = store,
                                .firsts = firsts,
                                .lengths = lengths,
                                .begins = begins,
                                .scales = scales,
                                .known_count = plain ? 0 : F,
                                .known = plain ? NULL : known,
                                .known_firsts = firsts,
                                .constants_count = plain ? 0 : S,
                                .constants = plain ? NULL : constants,
                                .lags_count = L,
                                .lags = lags,
                                .age = much,
                                .log_scale = much,
                                .indicators = much};
        for (size_t threads = 1; threads <= 3; threads++) {
            crnn_set_threads(threads);
            check_windows(&w);
        }
    }
}

static void check_sums(void) {
    const int64_t from[3] = {0, 5, N}, to[3] = {N, 5, N};
    double sums[3], plain = 0, sizes = 0;
    int64_t counts[3], count = 0;
    for (int i = 0; i < N; i++) {
        if (isnan(store[i])) continue;
        plain += store[i];
        sizes += fabs(store[i]);
        count++;
    }
    crnn_windows_sums(store, 3, from, to, false, sums, counts);
    CHECK(sums[0] == plain && counts[0] == count, "sum %g of %d", sums[0], (int)counts[0]);
    CHECK(sums[1] == 0 && counts[1] == 0 && sums[2] == 0 && counts[2] == 0, "empty ranges");
    crnn_windows_sums(store, 3, from, to, true, sums, counts);
    CHECK(sums[0] == sizes && counts[0] == count, "sum of sizes %g", sums[0]);
}

static void check_overflow(void) {
    size_t inputs = 5;
    const crnn_windows w = {.known_count = 1, .lags_count = SIZE_MAX / 2, .indicators = true};
    CHECK(crnn_windows_inputs(&w, &inputs) == CRNN_OVERFLOW && inputs == 5, "%zu", inputs);
}

int main(void) {
    set_problem();
    check_gather();
    check_sums();
    check_overflow();
    return check_done();
}
