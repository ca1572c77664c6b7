/* A causal convolution as a node of a plan: a sum with a factor for each tap, whose rows are those
 * of x some steps earlier. Only steps that are read count. A row that does not exist, before a
 * reset or the first step, adds nothing. */
#include "conv.h"

static double work(const core_node *n) {
    return (double)conv_of(n)->taps * (double)conv_inputs(n) * (double)n->given->features;
}

static size_t weights_of(const core_node *n) { return n->given->features * conv_inputs(n); }

void *conv_tap(const core_node *n, const void *w, size_t j) {
    return core_row_of(w, j, weights_of(n), core_item(n));
}

static const void *effective(const core_node *n) {
    return n->as.conv.w ? n->as.conv.w : conv_of(n)->w;
}

/* The matrices of all taps, (inner, columns) each, in one packed matrix, whose rows are those of
 * one tap behind the other: in forward the oldest tap first, in backward, with turned weights, the
 * newest. */
static core_matrix tap_matrix(const core_node *n, bool turned, size_t j, void *data) {
    const size_t I = conv_inputs(n), H = n->given->features, taps = conv_of(n)->taps;
    const size_t inner = turned ? I : H;
    core_matrix m = core_dense_matrix(n->plan->given->kernels, turned ? CORE_TURNED : CORE_PACKED,
                                      inner, turned ? H : I, data);
    m.rows = taps * inner;
    m.skip = (turned ? j : taps - 1 - j) * inner;
    return m;
}

static void *take_taps(const core_node *n, bool turned, core_arena *a) {
    const size_t I = conv_inputs(n), H = n->given->features;
    size_t rows = 0;
    if (!crnn_size_mul(conv_of(n)->taps, turned ? I : H, &rows)) a->used.fits = false;
    return core_take_packed(n->plan->given->kernels, rows, turned ? H : I, a);
}

/* The matrices of all taps, which lie, or will lie, at `data`. */
static void set_matrices(core_node *n, bool turned, void *data) {
    for (size_t j = 0; n->as.conv.matrix && j < conv_of(n)->taps; j++)
        n->as.conv.matrix[j] = tap_matrix(n, turned, j, data);
}

void conv_lay_taps(core_node *n, bool turned, core_arena *a) {
    set_matrices(n, turned, take_taps(n, turned, a));
}

/* Room for the weights that a norm and a gain make. */
void *conv_take_weights(const core_node *n, core_arena *a) {
    return core_take(a, conv_of(n)->taps, weights_of(n), core_item(n));
}

core_normed conv_normed(const core_node *n) {
    const crnn_conv *c = conv_of(n);
    return (core_normed){.taps = c->taps,
                         .rows = n->given->features,
                         .inputs = conv_inputs(n),
                         .v = c->w,
                         .g = c->g};
}

void conv_norm_weights(const core_node *n, const core_member *me) {
    const core_normed normed = conv_normed(n);
    const core_range own = core_share(n->given->features, me);
    if (n->as.conv.w)
        n->plan->given->kernels->norm_weights(&normed, own.from, own.to, n->as.conv.w);
}

void conv_pack_taps(const core_node *n, const core_member *me) {
    for (size_t j = 0; j < conv_of(n)->taps; j++) {
        const core_matrix *m = &n->as.conv.matrix[j];
        const core_range own = core_share(m->columns.panels, me);
        n->plan->given->kernels->pack(m, conv_tap(n, effective(n), j), own.from, own.to);
    }
}

/* Memory for what packing makes: the weights of a norm, and the matrices of all taps, which are at
 * the address that is returned. */
static void *take_packed(core_node *n, core_arena *a) {
    n->as.conv.w = conv_of(n)->g ? conv_take_weights(n, a) : NULL;
    return take_taps(n, true, a);
}

static void packed(core_node *n, core_arena *a, size_t *place) {
    place[0] = a->used.bytes;
    void *data = take_packed(n, a);
    if (!a->base) return;
    conv_norm_weights(n, &core_alone);
    for (size_t j = 0; j < conv_of(n)->taps; j++) {
        const core_matrix m = tap_matrix(n, true, j, data);
        n->plan->given->kernels->pack(&m, conv_tap(n, effective(n), j), 0, m.columns.panels);
    }
}

static void lay(core_node *n, core_arena *a) {
    core_arena packed = core_arena_at((void *)n->plan->given->packed);
    if (n->packed_at) packed.used.bytes = n->packed_at[0];
    conv_lay_cells(n, a);
    n->as.conv.matrix = core_take(a, conv_of(n)->taps, 1, sizeof(core_matrix));
    set_matrices(n, true, take_packed(n, n->packed_at ? &packed : a));
}

