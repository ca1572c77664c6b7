/* Least squares over rows in blocks, and recursive least squares: every instruction set against
 * plain loops, at sizes around a panel, a strip and a block, with the same bits for every number of
 * threads.
 */
#include "check.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "crnn.h"

static uint64_t drawn;

static double *numbers(size_t count) {
    double *to = check_memory(count * sizeof *to);
    crnn_random_uniform(5, drawn++, 0, count, to);
    for (size_t i = 0; i < count; i++) to[i] = to[i] * 2 - 1;
    return to;
}

static double *zeros(size_t count) {
    double *to = check_memory(count * sizeof *to);
    memset(to, 0, count * sizeof *to);
    return to;
}

/* ---- the factor */

typedef struct problem {
    crnn_ridge ridge;
    size_t rows, pitch;
    const double *row; /* [rows][F + O] */
    double *factor, *rest;
} problem;

/* Rows from..to-1 in one block. */
static void add(const problem *p, size_t from, size_t to, size_t first) {
    const size_t wide = p->ridge.features + p->ridge.outputs;
    size_t bytes = 0;
    CHECK(crnn_ridge_workspace(&p->ridge, &bytes) == CRNN_OK, "workspace");
    double *block = check_memory((to - from) * p->pitch * sizeof *block);
    for (size_t i = from; i < to; i++)
        memcpy(block + (i - from) * p->pitch, p->row + i * wide, wide * sizeof *block);
    const size_t whole = (bytes + CRNN_ALIGN - 1) / CRNN_ALIGN * CRNN_ALIGN;
    crnn_ridge_add(&p->ridge, to - from, first, block, p->factor, p->rest, check_memory(whole));
}

static problem solved(size_t features, size_t outputs, size_t rows, const double *row) {
    problem p = {
        .ridge = {.kernels = crnn_kernels_now(CRNN_F64), .features = features, .outputs = outputs},
        .rows = rows,
        .row = row};
    CHECK(crnn_ridge_pitch(&p.ridge, &p.pitch) == CRNN_OK, "pitch");
    CHECK(p.pitch >= features + outputs && p.pitch * sizeof(double) % CRNN_ALIGN == 0, "%zu",
          p.pitch);
    p.factor = zeros(features * p.pitch);
    p.rest = zeros(outputs);
    for (size_t from = 0; from < rows; from += CRNN_RIDGE_ROWS)
        add(&p, from, rows - from < CRNN_RIDGE_ROWS ? rows : from + CRNN_RIDGE_ROWS, 0);
    return p;
}

/* Column a of the rows times column b, and the same of the factor. */
static double of_rows(const problem *p, size_t a, size_t b) {
    const size_t wide = p->ridge.features + p->ridge.outputs;
    long double sum = 0;
    for (size_t i = 0; i < p->rows; i++)
        sum += (long double)p->row[i * wide + a] * p->row[i * wide + b];
    return (double)sum;
}

static double of_factor(const problem *p, size_t a, size_t b) {
    long double sum = 0;
    for (size_t i = 0; i < p->ridge.features; i++)
        sum += (long double)p->factor[i * p->pitch + a] * p->factor[i * p->pitch + b];
    return (double)sum;
}

/* R is triangular, and has the inner products of the columns of the rows. */
static void check_factor(const problem *p) {
    const size_t F = p->ridge.features, O = p->ridge.outputs;
    const double tolerance = 1e-14 * (double)(p->rows + 16);
    double worst = 0, below = 0;
    for (size_t a = 0; a < F + O; a++) {
        for (size_t b = 0; b <= a; b++) {
            if (b >= F && a != b) continue; /* of targets the sums of squares alone are kept */
            const double rest = b >= F ? p->rest[b - F] : 0;
            worst = fmax(worst, fabs(of_factor(p, a, b) + rest - of_rows(p, a, b)));
        }
    }
    for (size_t i = 1; i < F; i++)
        for (size_t j = 0; j < i; j++) below = fmax(below, fabs(p->factor[i * p->pitch + j]));
    CHECK(worst < tolerance, "F=%zu O=%zu rows=%zu: %g", F, O, p->rows, worst);
    CHECK(below == 0, "F=%zu O=%zu: %g below the diagonal", F, O, below);
}

