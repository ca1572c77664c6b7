/* What stands around recurrent layers: dense maps, losses, optimizer steps. One call asks for the
 * kernels once, or its caller did; products are shared out among threads by rows. */
#include "kernels.h"

crnn_status crnn_dense_workspace(const crnn_dense *dense, size_t *bytes) {
    const crnn_kernels *k = dense->kernels;
    const size_t item = crnn_dtype_size(k->dtype), most = TILE_VECS * k->width;
    size_t padded_in, padded_out;
    if (!crnn_size_add(dense->inputs, most, &padded_in) ||
        !crnn_size_add(dense->outputs, most, &padded_out))
        return CRNN_OVERFLOW;
    core_measure m = {.fits = true};
    core_measure_add(&m, padded_in, padded_out, item);    /* packed weights, either way round */
    core_measure_add(&m, padded_in, k->block_rows, item); /* a block of x */
    *bytes = m.bytes;
    return m.fits ? CRNN_OK : CRNN_OVERFLOW;
}

static double dense_work(const crnn_dense *d) {
    return (double)d->n * (double)d->inputs * (double)d->outputs;
}

typedef struct multiply_job {
    const crnn_kernels *kernels;
    core_matrix matrix;
    const void *a, *init;
    void *c;
    size_t n;
} multiply_job;

static void multiply_part(void *context, const core_member *me) {
    const multiply_job *job = context;
    const core_range own = core_share(job->n, me);
    core_multiply(job->kernels, &job->matrix, job->a, job->init, job->c, own.from, own.to);
}

static void multiply(const crnn_dense *dense, const core_matrix *matrix, const void *a,
                     const void *init, void *c) {
    multiply_job job = {dense->kernels, *matrix, a, init, c, dense->n};
    core_in_team(dense_work(dense), dense->n, multiply_part, &job);
}

void crnn_dense_forward(const crnn_dense *dense, const void *x, const void *w, const void *b,
                        void *y, void *workspace) {
    const core_matrix matrix =
        core_pack_dense(dense->kernels, CORE_PACKED, dense->inputs, dense->outputs, w, workspace);
    multiply(dense, &matrix, x, b, y);
}

typedef struct outer_job {
    const crnn_kernels *kernels;
    core_outer outer;
} outer_job;

static void outer_part(void *context, const core_member *me) {
    const outer_job *job = context;
    job->kernels->outer(&job->outer, me);
}

void crnn_dense_backward(const crnn_dense *dense, const void *x, const void *w, const void *dy,
                         void *dw, void *db, void *dx, void *workspace) {
    const crnn_kernels *k = dense->kernels;
    const core_matrix matrix = core_dense_matrix(k, CORE_DIRECT, dense->inputs, dense->outputs, dw);
    const core_factor factor = {.matrix = &matrix, .rows = core_rows_at(x, dense->inputs)};
    outer_job job = {k,
                     {.n = dense->n,
                      .factor = &factor,
                      .d = core_rows_at(dy, dense->outputs),
                      .scratch = workspace}};
    core_in_team(dense_work(dense), dense->inputs, outer_part, &job);
    if (db) k->add_rows(dense->n, dense->outputs, NULL, dy, db);
    if (!dx) return;
    const core_matrix turned =
        core_pack_dense(k, CORE_TURNED, dense->outputs, dense->inputs, w, workspace);
    multiply(dense, &turned, dy, NULL, dx);
}

void crnn_embedding_backward(crnn_dtype dtype, size_t n, size_t size, const int64_t *symbols,
                             const void *dy, void *dtable) {
    crnn_kernels_now(dtype)->add_rows(n, size, symbols, dy, dtable);
}

double crnn_cross_entropy(crnn_dtype dtype, size_t n, size_t classes, const void *logits,
                          const int64_t *targets, double scale, void *dlogits) {
    return crnn_kernels_now(dtype)->cross_entropy(n, classes, logits, targets, scale, dlogits);
}

double crnn_squared_error(crnn_dtype dtype, size_t n, const void *y, const void *target,
                          double scale, void *dy) {
    return crnn_kernels_now(dtype)->squared_error(n, y, target, scale, dy);
}

double crnn_sum_squares(crnn_dtype dtype, size_t n, const void *g) {
    return crnn_kernels_now(dtype)->sum_squares(n, g);
}

void crnn_sgd(const crnn_optim_step *s, double momentum, void *velocity) {
    crnn_kernels_now(s->dtype)->sgd(s, momentum, velocity);
}

void crnn_rmsprop(const crnn_optim_step *s, double alpha, double eps, void *square) {
    crnn_kernels_now(s->dtype)->rmsprop(s, alpha, eps, square);
}

void crnn_adam(const crnn_optim_step *s, double beta1, double beta2, double eps, uint64_t step,
               void *m, void *v) {
    crnn_kernels_now(s->dtype)->adam(s, beta1, beta2, eps, step, m, v);
}
