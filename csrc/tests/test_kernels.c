/* The kernels that stand alone (dense maps, losses, optimizers), each table of this machine against
 * plain C loops, at the sizes around its tiles.
 *
 * Products are compared bit by bit: every sum is one chain of multiply-adds in a stated order, so
 * that a loop in that order gives the very number. The rest is compared with double precision. */
#include "chains.h"

#include <float.h>

/* ---- rows added to a table */

static void check_add_rows(const crnn_kernels *k, size_t n, size_t columns, bool indexed) {
    const size_t rows = indexed ? 4 : 1, mark = fences_used;
    const void *before = sampled(k->dtype, 8, rows * columns);
    const void *d = sampled(k->dtype, 7, n * columns);
    void *table = copied(before, rows * columns * crnn_dtype_size(k->dtype));
    int64_t *index = indexed ? fenced(n * sizeof *index) : NULL;
    for (size_t i = 0; indexed && i < n; i++) index[i] = (int64_t)(i * i % rows);
    const size_t some = columns / 2 * crnn_dtype_size(k->dtype); /* columns in any order, too */
    k->add_rows(n, columns - columns / 2, columns, index, (const char *)d + some,
                (char *)table + some);
    k->add_rows(n, columns / 2, columns, index, d, table);
    CHECK(table_is_chain(k, n, columns, index, d, rows, before, table),
          "%s %s: %zu rows of %zu, indexed %d", WHERE(k), n, columns, indexed);
    fences_release(mark);
}

static void check_all_add_rows(const crnn_kernels *k) {
    size_t columns[COLUMN_SIZES];
    column_sizes(k, columns);
    for (size_t n = 0; n <= 9; n++)
        for (size_t j = 0; j < COLUMN_SIZES; j++)
            for (int indexed = 0; indexed < 2; indexed++) check_add_rows(k, n, columns[j], indexed);
}

/* ---- a whole dense map, shared out among threads, in a workspace of the size that is asked for */

static void check_dense(const crnn_kernels *k, size_t threads) {
    const crnn_dtype d = k->dtype;
    const crnn_dense map = {k, 230, 71, 97};
    const size_t n = map.n, I = map.inputs, K = map.outputs, item = crnn_dtype_size(d);
    const size_t mark = fences_used;
    const void *x = sampled(d, 1, n * I), *w = sampled(d, 2, I * K), *b = sampled(d, 3, K);
    const void *dy = sampled(d, 4, n * K), *dw0 = sampled(d, 5, I * K);
    void *y = fenced(n * K * item), *dx = fenced(n * I * item), *db = copied(b, K * item);
    void *dw = copied(dw0, I * K * item);
    size_t bytes;
    crnn_set_threads(threads);
    CHECK(crnn_dense_workspace(&map, &bytes) == CRNN_OK, "%s %s", WHERE(k));
    crnn_dense_forward(&map, x, w, b, y, fenced(bytes));
    crnn_dense_backward(&map, x, w, dy, dw, db, dx, fenced(bytes));
    const dense_product forward = {.n = n, .inner = I, .columns = K, .a = x, .init = b, .c = y};
    const dense_product to_x = {.n = n, .inner = K, .columns = I, .a = dy, .c = dx};
    const dense_product to_w = {.n = n, .inner = I, .columns = K, .a = x, .d = dy, .c = dw};
    CHECK(product_is_chain(k, &forward, w, false), "%s %s: y, %zu threads", WHERE(k), threads);
    CHECK(product_is_chain(k, &to_x, w, true), "%s %s: dx, %zu threads", WHERE(k), threads);
    CHECK(outer_is_chain(k, &to_w, dw0), "%s %s: dw, %zu threads", WHERE(k), threads);
    CHECK(table_is_chain(k, n, K, NULL, dy, 1, b, db), "%s %s: db, %zu threads", WHERE(k), threads);
    fences_release(mark);
}

/* ---- losses */

static double tolerance(const crnn_kernels *k) {
    return 16 * (k->dtype == CRNN_F64 ? DBL_EPSILON : FLT_EPSILON);
}