/* R W = targets. */
static void check_solution(const problem *p) {
    const size_t F = p->ridge.features, O = p->ridge.outputs;
    double *w = check_memory(F * O * sizeof *w), worst = 0, scale = 1;
    crnn_ridge_solve(&p->ridge, p->factor, w);
    for (size_t i = 0; i < F; i++) {
        for (size_t k = 0; k < O; k++) {
            long double sum = -(long double)p->factor[i * p->pitch + F + k];
            for (size_t j = i; j < F; j++)
                sum += (long double)p->factor[i * p->pitch + j] * w[j * O + k];
            scale = fmax(scale, fabs(w[i * O + k]));
            worst = fmax(worst, fabs((double)sum));
        }
    }
    CHECK(worst < 1e-13 * scale * (double)p->rows, "F=%zu O=%zu: %g", F, O, worst);
}

static void check_threads(size_t features, size_t outputs, size_t rows, const double *row) {
    problem alone = {0};
    for (size_t threads = 1; threads <= 4; threads++) {
        crnn_set_threads(threads);
        const problem p = solved(features, outputs, rows, row);
        if (threads == 1) alone = p;
        CHECK(memcmp(p.factor, alone.factor, features * p.pitch * sizeof(double)) == 0 &&
                  memcmp(p.rest, alone.rest, outputs * sizeof(double)) == 0,
              "F=%zu O=%zu: %zu threads", features, outputs, threads);
    }
    crnn_set_threads(1);
}

static void check_sizes(void) {
    static const size_t features[] = {1, 2, 47, 48, 49, 96, 97, 130}, outputs[] = {1, 5, 70};
    static const size_t rows[] = {1, CRNN_RIDGE_ROWS - 1, CRNN_RIDGE_ROWS, CRNN_RIDGE_ROWS + 1,
                                  600};
    for (size_t f = 0; f < sizeof features / sizeof *features; f++) {
        for (size_t o = 0; o < sizeof outputs / sizeof *outputs; o++) {
            for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
                const double *row = numbers(rows[n] * (features[f] + outputs[o]));
                const problem p = solved(features[f], outputs[o], rows[n], row);
                check_factor(&p);
                if (rows[n] > features[f] + 50) check_solution(&p);
            }
        }
    }
    check_threads(130, 5, 600, numbers(600 * 135));
    check_threads(500, 3, 300, numbers(300 * 503));
}

/* Rows whose first columns are zeros have the same bits where these are not read. */
static void check_first(void) {
    enum { F = 100, O = 2, N = CRNN_RIDGE_ROWS + 72, ZEROS = 70 };
    double *row = numbers(N * (F + O));
    for (size_t i = CRNN_RIDGE_ROWS; i < N; i++) memset(row + i * (F + O), 0, ZEROS * sizeof *row);
    const problem p = solved(F, O, N, row);
    problem q = solved(F, O, CRNN_RIDGE_ROWS, row);
    add(&q, CRNN_RIDGE_ROWS, N, ZEROS);
    q.rows = N;
    check_factor(&p);
    check_factor(&q);
    double *none = numbers(F + O); /* nothing is left of these columns: the row is a rest */
    q.row = none;
    const double before = q.rest[1];
    add(&q, 0, 1, F);
    CHECK(q.rest[1] == before + none[F + 1] * none[F + 1], "%g", q.rest[1]);
    add(&q, 0, 0, 0);
}

/* Powers of two change the exponents alone, also where squares would overflow or vanish. */
static void check_scales(void) {
    enum { F = 40, O = 3, N = 200 };
    double *row = numbers(N * (F + O)), *other = numbers(N * (F + O));
    const problem p = solved(F, O, N, row);
    for (int exponent = -900; exponent <= 900; exponent += 600) {
        for (size_t i = 0; i < N * (F + O); i++) other[i] = ldexp(row[i], exponent);
        const problem q = solved(F, O, N, other);
        size_t differ = 0;
        for (size_t i = 0; i < F; i++)
            for (size_t j = i; j < F + O; j++)
                differ += ldexp(p.factor[i * p.pitch + j], exponent) != q.factor[i * p.pitch + j];
        CHECK(differ == 0, "2^%d: %zu", exponent, differ);
    }
}

