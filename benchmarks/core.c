/* The C core alone: what the processor can do, and how near the kernels come.
 *
 *   core                everything below, as a table
 *   core peak [ISA]     multiply-adds at most, GF/s of one core in float: only the number
 *   core kernels        the kernels around the product, on one core: a line each, us
 *
 * Built by `make -C csrc bench`. Run it on a quiet core: taskset -c 0 csrc/build/bench.
 * benchmarks/alternate.py compares the kernels of two builds. */
#define _POSIX_C_SOURCE 199309L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *memory(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p) exit(2);
    memset(p, 0, bytes);
    return p;
}

/* The least time that work(context) takes, over `seconds`, after one call that is not counted. */
static double fastest(double seconds, void (*work)(void *), void *context) {
    double best = 1e9;
    work(context);
    for (double end = now() + seconds, start; (start = now()) < end;) {
        work(context);
        const double took = now() - start;
        if (took < best) best = took;
    }
    return best;
}

/* ---- the peak: chains of multiply-adds that wait for nothing but the units */

enum { CHAINS = 12, LINKS = 4096 };

#if defined(__x86_64__)
#include <immintrin.h>
#define PEAK(name, vec, isa, set1, fma, store) \
    __attribute__((target(isa))) static void name(void *sink) { \
        vec sum[CHAINS], a = set1(0.5f), b = set1(0.25f); \
        for (int c = 0; c < CHAINS; c++) sum[c] = set1((float)c); \
        for (int i = 0; i < LINKS; i++) { \
            _Pragma("GCC unroll 12") for (int c = 0; c < CHAINS; c++) sum[c] = fma(a, sum[c], b); \
        } \
        for (int c = 0; c < CHAINS; c++) store((float *)sink + 16 * c, sum[c]); \
    }
PEAK(peak_avx512, __m512, "avx512f", _mm512_set1_ps, _mm512_fmadd_ps, _mm512_storeu_ps)
PEAK(peak_avx2, __m256, "avx2,fma", _mm256_set1_ps, _mm256_fmadd_ps, _mm256_storeu_ps)
#endif

typedef struct peak_row {
    const char *isa;
    void (*run)(void *);
    double lanes;
} peak_row;

static const peak_row peaks[] = {
#if defined(__x86_64__)
    {"avx512", peak_avx512, 16},
    {"avx2", peak_avx2, 8},
#endif
    {NULL, NULL, 0},
};

/* GF/s, 0 where it is not known how. */
static double peak(const char *isa, double seconds) {
    static float sink[16 * CHAINS];
    for (const peak_row *row = peaks; row->isa; row++)
        if (strcmp(row->isa, isa) == 0)
            return 2e-9 * row->lanes * CHAINS * LINKS / fastest(seconds, row->run, sink);
    return 0;
}

/* ---- reading: what bounds the products of few rows */

typedef struct block {
    size_t bytes;
    const uint64_t *words;
} block;

static void read_block(void *context) {
    const block *b = context;
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < b->bytes / sizeof *b->words; i += 8)
        for (size_t k = 0; k < 8; k++) sum[k] |= b->words[i + k];
    __asm__ volatile("" : : "r"(sum) : "memory");
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static void read_block_avx512(void *context) {
    const block *b = context;
    __m512i sum = _mm512_setzero_si512();
    for (const char *p = (const char *)b->words, *end = p + b->bytes; p < end; p += 256)
        for (int k = 0; k < 4; k++) sum = _mm512_or_si512(sum, _mm512_load_si512(p + 64 * k));
    __asm__ volatile("" : : "x"(sum));
}
#endif

static void show_reading(void) {
    void (*read)(void *) = read_block;
#if defined(__x86_64__)
    if (core_kernels_for("avx512", CRNN_F32)) read = read_block_avx512;
#endif
    printf("\nreading, one core: KiB, GB/s\n");
    for (size_t kib = 16; kib <= 65536; kib *= 2) {
        block b = {kib << 10, memory(kib << 10)};
        printf("%8zu %8.1f\n", kib, 1e-9 * (double)b.bytes / fastest(0.1, read, &b));
        free((void *)b.words);
    }
}

/* ---- the matrix product */

typedef struct product {
    const crnn_kernels *k;
    core_matrix matrix;
    const void *a;
    void *c;
    size_t n;
} product;

static void run_product(void *context) {
    const product *p = context;
    core_multiply(p->k, &p->matrix, p->a, NULL, p->c, 0, p->n);
}

static void show_product(const crnn_kernels *k, size_t n, size_t inner, size_t columns) {
    const size_t item = crnn_dtype_size(k->dtype);
    void *packed = memory((columns + 64) * inner * item);
    product p = {k, core_dense_matrix(k, CORE_PACKED, inner, columns, packed),
                 memory(n * inner * item), memory(n * columns * item), n};
    const double rate = 2e-9 * (double)(n * inner * columns) / fastest(0.2, run_product, &p);
    const double most = peak(k->isa, 0.1) / (k->dtype == CRNN_F64 ? 2 : 1);
    printf("%-7s %-6s %5zu x %5zu x %5zu %8.1f GF/s", k->isa,
           k->dtype == CRNN_F64 ? "double" : "float", n, inner, columns, rate);
    printf(most > 0 ? "  %3.0f %% of the peak\n" : "\n", 100 * rate / most);
    free((void *)p.a);
    free(packed);
    free(p.c);
}

