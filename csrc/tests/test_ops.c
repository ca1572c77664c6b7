/* Dense maps, losses, optimizer steps and embeddings have the same bits for every number of
 * threads, in the floating-point mode of the caller, with numbers too small for a normal number
 * among them.
 */
#include "check.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels.h"

enum { ROWS = 150, CLASSES = 1000, SIZE = ROWS * CLASSES, WIDE = 1700, ELEMENTS = 700000 };

/* ---- data: every fifth number is tiny */

static float *numbers(size_t count, unsigned seed) {
    float *to = check_memory(count * sizeof *to);
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        const float value = (float)(seed >> 8) / (float)(1 << 23) - 1;
        to[i] = i % 5 == 3 ? value * FLT_MIN : value;
    }
    return to;
}

/* What a job computes; copies of the first buffers are changed in place. */
typedef struct job {
    const char *name;
    double (*run)(float *const *b); /* b [4] */
    size_t count[4];                /* of each buffer */
} job;

/* The class of each row, below 0 where the row has none. */
static int64_t targets[ROWS * 50];
/* The row of the table for each symbol. */
static int64_t symbols[ROWS * 8];

static double cross_entropy(float *const *b) {
    return crnn_cross_entropy(CRNN_F32, ROWS, CLASSES, b[0], targets, 1e-37, b[1]);
}

/* More rows than are shared out at a time. */
static double long_cross_entropy(float *const *b) {
    return crnn_cross_entropy(CRNN_F32, ROWS * 50, 60, b[0], targets, 0.5, b[1]);
}

/* More rows than are shared out at a time, with weights of some. b: logits, dlogits, targets */
static double label_losses(float *const *b) {
    static double weights[ROWS * 50];
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) weights[i] = (double)(i % 4);
    for (size_t i = 0; i < ROWS * 50 * 60; i++) b[2][i] = (float)(i % 5) / 4;
    const crnn_labels l = {CRNN_F32, ROWS * 50, 60, b[0], b[2], b[2], weights};
    return crnn_binary_cross_entropy(&l, 1e-3, b[1]);
}

static crnn_optim_step optim_step(float *const *b) {
    return (crnn_optim_step){.dtype = CRNN_F32,
                             .n = ELEMENTS,
                             .scale = 0.7,
                             .p = b[0],
                             .g = b[1],
                             .lr = 0.1,
                             .weight_decay = 0.01};
}

static double sgd(float *const *b) {
    const crnn_optim_step s = optim_step(b);
    crnn_sgd(&s, 0.9, b[2]);
    return 0;
}

static double rmsprop(float *const *b) {
    const crnn_optim_step s = optim_step(b);
    crnn_rmsprop(&s, 0.9, 1e-8, b[2]);
    return 0;
}

static double adam(float *const *b) {
    const crnn_optim_step s = optim_step(b);
    crnn_adam(&s, 0.9, 0.999, 1e-8, 3, b[2], b[3]);
    return 0;
}

static double embedding(float *const *b) {
    crnn_embedding_backward(CRNN_F32, ROWS * 8, WIDE, symbols, b[0], b[1]);
    return 0;
}

static crnn_dense dense_map(void) {
    return (crnn_dense){
        .kernels = crnn_kernels_now(CRNN_F32), .n = ROWS, .inputs = 70, .outputs = WIDE};
}

static void *dense_memory(const crnn_dense *dense) {
    size_t bytes = 0;
    CHECK(crnn_dense_workspace(dense, &bytes) == CRNN_OK, "workspace");
    return check_memory(bytes);
}

/* b: x, W, [b | y], unused */
static double dense_forward(float *const *b) {
    const crnn_dense dense = dense_map();
    crnn_dense_forward(&dense, b[0], b[1], b[2], b[2] + WIDE, dense_memory(&dense));
    return 0;
}

/* b: x, W, dy, [dW | db | dx] */
static double dense_backward(float *const *b) {
    const crnn_dense dense = dense_map();
    float *dw = b[3], *db = dw + 70 * WIDE, *dx = db + WIDE;
    crnn_dense_backward(&dense, b[0], b[1], b[2], dw, db, dx, dense_memory(&dense));
    return 0;
}

static const job jobs[] = {
    {"cross-entropy", cross_entropy, {SIZE, SIZE}},
    {"cross-entropy of many rows", long_cross_entropy, {ROWS * 50 * 60, ROWS * 50 * 60}},
    {"labels of many rows", label_losses, {ROWS * 50 * 60, ROWS * 50 * 60, ROWS * 50 * 60}},
    {"SGD", sgd, {2 * ELEMENTS, ELEMENTS, ELEMENTS}},
    {"RMSprop", rmsprop, {ELEMENTS, ELEMENTS, ELEMENTS}},
    {"Adam", adam, {ELEMENTS, ELEMENTS, ELEMENTS, ELEMENTS}},
    {"embedding", embedding, {ROWS * 8 * WIDE, 40 * WIDE}},
    {"dense forward", dense_forward, {ROWS * 70, 70 * WIDE, WIDE + ROWS * WIDE}},
    {"dense backward", dense_backward, {ROWS * 70, 70 * WIDE, ROWS * WIDE, 71 * WIDE + ROWS * 70}},
};

/* ---- bits */

typedef struct outcome {
    double value;
    float *buffer[4];
} outcome;

static outcome run_on(const job *j, size_t threads) {
    outcome got;
    crnn_set_threads(threads);
    for (size_t i = 0; i < 4; i++) got.buffer[i] = numbers(j->count[i], (unsigned)i + 1);
    got.value = j->run(got.buffer);
    return got;
}

static bool same_bits(const job *j, const outcome *a, const outcome *b) {
    bool same = memcmp(&a->value, &b->value, sizeof a->value) == 0;
    for (size_t i = 0; i < 4; i++)
        same = same && memcmp(a->buffer[i], b->buffer[i], j->count[i] * sizeof(float)) == 0;
    return same;
}

static bool has_subnormal(const outcome *a, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (fpclassify(a->buffer[1][i]) == FP_SUBNORMAL) return true;
    return false;
}

/* The first job in a team of kernels leaves its members in their mode. */
static void check_jobs(const char *isa) {
    for (size_t i = sizeof jobs / sizeof *jobs; i-- > 0;) {
        const outcome alone = run_on(&jobs[i], 1);
        for (size_t threads = 2; threads <= 5; threads += 3) {
            const outcome shared = run_on(&jobs[i], threads);
            CHECK(same_bits(&jobs[i], &alone, &shared), "%s: %s on %zu threads", isa, jobs[i].name,
                  threads);
        }
    }
    const outcome gradient = run_on(&jobs[0], 3);
    CHECK(has_subnormal(&gradient, SIZE), "%s: numbers below the normal ones are lost", isa);
}

int main(void) {
    check_deadline(120);
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        targets[i] = i % 7 == 6 ? -1 : (int64_t)(i * 11 % 60);
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
        symbols[i] = (int64_t)(i * i % 40);
    const char *isa;
    for (size_t i = 0; (isa = crnn_isa_available(i)); i++) {
        CHECK(crnn_isa_select(isa), "%s", isa);
        check_jobs(isa);
    }
    return check_done();
}
