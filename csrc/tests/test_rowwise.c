/* Operations on each step alone, and pooling: every kind, type and instruction set against plain
 * loops in double, at sizes around a vector; the same bits for cells in any order and memory, in
 * parts and on any number of threads; and the errors of the activations that cells do not have. */
#include "support.h"

#include <float.h>

#define WHERE(k) (k)->isa, type_name[(k)->dtype]

static const size_t sizes[] = {1, 3, 4, 5, 8, 15, 16, 17, 31, 33, 64, 65, 130};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* Rows and steps of the sequences. */
enum { B = 3, T = 4, CELLS = B * T };

static double epsilon(const crnn_kernels *k) {
    return k->dtype == CRNN_F64 ? DBL_EPSILON : FLT_EPSILON;
}

/* ---- activations and their slopes, as formulas */

static double logistic(double v) { return 1 / (1 + exp(-v)); }
static double cubic(double s) { return 1.5957691216057308 * (s + 0.044715 * s * s * s); }
static double normal(double s) { return erfc(-s / sqrt(2)) / 2; }

static double activated(crnn_activation kind, double s) {
    switch (kind) {
    case CRNN_LOGISTIC:
        return logistic(s);
    case CRNN_HARD_SIGMOID:
        return fmax(0, fmin(1, 0.2 * s + 0.5));
    case CRNN_RELU:
        return fmax(0, s);
    case CRNN_SOFTSIGN:
        return s / (1 + fabs(s));
    case CRNN_IDENTITY:
        return s;
    case CRNN_GELU:
        return s * logistic(cubic(s));
    case CRNN_GELU_EXACT:
        return s * normal(s);
    case CRNN_SILU:
        return s * logistic(s);
    default:
        return tanh(s);
    }
}

static double slope(crnn_activation kind, double s) {
    const double y = activated(kind, s), v = kind == CRNN_GELU ? cubic(s) : s;
    const double p = logistic(v), rise = p * logistic(-v);
    switch (kind) {
    case CRNN_LOGISTIC:
        return y * (1 - y);
    case CRNN_HARD_SIGMOID:
        return y > 0 && y < 1 ? 0.2 : 0;
    case CRNN_RELU:
        return s > 0;
    case CRNN_SOFTSIGN:
        return (1 - fabs(y)) * (1 - fabs(y));
    case CRNN_IDENTITY:
        return 1;
    case CRNN_GELU:
        return p + s * rise * 1.5957691216057308 * (1 + 3 * 0.044715 * s * s);
    case CRNN_GELU_EXACT:
        return normal(s) + s * 0.3989422804014327 * exp(-s * s / 2);
    case CRNN_SILU:
        return p + s * rise;
    default:
        return 1 - y * y;
    }
}

/* ---- a problem: sequences with gaps between steps and between rows */

typedef struct problem {
    crnn_rowwise o;
    crnn_rowwise_call call; /* x, dy and params are filled, the others new */
    crnn_seq before[2];     /* of dx, where it is added to */
    size_t bytes[2], y_bytes;
} problem;

static crnn_seq new_seq(const crnn_kernels *k, size_t stream, size_t features, size_t *bytes) {
    const size_t step = features + 3, row = T * step + 2, count = B * row;
    *bytes = count * crnn_dtype_size(k->dtype);
    return (crnn_seq){stream ? sampled(k->dtype, stream, count) : fenced(*bytes), (ptrdiff_t)row,
                      (ptrdiff_t)step};
}

static problem new_problem(const crnn_kernels *k, crnn_rowwise_kind kind, crnn_activation a,
                           size_t features) {
    const bool pair = kind >= CRNN_ROWWISE_SUM;
    problem p = {.o = {.kind = kind,
                       .kernels = k,
                       .inputs = pair ? 2 : 1,
                       .features = {features, features},
                       .activation = a,
                       .params = sampled(k->dtype, 1, 2 * features),
                       .eps = 1e-3,
                       .p = 0.4,
                       .noise = {.on = true, .seed = 5, .first_row = 2, .first_step = 9}}};
    if (kind == CRNN_ROWWISE_CONCAT) p.o.features[1] = features + 2;
    for (size_t i = 0; i < p.o.inputs; i++) {
        p.call.x[i] = new_seq(k, 2 + i, p.o.features[i], &p.bytes[i]);
        p.before[i] = new_seq(k, 4 + i, p.o.features[i], &p.bytes[i]);
        p.call.dx[i] = new_seq(k, 0, p.o.features[i], &p.bytes[i]);
    }
    p.call.y = new_seq(k, 0, crnn_rowwise_features(&p.o), &p.y_bytes);
    p.call.dy = new_seq(k, 6, crnn_rowwise_features(&p.o), &p.y_bytes);
    p.call.kept = fenced(CELLS * crnn_rowwise_kept(&p.o) * crnn_dtype_size(k->dtype));
    p.call.grads = sampled(k->dtype, 7, 2 * features);
    return p;
}

