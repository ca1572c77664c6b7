/* Backward through time of a recurrent layer: lays out the caller's buffers, packs weights, and
 * shares rows, panels and products out among the threads. The loops are in kernels/. */
#include <string.h>

#include "run.h"

static size_t max_size(size_t a, size_t b) { return a > b ? a : b; }

/* Buffers of the options: which there are tells the kernels what to do. */
static void lay_options(core_backward_run *run, size_t rows, core_arena *a) {
    const core_shape *s = run->shape;
    const crnn_layer *layer = &s->layer;
    const size_t places = run->rows->places, item = crnn_dtype_size(layer->dtype);
    if (!s->rich) return;
    core_lay_extras(s, &run->vectors, &run->gain_x, &run->gain_h, a);
    run->factors = core_lay_factors(s, &run->noise, places, a);
    if (core_drops_h(s, &run->noise))
        run->h_in = core_take(a, run->reads.count * rows, s->h_padded, item);
    if (layer->peepholes) run->c_made = core_take(a, rows, s->padded, item);
    if (s->leaks && layer->learns_leak) run->d_leak = core_take(a, rows, s->padded, item);
    if (s->staged) run->d_units = core_take(a, places, s->padded, item);
    if (layer->projected) {
        run->made = core_take(a, rows, s->padded, item);
        run->dh_made = core_take(a, rows, s->h_padded, item);
        run->spare = core_take(a, places, s->padded, item);
        run->w_p = core_dense_matrix(s->kernels, CORE_TURNED, s->h_wide, layer->hidden,
                                     core_take(a, s->h_wide, s->padded, item));
    }
    if (!layer->layer_norm) return;
    run->dgates_x = core_take(a, core_panel_rows(rows), s->row_gates, item);
    if (s->h_rows) run->dgates_h = core_take(a, core_panel_rows(rows), s->row_gates, item);
    if (s->states != 2) return;
    run->d_norm = core_take(a, rows, s->padded, item);
    run->squashed = core_take(a, places, s->padded, item);
    run->dc_norm = core_take(a, places, s->padded, item);
}

/* Gradients of earlier states, where steps read other states than the last one. */
static void lay_ring(core_backward_run *run, core_arena *a) {
    const core_shape *s = run->shape;
    const size_t item = crnn_dtype_size(s->layer.dtype), K = run->reads.count;
    if (run->reads.depth == 1) return;
    const size_t rows = core_rows_in(run->reads.depth + 1, run->rows, a);
    run->ring_h = run->ring_c = core_take(a, rows, s->h_padded, item);
    if (s->states == 2) run->ring_c = core_take(a, rows, s->padded, item);
    if (s->phases > 1 && K > 1)
        run->d_further = core_take(a, (K - 1) * run->rows->places, s->padded, item);
}

/* The transpose of a phase's W_x or W_h, as two matrices: of full panels of gates, and of the last
 * one where it is narrower. leaves_out: without blocks of zeros. */
static void lay_turned(const core_shape *s, const core_blocks *blocks, size_t columns,
                       bool leaves_out, core_matrix turned[2], core_arena *a) {
    core_matrix all = core_turned_matrix(s->kernels, columns, blocks, true, NULL);
    all.data = core_take(a, all.rows, all.columns.vecs * s->width, crnn_dtype_size(s->layer.dtype));
    turned[0] = turned[1] = all;
    turned[0].inner = turned[1].skip = s->vecs / s->units * blocks->count * s->units * s->width;
    turned[1].inner = all.rows - turned[0].inner;
    if (!leaves_out) return;
    core_skips measured[2], *skips = core_take(a, 2, 1, sizeof *skips);
    const size_t run = blocks->count * s->units * s->width;
    if (!skips) skips = measured;
    skips[0] = core_lay_skips(s->kernels, &all.columns, 1, turned[0].inner / run, run, a);
    skips[1] = core_lay_skips(s->kernels, &all.columns, 1, 1, turned[1].inner, a);
    if (!a->base) return;
    for (size_t i = 0; i < 2; i++) turned[i].skips = &skips[i];
    turned[1].data = /* behind what the first one has room for */
        core_row_of(all.data, turned[0].inner, all.columns.vecs * s->width,
                    crnn_dtype_size(s->layer.dtype));
}

