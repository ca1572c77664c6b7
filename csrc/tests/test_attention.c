/* Attention: every table of this machine against plain loops in double precision, at sizes around
 * its vectors and with sources of every length; those loops against finite differences; and bits
 * that depend neither on other rows, nor on padding, on threads or on whether queries come one by
 * one. What lies past an end is NaN: nobody may read it. */
#include "support.h"

#define WHERE(k) (k)->isa, type_name[(k)->dtype]

/* ---- a problem and its outcome */

/* What goes in, in the table's type or, for the plain loops, in double. */
typedef struct inputs {
    crnn_attention a;
    void *queries, *dcontext;
} inputs;

typedef struct outcome {
    void *weights, *context, *dqueries, *dkeys, *dvalues, *dv;
} outcome;

enum { OUTPUTS = 6 };
static const char *const output_name[OUTPUTS] = {"weights", "context", "dqueries",
                                                 "dkeys",   "dvalues", "dv"};

static size_t source_length(const crnn_attention *a, size_t row) {
    return a->lengths ? (size_t)a->lengths[row] : a->steps;
}

static size_t query_length(const crnn_attention *a, size_t row) {
    return a->query_lengths ? (size_t)a->query_lengths[row] : a->queries;
}

/* Elements of each output, and where it lies. */
static size_t output_of(const crnn_attention *a, const outcome *o, size_t i, void **data) {
    const size_t B = a->batch, Q = a->queries, T = a->steps, A = a->key_size, C = a->value_size;
    const size_t count[OUTPUTS] = {B * Q * T, B * Q * C, B * Q * A,
                                   B * T * A, B * T * C, a->v ? A : 0};
    void *const all[OUTPUTS] = {o->weights, o->context, o->dqueries, o->dkeys, o->dvalues, o->dv};
    *data = all[i];
    return count[i];
}

/* [B][steps][wide] samples, NaN past the end of a row. */
static void *sampled_rows(const crnn_attention *a, size_t stream, bool of_source, size_t wide,
                          double scale) {
    const size_t steps = of_source ? a->steps : a->queries;
    void *p = fenced(a->batch * steps * wide * crnn_dtype_size(a->dtype));
    for (size_t row = 0; row < a->batch; row++) {
        const size_t length = of_source ? source_length(a, row) : query_length(a, row);
        for (size_t i = row * steps * wide; i < (row * steps + length) * wide; i++)
            real_put(a->dtype, p, i, scale * sample(stream, i));
    }
    return p;
}

/* Rows of every source length 0..T_s, each with some of its queries. */
static inputs new_inputs(crnn_attention a, bool additive, double scale) {
    inputs in = {.a = a};
    int64_t *lengths = fenced(a.batch * sizeof *lengths);
    int64_t *query_lengths = fenced(a.batch * sizeof *lengths);
    for (size_t row = 0; row < a.batch; row++) {
        lengths[row] = (int64_t)((row + a.steps) % (a.steps + 1));
        query_lengths[row] = (int64_t)((2 * row + a.queries) % (a.queries + 1));
    }
    in.a.lengths = lengths;
    in.a.query_lengths = query_lengths;
    in.a.keys = sampled_rows(&in.a, 1, true, a.key_size, scale);
    in.a.values = sampled_rows(&in.a, 2, true, a.value_size, 1);
    in.a.v = additive ? sampled(a.dtype, 3, a.key_size) : NULL;
    in.queries = sampled_rows(&in.a, 4, false, a.key_size, scale);
    in.dcontext = sampled_rows(&in.a, 5, false, a.value_size, 1);
    return in;
}

static outcome new_outcome(const crnn_attention *a) {
    const size_t item = crnn_dtype_size(a->dtype);
    void *made[OUTPUTS], *unused;
    for (size_t i = 0; i < OUTPUTS; i++)
        made[i] = fenced(output_of(a, &(outcome){0}, i, &unused) * item);
    for (size_t i = 0; a->v && i < a->key_size; i++)
        real_put(a->dtype, made[5], i, sample(6, i)); /* dv is added to */
    return (outcome){made[0], made[1], made[2], made[3], made[4], made[5]};
}

/* ---- the library */

static outcome solve(const inputs *in) {
    const outcome o = new_outcome(&in->a);
    size_t bytes;
    CHECK(crnn_attention_workspace(&in->a, &bytes) == CRNN_OK, "workspace");
    const crnn_attention_grads grads = {o.weights, in->dcontext,          o.dqueries,   o.dkeys,
                                        o.dvalues, in->a.v ? o.dv : NULL, fenced(bytes)};
    crnn_attention_forward(&in->a, in->queries, o.weights, o.context);
    crnn_attention_backward(&in->a, in->queries, &grads);
    return o;
}