static bool close_to(const crnn_kernels *k, double value, double exact) {
    return fabs(value - exact) <= tolerance(k) * (1 + fabs(exact));
}

/* Sum of exp(x - top) of one row; *top is the largest x. */
static double exp_sum(crnn_dtype d, size_t classes, const void *x, size_t row, double *top) {
    double sum = 0;
    *top = -INFINITY;
    for (size_t j = 0; j < classes; j++) *top = fmax(*top, real_at(d, x, row * classes + j));
    for (size_t j = 0; j < classes; j++) sum += exp(real_at(d, x, row * classes + j) - *top);
    return sum;
}

static double scaled_slope(crnn_dtype d, size_t classes, const void *x, size_t i, int64_t target,
                           double scale) {
    double top;
    const double sum = exp_sum(d, classes, x, i / classes, &top);
    if (target < 0) return 0;
    return scale * (exp(real_at(d, x, i) - top) / sum - ((int64_t)(i % classes) == target));
}

static void check_cross_entropy(const crnn_kernels *k, size_t n, size_t classes, double shift) {
    const crnn_dtype d = k->dtype;
    const size_t mark = fences_used;
    const double scale = 0.75;
    void *x = sampled(d, 9, n * classes);
    void *dx = fenced(n * classes * crnn_dtype_size(d));
    int64_t *targets = fenced(n * sizeof *targets);
    double exact = 0;
    for (size_t i = 0; i < n * classes; i++) real_put(d, x, i, shift + 9 * real_at(d, x, i));
    for (size_t i = 0; i < n; i++) targets[i] = i % 3 == 2 ? -1 : (int64_t)(i * 7 % classes);
    for (size_t i = 0; i < n; i++) {
        double top;
        const double sum = exp_sum(d, classes, x, i, &top);
        if (targets[i] >= 0)
            exact += log(sum) + (top - real_at(d, x, i * classes + (size_t)targets[i]));
    }
    double losses[8], loss = 0;
    bool right = n <= 8;
    k->cross_entropy(n, classes, x, targets, scale, dx, losses);
    for (size_t i = 0; i < n; i++) loss += losses[i];
    for (size_t i = 0; i < n * classes; i++)
        right = right && close_to(k, real_at(d, dx, i),
                                  scaled_slope(d, classes, x, i, targets[i / classes], scale));
    CHECK(close_to(k, loss, exact), "%s %s (%zu, %zu): %.17g, not %.17g", WHERE(k), n, classes,
          loss, exact);
    CHECK(right, "%s %s (%zu, %zu): dlogits", WHERE(k), n, classes);
    fences_release(mark);
}

/* One logit far above the others is found wherever it stands, and a NaN is not lost. */
static void check_one_logit(const crnn_kernels *k, size_t classes, size_t at) {
    const size_t mark = fences_used;
    void *x = sampled(k->dtype, 9, classes), *dx = fenced(classes * crnn_dtype_size(k->dtype));
    const int64_t target = (int64_t)at;
    real_put(k->dtype, x, at, 5000);
    double loss;
    k->cross_entropy(1, classes, x, &target, 1, dx, &loss);
    CHECK(loss == 0, "%s %s most at %zu of %zu", WHERE(k), at, classes);
    real_put(k->dtype, x, at, NAN);
    k->cross_entropy(1, classes, x, &target, 1, dx, &loss);
    CHECK(isnan(loss), "%s %s NaN at %zu of %zu", WHERE(k), at, classes);
    fences_release(mark);
}

/* log(1 + exp(x)) */
static double softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }

/* Logits from -range to range, soft and hard targets, one row of weight 0 that holds NaN. */
static void check_labels(const crnn_kernels *k, size_t n, size_t count, double range,
                         bool weighted) {
    const crnn_dtype d = k->dtype;
    const size_t mark = fences_used, item = crnn_dtype_size(d);
    void *x = sampled(d, 12, n * count), *t = sampled(d, 13, n * count), *w = sampled(d, 14, count);
    void *dx = fenced(n * count * item);
    double *weights = fenced(n * sizeof *weights), *losses = fenced(n * sizeof *losses);
    bool right = true;
    for (size_t i = 0; i < n; i++) weights[i] = i % 3 == 1 ? 0 : 0.5 + (double)i;
    for (size_t j = 0; j < count; j++) real_put(d, w, j, 1.5 + real_at(d, w, j));
    for (size_t i = 0; i < n * count; i++) {
        const double soft = 0.5 + 0.5 * real_at(d, t, i);
        real_put(d, t, i, i % 3 == 0 ? soft : (double)(i % 2));
        const bool unread = weighted && weights[i / count] == 0;
        real_put(d, x, i, unread ? NAN : range * real_at(d, x, i));
    }
    const crnn_labels l = {d, n, count, x, t, weighted ? w : NULL, weighted ? weights : NULL};
    k->label_losses(&l, 0, n, 0.75, dx, losses);
    for (size_t i = 0; i < n; i++) {
        const double weight = weighted ? weights[i] : 1;
        double exact = 0;
        for (size_t j = 0, at = i * count; j < count; j++, at++) {
            const double a = real_at(d, x, at), b = real_at(d, t, at);
            const double up = (weighted ? real_at(d, w, j) : 1) * b;
            const double p = 1 / (1 + exp(-a)), rest = 1 / (1 + exp(a));
            const double down = 0.75 * weight * (1 - b) * p, against = 0.75 * weight * up * rest;
            if (weight == 0) {
                right = right && real_at(d, dx, at) == 0;
                continue;
            }
            exact += weight * (up * softplus(-a) + (1 - b) * softplus(a));
            right = right &&
                    fabs(real_at(d, dx, at) - (down - against)) <= tolerance(k) * (down + against);
        }
        CHECK(fabs(losses[i] - exact) <= tolerance(k) * exact, "%s %s (%zu, %zu): %.17g, not %.17g",
              WHERE(k), n, count, losses[i], exact);
    }
    CHECK(right, "%s %s (%zu, %zu): slopes of labels", WHERE(k), n, count);
    fences_release(mark);
}

static void check_squares(const crnn_kernels *k, size_t n) {
    const crnn_dtype d = k->dtype;
    const size_t mark = fences_used, bytes = n * crnn_dtype_size(d);
    const void *y = sampled(d, 10, n), *target = sampled(d, 11, n);
    void *dy = fenced(bytes);
    double errors = 0, squares = 0;
    const double loss = k->squared_error(n, y, target, 0.3, dy);
    bool right = true;
    for (size_t i = 0; i < n; i++) {
        const double error = real_at(d, y, i) - real_at(d, target, i);
        errors += error * error;
        squares += real_at(d, y, i) * real_at(d, y, i);
        right = right && close_to(k, real_at(d, dy, i), 0.6 * error);
    }
    CHECK(close_to(k, loss, errors) && right, "%s %s: squared error of %zu", WHERE(k), n);
    CHECK(fabs(k->sum_squares(n, y) - squares) <= 1e-13 * squares, "%s %s: squares of %zu",
          WHERE(k), n);
    fences_release(mark);
}

static void check_losses(const crnn_kernels *k) {
    for (size_t classes = 1; classes <= 4 * k->width + 1; classes++) {
        check_cross_entropy(k, classes % 5, classes, 0);
        check_cross_entropy(k, 4, classes, 1000);
        for (size_t at = 0; at < classes; at++) check_one_logit(k, classes, at);
        check_squares(k, classes - 1);
        for (int weighted = 0; weighted < 2; weighted++) {
            check_labels(k, 4, classes, 3, weighted);
            check_labels(k, classes % 3, classes + 60, 80, weighted);
        }
    }
}

/* ---- optimizers */

typedef enum rule { SGD, SGD_MOMENTUM, RMSPROP, ADAM, RULES } rule;

