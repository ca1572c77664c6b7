/* Convolutions, backward: dL/d(sum) of each cell, then dx and the gradient of the initial state,
 * then those of the parameters. */
#include "conv.h"

#include <string.h>

static bool has_delta(const core_node *n) {
    return conv_of(n)->activation != CRNN_IDENTITY || conv_of(n)->rows->given.mask;
}

static bool trains(const core_node *n) {
    const crnn_conv *c = conv_of(n);
    return c->dw || c->dg;
}

void conv_lay_back(core_node *n, core_arena *a) {
    const crnn_conv *c = conv_of(n);
    const crnn_kernels *kernels = n->plan->given->kernels;
    const crnn_steps *s = &c->rows->given;
    const size_t item = core_item(n), features = n->given->features;
    size_t cells = 0;
    conv_lay_cells(n, a);
    n->as.conv.matrix = core_take(a, c->taps, 1, sizeof(core_matrix));
    n->as.conv.w = c->g ? conv_take_weights(n, a) : NULL;
    conv_lay_taps(n, false, a);
    n->as.conv.dw = c->g && trains(n) ? conv_take_weights(n, a) : NULL;
    if (has_delta(n) && !crnn_size_mul(s->batch, s->steps, &cells)) a->used.fits = false;
    n->as.conv.delta = (crnn_seq){core_take(a, cells, features, item),
                                  (ptrdiff_t)(s->steps * features), (ptrdiff_t)features};
    n->as.conv.zeros = core_take(a, conv_inputs(n), 1, item);
    n->as.conv.scratch =
        core_take(a, core_outer_rows(kernels, features), kernels->block_rows, item);
}

void conv_open_back(core_node *n) {
    const crnn_conv *c = conv_of(n);
    const crnn_seq *dy = &n->given->gradient;
    memset(n->as.conv.zeros, 0, conv_inputs(n) * core_item(n));
    if (!has_delta(n))
        n->as.conv.delta = *dy;
    else if (c->rows->given.mask)
        crnn_fold_gaps(c->rows, dy, n->given->features, n->plan->given->kernels->dtype,
                       n->as.conv.delta.data);
}

/* Through the activation. */
static void find_delta(const core_node *n, size_t from, size_t to) {
    const crnn_rowwise activation = conv_activation(n);
    const bool folded = conv_of(n)->rows->given.mask != NULL;
    crnn_rowwise_call call = {.y = n->given->value,
                              .dy = folded ? n->as.conv.delta : n->given->gradient,
                              .dx = {n->as.conv.delta}};
    conv_chunk chunk;
    if (activation.activation == CRNN_IDENTITY) return;
    for (; from < to; from += chunk.n) {
        conv_list(n, from, to, true, &chunk);
        const crnn_cells cells = conv_cells(&chunk);
        n->plan->given->kernels->rowwise_back(&activation, &cells, 0, cells.n, &call);
    }
}

static const void *delta_at(const core_node *n, conv_cell cell) {
    const crnn_rows *rows = conv_of(n)->rows;
    return crnn_seq_at(&n->as.conv.delta, rows->order[cell.place],
                       crnn_rows_time(rows, cell.place, cell.t), core_item(n));
}

/* The share of the gradient of the final state that step t of a piece has; t counts from the
 * oldest input of the initial state. */
static const void *from_final(const core_node *n, size_t place, size_t t) {
    const crnn_conv *c = conv_of(n);
    const bool is_last = c->dfinal && (c->rows->ends[place] & CRNN_READ_LAST);
    const size_t length = c->rows->length[place];
    if (!is_last || t < length) return n->as.conv.zeros;
    return conv_state_row(n, c->dfinal, c->rows->order[place], t - length);
}

/* The gradient of the sum of the step that lies `shift` steps behind a cell and reads it; cell.t
 * counts from the oldest input of the initial state. NULL: there is none. */
static const void *reader_at(const core_node *n, conv_cell cell, size_t shift) {
    const size_t past = conv_past(conv_of(n)), t = cell.t + shift;
    const bool reads = t >= past && t - past < conv_of(n)->rows->length[cell.place];
    return reads ? delta_at(n, (conv_cell){cell.place, t - past}) : NULL;
}

/* The gradients of inputs, of which cell.t counts from the oldest one of the initial state: the sum
 * over all steps that read them, the nearest ones first. */
static void add_readers(const core_node *n, conv_chunk *chunk) {
    const void *begin[CONV_CELLS];
    const core_row_list first = {.list = begin};
    const conv_taps taps = {.row = reader_at, .begin = &first, .newest_first = true};
    for (size_t i = 0; i < chunk->n; i++)
        begin[i] = from_final(n, chunk->cell[i].place, chunk->cell[i].t);
    conv_add_taps(n, chunk, &taps);
}