/* ---- plain loops, all in double */

static double plain_score(const crnn_attention *a, const double *key, const double *query) {
    const double *v = a->v;
    double sum = 0;
    for (size_t k = 0; k < a->key_size; k++)
        sum += v ? v[k] * tanh(key[k] + query[k]) : key[k] * query[k];
    return sum;
}

static void plain_weights(const crnn_attention *a, size_t row, const double *query,
                          double *weights) {
    const double *keys = (const double *)a->keys + row * a->steps * a->key_size;
    const size_t length = source_length(a, row);
    double most = -INFINITY, sum = 0;
    for (size_t s = 0; s < length; s++) {
        weights[s] = plain_score(a, keys + s * a->key_size, query);
        most = fmax(most, weights[s]);
    }
    for (size_t s = 0; s < length; s++) sum += weights[s] = exp(weights[s] - most);
    for (size_t s = 0; s < length; s++) weights[s] /= sum;
    for (size_t s = length; s < a->steps; s++) weights[s] = 0;
}

static void plain_context(const crnn_attention *a, size_t row, const double *weights,
                          double *context) {
    const double *values = (const double *)a->values + row * a->steps * a->value_size;
    for (size_t c = 0; c < a->value_size; c++) {
        context[c] = 0;
        for (size_t s = 0; s < source_length(a, row); s++)
            context[c] += weights[s] * values[s * a->value_size + c];
    }
}

/* Of step s: the gradient of its score to its key, to the query and to v. */
static void plain_score_back(const crnn_attention *a, const double *key, const double *query,
                             double d, double *dkey, double *dquery, double *dv) {
    const double *v = a->v;
    for (size_t k = 0; k < a->key_size; k++) {
        const double y = tanh(key[k] + query[k]), slope = v ? d * v[k] * (1 - y * y) : 0;
        dkey[k] += v ? slope : d * query[k];
        dquery[k] += v ? slope : d * key[k];
        if (v) dv[k] += d * y;
    }
}

static void plain_back(const inputs *in, size_t row, size_t query, const outcome *o) {
    const crnn_attention *a = &in->a;
    const size_t at = row * a->queries + query, A = a->key_size, C = a->value_size;
    const double *weights = (const double *)o->weights + at * a->steps;
    const double *dcontext = (const double *)in->dcontext + at * C;
    double mean = 0, d[256];
    for (size_t s = 0; s < source_length(a, row); s++) {
        const size_t source = row * a->steps + s;
        d[s] = 0;
        for (size_t c = 0; c < C; c++) {
            d[s] += dcontext[c] * ((const double *)a->values)[source * C + c];
            ((double *)o->dvalues)[source * C + c] += weights[s] * dcontext[c];
        }
        mean += weights[s] * d[s];
    }
    for (size_t s = 0; s < source_length(a, row); s++) {
        const size_t source = row * a->steps + s;
        plain_score_back(a, (const double *)a->keys + source * A,
                         (const double *)in->queries + at * A, weights[s] * (d[s] - mean),
                         (double *)o->dkeys + source * A, (double *)o->dqueries + at * A, o->dv);
    }
}

/* `in` is in double. */
static outcome solve_plainly(const inputs *in) {
    const crnn_attention *a = &in->a;
    const outcome o = new_outcome(a);
    void *data;
    for (size_t i = 0; i < OUTPUTS - 1; i++) {
        const size_t count = output_of(a, &o, i, &data);
        memset(data, 0, count * sizeof(double));
    }
    for (size_t row = 0; row < a->batch; row++) {
        for (size_t q = 0; q < query_length(a, row); q++) {
            const size_t at = row * a->queries + q;
            double *weights = (double *)o.weights + at * a->steps;
            plain_weights(a, row, (const double *)in->queries + at * a->key_size, weights);
            plain_context(a, row, weights, (double *)o.context + at * a->value_size);
            plain_back(in, row, q, &o);
        }
    }
    return o;
}

/* ---- the loops against finite differences */

/* The sum of dcontext * context over a row. */
static double plain_loss(const inputs *in, size_t row) {
    const crnn_attention *a = &in->a;
    double loss = 0, weights[256], context[256];
    for (size_t q = 0; q < query_length(a, row); q++) {
        const size_t at = row * a->queries + q;
        plain_weights(a, row, (const double *)in->queries + at * a->key_size, weights);
        plain_context(a, row, weights, context);
        for (size_t c = 0; c < a->value_size; c++)
            loss += context[c] * ((const double *)in->dcontext)[at * a->value_size + c];
    }
    return loss;
}

