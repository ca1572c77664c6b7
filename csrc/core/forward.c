/* Forward of a recurrent layer: lays out the caller's buffers, packs weights, and shares rows and
 * panels out among the threads. The loops are in kernels/. */
#include <string.h>

#include "run.h"

/* ---- packed weights */

/* zeros: with places for what is kept of W_h. */
static void lay_packed(core_forward_run *run, bool x, bool zeros, core_arena *a) {
    const core_shape *s = run->shape;
    const size_t item = crnn_dtype_size(s->layer.dtype);
    run->packed_x = x ? core_take(a, s->packed_x, 1, item) : NULL;
    run->packed_h = core_take(a, s->packed_h, 1, item);
    run->packed_kept = zeros ? core_take(a, 1, 1, sizeof(double)) : NULL;
    for (size_t i = 0; zeros && i < s->phases; i++)
        for (size_t k = 0; k < run->reads.count; k++)
            run->skips[i][k] = core_lay_skips(s->kernels, &s->phase[i].columns, s->phase[i].h_count,
                                              1, s->h_wide, a);
}

/* Apart from the rest, because they are there where nothing else is packed. */
static void lay_extras(core_forward_run *run, core_arena *a) {
    const core_shape *s = run->shape;
    const size_t item = crnn_dtype_size(s->layer.dtype);
    run->bias = core_take(a, s->packed_bias, 1, item);
    if (s->layer.projected) run->packed_p = core_take(a, s->layer.hidden, s->h_padded, item);
    core_lay_extras(run->shape, &run->vectors, &run->gain_x, &run->gain_h, a);
}

/* Bias of every slot, to [padded]: b of its gate, b_h where x does not feed it, else zeros. */
static void pack_bias(const core_forward_run *run) {
    const core_shape *s = run->shape;
    const size_t item = crnn_dtype_size(s->layer.dtype), wide = s->layer.hidden * item;
    memset(run->bias, 0, s->packed_bias * item);
    for (size_t i = 0; s->layer.bias && i < s->phases; i++) {
        const core_phase *ph = &s->phase[i];
        for (size_t slot = 0; slot < ph->slots; slot++) {
            const size_t gate = ph->x_gate[slot];
            const size_t from =
                gate == NO_GATE ? s->at.extra[CRNN_B_H] : s->at.b + gate * s->layer.hidden;
            memcpy(core_row_of(run->bias, ph->bias + slot * s->padded, 1, item),
                   core_row_of(run->params, from, 1, item), wide);
        }
    }
}

static void pack_extras(const core_forward_run *run) {
    const core_shape *s = run->shape;
    pack_bias(run);
    core_pack_extras(s, run->params, run->vectors, run->gain_x, run->gain_h);
}

/* `rows` rows of W_x or of W_h of one phase: packed, `at` elements behind the beginning, or as they
 * lie from w on. */
static void set_matrix(core_matrix *m, const core_shape *s, const core_blocks *blocks, size_t first,
                       size_t rows, const void *packed, size_t at, const void *w) {
    if (packed) w = core_row_of(packed, at, 1, crnn_dtype_size(s->layer.dtype));
    core_matrix_init(m, packed ? CORE_PACKED : CORE_DIRECT, rows, blocks, w);
    m->first = first;
}