static void check_overflow(void) {
    const size_t half = SIZE_MAX / 2;
    const crnn_ridge many[] = {{crnn_kernels_now(CRNN_F64), SIZE_MAX, 1},
                               {crnn_kernels_now(CRNN_F64), half, half + 1}};
    for (size_t i = 0; i < 2; i++) {
        size_t pitch = 7, bytes = 7;
        CHECK(crnn_ridge_pitch(&many[i], &pitch) == CRNN_OVERFLOW && pitch == 7, "%zu", i);
        CHECK(crnn_ridge_workspace(&many[i], &bytes) == CRNN_OVERFLOW && bytes == 7, "%zu", i);
    }
}

/* ---- recursive least squares */

/* One step of the equations, on all of P. */
static void plain_step(size_t n, double forgetting, const double *z, double *P, double *k) {
    double gain = forgetting;
    for (size_t i = 0; i < n; i++) {
        k[i] = 0;
        for (size_t j = 0; j < n; j++) k[i] += P[i * n + j] * z[j];
        gain += z[i] * k[i];
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            P[i * n + j] = (P[i * n + j] - k[i] * k[j] / gain) / forgetting;
    for (size_t i = 0; i < n; i++) k[i] /= gain;
}

/* A factor of P = I and the workspace of its steps. */
static double *begin_rls(const crnn_rls *rls, size_t *elements, void **workspace) {
    size_t bytes;
    crnn_rls_sizes(rls, elements, &bytes);
    double *factor = check_memory(*elements * sizeof *factor);
    *workspace = check_memory(bytes);
    crnn_rls_begin(rls, 1, factor);
    return factor;
}

static void check_rls(size_t n, double forgetting) {
    const crnn_rls rls = {crnn_kernels_now(CRNN_F64), n, forgetting};
    size_t elements;
    void *workspace;
    double *factor = begin_rls(&rls, &elements, &workspace), *gain = zeros(n);
    double *P = zeros(n * n), *k = zeros(n), worst = 0, sum = 0, least;
    for (size_t i = 0; i < n; i++) P[i * n + i] = 1;
    for (size_t t = 0; t < 40; t++) {
        const double *z = numbers(n);
        const crnn_rls_extent after = crnn_rls_gains(&rls, 1, z, factor, gain, workspace);
        plain_step(n, forgetting, z, P, k);
        sum = 0;
        for (size_t i = 0; i < n; i++) sum += P[i * n + i];
        worst = fmax(worst, fabs(after.trace - sum) / sum);
        for (size_t i = 0; i < n; i++) worst = fmax(worst, fabs(gain[i] - k[i]));
        least = factor[0];
        for (size_t i = 0; i < n; i++) least = fmin(least, factor[i]);
        CHECK(after.least == least && least > 0, "n=%zu: least %g, got %g", n, least, after.least);
    }
    CHECK(worst < 1e-10, "n=%zu forgetting=%g: %g", n, forgetting, worst);
}

/* Many steps in one call have the bits of one step in each call. */
static void check_rls_steps(size_t n, size_t steps) {
    const crnn_rls rls = {crnn_kernels_now(CRNN_F64), n, 0.9};
    size_t elements;
    void *workspace;
    double *one = begin_rls(&rls, &elements, &workspace),
           *all = begin_rls(&rls, &elements, &workspace);
    double *gains = zeros(steps * n), *gain = zeros(n), trace = 0;
    const double *z = numbers(steps * n);
    bool same = true;
    const crnn_rls_extent after = crnn_rls_gains(&rls, steps, z, all, gains, workspace);
    for (size_t t = 0; t < steps; t++) {
        trace = crnn_rls_gains(&rls, 1, z + t * n, one, gain, workspace).trace;
        same = same && memcmp(gain, gains + t * n, n * sizeof *gain) == 0;
    }
    CHECK(same && trace == after.trace && memcmp(one, all, elements * sizeof *one) == 0,
          "n=%zu steps=%zu: other bits than one step at a time", n, steps);
}

int main(void) {
    check_deadline(600);
    const char *name;
    for (size_t i = 0; (name = crnn_isa_available(i)); i++) {
        CHECK(crnn_isa_select(name), "%s", name);
        crnn_set_threads(1);
        check_sizes();
        check_first();
        check_scales();
        for (size_t n = 1; n < 40; n += n < 10 ? 1 : 7) check_rls(n, n % 2 ? 1 : 0.9);
        for (size_t n = 1; n < 90; n += 11)
            for (size_t steps = 1; steps < 12; steps++) check_rls_steps(n, steps);
    }
    check_overflow();
    return check_done();
}