/* Element j of a step. */
static double element(const crnn_kernels *k, const crnn_seq *seq, size_t row, size_t t, size_t j) {
    return real_at(k->dtype, crnn_seq_at(seq, row, t, crnn_dtype_size(k->dtype)), j);
}

/* ---- what it should be, in double */

typedef struct moments {
    double mean, scale, mean_d, mean_dhat; /* of dhat = gain dy, and of dhat hat */
} moments;

static double gain_at(const problem *p, size_t j) {
    return real_at(p->o.kernels->dtype, p->o.params, j);
}

static double hat_at(const problem *p, const moments *m, size_t row, size_t t, size_t j) {
    return (element(p->o.kernels, &p->call.x[0], row, t, j) - m->mean) * m->scale;
}

static moments moments_of(const problem *p, size_t row, size_t t) {
    const crnn_kernels *k = p->o.kernels;
    const size_t n = p->o.features[0];
    moments m = {0};
    double squares = 0;
    for (size_t j = 0; j < n; j++) m.mean += element(k, &p->call.x[0], row, t, j) / (double)n;
    for (size_t j = 0; j < n; j++)
        squares += pow(element(k, &p->call.x[0], row, t, j) - m.mean, 2) / (double)n;
    m.scale = 1 / sqrt(squares + p->o.eps);
    for (size_t j = 0; j < n; j++) {
        const double d = gain_at(p, j) * element(k, &p->call.dy, row, t, j);
        m.mean_d += d / (double)n;
        m.mean_dhat += d * hat_at(p, &m, row, t, j) / (double)n;
    }
    return m;
}

/* What dropout multiplies an element by. */
static double factor(const problem *p, size_t row, size_t t, size_t j) {
    const crnn_noise *noise = &p->o.noise;
    const size_t step = p->o.variational ? 0 : noise->first_step + t;
    const uint32_t number = drawn(noise, CRNN_NOISE_INPUT, noise->first_row + row, step, j);
    return number < crnn_below(p->o.p) ? 0 : 1 / (1 - p->o.p);
}

static double expected_y(const problem *p, const moments *m, size_t row, size_t t, size_t j) {
    const crnn_kernels *k = p->o.kernels;
    const size_t n = p->o.features[0];
    const bool second = j >= n;
    const double a = element(k, &p->call.x[second], row, t, second ? j - n : j);
    const double b = p->o.inputs == 2 && !second ? element(k, &p->call.x[1], row, t, j) : 0;
    switch (p->o.kind) {
    case CRNN_ROWWISE_NORM:
        return gain_at(p, j) * hat_at(p, m, row, t, j) + gain_at(p, n + j);
    case CRNN_ROWWISE_DROP:
        return a * factor(p, row, t, j);
    case CRNN_ROWWISE_ACTIVATE:
        return activated(p->o.activation, a);
    case CRNN_ROWWISE_SUM:
        return a + b;
    case CRNN_ROWWISE_MEAN:
        return (a + b) / 2;
    case CRNN_ROWWISE_MUL:
        return a * b;
    default:
        return a;
    }
}

static double expected_dx(const problem *p, const moments *m, size_t which, size_t row, size_t t,
                          size_t j) {
    const crnn_kernels *k = p->o.kernels;
    const bool joined = p->o.kind == CRNN_ROWWISE_CONCAT && which;
    const double d = element(k, &p->call.dy, row, t, joined ? p->o.features[0] + j : j);
    switch (p->o.kind) {
    case CRNN_ROWWISE_NORM:
        return m->scale * (gain_at(p, j) * d - m->mean_d - hat_at(p, m, row, t, j) * m->mean_dhat);
    case CRNN_ROWWISE_DROP:
        return d * factor(p, row, t, j);
    case CRNN_ROWWISE_ACTIVATE:
        return d * slope(p->o.activation, element(k, &p->call.x[0], row, t, j));
    case CRNN_ROWWISE_MEAN:
        return d / 2;
    case CRNN_ROWWISE_MUL:
        return d * element(k, &p->call.x[1 - which], row, t, j);
    default:
        return d;
    }
}