/* ---- vector functions */

typedef struct function {
    void (*f)(size_t n, const void *x, void *y);
    size_t n;
    void *x, *y;
} function;

static void run_function(void *context) {
    const function *f = context;
    f->f(f->n, f->x, f->y);
}

static void show_functions(const crnn_kernels *k) {
    enum { N = 2048 };
    const char *names[] = {"exp", "tanh", "logistic"};
    void (*const functions[])(size_t, const void *, void *) = {k->exp, k->tanh, k->logistic};
    void *x = memory(N * sizeof(double)), *y = memory(N * sizeof(double));
    for (size_t i = 0; i < N; i++) {
        const double value = 8.0 * (double)i / N - 4;
        if (k->dtype == CRNN_F64)
            ((double *)x)[i] = value;
        else
            ((float *)x)[i] = (float)value;
    }
    for (int i = 0; i < 3; i++) {
        function f = {functions[i], N, x, y};
        printf("%-7s %-6s %-8s %7.3f ns\n", k->isa, k->dtype == CRNN_F64 ? "double" : "float",
               names[i], 1e9 * fastest(0.1, run_function, &f) / N);
    }
    free(x);
    free(y);
}

/* ---- the kernels around the product: optimizer step, loss, packing, a layer's two passes */

typedef struct elements {
    const crnn_kernels *k;
    size_t rows, columns;
    void *buffer[4]; /* [rows][columns] each */
    int64_t *targets;
    double *losses;
} elements;

static void run_adam(void *context) {
    const elements *e = context;
    const crnn_optim_step step = {.dtype = e->k->dtype,
                                  .n = e->rows * e->columns,
                                  .scale = 1,
                                  .p = e->buffer[0],
                                  .g = e->buffer[1],
                                  .lr = 1e-3};
    e->k->adam(&step, (core_range){0, step.n}, 0.9, 0.999, 1e-8, 1, e->buffer[2], e->buffer[3]);
}

static void run_sgd(void *context) {
    const elements *e = context;
    const crnn_optim_step step = {.dtype = e->k->dtype,
                                  .n = e->rows * e->columns,
                                  .scale = 1,
                                  .p = e->buffer[0],
                                  .g = e->buffer[1],
                                  .lr = 1e-3};
    e->k->sgd(&step, (core_range){0, step.n}, 0.9, e->buffer[2]);
}

static void run_cross_entropy(void *context) {
    const elements *e = context;
    e->k->cross_entropy(e->rows, e->columns, e->buffer[0], e->targets, 1, e->buffer[1], e->losses);
}

static void run_add_rows(void *context) {
    const elements *e = context;
    e->k->add_rows(e->rows, e->columns, e->columns, NULL, e->buffer[0], e->buffer[1]);
}

static void run_pack(void *context) {
    const elements *e = context;
    core_pack_dense(e->k, CORE_PACKED, e->rows, e->columns, e->buffer[0], e->buffer[1],
                    &core_alone);
}

static void show_time(const crnn_kernels *k, const char *name, double seconds) {
    printf("%-7s %-6s %-28s %10.2f us\n", k->isa, k->dtype == CRNN_F64 ? "double" : "float", name,
           1e6 * seconds);
}

static void show_elements(const crnn_kernels *k, const char *name, void (*work)(void *),
                          size_t rows, size_t columns) {
    elements e = {.k = k, .rows = rows, .columns = columns};
    e.targets = memory(rows * sizeof *e.targets);
    e.losses = memory(rows * sizeof *e.losses);
    for (int i = 0; i < 4; i++) e.buffer[i] = memory((rows + 64) * (columns + 64) * sizeof(double));
    show_time(k, name, fastest(0.1, work, &e));
    for (int i = 0; i < 4; i++) free(e.buffer[i]);
    free(e.targets);
    free(e.losses);
}

typedef struct layer_run {
    crnn_forward_args forward;
    crnn_backward_args backward;
} layer_run;

static void run_forward(void *context) { crnn_forward(&((layer_run *)context)->forward); }
static void run_backward(void *context) { crnn_backward(&((layer_run *)context)->backward); }

static crnn_seq sequence(size_t batch, size_t steps, size_t features) {
    return (crnn_seq){memory(batch * steps * features * sizeof(double)),
                      (ptrdiff_t)(steps * features), (ptrdiff_t)features};
}