/* The same for neighbours that equally many steps read, and no final state. */
static void add_reading_runs(const core_node *n, const conv_chunk *chunk) {
    const crnn_conv *c = conv_of(n);
    const size_t H = n->given->features;
    const crnn_seq *delta = &n->as.conv.delta;
    core_matrix m = n->as.conv.matrix[c->taps - 1];
    m.inner = chunk->present * H;
    const core_factor factor = {.matrix = &m,
                                .rows = conv_rows_at(n, chunk, delta, 0),
                                .runs = chunk->present,
                                .run = H,
                                .hop = c->dilation * (size_t)delta->step};
    const core_sum sum = {
        .factors = 1, .factor = &factor, .to = conv_rows_at(n, chunk, &n->to[0], 0)};
    n->plan->given->kernels->sum(&sum, 0, chunk->n);
}

static void find_dx(const core_node *n, size_t from, size_t to) {
    conv_chunk chunk;
    for (; n->to[0].data && from < to; from += chunk.n) {
        conv_list(n, from, to, true, &chunk);
        if (chunk.present > 0) {
            add_reading_runs(n, &chunk);
            continue;
        }
        for (size_t i = 0; i < chunk.n; i++) {
            chunk.to[i] = crnn_seq_at(&n->to[0], chunk.row[i], chunk.time[i], core_item(n));
            chunk.cell[i].t += conv_past(conv_of(n));
        }
        add_readers(n, &chunk);
    }
}

/* Of the inputs of the initial state of the row of a piece that is read first. */
static void find_dinitial(const core_node *n, size_t place) {
    const crnn_conv *c = conv_of(n);
    conv_chunk chunk;
    for (size_t from = 0; from < conv_past(c); from += chunk.n) {
        chunk.n = conv_past(c) - from < CONV_CELLS ? conv_past(c) - from : CONV_CELLS;
        for (size_t i = 0; i < chunk.n; i++) {
            chunk.cell[i] = (conv_cell){place, from + i};
            chunk.to[i] = conv_state_row(n, c->dinitial, c->rows->order[place], from + i);
        }
        add_readers(n, &chunk);
    }
}

/* Cells before `end`, the last ones of them, and the rows of x and of the sums' gradients. */
enum { OUTER_CELLS = 256 /* at most block_rows */ };

typedef struct conv_rows {
    size_t n;
    conv_cell cell[OUTER_CELLS];
    const void *delta[OUTER_CELLS], *x[OUTER_CELLS];
} conv_rows;

static void list_rows(const core_node *n, size_t end, conv_rows *list) {
    list->n = end < OUTER_CELLS ? end : OUTER_CELLS;
    conv_cell cell = conv_find(n, end - list->n);
    for (size_t i = 0; i < list->n; i++, conv_next(n, &cell)) {
        list->cell[i] = cell;
        list->delta[i] = delta_at(n, cell);
    }
}

/* The gradient of the weights of tap j gains the products of the rows in the list. */
static void add_outer(const core_node *n, size_t j, void *dw, conv_rows *list,
                      const core_member *me) {
    const crnn_kernels *kernels = n->plan->given->kernels;
    const core_matrix m = core_dense_matrix(kernels, CORE_DIRECT, n->given->features,
                                            conv_inputs(n), conv_tap(n, dw, j));
    size_t there = 0;
    const void *delta[OUTER_CELLS];
    for (size_t i = 0; i < list->n; i++) {
        const void *x = conv_input(n, list->cell[i], conv_shift(conv_of(n), j));
        if (!x) continue;
        list->x[there] = x;
        delta[there++] = list->delta[i];
    }
    const core_factor factor = {.matrix = &m, .rows = {.list = delta}};
    const core_outer outer = {
        .n = there, .factor = &factor, .d = {.list = list->x}, .scratch = n->as.conv.scratch};
    kernels->outer(&outer, me);
}

/* The gradient of the bias gains so many rows of the sums' gradients. */
static void add_bias(const core_node *n, size_t count, core_row_list delta, const core_member *me) {
    const crnn_kernels *kernels = n->plan->given->kernels;
    const core_matrix m =
        core_dense_matrix(kernels, CORE_DIRECT, 1, n->given->features, conv_of(n)->db);
    const core_factor factor = {.matrix = &m};
    const core_outer outer = {.n = count, .factor = &factor, .d = delta};
    if (conv_of(n)->db) kernels->outer(&outer, me);
}

static void add_listed(const core_node *n, void *dw, const core_member *me) {
    conv_rows list;
    for (size_t end = conv_of(n)->rows->total; end > 0; end -= list.n) {
        list_rows(n, end, &list);
        for (size_t j = 0; dw && j < conv_of(n)->taps; j++) add_outer(n, j, dw, &list, me);
        add_bias(n, list.n, (core_row_list){.list = list.delta}, me);
    }
}

/* The same for neighbours of one piece, cells from..to-1 of it, all taps at once: rows of x and of
 * the sums' gradients are read where they lie. */