/* ---- checks */

static bool near(const crnn_kernels *k, double found, double expected, double scale) {
    return fabs(found - expected) <= 40 * epsilon(k) * (scale + fabs(expected));
}

static void check_values(const problem *p) {
    const crnn_kernels *k = p->o.kernels;
    bool forward = true, backward = true;
    for (size_t i = 0; i < CELLS; i++) {
        const size_t row = i / T, t = i % T;
        const moments m = moments_of(p, row, t);
        const double scale = p->o.kind == CRNN_ROWWISE_NORM ? 1 + m.scale : 1;
        for (size_t j = 0; j < crnn_rowwise_features(&p->o); j++)
            forward = forward && near(k, element(k, &p->call.y, row, t, j),
                                      expected_y(p, &m, row, t, j), scale);
        for (size_t which = 0; which < p->o.inputs; which++)
            for (size_t j = 0; j < p->o.features[which]; j++)
                backward = backward && near(k, element(k, &p->call.dx[which], row, t, j),
                                            expected_dx(p, &m, which, row, t, j), scale);
    }
    CHECK(forward, "%s %s: kind %d of %zu", WHERE(k), (int)p->o.kind, p->o.features[0]);
    CHECK(backward, "%s %s: kind %d of %zu, back", WHERE(k), (int)p->o.kind, p->o.features[0]);
}

/* dgain and dbias, which begin with samples of stream 7. */
static void check_grads(const problem *p) {
    const crnn_kernels *k = p->o.kernels;
    const size_t n = p->o.features[0];
    bool right = true;
    for (size_t j = 0; j < n; j++) {
        double dgain = sample(7, j), dbias = sample(7, n + j), size = 1;
        for (size_t i = 0; i < CELLS; i++) {
            const moments m = moments_of(p, i / T, i % T);
            const double d = element(k, &p->call.dy, i / T, i % T, j);
            dgain += d * hat_at(p, &m, i / T, i % T, j);
            dbias += d;
            size += m.scale;
        }
        right = right && near(k, real_at(k->dtype, p->call.grads, j), dgain, size) &&
                near(k, real_at(k->dtype, p->call.grads, n + j), dbias, size);
    }
    CHECK(right, "%s %s: gradients of %zu gains", WHERE(k), n);
}

/* Whether a step of two sequences has the same bits. */
static bool same_step(const crnn_kernels *k, const crnn_seq *a, const crnn_seq *b, size_t i,
                      size_t features) {
    const size_t item = crnn_dtype_size(k->dtype);
    return memcmp(crnn_seq_at(a, i / T, i % T, item), crnn_seq_at(b, i / T, i % T, item),
                  features * item) == 0;
}

static bool is_untouched(const crnn_kernels *k, const crnn_seq *seq, size_t i, size_t features) {
    const size_t item = crnn_dtype_size(k->dtype);
    const unsigned char *at = crnn_seq_at(seq, i / T, i % T, item);
    for (size_t j = 0; j < features * item; j++)
        if (at[j] != FENCE_BYTE) return false;
    return true;
}

/* Some cells, the last first, in parts: the bits that all of them have in one call; other steps are
 * not touched. */
static void check_some_cells(const problem *p) {
    const crnn_kernels *k = p->o.kernels;
    size_t row[CELLS], time[CELLS], n = 0, bytes, item = crnn_dtype_size(k->dtype);
    bool taken[CELLS] = {false}, same = true, untouched = true;
    crnn_rowwise_call some = p->call;
    for (size_t i = CELLS; i-- > 0;) {
        if (i % 3 == 1) continue;
        taken[i] = true;
        row[n] = i / T;
        time[n++] = i % T;
    }
    some.y = new_seq(k, 0, crnn_rowwise_features(&p->o), &bytes);
    some.kept = fenced(n * crnn_rowwise_kept(&p->o) * item);
    for (size_t i = 0; i < p->o.inputs; i++) some.dx[i] = new_seq(k, 0, p->o.features[i], &bytes);
    const crnn_cells cells = {.n = n, .row = row, .time = time};
    k->rowwise(&p->o, &cells, n / 3, n, &some);
    k->rowwise(&p->o, &cells, 0, n / 3, &some);
    k->rowwise_back(&p->o, &cells, 0, n / 2, &some);
    k->rowwise_back(&p->o, &cells, n / 2, n, &some);
    for (size_t i = 0; i < CELLS; i++) {
        const size_t wide = crnn_rowwise_features(&p->o);
        same = same && (!taken[i] || same_step(k, &some.y, &p->call.y, i, wide));
        untouched = untouched && (taken[i] || is_untouched(k, &some.y, i, wide));
        for (size_t w = 0; w < p->o.inputs; w++) {
            const size_t each = p->o.features[w];
            same = same && (!taken[i] || same_step(k, &some.dx[w], &p->call.dx[w], i, each));
            untouched = untouched && (taken[i] || is_untouched(k, &some.dx[w], i, each));
        }
    }
    CHECK(same, "%s %s: kind %d, cells in another order", WHERE(k), (int)p->o.kind);
    CHECK(untouched, "%s %s: kind %d wrote at other steps", WHERE(k), (int)p->o.kind);
}

