/* Noise: every table of this machine draws the numbers that crnn.h describes, whatever part of them
 * it is asked for, on however many threads; and they come as often as they should. */
#include "support.h"

#define WHERE(k) (k)->isa, type_name[(k)->dtype]

static crnn_noise some_noise(void) {
    return (crnn_noise){.on = true,
                        .seed = 0xfedcba9876543210,
                        .call = 0x100000007,
                        .first_row = 0xfffffff0,
                        .layer = 2};
}

/* ---- keys and bounds */

/* A key is a function of all four, and nothing else. */
static void check_keys(void) {
    const crnn_noise noise = some_noise();
    const uint32_t seed[2] = {0x76543210, 0xfedcba98};
    for (uint32_t kind = 0; kind <= CRNN_NOISE_SUMS; kind++) {
        const uint32_t counter[4] = {7, 1, 2, kind};
        uint32_t key[2], words[4];
        crnn_noise_key(&noise, (crnn_noise_kind)kind, key);
        crnn_philox(seed, counter, words);
        CHECK(key[0] == words[0] && key[1] == words[1], "kind %u", (unsigned)kind);
    }
}

static void check_below(void) {
    static const struct {
        double p;
        uint32_t below;
    } known[] = {
        {0, 0},
        {0x1p-1074, 0},
        {1e-12, 0},
        {0x1p-33, 0},
        {0x1p-32, 1},
        {0.25, 0x40000000},
        {0.5, 0x80000000},
        {1 - 0x1p-32, 0xffffffff},
        {1 - 0x1p-33, 0xffffffff},
        {1 - 0x1p-53, 0xffffffff},
        {1, 0xffffffff},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        CHECK(crnn_below(known[i].p) == known[i].below, "%g: %u", known[i].p,
              (unsigned)crnn_below(known[i].p));
}

/* ---- one number of a table against the generator */

/* In the table's type. */
static double rounded(const crnn_kernels *k, double x) {
    return k->dtype == CRNN_F64 ? x : (double)(float)x;
}

/* What dropping makes of a factor 1. */
static double factor_of(const crnn_kernels *k, double p, uint32_t number) {
    return number < crnn_below(p) ? 0 : rounded(k, 1 / (1 - p));
}

static const size_t sizes[] = {1, 3, 4, 5, 17, 63, 64, 65, 130, 200};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* Rows of so many steps of a dense array. */
enum { DROP_STEPS = 7 };

static crnn_rowwise dropping(const crnn_kernels *k, crnn_noise noise, size_t size, double p) {
    return (crnn_rowwise){.kind = CRNN_ROWWISE_DROP,
                          .kernels = k,
                          .inputs = 1,
                          .features = {size},
                          .p = p,
                          .noise = noise};
}

static crnn_seq rows_of(const void *data, size_t steps, size_t size) {
    return (crnn_seq){(void *)data, (ptrdiff_t)(steps * size), (ptrdiff_t)size};
}

static bool dropout_is_drawn(const crnn_rowwise *o, size_t n, const void *x, const void *y) {
    const crnn_kernels *k = o->kernels;
    const size_t size = o->features[0];
    for (size_t i = 0; i < n; i++) {
        for (size_t u = 0; u < size; u++) {
            const size_t step = o->variational ? 0 : o->noise.first_step + i % DROP_STEPS;
            const uint32_t number =
                drawn(&o->noise, CRNN_NOISE_INPUT, o->noise.first_row + i / DROP_STEPS, step, u);
            const double expected =
                rounded(k, factor_of(k, o->p, number) * real_at(k->dtype, x, i * size + u));
            if (real_at(k->dtype, y, i * size + u) != expected) return false;
        }
    }
    return true;
}

static void check_dropout(const crnn_kernels *k, size_t n, size_t size, double p) {
    const size_t mark = fences_used, bytes = n * size * crnn_dtype_size(k->dtype);
    const void *x = sampled(k->dtype, 1, n * size);
    void *y = fenced(bytes), *parts = fenced(bytes);
    crnn_rowwise o = dropping(k, some_noise(), size, p);
    const crnn_cells cells = {.n = n, .steps = DROP_STEPS};
    const crnn_rowwise_call whole = {.x = {rows_of(x, DROP_STEPS, size)},
                                     .y = rows_of(y, DROP_STEPS, size)};
    const crnn_rowwise_call back = {.dy = whole.x[0], .dx = {rows_of(parts, DROP_STEPS, size)}};
    o.noise.first_step = 1000003;
    o.variational = n % 2;
    crnn_rowwise_forward(&o, &cells, &whole);
    k->rowwise_back(&o, &cells, n / 3, n, &back);
    k->rowwise_back(&o, &cells, 0, n / 3, &back);
    CHECK(dropout_is_drawn(&o, n, x, y), "%s %s: dropout (%zu, %zu) at %g", WHERE(k), n, size, p);
    CHECK(memcmp(y, parts, bytes) == 0, "%s %s: back, in parts (%zu, %zu)", WHERE(k), n, size);
    fences_release(mark);
}

static void check_dropouts(const crnn_kernels *k) {
    static const double shares[] = {0, 1e-12, 0.3, 0.9, 1 - 0x1p-33};
    crnn_isa_select(k->isa);
    crnn_set_threads(1);
    for (size_t i = 0; i < SIZES; i++)
        for (size_t p = 0; p < sizeof shares / sizeof *shares; p++)
            check_dropout(k, i, sizes[i], shares[p]);
    for (size_t threads = 2; threads <= 3; threads++) {
        crnn_set_threads(threads);
        check_dropout(k, 2000, 200, 0.5); /* worth a team */
    }
    crnn_set_threads(1);
}

/* ---- weights: rows are those of W_h, as they lie; rows of the batch count for nothing */

static void check_weights(const crnn_kernels *k, crnn_cell cell, size_t hidden, size_t projected) {
    const crnn_layer layer = {.cell = cell,
                              .dtype = k->dtype,
                              .inputs = 2,
                              .hidden = hidden,
                              .projected = projected,
                              .weight_drop = 0.4};
    const crnn_noise noise = some_noise();
    const size_t mark = fences_used, P = crnn_width(&layer), item = crnn_dtype_size(k->dtype);
    core_shape s;
    CHECK(core_shape_init(&s, &layer, k) == CRNN_OK, "%s %s", WHERE(k));
    const size_t columns = s.at.columns, count = P * columns;
    const void *w = sampled(k->dtype, 1, count), *before = sampled(k->dtype, 2, count);
    void *dropped = fenced(count * item), *grads = copied(before, count * item);
    bool right = true;
    k->drop_weights(&s, &noise, P / 2, P, w, dropped);
    k->drop_weights(&s, &noise, 0, P / 2, w, dropped);
    k->add_dropped(&s, &noise, 0, P / 3, w, grads);
    k->add_dropped(&s, &noise, P / 3, P, w, grads);
    for (size_t i = 0; i < count; i++) {
        const double factor =
            factor_of(k, 0.4, drawn(&noise, CRNN_NOISE_WEIGHTS, i / columns, 0, i % columns));
        const double scaled = rounded(k, factor * real_at(k->dtype, w, i));
        right = right && real_at(k->dtype, dropped, i) == scaled &&
                real_at(k->dtype, grads, i) == rounded(k, real_at(k->dtype, before, i) + scaled);
    }
    CHECK(right, "%s %s: weights of %zu units, projected %zu", WHERE(k), hidden, projected);
    fences_release(mark);
}

static void check_all_weights(const crnn_kernels *k) {
    for (size_t i = 0; i < SIZES; i++) {
        check_weights(k, CRNN_RNN_TANH, sizes[i], 0);
        check_weights(k, CRNN_LSTM, sizes[i], 0);
        check_weights(k, CRNN_LSTM, sizes[i], 1 + i);
    }
}

/* ---- how often: within four standard deviations, alone and two together */

static bool is_usual(double times, double n, double p) {
    return fabs(times - n * p) <= 4 * sqrt(n * p * (1 - p));
}

enum { ROWS = 40, STEPS = 20, UNITS = 70, NUMBERS = ROWS * STEPS * UNITS };

/* out [NUMBERS]: whether what is drawn for each row, step and unit is dropped. */
static void drop_ones(const crnn_kernels *k, crnn_noise noise, double p, bool *out) {
    const size_t mark = fences_used;
    void *x = fenced(NUMBERS * crnn_dtype_size(k->dtype));
    void *y = fenced(NUMBERS * crnn_dtype_size(k->dtype));
    for (size_t i = 0; i < NUMBERS; i++) real_put(k->dtype, x, i, 1);
    const crnn_rowwise o = dropping(k, noise, UNITS, p);
    const crnn_cells cells = {.n = ROWS * STEPS, .steps = STEPS};
    const crnn_rowwise_call call = {.x = {rows_of(x, STEPS, UNITS)}, .y = rows_of(y, STEPS, UNITS)};
    k->rowwise(&o, &cells, 0, cells.n, &call);
    for (size_t i = 0; i < NUMBERS; i++) out[i] = real_at(k->dtype, y, i) == 0;
    fences_release(mark);
}

/* Both of a pair, the second one `apart` behind the first or in the other array. */
static void check_pairs(const char *what, const bool *a, const bool *b, size_t apart, double p) {
    double both = 0;
    for (size_t i = 0; i + apart < NUMBERS; i++) both += a[i] && b[i + apart];
    CHECK(is_usual(both, (double)(NUMBERS - apart), p * p), "%s at %g: %g of %g", what, p, both,
          (double)(NUMBERS - apart) * p * p);
}

static void check_rates(const crnn_kernels *k) {
    static const double shares[] = {0.01, 0.1, 0.5, 0.8};
    static bool here[NUMBERS], there[NUMBERS];
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        const double p = shares[i];
        crnn_noise other[3] = {some_noise(), some_noise(), some_noise()};
        double times = 0;
        drop_ones(k, some_noise(), p, here);
        for (size_t j = 0; j < NUMBERS; j++) times += here[j];
        CHECK(is_usual(times, NUMBERS, p), "%g: %g times", p, times);
        check_pairs("units", here, here, 1, p);
        check_pairs("steps", here, here, UNITS, p);
        check_pairs("rows", here, here, UNITS * STEPS, p);
        other[0].call++;
        other[1].layer++;
        other[2].seed++;
        for (size_t j = 0; j < 3; j++) {
            drop_ones(k, other[j], p, there);
            check_pairs("another call, layer, seed", here, there, 0, p);
        }
    }
}

int main(void) {
    check_deadline(120);
    check_keys();
    check_below();
    check_rates(table_at(0, CRNN_F32));
    for (int d = 0; d < CRNN_DTYPES; d++) {
        const crnn_kernels *k;
        for (size_t i = 0; (k = table_at(i, (crnn_dtype)d)); i++) {
            check_dropouts(k);
            check_all_weights(k);
        }
    }
    return check_done();
}