static double difference(const inputs *in, size_t first_row, size_t last_row, double *x) {
    const double step = 1e-5, here = *x;
    double up = 0, down = 0;
    *x = here + step;
    for (size_t row = first_row; row <= last_row; row++) up += plain_loss(in, row);
    *x = here - step;
    for (size_t row = first_row; row <= last_row; row++) down += plain_loss(in, row);
    *x = here;
    return (up - down) / (2 * step);
}

/* d [count] is the derivative by x [count], of which each row has its part; what is NaN is not
 * there, and its gradient 0. `before` is what d held at first, or NULL. */
static void check_differences(const inputs *in, const char *what, size_t count, const void *x_,
                              const double *d, const double *before) {
    const size_t rows = before ? 1 : in->a.batch;
    double *x = (double *)x_, worst = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t row = i / (count / rows);
        const double expected =
            isnan(x[i]) ? 0 : difference(in, row, before ? in->a.batch - 1 : row, &x[i]);
        worst = fmax(worst, fabs(d[i] - (before ? before[i] : 0) - expected));
    }
    CHECK(worst < 1e-8, "%s, additive %d: %g", what, in->a.v != NULL, worst);
}

static void check_plain_loops(bool additive) {
    const crnn_attention a = {
        .dtype = CRNN_F64, .batch = 6, .queries = 3, .steps = 5, .key_size = 4, .value_size = 3};
    const size_t mark = fences_used;
    const inputs in = new_inputs(a, additive, 1);
    const outcome o = solve_plainly(&in), before = new_outcome(&in.a);
    check_differences(&in, "dqueries", 6 * 3 * 4, in.queries, o.dqueries, NULL);
    check_differences(&in, "dkeys", 6 * 5 * 4, in.a.keys, o.dkeys, NULL);
    check_differences(&in, "dvalues", 6 * 5 * 3, in.a.values, o.dvalues, NULL);
    if (additive) check_differences(&in, "dv", 4, in.a.v, o.dv, before.dv);
    fences_release(mark);
}

/* ---- the library against the loops */

/* The same numbers in double. */
static void *widened(crnn_dtype dtype, size_t n, const void *p) {
    double *wide = fenced(n * sizeof *wide);
    for (size_t i = 0; p && i < n; i++) wide[i] = real_at(dtype, p, i);
    return wide;
}

static inputs widened_inputs(const inputs *in) {
    const crnn_attention *a = &in->a;
    const size_t B = a->batch, A = a->key_size, C = a->value_size;
    inputs wide = *in;
    wide.a.dtype = CRNN_F64;
    wide.a.keys = widened(a->dtype, B * a->steps * A, a->keys);
    wide.a.values = widened(a->dtype, B * a->steps * C, a->values);
    wide.a.v = a->v ? widened(a->dtype, A, a->v) : NULL;
    wide.queries = widened(a->dtype, B * a->queries * A, in->queries);
    wide.dcontext = widened(a->dtype, B * a->queries * C, in->dcontext);
    return wide;
}

static void check_values(const crnn_kernels *k, const inputs *in, double tolerance) {
    const crnn_attention *a = &in->a;
    const inputs wide = widened_inputs(in);
    const outcome o = solve(in), expected = solve_plainly(&wide);
    for (size_t i = 0; i < OUTPUTS; i++) {
        void *got, *wanted;
        const size_t count = output_of(a, &o, i, &got);
        output_of(a, &expected, i, &wanted);
        const double error = distance(CRNN_F64, count, widened(a->dtype, count, got), wanted);
        CHECK(error < tolerance, "%s %s: %s, additive %d, T_s %zu, A %zu, C %zu: %g", WHERE(k),
              output_name[i], a->v != NULL, a->steps, a->key_size, a->value_size, error);
    }
}

static void check_same(const crnn_kernels *k, const char *what, size_t count, const void *a,
                       const void *b) {
    CHECK(memcmp(a, b, count * crnn_dtype_size(k->dtype)) == 0, "%s %s: %s, %zu numbers", WHERE(k),
          what, count);
}

/* ---- a row without the others and without padding */

static const char *part_of(const crnn_attention *a, const void *p, size_t element) {
    return (const char *)p + element * crnn_dtype_size(a->dtype);
}

