/* Back through a decoder with input feeding: step by step like forward, from the last; the members
 * of a team meet where the products over a window of steps begin. */
#include <string.h>

#include "decoder.h"

typedef struct decoder_backward {
    const crnn_decoder *d;
    const crnn_decoder_grads *g;
    core_backward_call *calls; /* [depth] */
    void **work;               /* [depth] workspaces */
    size_t window;             /* tape rows at a time */
    void *turned_query;        /* W_query, transposed and packed; or NULL */
    void *h_rows,
        *query_rows; /* [window][P], [window][A]: the h that asked; its query's gradient */
    void *dh_rows;   /* [places][P] what that gives to h */
    void *dscores;   /* [B][T_s] scratch */
    void *dv;        /* [B][A] of each row, because their sum must not depend on who came
                        first; or NULL */
    void *block;     /* scratch of the product to W_query */
} decoder_backward;

/* Where the gradient of what a level reads goes. */
static crnn_seq dx_of(const crnn_decoder *d, const crnn_decoder_grads *g, size_t l) {
    if (l == 0) return g->dx;
    return d->level[l].dropped.data ? g->level[l].ddropped : g->level[l - 1].dy;
}

static crnn_backward_args level_back_args(const crnn_decoder *d, const crnn_decoder_grads *g,
                                          size_t l) {
    const crnn_decoder_level *level = &d->level[l];
    const crnn_decoder_level_grads *grads = &g->level[l];
    return (crnn_backward_args){.layer = level->layer,
                                .rows = d->rows,
                                .tape = level->tape,
                                .params = level->params,
                                .in = core_level_input(d, l),
                                .noise = level->noise,
                                .from_learned = grads->from_learned,
                                .dy = grads->dy,
                                .dinitial = grads->dinitial,
                                .grads = grads->grads,
                                .dx = dx_of(d, g, l),
                                .trace = grads->trace};
}

static crnn_status lay_back(const crnn_decoder *d, const crnn_decoder_grads *g, decoder_backward *b,
                            core_arena *a) {
    const crnn_kernels *k = d->kernels;
    const size_t item = crnn_dtype_size(k->dtype), P = crnn_width(core_top_layer(d));
    const size_t A = d->attention->key_size, batch = d->rows->given.batch;
    const size_t most = d->rows->places > k->block_rows ? d->rows->places : k->block_rows;
    const size_t rows = most < d->rows->total ? most : d->rows->total;
    b->calls = core_take(a, d->depth, 1, sizeof *b->calls);
    b->work = core_take(a, d->depth, 1, sizeof *b->work);
    for (size_t l = 0; l < d->depth; l++) {
        const crnn_backward_args args = level_back_args(d, g, l);
        size_t bytes;
        if (crnn_backward_workspace(&args, &bytes) != CRNN_OK) return CRNN_OVERFLOW;
        void *work = core_take(a, bytes, 1, 1);
        if (a->base) b->work[l] = work;
    }
    b->dscores = core_take(a, batch, d->attention->steps, item);
    b->dh_rows = core_take(a, d->rows->places, P, item);
    b->query_rows = core_take(a, rows, A, item);
    b->dv = d->attention->v ? core_take(a, batch, A, item) : NULL;
    if (!d->w_query) return CRNN_OK;
    b->h_rows = core_take(a, rows, P, item);
    b->turned_query = core_take_packed(k, A, P, a);
    b->block = core_take(a, P + k->tile_rows, k->block_rows, item);
    return CRNN_OK;
}

crnn_status crnn_decoder_grads_workspace(const crnn_decoder *d, const crnn_decoder_grads *g,
                                         size_t *bytes) {
    core_arena a = core_arena_at(NULL);
    decoder_backward b = {0};
    if (lay_back(d, g, &b, &a) != CRNN_OK) return CRNN_OVERFLOW;
    return core_arena_size(&a, bytes);
}

/* to [count] += from */
static void add_to(const crnn_kernels *k, size_t count, const void *from, void *to) {
    k->add_rows(1, count, count, NULL, from, to);
}