/* One parameter p with its gradient and memories, in double. */
static double exact_step(rule r, const crnn_optim_step *s, double p, double g, double *a,
                         double *b) {
    g *= s->scale;
    switch (r) {
    case SGD:
        return p - s->lr * g;
    case SGD_MOMENTUM:
        *a = 0.8 * *a + g;
        return p - s->lr * *a;
    case RMSPROP:
        *a = 0.9 * *a + 0.1 * g * g;
        return p - s->lr * g / (sqrt(*a) + 1e-3);
    default:
        *a = 0.9 * *a + 0.1 * g;
        *b = 0.99 * *b + 0.01 * g * g;
        return p * (1 - s->lr * s->weight_decay) -
               s->lr * (*a / (1 - pow(0.9, 3))) / (sqrt(*b / (1 - pow(0.99, 3))) + 1e-3);
    }
}

static void kernel_step(const crnn_kernels *k, rule r, const crnn_optim_step *s, void *a, void *b) {
    const size_t middle = s->n / 2 / k->width * k->width;
    const core_range halves[] = {{middle, s->n}, {0, middle}}; /* in any order */
    for (size_t i = 0; i < 2; i++) {
        if (r == SGD) k->sgd(s, halves[i], 0, NULL);
        if (r == SGD_MOMENTUM) k->sgd(s, halves[i], 0.8, a);
        if (r == RMSPROP) k->rmsprop(s, halves[i], 0.9, 1e-3, a);
        if (r == ADAM) k->adam(s, halves[i], 0.9, 0.99, 1e-3, 3, a, b);
    }
}

static void check_optimizer(const crnn_kernels *k, rule r, size_t n) {
    const crnn_dtype d = k->dtype;
    const size_t mark = fences_used, bytes = n * crnn_dtype_size(d);
    const void *g = sampled(d, 13, n), *p0 = sampled(d, 12, n);
    void *a = sampled(d, 14, n), *b = sampled(d, 15, n);
    for (size_t i = 0; i < n; i++) {
        real_put(d, b, i, fabs(real_at(d, b, i)));
        if (r == RMSPROP) real_put(d, a, i, fabs(real_at(d, a, i)));
    }
    const void *a0 = copied(a, bytes), *b0 = copied(b, bytes), *g0 = copied(g, bytes);
    const crnn_optim_step s = {d, n, 0.5, copied(p0, bytes), g, 0.1, r == ADAM ? 0.2 : 0};
    kernel_step(k, r, &s, a, b);
    bool right = memcmp(g, g0, bytes) == 0;
    for (size_t i = 0; i < n; i++) {
        double ai = real_at(d, a0, i), bi = real_at(d, b0, i);
        const double pi = exact_step(r, &s, real_at(d, p0, i), real_at(d, g, i), &ai, &bi);
        right = right && close_to(k, real_at(d, s.p, i), pi) && close_to(k, real_at(d, a, i), ai) &&
                close_to(k, real_at(d, b, i), bi);
    }
    CHECK(right, "%s %s: rule %d over %zu", WHERE(k), r, n);
    fences_release(mark);
}

static void check_optimizers(const crnn_kernels *k) {
    for (int r = 0; r < RULES; r++)
        for (size_t n = 0; n <= 3 * k->width + 1; n++) check_optimizer(k, (rule)r, n);
}

/* ---- parameters that cells and normalisation look at, in whole vectors, zeros past the last unit
 */

/* Unit `unit` of parameter `extra`, of row `row` of H; 0 where there is none. */
static double unit_of(const core_shape *s, const void *params, crnn_extra extra, size_t row,
                      size_t unit) {
    const size_t H = s->layer.hidden, at = row * H + unit;
    if (unit >= H || at >= s->at.extra_size[extra]) return 0;
    return real_at(s->layer.dtype, params, s->at.extra[extra] + at);
}