/* The matrices of a call whose buffers are laid out. */
static void describe_matrices(core_forward_run *run, core_weights *to) {
    const core_shape *s = run->shape;
    const size_t item = crnn_dtype_size(s->layer.dtype), I = s->layer.inputs;
    const size_t floats = crnn_floats(&s->layer, &run->in), table = I - floats;
    const void *w_x = core_row_of(run->params, s->at.w_x, 1, item);
    const void *w_h = core_row_of(run->params, s->at.w_h, 1, item);
    run->weights = to;
    const bool leaves_out = run->packed_kept && core_leaves_out(s);
    for (size_t i = 0; i < s->phases; i++) {
        const core_phase *ph = &s->phase[i];
        const void *products = run->in.products, *of_table = run->unpacked ? NULL : run->packed_x;
        if (table)
            set_matrix(&to->table[i], s, &ph->of_x, ph->x_first, I, products ? NULL : of_table,
                       ph->x, products ? products : w_x);
        set_matrix(&to->x[i], s, &ph->of_x, ph->x_first, I - run->unpacked, run->packed_x, ph->x,
                   core_row_of(w_x, run->unpacked, s->at.columns, item));
        to->x[i].skip = table - run->unpacked;
        to->x[i].inner = floats;
        const size_t block = s->h_wide * ph->h_count * s->panels * s->units * s->width;
        for (size_t k = 0; k < run->reads.count; k++) {
            core_matrix *h = &to->h[i][k];
            const size_t apart = leaves_out ? k * block : 0; /* else rows of one packed matrix */
            set_matrix(h, s, &ph->of_h, ph->h_first, s->h_rows, run->packed_h, ph->h + apart, w_h);
            h->skip = k * s->h_wide;
            h->inner = s->h_wide;
            if (leaves_out) h->skips = &run->skips[i][k];
        }
    }
    if (run->packed_p)
        to->p =
            core_dense_matrix(s->kernels, CORE_PACKED, s->layer.hidden, s->h_wide, run->packed_p);
}

crnn_status crnn_packed_size(const crnn_layer *layer, const crnn_kernels *kernels, size_t *bytes) {
    core_arena a = core_arena_at(NULL);
    core_shape s;
    if (core_shape_init(&s, layer, kernels) != CRNN_OK) return CRNN_OVERFLOW;
    core_forward_run run = {.shape = &s};
    core_reads_init(&run.reads, layer, &(crnn_rows){0});
    lay_packed(&run, true, true, &a);
    lay_extras(&run, &a);
    return core_arena_size(&a, bytes);
}

/* Some panels of W_h of one phase. */
static void pack_h(const core_forward_run *run, size_t phase, core_range panels) {
    const core_shape *s = run->shape;
    const void *w = core_row_of(run->params, s->at.w_h, 1, crnn_dtype_size(s->layer.dtype));
    const core_matrix *blocks = run->weights->h[phase];
    if (run->reads.count == 0) return;
    core_matrix all = blocks[0];
    all.inner = all.rows;
    if (!all.skips) s->kernels->pack(&all, w, panels.from, panels.to);
    for (size_t k = 0; all.skips && k < run->reads.count; k++)
        s->kernels->pack(&blocks[k], w, panels.from, panels.to);
}

/* A member's share of the panels. */
static void pack_part(const core_forward_run *run, const core_member *me) {
    const core_shape *s = run->shape;
    const size_t item = crnn_dtype_size(s->layer.dtype);
    const core_range own = core_share(s->panels, me);
    for (size_t i = 0; i < s->phases; i++) {
        core_matrix x = run->weights->x[i];
        x.inner = x.rows;
        x.skip = 0;
        if (run->packed_x)
            s->kernels->pack(
                &x, core_row_of(run->params, s->at.w_x + run->unpacked * s->at.columns, 1, item),
                own.from, own.to);
        pack_h(run, i, own);
    }
    if (run->packed_p)
        core_pack_dense(s->kernels, CORE_PACKED, s->layer.hidden, s->h_wide,
                        core_w_p(s, run->params), run->packed_p, me);
}

void crnn_pack(const crnn_layer *layer, const crnn_kernels *kernels, const void *params,
               void *packed) {
    core_shape s;
    core_shape_init(&s, layer, kernels);
    core_set_kept(&s, crnn_kept_share(layer, params));
    core_forward_run run = {.shape = &s, .params = params};
    core_reads_init(&run.reads, layer, &(crnn_rows){0});
    core_arena a = core_arena_at(packed);
    lay_packed(&run, true, true, &a);
    lay_extras(&run, &a);
    *run.packed_kept = s.kept;
    core_weights weights;
    describe_matrices(&run, &weights);
    pack_part(&run, &(core_member){.parts = 1});
    pack_extras(&run);
}

/* ---- sums that are begun */

bool crnn_may_begin(const crnn_layer *layer) { return !layer->layer_norm && !layer->projected; }

