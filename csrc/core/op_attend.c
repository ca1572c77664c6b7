/* Attention as a node of a plan: the queries of a row look at the keys of its source row. */
#include <string.h>

#include "plan.h"

enum { TANH_WORK = 20 /* multiply-adds that take as long as one element of an additive score */ };

static const crnn_attention *attention_of(const core_node *n) {
    return &n->given->as.attend.attention;
}

static size_t source_of(const core_node *n, size_t row) {
    return n->as.attend.source ? n->as.attend.source[row] : row;
}

/* Row (row, t) of the weights. */
static void *weights_at(const core_node *n, size_t row, size_t t) {
    const size_t at = row * n->plan->given->rows->given.steps + t;
    return core_row_of(n->given->as.attend.weights, at, attention_of(n)->steps, core_item(n));
}

static double work(const core_node *n) {
    const crnn_attention *a = attention_of(n);
    return (double)a->steps *
           ((double)a->key_size * (a->v ? TANH_WORK : 1) + (double)a->value_size);
}

static void lay(core_node *n, core_arena *a) {
    const size_t batch = n->plan->given->rows->given.batch;
    n->as.attend.source =
        n->given->as.attend.source ? core_take(a, batch, 1, sizeof(size_t)) : NULL;
}

static void open(core_node *n) {
    const crnn_steps *s = &n->plan->given->rows->given;
    memset(n->given->as.attend.weights, 0,
           s->batch * s->steps * attention_of(n)->steps * core_item(n));
    if (n->as.attend.source)
        memcpy(n->as.attend.source, n->given->as.attend.source, s->batch * sizeof(size_t));
}

static void cells(const core_node *n, size_t from, size_t to) {
    for (size_t c = from; c < to; c++) {
        const size_t row = n->cells->row[c], t = n->cells->time[c];
        n->plan->given->kernels->attend(attention_of(n), source_of(n, row),
                                        core_input_row(n, 0, row, t), weights_at(n, row, t),
                                        crnn_seq_at(&n->given->value, row, t, core_item(n)));
    }
}

static void follow(const core_node *n, const size_t *parents, size_t count) {
    for (size_t i = 0; n->as.attend.source && i < count; i++)
        n->given->as.attend.source[i] = n->as.attend.source[parents[i]];
}

/* ---- backward */

static void lay_back(core_node *n, core_arena *a) {
    const crnn_attention *att = attention_of(n);
    const size_t batch = n->plan->given->rows->given.batch;
    n->as.attend.dscores = core_take(a, batch, att->steps, core_item(n));
    n->as.attend.dv = att->v ? core_take(a, batch, att->key_size, core_item(n)) : NULL;
}

static void open_back(core_node *n) {
    const crnn_attention *a = attention_of(n);
    const crnn_attend *given = &n->given->as.attend;
    const size_t item = core_item(n), batch = n->plan->given->rows->given.batch;
    memset(given->dkeys, 0, a->batch * a->steps * a->key_size * item);
    if (given->dvalues) memset(given->dvalues, 0, a->batch * a->steps * a->value_size * item);
    if (n->as.attend.dv) memset(n->as.attend.dv, 0, batch * a->key_size * item);
}

static void cells_back(const core_node *n, size_t k, size_t from, size_t to) {
    const crnn_attention *a = attention_of(n);
    const crnn_attend *given = &n->given->as.attend;
    const size_t item = core_item(n), A = a->key_size;
    for (size_t c = to; c-- > from;) {
        const size_t row = n->cells->row[c], t = n->cells->time[c];
        const core_attend_grads grads = {
            .dscores = core_row_of(n->as.attend.dscores, row, a->steps, item),
            .dquery = crnn_seq_at(&n->to[k], row, t, item),
            .dkeys = core_row_of(given->dkeys, row, a->steps * A, item),
            .dv = a->v ? core_row_of(n->as.attend.dv, row, A, item) : NULL};
        n->plan->given->kernels->attend_back(
            a, row, core_input_row(n, k, row, t), weights_at(n, row, t),
            crnn_seq_at(&n->given->gradient, row, t, item), &grads);
    }
}

/* The gradients of values, source row by source row. */
static void end_back(const core_node *n, const core_member *me) {
    const crnn_rows *rows = n->plan->given->rows;
    const crnn_attention *a = attention_of(n);
    const crnn_attend *given = &n->given->as.attend;
    const size_t T = rows->given.steps, T_s = a->steps;
    const crnn_seq weights = {given->weights, (ptrdiff_t)(T * T_s), (ptrdiff_t)T_s};
    for (size_t i = me->part; given->dvalues && i < rows->places; i += me->parts) {
        const size_t row = rows->order[i];
        n->plan->given->kernels->attend_values_back(
            a, row, rows->length[i], &weights, &n->given->gradient,
            core_row_of(given->dvalues, row, T_s * a->value_size, core_item(n)));
    }
}

static void close_back(core_node *n) {
    const crnn_attention *a = attention_of(n);
    const size_t batch = n->plan->given->rows->given.batch;
    for (size_t row = 0; n->given->as.attend.dv && row < batch; row++)
        n->plan->given->kernels->add_rows(
            1, a->key_size, a->key_size, NULL,
            core_row_of(n->as.attend.dv, row, a->key_size, core_item(n)), n->given->as.attend.dv);
}

const core_op core_op_attend = {.by_rows = true,
                                .work = work,
                                .lay = lay,
                                .open = open,
                                .cells = cells,
                                .follow = follow,
                                .lay_back = lay_back,
                                .open_back = open_back,
                                .cells_back = cells_back,
                                .end_back = end_back,
                                .close_back = close_back};