static bool vectors_are_right(const core_shape *s, const void *params, const void *vectors) {
    static const crnn_extra from[VECTORS] = {
        [VECTOR_P_I] = CRNN_P_I,       [VECTOR_P_F] = CRNN_P_F, [VECTOR_P_O] = CRNN_P_O,
        [VECTOR_GAIN_C] = CRNN_GAIN_C, [VECTOR_B_C] = CRNN_B_C, [VECTOR_LEAK] = CRNN_LEAK,
    };
    const double near = s->layer.dtype == CRNN_F64 ? 1e-15 : 3e-7;
    bool right = true;
    for (size_t i = 0; i < VECTORS * s->padded; i++) {
        const size_t vector = i / s->padded, unit = i % s->padded;
        const double found = real_at(s->layer.dtype, vectors, i);
        const double given = unit_of(s, params, from[vector], 0, unit);
        if (vector == VECTOR_LEAK && s->leaks && s->layer.learns_leak && unit < s->layer.hidden)
            right = right && fabs(found - 1 / (1 + exp(-given))) < near;
        else
            right = right && found == given;
    }
    return right;
}

/* Gains of one phase: panel after panel of [slots][units] vectors, as the bias is packed. */
static bool gains_are_right(const core_shape *s, const core_phase *ph, crnn_extra extra,
                            const void *params, const void *gains) {
    const size_t *gate = extra == CRNN_GAIN_X ? ph->x_gate : ph->h_gate;
    bool right = true;
    for (size_t v = 0; v < s->vecs; v++) {
        const size_t begin = v / s->units * s->units, left = s->vecs - begin;
        const size_t units = left < s->units ? left : s->units;
        for (size_t i = 0; i < ph->slots * s->width; i++) {
            const size_t slot = i / s->width, lane = i % s->width;
            const size_t at = (begin * ph->slots + slot * units + v - begin) * s->width + lane;
            const double gain = gate[slot] == NO_GATE
                                    ? 0
                                    : unit_of(s, params, extra, gate[slot], v * s->width + lane);
            right = right && real_at(s->layer.dtype, gains, ph->bias + at) == gain;
        }
    }
    return right;
}

static void check_vectors(const crnn_kernels *k, const crnn_layer *layer) {
    const size_t mark = fences_used, item = crnn_dtype_size(k->dtype);
    core_shape s;
    CHECK(core_shape_init(&s, layer, k) == CRNN_OK, "%s %s", WHERE(k));
    const void *params = sampled(k->dtype, 16, s.at.total);
    void *vectors = fenced(VECTORS * s.padded * item), *gains = fenced(s.packed_bias * item);
    k->pack_vectors(&s, params, vectors);
    CHECK(vectors_are_right(&s, params, vectors), "%s %s: vectors of cell %d, %zu units", WHERE(k),
          (int)layer->cell, layer->hidden);
    for (size_t i = 0; layer->layer_norm && i < 2 * s.phases; i++) {
        const crnn_extra extra = i % 2 ? CRNN_GAIN_H : CRNN_GAIN_X;
        k->pack_gains(&s, extra, params, gains);
        CHECK(gains_are_right(&s, &s.phase[i / 2], extra, params, gains),
              "%s %s: gains of cell %d, %zu units", WHERE(k), (int)layer->cell, layer->hidden);
    }
    fences_release(mark);
}

static void check_all_vectors(const crnn_kernels *k) {
    size_t units[COLUMN_SIZES];
    column_sizes(k, units);
    for (int cell = 0; cell < CRNN_CELLS; cell++)
        for (size_t i = 0; i < COLUMN_SIZES; i++)
            for (int bits = 0; bits < 32; bits++)
                check_vectors(k, &(crnn_layer){.cell = (crnn_cell)cell,
                                               .dtype = k->dtype,
                                               .inputs = 3,
                                               .hidden = units[i],
                                               .bias = bits & 1,
                                               .layer_norm = bits & 2,
                                               .peepholes = bits & 4,
                                               .leaks = bits & 8,
                                               .learns_leak = bits & 16});
}

int main(void) {
    check_deadline(120);
    for (int d = 0; d < CRNN_DTYPES; d++) {
        const crnn_kernels *k;
        for (size_t i = 0; (k = table_at(i, (crnn_dtype)d)); i++) {
            check_all_add_rows(k);
            for (size_t threads = 1; threads <= 3; threads++) check_dense(k, threads);
            check_losses(k);
            check_optimizers(k);
            check_all_vectors(k);
        }
    }
    return check_done();
}