/* The transposes of the blocks of W_h. */
static void lay_turned_h(core_backward_run *run, core_arena *a) {
    const core_shape *s = run->shape;
    const size_t K = run->reads.count;
    core_matrix measured[2];
    if (K == 0) return;
    run->turned_more = core_take(a, (K - 1) * MAX_PHASES, 2, sizeof *run->turned_more);
    for (size_t i = 0; i < s->phases; i++) {
        lay_turned(s, &s->phase[i].of_h, s->h_wide, core_leaves_out(s), run->turned_h[i], a);
        for (size_t k = 1; k < K; k++)
            lay_turned(s, &s->phase[i].of_h, s->h_wide, core_leaves_out(s),
                       a->base ? core_turned_of(run, i, k) : measured, a);
    }
}

static void lay_backward(const crnn_backward_args *args, core_backward_run *run, core_arena *a) {
    const core_shape *s = run->shape;
    const size_t B = run->rows->places, N = run->rows->total, I = s->layer.inputs,
                 H = s->layer.hidden;
    const size_t item = crnn_dtype_size(s->layer.dtype), tile = s->kernels->tile_rows;
    /* Where sums are normalised there are three gradients of each: half as many rows fit a cache.
     */
    const size_t fitting = s->kernels->block_rows / (s->layer.layer_norm ? 2 : 1);
    const size_t most = max_size(B, fitting); /* one step's at least */
    const size_t rows = run->window = most < N ? most : N;
    run->dgates = run->dgates_x = run->dgates_h =
        core_take(a, core_panel_rows(rows), s->row_gates, item);
    const size_t K = run->reads.count;
    run->operand = s->phases > 1 ? core_take(a, K * rows, s->padded, item) : run->dgates;
    run->bypass = run->dc = core_take(a, B, s->h_padded, item);
    if (s->states == 2) run->dc = core_take(a, B, s->padded, item);
    lay_ring(run, a);
    const size_t floats = crnn_floats(&s->layer, &args->in);
    lay_turned_h(run, a);
    for (size_t i = 0; args->dx.data && i < s->phases; i++)
        lay_turned(s, &s->phase[i].of_x, floats, false, run->turned_x[i], a);
    if (args->grads || args->in.symbols)
        run->block = core_take(a, I + H + s->h_rows + (K + 2) * tile, s->kernels->block_rows, item);
    run->x_rows = core_take(a, rows, 1, sizeof(void *));
    run->symbol_of = core_take(a, rows, 1, sizeof(int64_t));
    run->h_rows = core_take(a, rows, s->phases * K, sizeof(void *));
    run->c_rows = core_take(a, rows, 1, sizeof(void *));
    run->dx_rows = core_take(a, rows, 1, sizeof(void *));
    lay_options(run, rows, a);
}

static bool has_folds(const crnn_backward_args *args) {
    return args->rows->given.mask && args->dy.data;
}

crnn_status crnn_backward_workspace(const crnn_backward_args *args, size_t *bytes) {
    core_arena a = core_arena_at(NULL);
    core_shape s;
    if (core_shape_init(&s, args->layer, args->tape->kernels) != CRNN_OK) return CRNN_OVERFLOW;
    core_set_kept(&s, args->kept);
    const size_t item = crnn_dtype_size(s.layer.dtype);
    const crnn_steps *given = &args->rows->given;
    core_backward_run run = {.shape = &s, .rows = args->rows, .noise = args->noise};
    core_reads_init(&run.reads, args->layer, args->rows);
    lay_backward(args, &run, &a);
    if (has_folds(args)) core_take(&a, given->batch * given->steps, s.h_wide, item);
    if (core_drops_weights(&s, &args->noise)) {
        core_take(&a, s.at.total, 1, item);
        core_take(&a, args->grads ? s.at.columns : 0, s.h_rows, item);
    }
    return core_arena_size(&a, bytes);
}

/* A member's share of the panels of a turned matrix; w: element 0 of the matrix. */
static void turn(const core_backward_run *run, const core_matrix turned[2], size_t w,
                 const core_member *me) {
    const core_shape *s = run->shape;
    const core_range own = core_share(turned->columns.panels, me);
    const void *from = core_row_of(run->params, w, 1, crnn_dtype_size(s->layer.dtype));
    core_matrix all = turned[0];
    all.inner = all.rows;
    for (size_t i = 0; turned->skips && i < 2; i++)
        s->kernels->pack(&turned[i], from, own.from, own.to);
    if (!turned->skips) s->kernels->pack(&all, from, own.from, own.to);
}