/* dx added to other numbers, input by input: the sum of these and of dx, rounded once more. */
static void check_adding(const problem *p, const crnn_cells *cells) {
    const crnn_kernels *k = p->o.kernels;
    bool right = true;
    for (size_t w = 0; w < p->o.inputs; w++) {
        crnn_rowwise_call call = p->call;
        call.grads = NULL;
        call.dx[1 - w].data = NULL;
        call.dx[w].data = copied(p->before[w].data, p->bytes[w]);
        call.add[w] = true;
        crnn_rowwise_backward(&p->o, cells, &call);
        for (size_t i = 0; i < CELLS; i++)
            for (size_t j = 0; j < p->o.features[w]; j++) {
                const double before = element(k, &p->before[w], i / T, i % T, j);
                const double sum = before + element(k, &p->call.dx[w], i / T, i % T, j);
                const double found = element(k, &call.dx[w], i / T, i % T, j);
                right = right && found == (k->dtype == CRNN_F64 ? sum : (double)(float)sum);
            }
    }
    CHECK(right, "%s %s: kind %d adds to dx", WHERE(k), (int)p->o.kind);
}

static void check_problem(const crnn_kernels *k, crnn_rowwise_kind kind, crnn_activation a,
                          size_t features) {
    const size_t mark = fences_used;
    problem p = new_problem(k, kind, a, features);
    const crnn_cells cells = {.n = CELLS, .steps = T};
    p.o.variational = features % 2;
    crnn_rowwise_forward(&p.o, &cells, &p.call);
    crnn_rowwise_backward(&p.o, &cells, &p.call);
    check_values(&p);
    if (kind == CRNN_ROWWISE_NORM) check_grads(&p);
    check_some_cells(&p);
    check_adding(&p, &cells);
    fences_release(mark);
}

static void check_kinds(const crnn_kernels *k) {
    for (size_t i = 0; i < SIZES; i++) {
        for (int kind = CRNN_ROWWISE_NORM; kind <= CRNN_ROWWISE_CONCAT; kind++)
            check_problem(k, (crnn_rowwise_kind)kind, CRNN_TANH, sizes[i]);
        for (int a = CRNN_LOGISTIC; a < CRNN_ROWWISE_ACTIVATIONS; a++)
            check_problem(k, CRNN_ROWWISE_ACTIVATE, (crnn_activation)a, sizes[i]);
    }
}

/* ---- threads: dense sequences, which elementwise kinds take as one long row */

static void check_threads(const crnn_kernels *k, crnn_rowwise_kind kind) {
    enum { ROWS = 300, WIDE = 601 };
    const size_t mark = fences_used, count = ROWS * WIDE, item = crnn_dtype_size(k->dtype);
    const size_t y_wide = kind == CRNN_ROWWISE_CONCAT ? 2 * WIDE : WIDE;
    const crnn_seq x = {sampled(k->dtype, 1, count), WIDE, 0};
    const crnn_seq other = {sampled(k->dtype, 2, count), WIDE, 0};
    const crnn_seq dy = {sampled(k->dtype, 3, 2 * count), (ptrdiff_t)y_wide, 0};
    const crnn_rowwise o = {.kind = kind,
                            .kernels = k,
                            .inputs = kind >= CRNN_ROWWISE_SUM ? 2 : 1,
                            .features = {WIDE, WIDE},
                            .activation = CRNN_GELU_EXACT,
                            .params = sampled(k->dtype, 4, 2 * WIDE),
                            .eps = 1e-5,
                            .p = 0.5,
                            .noise = {.on = true}};
    const crnn_cells cells = {.n = ROWS, .steps = 1};
    const unsigned char *first = NULL;
    for (size_t threads = 1; threads <= 3; threads++) {
        const size_t total = (5 * count + 2 * WIDE) * item;
        unsigned char *out = fenced(total);
        crnn_rowwise_call call = {
            .x = {x, other},
            .y = {out, (ptrdiff_t)y_wide, 0},
            .kept = fenced(2 * ROWS * item),
            .dy = dy,
            .dx = {{out + 2 * count * item, WIDE, 0}, {out + 3 * count * item, WIDE, 0}},
            .grads = out + 4 * count * item};
        memset(out, 0, total);
        crnn_set_threads(threads);
        crnn_rowwise_forward(&o, &cells, &call);
        crnn_rowwise_backward(&o, &cells, &call);
        if (!first) first = out;
        CHECK(memcmp(first, out, total) == 0, "%s %s: kind %d on %zu threads", WHERE(k), (int)kind,
              threads);
    }
    crnn_set_threads(1);
    fences_release(mark);
}