/* As the packed bias, with which sums begin otherwise. */
crnn_status crnn_begun_wide(const crnn_layer *layer, const crnn_kernels *kernels, size_t *wide) {
    core_shape s;
    if (core_shape_init(&s, layer, kernels) != CRNN_OK) return CRNN_OVERFLOW;
    *wide = s.packed_bias;
    return CRNN_OK;
}

void crnn_begin_sums(const crnn_begin_args *args) {
    core_shape s;
    core_shape_init(&s, args->layer, args->kernels);
    const size_t item = crnn_dtype_size(s.layer.dtype);
    core_forward_run run = {.shape = &s, .params = args->packed}; /* which is not read */
    core_reads_init(&run.reads, args->layer, &(crnn_rows){0});
    core_arena a = core_arena_at((void *)args->packed);
    lay_packed(&run, true, true, &a);
    lay_extras(&run, &a);
    core_weights weights;
    describe_matrices(&run, &weights);
    for (size_t i = 0; i < s.phases; i++) {
        const core_phase *ph = &s.phase[i];
        core_matrix x = weights.x[i];
        x.inner = args->shared;
        const core_factor factor = {.matrix = &x, .rows = {.list = args->x}};
        const core_sum sum = {
            .columns = &ph->columns,
            .factors = args->shared > 0,
            .factor = &factor,
            .init = core_row_of(run.bias, ph->bias, 1, item),
            .to = core_rows_at(core_row_of(args->begun, ph->bias, 1, item), s.packed_bias)};
        args->kernels->sum(&sum, 0, args->n);
    }
}

/* ---- the buffers of a call */

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* Where blocks of zeros are left out: what is read of a matrix to find them, in the share of the
 * cost of packing; and how much longer a multiply-add takes, because a tile is narrower. */
static const double FINDING = 0.3, NARROWER = 1.5;

/* What it costs to begin the sum of a unit's gate ahead of its step, in the units of core_costs: it
 * is stored and loaded once more. */
static const double BEGUN_COST = 22;

/* All costs are those of one column. */
core_way core_choose_way(const crnn_kernels *k, core_way_size size, double rows, double steps) {
    const core_costs *c = &k->costs;
    const double I = (double)size.inputs, P = (double)size.hidden, G = (double)size.columns;
    const double each = core_packed_cost(k, rows);
    const double ahead = I > 0 ? rows * (I + BEGUN_COST) : 0;
    const double fused = I > 0 ? I * each + core_tiles(k, rows) * c->factor : 0;
    const bool leaves_out = size.kept > 0 && size.kept <= CORE_MOST_KEPT;
    const double of_h = leaves_out ? size.kept * NARROWER : 1;
    const double pack = leaves_out ? I + P * (FINDING + size.kept) : I + P;
    const double direct = steps * (c->direct_call / G + (I + P) * core_direct_cost(k, rows));
    const double packed = c->pack_call / G + pack * c->pack +
                          steps * ((ahead < fused ? ahead : fused) + P * each * of_h);
    return (core_way){.direct = direct < packed, .ahead = ahead < fused};
}

/* Memory for sums beside weights that are read as they lie: the processor takes a load for that of
 * a pending store where both addresses have the same low bits, and makes it wait. Each store is
 * therefore some bytes behind the loads of its step. */
static void lay_sums(const crnn_forward_args *args, core_forward_run *run, core_arena *work) {
    enum { LOW_BITS = 4096, BEHIND = 512 };
    const core_shape *s = run->shape;
    const size_t item = crnn_dtype_size(s->layer.dtype);
    char *sums = core_take(work, run->rows->places * MAX_SLOTS, s->padded, item);
    core_take(work, LOW_BITS, 1, 1);
    if (!sums) return;
    const uintptr_t w_h = (uintptr_t)core_row_of(args->params, s->at.w_h, 1, item);
    const size_t skip = (w_h - BEHIND - (uintptr_t)sums) % LOW_BITS;
    run->sums = sums + skip / CRNN_ALIGN * CRNN_ALIGN;
}

/* How weights are read: a table of symbols' vectors is never packed; the rest is, where that is
 * worth it. */
