/* A decoder with input feeding: all its layers, and attention, step by step. Each member of a team
 * has target rows of its own and walks through all steps with them; nobody waits for anybody. */
#include <string.h>

#include "decoder.h"

double core_decoder_work(const crnn_decoder *d) {
    double work = 0;
    for (size_t l = 0; l < d->depth; l++) work += core_step_work(d->level[l].layer);
    return work * (double)d->rows->total;
}

crnn_input core_level_input(const crnn_decoder *d, size_t l) {
    if (l == 0) return d->in;
    return (crnn_input){.x = d->level[l].dropped.data ? d->level[l].dropped : d->level[l - 1].y};
}

void core_drop_step(const crnn_decoder *d, size_t l, size_t t, size_t from, size_t to,
                    const crnn_seq *x, const crnn_seq *y) {
    const crnn_decoder_level *level = &d->level[l];
    const crnn_rowwise drop = {.kind = CRNN_ROWWISE_DROP,
                               .kernels = d->kernels,
                               .inputs = 1,
                               .features = {level->layer->inputs},
                               .p = level->dropout,
                               .noise = level->dropout_noise,
                               .variational = level->variational};
    const crnn_rowwise_call call = {.x = {*x}, .y = *y};
    for (size_t i = from; i < to; i++) {
        const crnn_cells one = {.n = 1, .row = &d->rows->order[i], .time = &t};
        d->kernels->rowwise(&drop, &one, 0, 1, &call);
    }
}

void core_gather_h(const core_shape *s, const crnn_rows *rows, const void *h, const void *h0,
                   size_t t, size_t from, size_t to, void *h_rows) {
    const size_t item = crnn_dtype_size(s->layer.dtype), first = t ? rows->first[t - 1] : 0;
    const void *before = t ? h : h0;
    for (size_t i = from; i < to; i++)
        memcpy(core_row_of(h_rows, i, s->h_wide, item),
               core_row_of(before, first + i, s->h_padded, item), s->h_wide * item);
}

typedef struct decoder_forward {
    const crnn_decoder *d;
    core_forward_call *calls; /* [depth] */
    void **work;              /* [depth] workspaces */
    void *packed_query;       /* W_query, packed; or NULL */
    void *h_rows;             /* [places][P] the h that asks */
    void *query_rows;         /* [places][A] */
} decoder_forward;

static crnn_forward_args level_args(const crnn_decoder *d, size_t l) {
    const crnn_decoder_level *level = &d->level[l];
    return (crnn_forward_args){.layer = level->layer,
                               .kernels = d->kernels,
                               .rows = d->rows,
                               .params = level->params,
                               .in = core_level_input(d, l),
                               .stepwise = true,
                               .noise = level->noise,
                               .initial = level->initial,
                               .y = level->y,
                               .final = level->final,
                               .tape = level->tape};
}

static crnn_status lay_decoder(const crnn_decoder *d, decoder_forward *f, core_arena *a) {
    const size_t item = crnn_dtype_size(d->kernels->dtype), P = crnn_width(core_top_layer(d));
    const size_t A = d->attention->key_size, places = d->rows->places;
    f->calls = core_take(a, d->depth, 1, sizeof *f->calls);
    f->work = core_take(a, d->depth, 1, sizeof *f->work);
    for (size_t l = 0; l < d->depth; l++) {
        const crnn_forward_args args = level_args(d, l);
        size_t bytes;
        if (crnn_forward_workspace(&args, &bytes) != CRNN_OK) return CRNN_OVERFLOW;
        void *work = core_take(a, bytes, 1, 1);
        if (a->base) f->work[l] = work;
    }
    f->packed_query = d->w_query ? core_take_packed(d->kernels, P, A, a) : NULL;
    f->h_rows = core_take(a, places, P, item);
    f->query_rows = core_take(a, places, A, item);
    return CRNN_OK;
}

crnn_status crnn_decoder_workspace(const crnn_decoder *d, size_t *bytes) {
    core_arena a = core_arena_at(NULL);
    decoder_forward f;
    if (lay_decoder(d, &f, &a) != CRNN_OK) return CRNN_OVERFLOW;
    return core_arena_size(&a, bytes);
}