static void add_outer_of_piece(const core_node *n, size_t place, core_range cells, void *dw,
                               core_range rows) {
    const crnn_conv *c = conv_of(n);
    const crnn_seq *x = &core_read(n, 0)->value, *delta = &n->as.conv.delta;
    const size_t row = c->rows->order[place], begin = c->rows->begin[place], item = core_item(n);
    const size_t I = conv_inputs(n), past = conv_past(c);
    const bool from_state = c->initial && (c->rows->ends[place] & CRNN_READ_FIRST);
    core_taps_outer p = {.n = cells.to - cells.from,
                         .hidden = n->given->features,
                         .inputs = I,
                         .last_delta = crnn_seq_at(delta, row, begin + cells.to - 1, item),
                         .delta_step = delta->step,
                         .scratch = n->as.conv.scratch};
    for (size_t j = 0; j < c->taps; j++) {
        const size_t shift = conv_shift(c, j), first = shift > cells.from ? shift : cells.from;
        if (first < cells.to) {
            p.part[p.parts++] =
                (core_taps_part){.dw = conv_tap(n, dw, j),
                                 .n = cells.to - first,
                                 .last = crnn_seq_at(x, row, begin + cells.to - 1 - shift, item),
                                 .step = x->step};
        }
        const size_t end = shift < cells.to ? shift : cells.to; /* cells that read the state */
        if (from_state && cells.from < end) {
            p.part[p.parts++] =
                (core_taps_part){.dw = conv_tap(n, dw, j),
                                 .skip = cells.to - end,
                                 .n = end - cells.from,
                                 .last = conv_state_row(n, c->initial, row, past + end - 1 - shift),
                                 .step = (ptrdiff_t)I};
        }
        if (p.parts + 2 <= CONV_PARTS && j + 1 < c->taps) continue;
        n->plan->given->kernels->taps_outer(&p, rows.from, rows.to);
        p.parts = 0;
    }
}

/* Whether all products are made piece by piece: rows of x are whole vectors. */
static bool takes_pieces(const core_node *n) {
    return conv_is_plain(n) && conv_inputs(n) % n->plan->given->kernels->width == 0;
}

static void add_pieces(const core_node *n, void *dw, core_range rows, const core_member *me) {
    const crnn_conv *c = conv_of(n);
    for (size_t place = c->rows->places; place-- > 0;)
        for (size_t end = c->rows->length[place]; end > 0;) {
            const size_t begin = end > OUTER_CELLS ? end - OUTER_CELLS : 0;
            const void *first = delta_at(n, (conv_cell){place, begin});
            if (dw) add_outer_of_piece(n, place, (core_range){begin, end}, dw, rows);
            add_bias(n, end - begin, core_rows_at(first, (size_t)n->as.conv.delta.step), me);
            end = begin;
        }
}

/* A member's rows of all gradients, which are also those of its share of a product. */
static void find_grads(const core_node *n, const core_member *me) {
    const crnn_conv *c = conv_of(n);
    const crnn_kernels *kernels = n->plan->given->kernels;
    const core_range own = core_share_blocks(n->given->features, kernels->tile_rows, me);
    const size_t wide = conv_inputs(n) * core_item(n);
    const core_normed normed = conv_normed(n);
    void *dw = c->g ? n->as.conv.dw : c->dw;
    for (size_t j = 0; n->as.conv.dw && j < c->taps; j++)
        memset((char *)conv_tap(n, dw, j) + own.from * wide, 0, (own.to - own.from) * wide);
    if (takes_pieces(n))
        add_pieces(n, dw, own, me);
    else
        add_listed(n, dw, me);
    if (n->as.conv.dw) kernels->norm_weights_back(&normed, own.from, own.to, dw, c->dw, c->dg);
}

static void part_back(void *context, const core_member *me) {
    const core_node *n = context;
    const crnn_conv *c = conv_of(n);
    const core_range own = core_share(c->rows->total, me), places = core_share(c->rows->places, me);
    conv_norm_weights(n, me);
    find_delta(n, own.from, own.to);
    core_meet(me);
    conv_pack_taps(n, me);
    core_meet(me);
    find_dx(n, own.from, own.to);
    for (size_t i = places.from; c->dinitial && i < places.to; i++)
        if (c->rows->ends[i] & CRNN_READ_FIRST) find_dinitial(n, i);
    if (trains(n) || c->db) find_grads(n, me);
}

void conv_alone_back(core_node *n) {
    const size_t total = conv_of(n)->rows->total;
    core_in_team(2 * conv_work(n), total > 0 ? total : 1, part_back, n);
}

void conv_close_back(core_node *n) {
    if (n->to[0].data)
        crnn_fill_gaps(conv_of(n)->rows, &n->to[0], conv_inputs(n), core_item(n), false);
}