/* A member's share of each phase's W_h and W_x, and of W_p, which is stored transposed, (H, P). */
static void turn_part(const core_backward_run *run, const core_member *me) {
    const core_shape *s = run->shape;
    const size_t table = s->layer.inputs - crnn_floats(&s->layer, &run->in);
    for (size_t i = 0; i < s->phases; i++) {
        for (size_t k = 0; k < run->reads.count; k++)
            turn(run, core_turned_of(run, i, k), s->at.w_h + k * s->h_wide * s->at.columns, me);
        if (run->dx.data) turn(run, run->turned_x[i], s->at.w_x + table * s->at.columns, me);
    }
    if (s->layer.projected)
        core_pack_dense(s->kernels, CORE_TURNED, s->h_wide, s->layer.hidden,
                        core_w_p(s, run->params), (void *)run->w_p.data, me);
}

core_window core_window_before(const crnn_rows *rows, size_t most, size_t end) {
    const size_t *first = rows->first;
    size_t begin = end - 1;
    while (begin > 0 && first[end] - first[begin - 1] <= most) begin--;
    return (core_window){begin, end, first[begin], first[end] - first[begin]};
}

void core_backward_turn(const core_backward_call *call, const core_member *me) {
    turn_part(&call->run, me);
    call->shape.kernels->begin_back(&call->run, me);
}

/* The steps of a window, then the products over them. The team meets between the two. */
static void window_back(const core_backward_run *run, const core_span *span, const core_window *w,
                        const core_member *me) {
    const crnn_kernels *k = run->shape->kernels;
    const core_range own = core_share(w->rows, me);
    k->list_window(run, me, w);
    for (size_t t = w->end; t-- > w->begin;) k->step_back(run, span, w, t);
    k->finish_window(run, span, w);
    core_meet(me);
    k->weight_grads(run, w, me);
    if (run->dx.data) k->input_grad(run, own.from, own.to);
    core_meet(me);
}

static void backward_part(void *context, const core_member *me) {
    const core_backward_call *call = context;
    const core_backward_run *run = &call->run;
    const core_shape *s = &call->shape;
    core_backward_turn(call, me);
    core_meet(me);
    const size_t panels = core_dense_panels(s->kernels, s->layer.hidden);
    const core_span span = core_span_of(s, run->rows, panels, me);
    for (size_t end = run->rows->given.steps; end > 0;) {
        const core_window w = core_window_before(run->rows, run->window, end);
        end = w.begin;
        if (w.rows > 0) window_back(run, &span, &w, me);
    }
}

/* The gradients of initial state `nth` of each place, to their rows of dinitial, and where they
 * were learned added to those of the parameter, places ascending. */
static void state_back(const core_backward_run *run, core_state_part part, bool from_learned,
                       const void *states, size_t nth, void *dinitial) {
    const core_shape *s = run->shape;
    const crnn_rows *rows = run->rows;
    const size_t item = crnn_dtype_size(s->layer.dtype);
    const bool learns = part.is_learned && run->grads;
    for (size_t i = 0; i < rows->places; i++) {
        const bool reads_first = rows->ends[i] & CRNN_READ_FIRST;
        const void *row = core_row_of(states, i, part.padded, item);
        if (reads_first) core_state_out(s, rows, part, i, false, nth, row, dinitial);
        if (learns && (from_learned || !reads_first))
            s->kernels->add_rows(1, part.wide, part.wide, NULL, row,
                                 core_row_of(run->grads, part.learned, 1, item) +
                                     (rows->strand[i] + nth) * part.wide * item);
    }
}

/* Where steps read other states than the last one, the gradients are in a ring. */
static void states_back(const core_backward_run *run, core_state_part part, bool from_learned,
                        const void *states, const void *ring, void *dinitial) {
    const size_t block = run->rows->places * part.padded * crnn_dtype_size(run->shape->layer.dtype);
    for (size_t nth = 0; nth < part.depth; nth++)
        state_back(run, part, from_learned, ring ? (const char *)ring + (nth + 1) * block : states,
                   nth, dinitial);
}

static void add_dropped_part(void *context, const core_member *me) {
    const core_backward_run *run = context;
    const core_shape *s = run->shape;
    const core_range own = core_share(s->h_rows, me);
    s->kernels->add_dropped(s, &run->noise, own.from, own.to, run->grads_h,
                            (char *)run->grads + s->at.w_h * crnn_dtype_size(s->layer.dtype));
}

