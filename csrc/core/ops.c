/* What stands around recurrent layers: dense maps, losses, optimizer steps. One call asks
 * for the kernels once, or its caller did. Losses, optimizer steps and sums of gradients run in the
 * caller's floating-point mode, products in that of the kernels. */
#include "kernels.h"

/* The workspace: packed weights, either way round, then a block of x; where that begins. */
static crnn_status lay_dense(const crnn_dense *dense, size_t *block, size_t *bytes) {
    const crnn_kernels *k = dense->kernels;
    const size_t item = crnn_dtype_size(k->dtype), most = TILE_VECS * k->width;
    size_t padded_in, padded_out;
    if (!crnn_size_add(dense->inputs, most, &padded_in) ||
        !crnn_size_add(dense->outputs, most, &padded_out))
        return CRNN_OVERFLOW;
    core_measure m = {.fits = true};
    core_measure_add(&m, padded_in, padded_out, item);
    *block = m.bytes;
    core_measure_add(&m, padded_in, k->block_rows, item);
    *bytes = m.bytes;
    return m.fits ? CRNN_OK : CRNN_OVERFLOW;
}

crnn_status crnn_dense_workspace(const crnn_dense *dense, size_t *bytes) {
    size_t block;
    return lay_dense(dense, &block, bytes);
}

static double dense_work(const crnn_dense *d) {
    return (double)d->n * (double)d->inputs * (double)d->outputs;
}

/* ---- dense maps: members share the panels of W to pack them, where it is not read as it lies,
 * then the rows of the product */

typedef struct dense_job {
    const crnn_dense *dense;
    const void *w, *a, *init;
    void *packed, *c; /* c NULL: no product is wanted */
    core_outer outer; /* of backward */
} dense_job;

/* Rows of c = init + a W, or a W^T. */
static void multiply_part(const dense_job *job, core_matrix_kind kind, size_t inner, size_t columns,
                          const core_member *me) {
    const core_range rows = core_share(job->dense->n, me);
    const core_matrix m =
        core_pack_dense(job->dense->kernels, kind, inner, columns, job->w, job->packed, me);
    core_meet(me);
    core_multiply(job->dense->kernels, &m, job->a, job->init, job->c, rows.from, rows.to);
}

static void forward_part(void *context, const core_member *me) {
    const dense_job *job = context;
    const core_matrix_kind kind = core_choose_kind(job->dense->kernels, job->dense->inputs,
                                                   job->dense->outputs, (double)job->dense->n, 1);
    multiply_part(job, kind, job->dense->inputs, job->dense->outputs, me);
}

void crnn_dense_forward(const crnn_dense *dense, const void *x, const void *w, const void *b,
                        void *y, void *workspace) {
    dense_job job = {.dense = dense, .w = w, .a = x, .init = b, .packed = workspace, .c = y};
    core_in_team(dense_work(dense), dense->n, forward_part, &job);
}

static void backward_part(void *context, const core_member *me) {
    const dense_job *job = context;
    if (job->outer.factor->matrix->data) job->dense->kernels->outer(&job->outer, me);
    if (job->c) multiply_part(job, CORE_TURNED, job->dense->outputs, job->dense->inputs, me);
}

typedef struct add_job {
    const crnn_kernels *kernels;
    size_t n, columns;
    const int64_t *index;
    const char *d; /* [n][columns] */
    char *table;   /* [...][columns] */
} add_job;

/* Columns in whole cache lines. */
static void add_part(void *context, const core_member *me) {
    const add_job *job = context;
    const size_t item = crnn_dtype_size(job->kernels->dtype);
    const core_range own = core_share_blocks(job->columns, CRNN_ALIGN / item, me);
    if (own.from < own.to)
        job->kernels->add_rows(job->n, own.to - own.from, job->columns, job->index,
                               job->d + own.from * item, job->table + own.from * item);
}

/* Multiply-adds that take as long as one addition in memory, one exponential, the loss of a label,
 * and one element of a step of SGD and of the other optimizers. */
static const double ADD_WORK = 2, EXP_WORK = 16, LABEL_WORK = 40, SGD_WORK = 2, OPTIM_WORK = 6;

static void add_rows(add_job job) {
    core_in_same_mode(ADD_WORK * (double)job.n * (double)job.columns, job.columns, add_part, &job);
}

void crnn_dense_backward(const crnn_dense *dense, const void *x, const void *w, const void *dy,
                         void *dw, void *db, void *dx, void *workspace) {
    const crnn_kernels *k = dense->kernels;
    const core_matrix matrix = core_dense_matrix(k, CORE_DIRECT, dense->inputs, dense->outputs, dw);
    const core_factor factor = {.matrix = &matrix, .rows = core_rows_at(x, dense->inputs)};
    size_t block = 0, bytes;
    lay_dense(dense, &block, &bytes); /* fits: the caller has measured it */
    dense_job job = {.dense = dense,
                     .w = w,
                     .a = dy,
                     .packed = workspace,
                     .c = dx,
                     .outer = {.n = dense->n,
                               .factor = &factor,
                               .d = core_rows_at(dy, dense->outputs),
                               .scratch = (char *)workspace + block}};
    const size_t most = dense->inputs > dense->n ? dense->inputs : dense->n;
    core_in_team(dense_work(dense), most, backward_part, &job);
    if (db) add_rows((add_job){dense->kernels, dense->n, dense->outputs, NULL, dy, db});
}

void crnn_embedding_backward(crnn_dtype dtype, size_t n, size_t size, const int64_t *symbols,
                             const void *dy, void *dtable) {
    add_rows((add_job){crnn_kernels_now(dtype), n, size, symbols, dy, dtable});
}

