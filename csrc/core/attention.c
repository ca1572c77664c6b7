/* Attention over whole calls: each member of a team takes source rows with all their queries, so
 * that the keys and values of a row stay near while its queries look at them. */
#include <string.h>

#include "kernels.h"

typedef struct attention_job {
    const crnn_kernels *kernels;
    const crnn_attention *a;
    const char *queries;
    char *weights, *context;           /* of forward, */
    const crnn_attention_grads *grads; /* of backward: */
    char *dv, *dscores;                /* [B][A], [B][T_s] */
} attention_job;

/* Multiply-adds that take as long as one element of a score. */
enum { TANH_WORK = 20 };

/* Of a pass over all queries. */
static double attention_work(const crnn_attention *a) {
    const double each = (double)a->key_size * (a->v ? TANH_WORK : 1) + (double)a->value_size;
    return (double)a->batch * (double)a->queries * (double)a->steps * each;
}

static size_t row_queries(const crnn_attention *a, size_t row) {
    return a->query_lengths ? (size_t)a->query_lengths[row] : a->queries;
}

/* Zeros in the rows of [B][T_q][wide] past the end of a row's queries. */
static void clear_rest(const crnn_attention *a, size_t row, size_t wide, char *rows) {
    const size_t from = row_queries(a, row), each = wide * crnn_dtype_size(a->dtype);
    memset(rows + (row * a->queries + from) * each, 0, (a->queries - from) * each);
}

static void forward_row(const attention_job *job, size_t row) {
    const crnn_attention *a = job->a;
    const size_t item = crnn_dtype_size(a->dtype), first = row * a->queries;
    for (size_t i = first; i < first + row_queries(a, row); i++)
        job->kernels->attend(a, row, job->queries + i * a->key_size * item,
                             job->weights + i * a->steps * item,
                             job->context + i * a->value_size * item);
    clear_rest(a, row, a->steps, job->weights);
    clear_rest(a, row, a->value_size, job->context);
}

/* Rows in turn: lengths that rise or fall along the batch are shared evenly, too. */
static void forward_part(void *context, const core_member *me) {
    const attention_job *job = context;
    for (size_t row = me->part; row < job->a->batch; row += me->parts) forward_row(job, row);
}

void crnn_attention_forward(const crnn_attention *a, const void *queries, void *weights,
                            void *context) {
    attention_job job = {.kernels = crnn_kernels_now(a->dtype),
                         .a = a,
                         .queries = queries,
                         .weights = weights,
                         .context = context};
    core_in_team(attention_work(a), a->batch, forward_part, &job);
}

/* Its own dv, because the sum over rows must not depend on who came first. */
crnn_status crnn_attention_workspace(const crnn_attention *a, size_t *bytes) {
    const size_t item = crnn_dtype_size(a->dtype);
    core_measure m = {.fits = true};
    core_measure_add(&m, a->batch, a->v ? a->key_size : 0, item);
    core_measure_add(&m, a->batch, a->steps, item);
    *bytes = m.bytes;
    return m.fits ? CRNN_OK : CRNN_OVERFLOW;
}

/* Last to first, as steps of a decoder come. */
static void queries_back(const attention_job *job, size_t row, const core_attend_grads *row_grads) {
    const crnn_attention *a = job->a;
    const crnn_attention_grads *g = job->grads;
    const size_t item = crnn_dtype_size(a->dtype), first = row * a->queries;
    core_attend_grads to = *row_grads;
    for (size_t i = first + row_queries(a, row); i-- > first;) {
        to.dquery = (char *)g->dqueries + i * a->key_size * item;
        job->kernels->attend_back(a, row, job->queries + i * a->key_size * item,
                                  (const char *)g->weights + i * a->steps * item,
                                  (const char *)g->dcontext + i * a->value_size * item, &to);
    }
}

static void backward_row(const attention_job *job, size_t row) {
    const crnn_attention *a = job->a;
    const crnn_attention_grads *g = job->grads;
    const size_t item = crnn_dtype_size(a->dtype), T = a->steps, A = a->key_size, C = a->value_size;
    const crnn_seq weights = {(void *)g->weights, (ptrdiff_t)(a->queries * T), (ptrdiff_t)T};
    const crnn_seq dcontext = {(void *)g->dcontext, (ptrdiff_t)(a->queries * C), (ptrdiff_t)C};
    char *dvalues = (char *)g->dvalues + row * T * C * item;
    const core_attend_grads to = {.dscores = job->dscores + row * T * item,
                                  .dkeys = (char *)g->dkeys + row * T * A * item,
                                  .dv = a->v ? job->dv + row * A * item : NULL};
    memset(to.dkeys, 0, T * A * item);
    memset(dvalues, 0, T * C * item);
    if (a->v) memset(to.dv, 0, A * item);
    queries_back(job, row, &to);
    clear_rest(a, row, A, g->dqueries);
    job->kernels->attend_values_back(a, row, row_queries(a, row), &weights, &dcontext, dvalues);
}

static void backward_part(void *context, const core_member *me) {
    const attention_job *job = context;
    for (size_t row = me->part; row < job->a->batch; row += me->parts) backward_row(job, row);
}

void crnn_attention_backward(const crnn_attention *a, const void *queries,
                             const crnn_attention_grads *grads) {
    const size_t item = crnn_dtype_size(a->dtype);
    core_measure dv = {.fits = true}; /* what crnn_attention_workspace measures first */
    core_measure_add(&dv, a->batch, a->v ? a->key_size : 0, item);
    attention_job job = {.kernels = crnn_kernels_now(a->dtype),
                         .a = a,
                         .queries = queries,
                         .grads = grads,
                         .dv = grads->workspace,
                         .dscores = (char *)grads->workspace + dv.bytes};
    core_in_team(2 * attention_work(a), a->batch, backward_part, &job);
    for (size_t row = 0; a->v && row < a->batch; row++)
        job.kernels->add_rows(1, a->key_size, a->key_size, NULL, job.dv + row * a->key_size * item,
                              grads->dv);
}
