/* Operations on each step alone, and pooling: members of a team take cells, or rows, of their own.
 */
#include "kernels.h"

typedef struct rowwise_job {
    const crnn_rowwise *o;
    const crnn_cells *cells;
    const crnn_rowwise_call *call;
} rowwise_job;

/* Multiply-adds of a product that take as long as an element: one that is read and written, one
 * that is normalised, and one of an activation. */
enum { ELEMENT_WORK = 8, NORM_WORK = 16, ACTIVATION_WORK = 20 };

double crnn_rowwise_work(const crnn_rowwise *o) {
    switch (o->kind) {
    case CRNN_ROWWISE_DROP:
        return o->noise.on ? CORE_DRAW_WORK : ELEMENT_WORK;
    case CRNN_ROWWISE_ACTIVATE:
        return ACTIVATION_WORK;
    case CRNN_ROWWISE_NORM:
        return NORM_WORK;
    default:
        return ELEMENT_WORK;
    }
}

static double rowwise_work(const rowwise_job *job) {
    return (double)job->cells->n * (double)crnn_rowwise_features(job->o) *
           crnn_rowwise_work(job->o);
}

static void forward_part(void *context, const core_member *me) {
    const rowwise_job *job = context;
    const core_range own = core_share(job->cells->n, me);
    job->o->kernels->rowwise(job->o, job->cells, own.from, own.to, job->call);
}

void crnn_rowwise_forward(const crnn_rowwise *o, const crnn_cells *cells,
                          const crnn_rowwise_call *call) {
    rowwise_job job = {o, cells, call};
    core_in_team(rowwise_work(&job), cells->n, forward_part, &job);
}

static void backward_part(void *context, const core_member *me) {
    const rowwise_job *job = context;
    const core_range own = core_share(job->cells->n, me);
    job->o->kernels->rowwise_back(job->o, job->cells, own.from, own.to, job->call);
    if (job->o->kind == CRNN_ROWWISE_NORM && job->call->grads)
        job->o->kernels->rowwise_grads(job->o, job->cells, me, job->call);
}

void crnn_rowwise_backward(const crnn_rowwise *o, const crnn_cells *cells,
                           const crnn_rowwise_call *call) {
    rowwise_job job = {o, cells, call};
    core_in_team(2 * rowwise_work(&job), cells->n, backward_part, &job);
}

typedef struct pool_job {
    const crnn_pool *pool;
    crnn_seq seq;      /* x, or dx */
    void *y;           /* out of forward, */
    const void *dy;    /* or in of backward */
    int64_t *taken;    /* out, */
    const int64_t *at; /* or in */
    bool add;
} pool_job;

/* Of so many steps of each row. */
static double pool_work(const crnn_pool *p, size_t steps) {
    return ELEMENT_WORK * (double)p->steps->batch * (double)steps * (double)p->features;
}

static void pool_part(void *context, const core_member *me) {
    const pool_job *job = context;
    const core_range own = core_share(job->pool->steps->batch, me);
    const crnn_kernels *k = job->pool->kernels;
    if (job->y)
        k->pool(job->pool, own.from, own.to, &job->seq, job->y, job->taken);
    else
        k->pool_back(job->pool, own.from, own.to, job->dy, job->at, &job->seq, job->add);
}

void crnn_pool_forward(const crnn_pool *pool, const crnn_seq *x, void *y, int64_t *taken) {
    pool_job job = {.pool = pool, .seq = *x, .y = y, .taken = taken};
    const size_t steps = pool->how == CRNN_POOL_LAST ? 1 : pool->steps->steps;
    core_in_team(pool_work(pool, steps), pool->steps->batch, pool_part, &job);
}

void crnn_pool_backward(const crnn_pool *pool, const void *dy, const int64_t *taken,
                        const crnn_seq *dx, bool add) {
    pool_job job = {.pool = pool, .seq = *dx, .dy = dy, .at = taken, .add = add};
    core_in_team(pool_work(pool, pool->steps->steps), pool->steps->batch, pool_part, &job);
}