/* Queries of a step's rows, to query_rows. */
static void make_queries(const decoder_forward *f, size_t from, size_t to) {
    const crnn_decoder *d = f->d;
    const size_t item = crnn_dtype_size(d->kernels->dtype), P = crnn_width(core_top_layer(d));
    const size_t A = d->attention->key_size;
    if (!d->w_query) {
        memcpy(core_row_of(f->query_rows, from, A, item), core_row_of(f->h_rows, from, P, item),
               (to - from) * A * item);
        return;
    }
    const core_matrix query = core_dense_matrix(d->kernels, CORE_PACKED, P, A, f->packed_query);
    core_multiply(d->kernels, &query, f->h_rows, NULL, f->query_rows, from, to);
}

/* The contexts of step t of places from..to-1, to where the lowest layer reads them. */
static void attend_step(const decoder_forward *f, size_t t, size_t from, size_t to) {
    const crnn_decoder *d = f->d;
    const crnn_attention *att = d->attention;
    const core_shape *top = &f->calls[d->depth - 1].shape;
    const core_forward_run *run = &f->calls[d->depth - 1].run;
    const size_t item = crnn_dtype_size(d->kernels->dtype), A = att->key_size;
    const size_t own = crnn_floats(d->level[0].layer, &d->in) - att->value_size;
    core_gather_h(top, d->rows, run->tape.h, run->tape.h0, t, from, to, f->h_rows);
    make_queries(f, from, to);
    for (size_t i = from; i < to; i++) {
        const size_t row = d->rows->order[i], at = core_dense_row(d->rows, i, t);
        const char *query = core_row_of(f->query_rows, i, A, item);
        memcpy(core_row_of(d->queries, at, A, item), query, A * item);
        d->kernels->attend(att, row, query, core_row_of(d->weights, at, att->steps, item),
                           core_row_of(crnn_seq_at(&d->in.x, row, t, item), own, 1, item));
    }
}

static void decoder_part(void *context, const core_member *me) {
    const decoder_forward *f = context;
    const crnn_decoder *d = f->d;
    const size_t A = d->attention->key_size;
    for (size_t l = 0; l < d->depth; l++) core_forward_pack(&f->calls[l], me);
    if (d->w_query)
        core_pack_dense(d->kernels, CORE_PACKED, crnn_width(core_top_layer(d)), A, d->w_query,
                        f->packed_query, me);
    core_meet(me);
    const core_span rows = core_span_of_rows(d->rows, 0, me);
    for (size_t t = 0; t < d->rows->given.steps; t++) {
        const size_t to = rows.to < d->rows->active[t] ? rows.to : d->rows->active[t];
        if (to <= rows.from) break;
        attend_step(f, t, rows.from, to);
        for (size_t l = 0; l < d->depth; l++) {
            core_span span = rows;
            span.panel_to = f->calls[l].shape.panels;
            if (d->level[l].dropped.data)
                core_drop_step(d, l, t, rows.from, to, &d->level[l - 1].y, &d->level[l].dropped);
            d->kernels->forward(&f->calls[l].run, &span, t, t + 1);
        }
    }
}

void crnn_decoder_forward(const crnn_decoder *d) {
    core_arena a = core_arena_at(d->workspace);
    decoder_forward f = {.d = d};
    lay_decoder(d, &f, &a);
    for (size_t l = 0; l < d->depth; l++) {
        crnn_forward_args args = level_args(d, l);
        args.workspace = f.work[l];
        core_forward_open(&f.calls[l], &args);
    }
    memset(d->weights, 0,
           d->rows->given.batch * d->rows->given.steps * d->attention->steps *
               crnn_dtype_size(d->kernels->dtype));
    core_in_team(core_decoder_work(d), d->rows->places, decoder_part, &f);
    for (size_t l = 0; l < d->depth; l++) core_forward_close(&f.calls[l]);
}