/* Both passes over a layer: I = H, random weights do not matter to the time. */
static void show_layer(const crnn_kernels *k, const char *names[2], crnn_cell cell, size_t batch,
                       size_t steps, size_t hidden) {
    const crnn_layer layer = {
        .cell = cell, .dtype = k->dtype, .inputs = hidden, .hidden = hidden, .bias = true};
    const crnn_steps given = {.batch = batch, .steps = steps};
    crnn_layout at;
    crnn_rows rows;
    size_t words = 0, bytes = 0;
    crnn_layer_layout(&layer, &at);
    crnn_rows_size(&given, &words);
    size_t *const indices = memory(words * sizeof *indices);
    crnn_rows_init(&rows, indices, &given);
    crnn_tape_size(&layer, k, &rows, &bytes);
    crnn_tape tape = {.memory = memory(bytes)};
    void *params = memory(at.total * sizeof(double)), *grads = memory(at.total * sizeof(double));
    const crnn_input in = {.x = sequence(batch, steps, hidden)};
    layer_run run = {.forward = {.layer = &layer,
                                 .kernels = k,
                                 .rows = &rows,
                                 .params = params,
                                 .in = in,
                                 .y = sequence(batch, steps, hidden),
                                 .tape = &tape},
                     .backward = {.layer = &layer,
                                  .rows = &rows,
                                  .tape = &tape,
                                  .params = params,
                                  .in = in,
                                  .dy = sequence(batch, steps, hidden),
                                  .dx = sequence(batch, steps, hidden),
                                  .grads = grads}};
    crnn_forward_workspace(&run.forward, &bytes);
    run.forward.workspace = memory(bytes);
    show_time(k, names[0], fastest(0.2, run_forward, &run));
    crnn_backward_workspace(&run.backward, &bytes);
    run.backward.workspace = memory(bytes);
    show_time(k, names[1], fastest(0.2, run_backward, &run));
    free(run.forward.y.data);
    free(run.backward.dy.data);
    free(run.backward.dx.data);
    free(run.forward.workspace);
    free(run.backward.workspace);
    free(in.x.data);
    free(tape.memory);
    free(indices);
    free(params);
    free(grads);
}

static void show_kernels(const crnn_kernels *k) {
    show_elements(k, "adam 16384", run_adam, 128, 128);
    show_elements(k, "adam 16381", run_adam, 1, 16381);
    show_elements(k, "sgd 16384", run_sgd, 128, 128);
    show_elements(k, "cross-entropy 64 x 64", run_cross_entropy, 64, 64);
    show_elements(k, "cross-entropy 64 x 1000", run_cross_entropy, 64, 1000);
    show_elements(k, "bias gradient 256 x 256", run_add_rows, 256, 256);
    show_elements(k, "packing 256 x 1024", run_pack, 256, 1024);
    show_elements(k, "packing 256 x 1021", run_pack, 256, 1021);
    show_layer(k, (const char *[2]){"lstm 32x16x128", "lstm 32x16x128 back"}, CRNN_LSTM, 32, 16,
               128);
    show_layer(k, (const char *[2]){"lstm 1x64x128", "lstm 1x64x128 back"}, CRNN_LSTM, 1, 64, 128);
    show_layer(k, (const char *[2]){"lstm 8x1x250", "lstm 8x1x250 back"}, CRNN_LSTM, 8, 1, 250);
    show_layer(k, (const char *[2]){"gru 32x16x128", "gru 32x16x128 back"}, CRNN_GRU_AFTER, 32, 16,
               128);
    show_layer(k, (const char *[2]){"rnn 6x32x100", "rnn 6x32x100 back"}, CRNN_RNN_TANH, 6, 32,
               100);
}

/* On one core, whatever the environment says. */
static void show_all_kernels(void) {
    crnn_set_threads(1);
    for (size_t i = 0; crnn_isa_available(i); i++)
        for (int d = 0; d < CRNN_DTYPES; d++)
            show_kernels(core_kernels_for(crnn_isa_available(i), (crnn_dtype)d));
}

int main(int count, char **arguments) {
    if (count > 1 && strcmp(arguments[1], "kernels") == 0) {
        show_all_kernels();
        return 0;
    }
    if (count > 1 && strcmp(arguments[1], "peak") == 0) {
        printf("%.1f\n", peak(count > 2 ? arguments[2] : crnn_isa_name(), 0.3));
        return 0;
    }
    printf("peak, one core, float: GF/s\n");
    for (const peak_row *row = peaks; row->isa; row++)
        if (core_kernels_for(row->isa, CRNN_F32))
            printf("%8s %8.1f\n", row->isa, peak(row->isa, 0.3));
    show_reading();
    const crnn_kernels *k;
    printf("\nmatrix product, packed: rows x inner x columns\n");
    for (size_t i = 0; crnn_isa_available(i); i++) {
        for (int d = 0; d < CRNN_DTYPES; d++) {
            k = core_kernels_for(crnn_isa_available(i), (crnn_dtype)d);
            static const size_t rows[] = {1, 7, 8, 32, 64, 512};
            for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
                show_product(k, rows[r], 512, 1024);
            show_product(k, 64, 1536, 4096);
        }
    }
    printf("\nvector functions, time for an element\n");
    for (size_t i = 0; crnn_isa_available(i); i++)
        for (int d = 0; d < CRNN_DTYPES; d++)
            show_functions(core_kernels_for(crnn_isa_available(i), (crnn_dtype)d));
    printf("\nkernels around the product\n");
    show_all_kernels();
    return 0;
}
