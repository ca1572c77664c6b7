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

typedef struct product_job {
    const crnn_kernels *kernels;
    core_product product;
} product_job;

static void product_part(void *context, size_t part, size_t parts) {
    const product_job *job = context;
    const size_t n = job->product.n;
    job->kernels->product(&job->product, n * part / parts, n * (part + 1) / parts);
}

static void run_product(const crnn_dense *dense, core_product product) {
    product_job job = {dense->kernels, product};
    core_team(dense_work(dense), dense->n, product_part, &job);
}

void crnn_dense_forward(const crnn_dense *dense, const void *x, const void *w, const void *b,
                        void *y, void *workspace) {
    dense->kernels->pack_dense(dense->inputs, dense->outputs, w, workspace);
    run_product(dense, (core_product){.n = dense->n,
                                      .inner = dense->inputs,
                                      .columns = dense->outputs,
                                      .a = x,
                                      .b = workspace,
                                      .init = b,
                                      .c = y});
}

typedef struct outer_job {
    const crnn_kernels *kernels;
    core_outer outer;
} outer_job;

static void outer_part(void *context, size_t part, size_t parts) {
    const outer_job *job = context;
    job->kernels->outer(&job->outer, part, parts);
}

void crnn_dense_backward(const crnn_dense *dense, const void *x, const void *w, const void *dy,
                         void *dw, void *db, void *dx, void *workspace) {
    const crnn_kernels *k = dense->kernels;
    outer_job job = {.kernels = k,
                     .outer = {.n = dense->n,
                               .inner = dense->inputs,
                               .columns = dense->outputs,
                               .a = x,
                               .d = dy,
                               .c = dw,
                               .block = workspace}};
    core_team(dense_work(dense), dense->inputs, outer_part, &job);
    if (db) k->add_rows(dense->n, dense->outputs, NULL, dy, db);
    if (!dx) return;
    k->pack_dense_transposed(dense->inputs, dense->outputs, w, workspace);
    run_product(dense, (core_product){.n = dense->n,
                                      .inner = dense->outputs,
                                      .columns = dense->inputs,
                                      .a = dy,
                                      .b = workspace,
                                      .c = dx});
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