/* The gradients of a step's contexts to keys and queries; `row` is the window's of place 0. */
static void attend_step_back(const decoder_backward *b, size_t t, size_t row, size_t from,
                             size_t to) {
    const crnn_decoder *d = b->d;
    const crnn_decoder_grads *g = b->g;
    const crnn_attention *att = d->attention;
    const crnn_kernels *k = d->kernels;
    const size_t item = crnn_dtype_size(k->dtype), A = att->key_size, C = att->value_size;
    const size_t own = crnn_floats(d->level[0].layer, &d->in) - C;
    for (size_t i = from; i < to; i++) {
        const size_t source = d->rows->order[i], at = core_dense_row(d->rows, i, t);
        char *dcontext = core_row_of(g->dcontext, at, C, item),
             *dquery = core_row_of(g->dqueries, at, A, item);
        add_to(k, C, core_row_of(crnn_seq_at(&g->dx, source, t, item), own, 1, item), dcontext);
        k->attend_back(
            att, source, core_row_of(d->queries, at, A, item),
            core_row_of(d->weights, at, att->steps, item), dcontext,
            &(core_attend_grads){.dscores = core_row_of(b->dscores, source, att->steps, item),
                                 .dquery = dquery,
                                 .dkeys = core_row_of(g->dkeys, source, att->steps * A, item),
                                 .dv = b->dv ? core_row_of(b->dv, source, A, item) : NULL});
        memcpy(core_row_of(b->query_rows, row + i, A, item), dquery, A * item);
    }
}

/* What the queries of a step give to the h that asked, to dh_rows. */
static void queries_back(const decoder_backward *b, size_t t, size_t row, size_t from, size_t to) {
    const crnn_decoder *d = b->d;
    const core_backward_call *top = &b->calls[d->depth - 1];
    const size_t item = crnn_dtype_size(d->kernels->dtype), A = d->attention->key_size;
    const size_t P = top->shape.h_wide;
    if (!d->w_query) {
        memcpy(core_row_of(b->dh_rows, from, P, item),
               core_row_of(b->query_rows, row + from, A, item), (to - from) * P * item);
        return;
    }
    core_gather_h(&top->shape, d->rows, top->run.tape.h, top->run.tape.h0, t, from, to,
                  core_row_of(b->h_rows, row, P, item));
    const core_matrix turned = core_dense_matrix(d->kernels, CORE_TURNED, A, P, b->turned_query);
    core_multiply(d->kernels, &turned, core_row_of(b->query_rows, row, A, item), NULL, b->dh_rows,
                  from, to);
}

/* One step of places from..to-1: the layers from the top, then attention, whose gradient joins that
 * of the step before. */
static void decoder_step_back(const decoder_backward *b, const core_span *rows,
                              const core_window *w, size_t t) {
    const crnn_decoder *d = b->d;
    const size_t row = d->rows->first[t] - w->row, from = rows->from;
    const size_t to = rows->to < d->rows->active[t] ? rows->to : d->rows->active[t];
    const size_t item = crnn_dtype_size(d->kernels->dtype), P = crnn_width(core_top_layer(d));
    if (to <= from) return;
    for (size_t l = d->depth; l-- > 0;) {
        core_span span = *rows;
        span.panel_to = core_dense_panels(d->kernels, d->level[l].layer->hidden);
        d->kernels->step_back(&b->calls[l].run, &span, w, t);
        d->kernels->input_grad(&b->calls[l].run, row + from, row + to);
        if (d->level[l].dropped.data)
            core_drop_step(d, l, t, from, to, &b->g->level[l].ddropped, &b->g->level[l - 1].dy);
    }
    attend_step_back(b, t, row, from, to);
    queries_back(b, t, row, from, to);
    for (size_t i = from; t > 0 && i < to; i++)
        add_to(d->kernels, P, core_row_of(b->dh_rows, i, P, item),
               crnn_seq_at(&b->g->level[d->depth - 1].dy, d->rows->order[i], t - 1, item));
}

/* The first step asked with the initial h. */
static void first_query_back(const decoder_backward *b, const core_span *rows) {
    const crnn_decoder *d = b->d;
    const core_backward_call *top = &b->calls[d->depth - 1];
    const size_t item = crnn_dtype_size(d->kernels->dtype), P = top->shape.h_wide;
    const size_t to = rows->to < d->rows->active[0] ? rows->to : d->rows->active[0];
    for (size_t i = rows->from; i < to; i++)
        add_to(d->kernels, P, core_row_of(b->dh_rows, i, P, item),
               core_row_of(top->run.direct, i, top->shape.h_padded, item));
}