static void check_row_alone(const crnn_kernels *k, const inputs *in, const outcome *all,
                            size_t row) {
    const crnn_attention *a = &in->a;
    const size_t Q = a->queries, T = a->steps, A = a->key_size, C = a->value_size;
    const size_t n = query_length(a, row), length = source_length(a, row);
    inputs own = *in;
    own.a.batch = 1;
    own.a.queries = n;
    own.a.steps = length;
    own.a.lengths = own.a.query_lengths = NULL;
    own.a.keys = part_of(a, a->keys, row * T * A);
    own.a.values = part_of(a, a->values, row * T * C);
    own.queries = (void *)part_of(a, in->queries, row * Q * A);
    own.dcontext = (void *)part_of(a, in->dcontext, row * Q * C);
    const outcome o = solve(&own);
    for (size_t q = 0; q < n; q++)
        check_same(k, "weights of a row alone", length, part_of(a, o.weights, q * length),
                   part_of(a, all->weights, (row * Q + q) * T));
    check_same(k, "context of a row alone", n * C, o.context,
               part_of(a, all->context, row * Q * C));
    check_same(k, "dqueries of a row alone", n * A, o.dqueries,
               part_of(a, all->dqueries, row * Q * A));
    check_same(k, "dkeys of a row alone", length * A, o.dkeys, part_of(a, all->dkeys, row * T * A));
    check_same(k, "dvalues of a row alone", length * C, o.dvalues,
               part_of(a, all->dvalues, row * T * C));
}

/* ---- the kernels, query by query, as a decoder uses them, with all rows of a step side by side */

static void check_steps(const crnn_kernels *k, const inputs *in, const outcome *all, size_t row) {
    const crnn_attention *a = &in->a;
    const size_t item = crnn_dtype_size(a->dtype), B = a->batch, Q = a->queries, T = a->steps,
                 A = a->key_size, C = a->value_size, n = query_length(a, row);
    char *weights = fenced(Q * B * T * item), *dcontext = fenced(Q * B * C * item);
    char *context = fenced(C * item), *dquery = fenced(A * item), *dvalues = fenced(T * C * item);
    const core_attend_grads to = {fenced(T * item), dquery, fenced(T * A * item),
                                  a->v ? fenced(A * item) : NULL};
    const crnn_seq weights_seq = {weights, (ptrdiff_t)T, (ptrdiff_t)(B * T)};
    const crnn_seq dcontext_seq = {dcontext, (ptrdiff_t)C, (ptrdiff_t)(B * C)};
    memset(to.dkeys, 0, T * A * item);
    memset(dvalues, 0, T * C * item);
    if (a->v) memset(to.dv, 0, A * item);
    for (size_t q = 0; q < n; q++) {
        const size_t at = row * Q + q;
        char *now = crnn_seq_at(&weights_seq, row, q, item);
        memcpy(crnn_seq_at(&dcontext_seq, row, q, item), part_of(a, in->dcontext, at * C),
               C * item);
        k->attend(a, row, part_of(a, in->queries, at * A), now, context);
        check_same(k, "weights of a step", T, now, part_of(a, all->weights, at * T));
        check_same(k, "context of a step", C, context, part_of(a, all->context, at * C));
    }
    for (size_t q = n; q-- > 0;) {
        const size_t at = row * Q + q;
        k->attend_back(a, row, part_of(a, in->queries, at * A),
                       crnn_seq_at(&weights_seq, row, q, item),
                       crnn_seq_at(&dcontext_seq, row, q, item), &to);
        check_same(k, "dquery of a step", A, dquery, part_of(a, all->dqueries, at * A));
    }
    k->attend_values_back(a, row, n, &weights_seq, &dcontext_seq, dvalues);
    check_same(k, "dkeys of steps", T * A, to.dkeys, part_of(a, all->dkeys, row * T * A));
    check_same(k, "dvalues of steps", T * C, dvalues, part_of(a, all->dvalues, row * T * C));
}

/* ---- all of it, at sizes around a vector */

static void check_problem(const crnn_kernels *k, crnn_attention a, bool additive, double scale,
                          double tolerance) {
    const size_t mark = fences_used;
    a.dtype = k->dtype;
    const inputs in = new_inputs(a, additive, scale);
    check_values(k, &in, tolerance);
    const outcome all = solve(&in);
    for (size_t row = 0; row < a.batch; row++) {
        const size_t inner = fences_used;
        check_row_alone(k, &in, &all, row);
        check_steps(k, &in, &all, row);
        fences_release(inner);
    }
    fences_release(mark);
}