/* ---- pooling */

/* The step of a row that an element of y comes from, T for none. */
static size_t taken_from(const crnn_pool *p, const crnn_seq *x, size_t row, size_t j) {
    const crnn_kernels *k = p->kernels;
    size_t best = T;
    for (size_t t = 0; t < (size_t)p->steps->lengths[row]; t++) {
        if (!p->steps->mask[row * T + t]) continue;
        const bool larger =
            best == T || element(k, x, row, t, j) > element(k, x, row, best, j) ||
            (isnan(element(k, x, row, t, j)) && !isnan(element(k, x, row, best, j)));
        if (p->how == CRNN_POOL_LAST || larger) best = t;
    }
    return best;
}

/* The mean as one chain in the table's type. */
static double mean_at(const crnn_pool *p, const crnn_seq *x, size_t row, size_t j, size_t *count) {
    const bool wide = p->kernels->dtype == CRNN_F64;
    double sum = 0;
    *count = 0;
    for (size_t t = 0; t < (size_t)p->steps->lengths[row]; t++) {
        if (!p->steps->mask[row * T + t]) continue;
        sum += element(p->kernels, x, row, t, j);
        sum = wide ? sum : (double)(float)sum;
        (*count)++;
    }
    const double mean = *count ? sum / (double)*count : 0;
    return wide ? mean : (double)(float)mean;
}

static bool same_number(double a, double b) { return isnan(b) ? isnan(a) : a == b; }

static void check_pool(const crnn_kernels *k, crnn_pool_how how, size_t F) {
    static const int64_t lengths[B] = {T, 3, 0};
    static const uint8_t mask[B * T] = {1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1};
    const size_t mark = fences_used, item = crnn_dtype_size(k->dtype);
    const crnn_steps steps = {.batch = B, .steps = T, .lengths = lengths, .mask = mask};
    const crnn_pool p = {how, k, &steps, F};
    size_t bytes, count;
    const crnn_seq x = new_seq(k, 1, F, &bytes), dx = new_seq(k, 0, F, &bytes);
    const crnn_seq sum = new_seq(k, 2, F, &bytes),
                   before = {copied(sum.data, bytes), sum.row, sum.step};
    void *y = fenced(B * F * item), *dy = sampled(k->dtype, 3, B * F);
    int64_t *taken = fenced(B * F * sizeof *taken);
    bool forward = true, backward = true;
    real_put(k->dtype, crnn_seq_at(&x, 0, 2, item), 0, NAN);
    real_put(k->dtype, crnn_seq_at(&x, 0, 3, item), F / 2, 1);
    real_put(k->dtype, crnn_seq_at(&x, 0, 2, item), F / 2, 1); /* the first of equal ones */
    crnn_pool_forward(&p, &x, y, how == CRNN_POOL_MEAN ? NULL : taken);
    crnn_pool_backward(&p, dy, taken, &dx, false);
    crnn_pool_backward(&p, dy, taken, &sum, true);
    for (size_t i = 0; i < B * F; i++) {
        const size_t row = i / F, j = i % F, at = taken_from(&p, &x, row, j);
        const double d = real_at(k->dtype, dy, i), mean = mean_at(&p, &x, row, j, &count);
        const double picked = at < T ? element(k, &x, row, at, j) : 0;
        forward =
            forward && same_number(real_at(k->dtype, y, i), how == CRNN_POOL_MEAN ? mean : picked);
        for (size_t t = 0; t < T; t++) {
            const bool read = t < (size_t)lengths[row] && mask[row * T + t];
            const double share =
                how == CRNN_POOL_MEAN ? (read ? d / (double)count : 0) : (t == at ? d : 0);
            const double old = element(k, &before, row, t, j);
            backward = backward && near(k, element(k, &dx, row, t, j), share, 0) &&
                       near(k, element(k, &sum, row, t, j), old + share, 1);
        }
    }
    CHECK(forward, "%s %s: pool %d of %zu", WHERE(k), (int)how, F);
    CHECK(backward, "%s %s: pool %d of %zu, back", WHERE(k), (int)how, F);
    fences_release(mark);
}