/* ---- losses: members share the rows; their values are added in the order of the rows */

enum { LOSS_ROWS = 4096 /* at a time */ };

typedef struct loss_job {
    const crnn_kernels *kernels;
    size_t n, classes;
    const char *logits;
    const int64_t *targets;
    double scale;
    char *dlogits;
    double *losses; /* [n] */
} loss_job;

static void loss_part(void *context, const core_member *me) {
    const loss_job *job = context;
    const core_range own = core_share(job->n, me);
    const size_t at = own.from * job->classes * crnn_dtype_size(job->kernels->dtype);
    job->kernels->cross_entropy(own.to - own.from, job->classes, job->logits + at,
                                job->targets + own.from, job->scale, job->dlogits + at,
                                job->losses + own.from);
}

double crnn_cross_entropy(crnn_dtype dtype, size_t n, size_t classes, const void *logits,
                          const int64_t *targets, double scale, void *dlogits) {
    const size_t wide = classes * crnn_dtype_size(dtype);
    double losses[LOSS_ROWS], loss = 0;
    for (size_t from = 0; from < n; from += LOSS_ROWS) {
        loss_job job = {.kernels = crnn_kernels_now(dtype),
                        .n = n - from < LOSS_ROWS ? n - from : LOSS_ROWS,
                        .classes = classes,
                        .logits = (const char *)logits + from * wide,
                        .targets = targets + from,
                        .scale = scale,
                        .dlogits = (char *)dlogits + from * wide,
                        .losses = losses};
        core_in_same_mode(EXP_WORK * (double)job.n * (double)classes, job.n, loss_part, &job);
        for (size_t i = 0; i < job.n; i++) loss += losses[i];
    }
    return loss;
}

typedef struct labels_job {
    const crnn_kernels *kernels;
    const crnn_labels *labels;
    size_t from, n; /* rows from..from + n - 1 */
    double scale;
    char *dlogits;  /* of row 0 of all */
    double *losses; /* [n] */
} labels_job;

static void labels_part(void *context, const core_member *me) {
    const labels_job *job = context;
    const core_range own = core_share(job->n, me);
    const size_t wide = job->labels->labels * crnn_dtype_size(job->labels->dtype);
    job->kernels->label_losses(job->labels, job->from + own.from, job->from + own.to, job->scale,
                               job->dlogits + (job->from + own.from) * wide,
                               job->losses + own.from);
}

double crnn_binary_cross_entropy(const crnn_labels *labels, double scale, void *dlogits) {
    double losses[LOSS_ROWS], loss = 0;
    for (size_t from = 0; from < labels->n; from += LOSS_ROWS) {
        labels_job job = {.kernels = crnn_kernels_now(labels->dtype),
                          .labels = labels,
                          .from = from,
                          .n = labels->n - from < LOSS_ROWS ? labels->n - from : LOSS_ROWS,
                          .scale = scale,
                          .dlogits = dlogits,
                          .losses = losses};
        core_in_same_mode(LABEL_WORK * (double)job.n * (double)labels->labels, job.n, labels_part,
                          &job);
        for (size_t i = 0; i < job.n; i++) loss += losses[i];
    }
    return loss;
}

double crnn_squared_error(crnn_dtype dtype, size_t n, const void *y, const void *target,
                          double scale, void *dy) {
    return crnn_kernels_now(dtype)->squared_error(n, y, target, scale, dy);
}

/* ---- optimizers */

double crnn_sum_squares(crnn_dtype dtype, size_t n, const void *g) {
    return crnn_kernels_now(dtype)->sum_squares(n, g);
}

enum { OPTIM_BLOCK = 1024 /* elements: whole vectors, and whole cache lines of aligned buffers */ };

typedef struct optim_job {
    const crnn_kernels *kernels;
    const crnn_optim_step *s;
    double rates[2], eps;
    uint64_t step;
    void *memory[2];
} optim_job;

static void sgd_part(void *context, const core_member *me) {
    const optim_job *job = context;
    job->kernels->sgd(job->s, core_share_blocks(job->s->n, OPTIM_BLOCK, me), job->rates[0],
                      job->memory[0]);
}

static void rmsprop_part(void *context, const core_member *me) {
    const optim_job *job = context;
    job->kernels->rmsprop(job->s, core_share_blocks(job->s->n, OPTIM_BLOCK, me), job->rates[0],
                          job->eps, job->memory[0]);
}

static void adam_part(void *context, const core_member *me) {
    const optim_job *job = context;
    job->kernels->adam(job->s, core_share_blocks(job->s->n, OPTIM_BLOCK, me), job->rates[0],
                       job->rates[1], job->eps, job->step, job->memory[0], job->memory[1]);
}

static void optimize(core_task *part, double work, optim_job job) {
    job.kernels = crnn_kernels_now(job.s->dtype);
    core_in_same_mode(work * (double)job.s->n, job.s->n, part, &job);
}

void crnn_sgd(const crnn_optim_step *s, double momentum, void *velocity) {
    optimize(sgd_part, SGD_WORK, (optim_job){.s = s, .rates = {momentum}, .memory = {velocity}});
}

void crnn_rmsprop(const crnn_optim_step *s, double alpha, double eps, void *square) {
    optimize(rmsprop_part, OPTIM_WORK,
             (optim_job){.s = s, .rates = {alpha}, .eps = eps, .memory = {square}});
}

void crnn_adam(const crnn_optim_step *s, double beta1, double beta2, double eps, uint64_t step,
               void *m, void *v) {
    optimize(
        adam_part, OPTIM_WORK,
        (optim_job){.s = s, .rates = {beta1, beta2}, .eps = eps, .step = step, .memory = {m, v}});
}