static void query_weights_back(const decoder_backward *b, const core_window *w,
                               const core_member *me) {
    const crnn_decoder *d = b->d;
    const size_t P = crnn_width(core_top_layer(d)), A = d->attention->key_size;
    const core_matrix matrix = core_dense_matrix(d->kernels, CORE_DIRECT, P, A, b->g->dw_query);
    const core_factor factor = {.matrix = &matrix, .rows = core_rows_at(b->h_rows, P)};
    const core_outer outer = {
        .n = w->rows, .factor = &factor, .d = core_rows_at(b->query_rows, A), .scratch = b->block};
    if (d->w_query) d->kernels->outer(&outer, me);
}

static void decoder_window_back(const decoder_backward *b, const core_span *rows,
                                const core_window *w, const core_member *me) {
    const crnn_decoder *d = b->d;
    for (size_t l = 0; l < d->depth; l++) d->kernels->list_window(&b->calls[l].run, me, w);
    core_meet(me);
    for (size_t t = w->end; t-- > w->begin;) decoder_step_back(b, rows, w, t);
    for (size_t l = 0; l < d->depth; l++) {
        core_span span = *rows;
        span.panel_to = core_dense_panels(d->kernels, d->level[l].layer->hidden);
        d->kernels->finish_window(&b->calls[l].run, &span, w);
    }
    if (w->begin == 0) first_query_back(b, rows);
    core_meet(me);
    for (size_t l = 0; l < d->depth; l++) d->kernels->weight_grads(&b->calls[l].run, w, me);
    query_weights_back(b, w, me);
    core_meet(me);
}

/* Source rows in turn. */
static void values_back(const decoder_backward *b, const core_member *me) {
    const crnn_decoder *d = b->d;
    const crnn_attention *att = d->attention;
    const size_t item = crnn_dtype_size(d->kernels->dtype), T = d->rows->given.steps;
    const size_t T_s = att->steps, C = att->value_size;
    const crnn_seq weights = {d->weights, (ptrdiff_t)(T * T_s), (ptrdiff_t)T_s};
    const crnn_seq dcontext = {b->g->dcontext, (ptrdiff_t)(T * C), (ptrdiff_t)C};
    for (size_t i = me->part; i < d->rows->places; i += me->parts) {
        const size_t row = d->rows->order[i];
        d->kernels->attend_values_back(att, row, d->rows->length[i], &weights, &dcontext,
                                       core_row_of(b->g->dvalues, row, T_s * C, item));
    }
}

static void decoder_part_back(void *context, const core_member *me) {
    const decoder_backward *b = context;
    const crnn_decoder *d = b->d;
    const size_t P = crnn_width(core_top_layer(d));
    for (size_t l = 0; l < d->depth; l++) core_backward_turn(&b->calls[l], me);
    if (d->w_query)
        core_pack_dense(d->kernels, CORE_TURNED, d->attention->key_size, P, d->w_query,
                        b->turned_query, me);
    core_meet(me);
    const core_span rows = core_span_of_rows(d->rows, 0, me);
    for (size_t end = d->rows->given.steps; end > 0;) {
        const core_window w = core_window_before(d->rows, b->window, end);
        end = w.begin;
        if (w.rows > 0) decoder_window_back(b, &rows, &w, me);
    }
    values_back(b, me);
}

static void open_back(decoder_backward *b) {
    const crnn_decoder *d = b->d;
    b->window = d->rows->total;
    for (size_t l = 0; l < d->depth; l++) {
        crnn_backward_args args = level_back_args(d, b->g, l);
        args.workspace = b->work[l];
        core_backward_open(&b->calls[l], &args);
        if (b->calls[l].run.window < b->window) b->window = b->calls[l].run.window;
    }
}

void crnn_decoder_backward(const crnn_decoder *d, const crnn_decoder_grads *g) {
    const crnn_attention *att = d->attention;
    const size_t item = crnn_dtype_size(d->kernels->dtype), batch = d->rows->given.batch;
    core_arena a = core_arena_at(g->workspace);
    decoder_backward b = {.d = d, .g = g};
    lay_back(d, g, &b, &a);
    open_back(&b);
    memset(g->dkeys, 0, batch * att->steps * att->key_size * item);
    memset(g->dvalues, 0, batch * att->steps * att->value_size * item);
    if (b.dv) memset(b.dv, 0, batch * att->key_size * item);
    core_in_team(2 * core_decoder_work(d), d->rows->places, decoder_part_back, &b);
    for (size_t l = 0; l < d->depth; l++) core_backward_close(&b.calls[l]);
    for (size_t row = 0; b.dv && row < batch; row++)
        add_to(d->kernels, att->key_size, core_row_of(b.dv, row, att->key_size, item), g->dv);
}