static void lay_weights(const crnn_forward_args *args, core_forward_run *run, core_arena *work) {
    const core_shape *s = run->shape;
    const crnn_rows *rows = args->rows;
    const size_t floats = crnn_floats(&s->layer, &args->in);
    if (args->packed) {
        core_arena packed = core_arena_at((void *)args->packed);
        lay_packed(run, true, true, &packed);
        lay_extras(run, &packed);
        return;
    }
    lay_extras(run, work);
    const size_t d = crnn_strands(&rows->given);
    const double steps = (double)((rows->given.steps + d - 1) / d), places = (double)rows->places;
    const core_way_size size = {floats, s->h_rows, s->at.columns / s->phases, s->kept};
    const core_way way = core_choose_way(
        s->kernels, size, rows->total > 0 ? (double)rows->total / steps : places, steps);
    if (way.direct && !s->staged && !args->stepwise) {
        lay_sums(args, run, work);
        return;
    }
    run->ahead = way.ahead && rows->places <= AHEAD_ROWS && !args->in.symbols &&
                 !s->layer.layer_norm && !args->stepwise;
    run->unpacked = args->in.symbols ? args->in.table : 0;
    lay_packed(run, floats > 0, core_leaves_out(s), work);
}

static void lay_forward(const crnn_forward_args *args, core_forward_run *run, core_arena *work) {
    const core_shape *s = run->shape;
    const crnn_rows *rows = args->rows;
    const size_t item = crnn_dtype_size(s->layer.dtype);
    lay_weights(args, run, work);
    run->factors = core_lay_factors(s, &args->noise, rows->places, work);
    if (core_adds_noise(s, &args->noise))
        run->factors.added = core_take(work, rows->places, s->padded, item);
    const size_t reads = core_rows_in(run->reads.count, rows, work);
    if (core_drops_h(s, &args->noise)) run->h_in = core_take(work, reads, s->h_padded, item);
    if (s->layer.projected) run->made = core_take(work, rows->places, s->padded, item);
    if (s->phases > 1) run->operand = core_take(work, reads, s->padded, item);
    run->keep = args->tape != NULL;
    run->keep_gates = run->keep && s->keeps_gates;
    run->steps_ahead = 1;
    if (run->ahead && rows->total > 0)
        run->steps_ahead = min_size(AHEAD_ROWS / rows->places, rows->given.steps);
    run->gate_rows = run->keep_gates ? rows->total : rows->places * run->steps_ahead;
}

static void lay_states(const crnn_forward_args *args, core_forward_run *run, core_arena *work) {
    const core_shape *s = run->shape;
    if (run->keep) {
        core_arena memory = core_arena_at(args->tape->memory);
        run->tape = core_lay_tape(s, run->rows, &memory);
        if (!run->keep_gates)
            run->tape.gates = core_take(work, core_panel_rows(run->gate_rows), s->row_gates,
                                        crnn_dtype_size(s->layer.dtype));
    } else {
        run->tape = core_lay_states(s, run->rows, run->gate_rows, run->reads.depth + 1, work);
    }
    if (!run->operand) run->operand = run->tape.h0;
}

/* Weights that come packed stay as they are. */
static bool drops_weights(const core_shape *s, const crnn_forward_args *args) {
    return !args->packed && core_drops_weights(s, &args->noise);
}

crnn_status crnn_forward_workspace(const crnn_forward_args *args, size_t *bytes) {
    core_arena work = core_arena_at(NULL);
    core_shape s;
    if (core_shape_init(&s, args->layer, args->kernels) != CRNN_OK) return CRNN_OVERFLOW;
    core_set_kept(&s, args->kept);
    core_forward_run run = {.shape = &s, .rows = args->rows};
    core_reads_init(&run.reads, args->layer, args->rows);
    lay_forward(args, &run, &work);
    lay_states(args, &run, &work);
    if (drops_weights(&s, args)) core_take(&work, s.at.total, 1, crnn_dtype_size(s.layer.dtype));
    return core_arena_size(&work, bytes);
}

/* ---- the call */

void core_forward_pack(const core_forward_call *call, const core_member *me) {
    if (call->packs) pack_part(&call->run, me);
}