/* ---- the errors of activations: values in ULP, slopes in halves of epsilon */

static long double exact_value(crnn_activation kind, long double s) {
    const long double v = 1.595769121605730711759498L * (s + 0.044715L * s * s * s);
    if (kind == CRNN_GELU) return s / (1 + expl(-v));
    if (kind == CRNN_SILU) return s / (1 + expl(-s));
    return s * erfcl(-s * 0.707106781186547524400844L) / 2;
}

static void check_errors(const crnn_kernels *k, crnn_activation kind, double low, double most) {
    enum { POINTS = 5000 };
    const size_t mark = fences_used;
    const int digits = k->dtype == CRNN_F64 ? DBL_MANT_DIG : FLT_MANT_DIG;
    void *x = fenced(POINTS * sizeof(double)), *y = fenced(POINTS * sizeof(double));
    void *one = fenced(POINTS * sizeof(double)), *dx = fenced(POINTS * sizeof(double));
    for (size_t i = 0; i < POINTS; i++) {
        real_put(k->dtype, x, i, low + (8 - low) * (sample(1, i) + 1) / 2);
        real_put(k->dtype, one, i, 1);
    }
    const crnn_rowwise o = {.kind = CRNN_ROWWISE_ACTIVATE,
                            .kernels = k,
                            .inputs = 1,
                            .features = {POINTS},
                            .activation = kind};
    const crnn_rowwise_call call = {
        .x = {{x, 0, 0}}, .y = {y, 0, 0}, .dy = {one, 0, 0}, .dx = {{dx, 0, 0}}};
    const crnn_cells cell = {.n = 1, .steps = 1};
    k->rowwise(&o, &cell, 0, 1, &call);
    k->rowwise_back(&o, &cell, 0, 1, &call);
    double value = 0, steepest = 0;
    for (size_t i = 0; i < POINTS; i++) {
        const double s = real_at(k->dtype, x, i);
        const long double exact = exact_value(kind, s);
        const double unit = ldexp(1, ilogb((double)exact) + 1 - digits);
        value = fmax(value, (double)fabsl((long double)real_at(k->dtype, y, i) - exact) / unit);
        steepest = fmax(steepest, fabs(real_at(k->dtype, dx, i) - slope(kind, s)) / epsilon(k));
    }
    CHECK(value <= most, "%s %s: activation %d from %g on: %g ULP", WHERE(k), (int)kind, low,
          value);
    CHECK(steepest <= 4, "%s %s: slope of %d from %g on: %g", WHERE(k), (int)kind, low, steepest);
    fences_release(mark);
}

int main(void) {
    check_deadline(120);
    for (int d = 0; d < CRNN_DTYPES; d++) {
        const crnn_kernels *k;
        for (size_t i = 0; (k = table_at(i, (crnn_dtype)d)); i++) {
            if (left_out(k)) continue;
            crnn_set_threads(1);
            check_kinds(k);
            for (size_t s = 0; s < SIZES; s++)
                for (int how = CRNN_POOL_LAST; how <= CRNN_POOL_MAX; how++)
                    check_pool(k, (crnn_pool_how)how, sizes[s]);
            for (int kind = CRNN_ROWWISE_NORM; kind <= CRNN_ROWWISE_CONCAT; kind++)
                check_threads(k, (crnn_rowwise_kind)kind);
            if (k->dtype == CRNN_F64 && LDBL_MANT_DIG == DBL_MANT_DIG) continue;
            check_errors(k, CRNN_GELU, -1, 3);
            check_errors(k, CRNN_GELU, -5, 45);
            check_errors(k, CRNN_GELU_EXACT, -5, k->width == 1 ? 12 : 7);
            check_errors(k, CRNN_SILU, -12, 3);
        }
    }
    return check_done();
}