/* The sums of a chunk of neighbours: the taps that have rows are one factor. */
static void add_runs(const core_node *n, conv_chunk *chunk) {
    const crnn_conv *c = conv_of(n);
    const size_t I = conv_inputs(n), first = c->taps - chunk->present;
    const crnn_seq *x = &core_read(n, 0)->value;
    core_matrix m = n->as.conv.matrix[first];
    m.inner = chunk->present * I;
    const core_factor factor = {.matrix = &m,
                                .rows = conv_rows_at(n, chunk, x, conv_shift(c, first)),
                                .runs = chunk->present,
                                .run = I,
                                .hop = c->dilation * (size_t)x->step};
    const core_sum sum = {.factors = 1,
                          .factor = &factor,
                          .init = c->b,
                          .to = conv_rows_at(n, chunk, &n->given->value, 0)};
    n->plan->given->kernels->sum(&sum, 0, chunk->n);
}

void conv_add_taps(const core_node *n, conv_chunk *chunk, const conv_taps *taps) {
    const crnn_conv *c = conv_of(n);
    const core_row_list to = {.list = (const void *const *)chunk->to};
    core_factor factor[CONV_TAPS];
    for (size_t j = 0, count; j < c->taps; j += count) {
        count = c->taps - j < CONV_TAPS ? c->taps - j : CONV_TAPS;
        for (size_t k = 0; k < count; k++) {
            const size_t tap = taps->newest_first ? c->taps - 1 - (j + k) : j + k;
            for (size_t i = 0; i < chunk->n; i++)
                chunk->x[k][i] = taps->row(n, chunk->cell[i], conv_shift(c, tap));
            factor[k] =
                (core_factor){.matrix = &n->as.conv.matrix[tap], .rows = {.list = chunk->x[k]}};
        }
        const core_sum sum = {.factors = count,
                              .factor = factor,
                              .init = j == 0 ? taps->init : NULL,
                              .begin = j == 0 ? taps->begin : &to,
                              .to = to};
        n->plan->given->kernels->sum(&sum, 0, chunk->n);
    }
}

/* The sums of any chunk. */
static void add_any_taps(const core_node *n, conv_chunk *chunk) {
    const conv_taps taps = {.row = conv_input, .init = conv_of(n)->b};
    for (size_t i = 0; i < chunk->n; i++)
        chunk->to[i] = crnn_seq_at(&n->given->value, chunk->row[i], chunk->time[i], core_item(n));
    conv_add_taps(n, chunk, &taps);
}

static void run_cells(const core_node *n, size_t from, size_t to) {
    const crnn_seq *y = &n->given->value;
    const crnn_rowwise activation = conv_activation(n);
    conv_chunk chunk;
    for (; from < to; from += chunk.n) {
        conv_list(n, from, to, false, &chunk);
        (chunk.present > 0 ? add_runs : add_any_taps)(n, &chunk);
        if (activation.activation == CRNN_IDENTITY) continue;
        const crnn_cells cells = conv_cells(&chunk);
        const crnn_rowwise_call call = {.x = {*y}, .y = *y};
        n->plan->given->kernels->rowwise(&activation, &cells, 0, cells.n, &call);
    }
}

static void run_part(void *context, const core_member *me) {
    const core_node *n = context;
    const core_range own = core_share(conv_of(n)->rows->total, me);
    if (!n->plan->given->packed) {
        conv_norm_weights(n, me);
        core_meet(me);
        conv_pack_taps(n, me);
    }
    core_meet(me);
    run_cells(n, own.from, own.to);
}

double conv_work(const core_node *n) { return work(n) * (double)conv_of(n)->rows->total; }

static void alone(core_node *n) {
    const size_t total = conv_of(n)->rows->total;
    if (total > 0) core_in_team(conv_work(n), total, run_part, n);
}

static void close(core_node *n) {
    const crnn_conv *c = conv_of(n);
    crnn_fill_gaps(c->rows, &n->given->value, n->given->features, core_item(n), true);
    if (n->given->running) {
        conv_turn(n);
        return;
    }
    conv_write_final(n);
}

const core_op core_op_conv = {.work = work,
                              .packed = packed,
                              .lay = lay,
                              .alone = alone,
                              .close = close,
                              .running = conv_running,
                              .load = conv_load,
                              .save = conv_save,
                              .clear = conv_clear,
                              .follow = conv_follow,
                              .lay_back = conv_lay_back,
                              .open_back = conv_open_back,
                              .alone_back = conv_alone_back,
                              .close_back = conv_close_back};