static void forward_part(void *context, const core_member *me) {
    const core_forward_call *call = context;
    const core_shape *s = &call->shape;
    core_forward_pack(call, me);
    if (call->packs) core_meet(me);
    const core_span span = core_span_of(s, call->run.rows, s->panels, me);
    s->kernels->forward(&call->run, &span, 0, call->run.rows->given.steps);
}

/* The last states of a place to `to`, if that is wanted: see rows_at_step in kernels/forward.inc.
 */
static void last_states(const core_forward_run *run, core_state_part part, const void *states,
                        const void *initial, size_t place, const void *given, void *to) {
    const crnn_rows *rows = run->rows;
    const size_t length = rows->length[place], item = crnn_dtype_size(run->shape->layer.dtype);
    if (!to) return;
    size_t nth = core_state_keep(run->shape, rows, part, place, given, to);
    for (; nth < part.depth; nth++) {
        const bool is_new = length + nth >= part.depth;
        const size_t t = length + nth - part.depth; /* of a new one */
        const size_t block = is_new ? t % (part.depth + 1) : length + nth;
        const size_t row = is_new && run->keep ? rows->first[t] : block * rows->places;
        core_state_out(run->shape, rows, part, place, true, nth,
                       core_row_of(is_new ? states : initial, row + place, part.padded, item), to);
    }
}

void core_forward_close(const core_forward_call *call) {
    const core_shape *s = &call->shape;
    const core_forward_run *run = &call->run;
    const core_state_part h = core_state_h(s, &run->reads), c = core_state_c(s, &run->reads);
    for (size_t i = 0; i < run->rows->places; i++) {
        if (!(run->rows->ends[i] & CRNN_READ_LAST)) continue;
        last_states(run, h, run->tape.h, run->tape.h0, i, call->initial.h, call->final.h);
        if (s->states == 2)
            last_states(run, c, run->tape.c, run->tape.c0, i, call->initial.c, call->final.c);
    }
    crnn_fill_gaps(run->rows, &run->y, s->h_wide, crnn_dtype_size(s->layer.dtype), true);
}

size_t core_forward_lay(core_forward_call *call, const crnn_forward_args *args) {
    core_shape *s = &call->shape;
    core_forward_run *run = &call->run;
    core_shape_init(s, args->layer, args->kernels);
    core_set_kept(s, args->kept);
    *run = (core_forward_run){.shape = s,
                              .rows = args->rows,
                              .params = args->params,
                              .in = args->in,
                              .noise = args->noise,
                              .y = args->y};
    core_reads_init(&run->reads, args->layer, args->rows);
    core_arena work = core_arena_at(args->workspace);
    lay_forward(args, run, &work);
    lay_states(args, run, &work);
    if (args->packed) s->kept = *run->packed_kept;
    if (drops_weights(s, args))
        run->params = core_drop_weights(s, &args->noise, args->params, &work);
    if (args->tape) args->tape->kernels = s->kernels;
    call->initial = args->initial;
    call->final = args->final;
    call->packs = run->packed_h && !args->packed;
    describe_matrices(run, &call->weights);
    if (!args->packed) pack_extras(run);
    return work.used.bytes;
}

void core_forward_begin(const core_forward_call *call) {
    const core_shape *s = &call->shape;
    const core_forward_run *run = &call->run;
    core_states_in(s, run->rows, &run->reads, core_state_h(s, &run->reads), call->initial.h,
                   run->params, run->tape.h0);
    if (s->states == 2)
        core_states_in(s, run->rows, &run->reads, core_state_c(s, &run->reads), call->initial.c,
                       run->params, run->tape.c0);
}

void core_forward_all(core_forward_call *call) {
    const core_shape *s = &call->shape;
    const crnn_rows *rows = call->run.rows;
    const double work = core_recurrence_work(s, rows);
    core_in_team(work, core_seats(s, rows, s->panels, work), forward_part, call);
}

void crnn_forward(const crnn_forward_args *args) {
    core_forward_call call;
    core_forward_lay(&call, args);
    core_forward_begin(&call);
    core_forward_all(&call);
    core_forward_close(&call);
}