static void check_sizes(const crnn_kernels *k) {
    const size_t V = k->width, around[] = {1, V > 1 ? V - 1 : 2, V, V + 1, 2 * V, 3 * V + 2};
    const size_t steps[] = {1, 3, 4, 9, V, 2 * V + 1};
    enum { SIZES = sizeof around / sizeof *around, COUNTS = sizeof steps / sizeof *steps };
    const double tolerance = k->dtype == CRNN_F64 ? 1e-13 : 1e-5;
    for (size_t i = 0; i < SIZES; i++)
        for (size_t j = 0; j < COUNTS; j++)
            for (int additive = 0; additive < 2; additive++)
                check_problem(k,
                              (crnn_attention){.batch = steps[j] + 2,
                                               .queries = 1 + (i + j) % 3,
                                               .steps = steps[j],
                                               .key_size = around[i],
                                               .value_size = around[(i + j) % SIZES]},
                              additive, 1, tolerance);
}

/* Scores so far apart that one weight is 1, and tanh at its ends: nothing overflows. */
static void check_extremes(const crnn_kernels *k) {
    const crnn_attention a = {
        .batch = 8, .queries = 2, .steps = 7, .key_size = k->width + 3, .value_size = 5};
    check_problem(k, a, true, 300, k->dtype == CRNN_F64 ? 1e-12 : 1e-4);
    check_problem(k, a, false, 1e4, k->dtype == CRNN_F64 ? 1e-10 : 1e-2);
}

/* ---- threads, and rows that have all their steps */

static void check_threads(const crnn_kernels *k, bool additive) {
    const crnn_attention a = {.dtype = k->dtype,
                              .batch = 50,
                              .queries = additive ? 5 : 40,
                              .steps = 49,
                              .key_size = 33,
                              .value_size = 35};
    const size_t mark = fences_used;
    const inputs in = new_inputs(a, additive, 1);
    crnn_set_threads(1);
    const outcome one = solve(&in);
    for (size_t threads = 2; threads <= 3; threads++) {
        crnn_set_threads(threads);
        const outcome many = solve(&in);
        for (size_t i = 0; i < OUTPUTS; i++) {
            void *got, *wanted;
            const size_t count = output_of(&in.a, &many, i, &got);
            output_of(&in.a, &one, i, &wanted);
            check_same(k, output_name[i], count, got, wanted);
        }
    }
    crnn_set_threads(1);
    fences_release(mark);
}

static void check_no_lengths(const crnn_kernels *k) {
    const crnn_attention a = {
        .dtype = k->dtype, .batch = 1, .queries = 3, .steps = 6, .key_size = 5, .value_size = 4};
    const size_t mark = fences_used;
    inputs in = new_inputs(a, true, 1); /* row 0 has all its steps and queries */
    const outcome given = solve(&in);
    in.a.lengths = in.a.query_lengths = NULL;
    const outcome without = solve(&in);
    for (size_t i = 0; i < OUTPUTS; i++) {
        void *got, *wanted;
        const size_t count = output_of(&in.a, &without, i, &got);
        output_of(&in.a, &given, i, &wanted);
        check_same(k, output_name[i], count, got, wanted);
    }
    fences_release(mark);
}

/* No rows, no queries or no steps: gradients are 0, and dv stays as it is. */
static void check_nothing(const crnn_kernels *k) {
    const size_t empty[3][3] = {{0, 2, 3}, {2, 0, 3}, {2, 3, 0}};
    for (size_t i = 0; i < 3; i++)
        check_problem(k,
                      (crnn_attention){.batch = empty[i][0],
                                       .queries = empty[i][1],
                                       .steps = empty[i][2],
                                       .key_size = 3,
                                       .value_size = 2},
                      true, 1, 1e-7);
}

static void check_overflow(void) {
    const crnn_attention a = {.dtype = CRNN_F64,
                              .batch = SIZE_MAX / 16,
                              .queries = 1,
                              .steps = 3,
                              .key_size = 1,
                              .value_size = 1};
    size_t bytes;
    CHECK(crnn_attention_workspace(&a, &bytes) == CRNN_OVERFLOW, "too many rows");
}

int main(void) {
    check_deadline(120);
    check_plain_loops(true);
    check_plain_loops(false);
    check_overflow();
    for (int d = 0; d < CRNN_DTYPES; d++) {
        const crnn_kernels *k;
        for (size_t i = 0; (k = table_at(i, (crnn_dtype)d)); i++) {
            crnn_isa_select(k->isa);
            crnn_set_threads(1);
            check_sizes(k);
            check_extremes(k);
            check_nothing(k);
            check_no_lengths(k);
            check_threads(k, true);
            check_threads(k, false);
        }
    }
    return check_done();
}