void core_backward_close(core_backward_call *call) {
    const core_shape *s = &call->shape;
    core_backward_run *run = &call->run;
    if (call->drops && run->grads)
        core_in_same_mode(core_drop_work(s), s->h_rows, add_dropped_part, run);
    states_back(run, core_state_h(s, &run->reads), call->from_learned, run->bypass, run->ring_h,
                call->dinitial.h);
    if (s->states == 2)
        states_back(run, core_state_c(s, &run->reads), call->from_learned, run->dc, run->ring_c,
                    call->dinitial.c);
    if (!run->add_dx)
        crnn_fill_gaps(run->rows, &run->dx, crnn_floats(&s->layer, &run->in),
                       crnn_dtype_size(s->layer.dtype), false);
}

/* The run of a call before its workspace is laid out. */
static core_backward_run run_of(const core_shape *s, const crnn_backward_args *args) {
    core_arena memory = core_arena_at(args->tape->memory), traces = core_arena_at(args->trace);
    const core_trace_parts nothing = {0};
    return (core_backward_run){
        .shape = s,
        .rows = args->rows,
        .params = args->params,
        .in = args->in,
        .noise = args->noise,
        .dy = args->dy,
        .dx = args->dx,
        .add_dx = args->add_dx,
        .tape = core_lay_tape(s, args->rows, &memory),
        .trace = args->trace ? core_lay_trace(s, args->rows, &traces) : nothing,
        .grads = args->grads,
        .grads_h = args->grads
                       ? core_row_of(args->grads, s->at.w_h, 1, crnn_dtype_size(s->layer.dtype))
                       : NULL};
}

void core_backward_open(core_backward_call *call, const crnn_backward_args *args) {
    core_shape *s = &call->shape;
    core_backward_run *run = &call->run;
    core_shape_init(s, args->layer, args->tape->kernels);
    core_set_kept(s, args->kept);
    const crnn_rows *rows = args->rows;
    const size_t item = crnn_dtype_size(s->layer.dtype);
    core_arena work = core_arena_at(args->workspace);
    *run = run_of(s, args);
    core_reads_init(&run->reads, args->layer, rows);
    lay_backward(args, run, &work);
    if (has_folds(args))
        run->dy = crnn_fold_gaps(
            rows, &args->dy, s->h_wide, s->layer.dtype,
            core_take(&work, rows->given.batch * rows->given.steps, s->h_wide, item));
    call->drops = core_drops_weights(s, &args->noise);
    if (call->drops) {
        run->params = core_drop_weights(s, &args->noise, args->params, &work);
    }
    if (call->drops && run->grads) {
        run->grads_h = core_take(&work, s->at.columns, s->h_rows, item);
        memset(run->grads_h, 0, s->at.columns * s->h_rows * item);
    }
    core_pack_extras(s, run->params, run->vectors, run->gain_x, run->gain_h);
    const bool ring = run->ring_h != NULL;
    core_dstates_in(s, rows, core_state_h(s, &run->reads), args->dfinal.h,
                    ring ? run->ring_h : run->bypass);
    if (s->states == 2)
        core_dstates_in(s, rows, core_state_c(s, &run->reads), args->dfinal.c,
                        ring ? run->ring_c : run->dc);
    call->dinitial = args->dinitial;
    call->from_learned = args->from_learned;
}

/* Multiply-adds of the products over a window. */
static double product_work(const core_backward_run *run) {
    const core_shape *s = run->shape;
    const size_t floats = crnn_floats(&s->layer, &run->in);
    const size_t inner = (run->grads ? s->h_rows + floats : 0) + (run->dx.data ? floats : 0);
    return (double)run->window * (double)s->at.columns * (double)inner;
}

/* As many members as have a share in every step, or in the products over a window, for which the
 * others wait. */
void core_backward_all(core_backward_call *call) {
    const core_shape *s = &call->shape;
    const crnn_rows *rows = call->run.rows;
    const double work = 2 * core_recurrence_work(s, rows);
    const size_t panels = core_dense_panels(s->kernels, s->layer.hidden);
    const size_t in_steps = core_seats(s, rows, panels, work),
                 in_products = core_worth(product_work(&call->run));
    core_in_team(work, max_size(in_steps, in_products), backward_part, call);
}

void crnn_backward(const crnn_backward_args *args) {
    core_backward_call call;
    core_backward_open(&call, args);
    core_backward_all(&call);
    core_backward_close(&call);
}
