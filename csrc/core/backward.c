/* Backward through time of a recurrent layer: lays out the caller's buffers, packs weights, and
 * shares rows, panels and products out among the threads. The loops are in kernels/. */
#include <string.h>

#include "run.h"

static size_t max_size(size_t a, size_t b) { return a > b ? a : b; }

/* Buffers of the options: which there are tells the kernels what to do. */
static void lay_options(crnn_backward_run *run, size_t rows, crnn_arena *a) {
    const crnn_shape *s = run->shape;
    const crnn_layer *layer = &s->layer;
    const size_t places = run->rows->places, item = crnn_dtype_size(layer->dtype);
    if (!s->rich) return;
    run->vectors = crnn_take(a, VECTORS, s->padded, item);
    run->factors = crnn_lay_factors(s, &run->noise, places, a);
    if (crnn_drops_h(s, &run->noise)) run->h_in = crnn_take(a, rows, s->h_padded, item);
    if (layer->peepholes) run->c_made = crnn_take(a, rows, s->padded, item);
    if (s->staged) run->d_units = crnn_take(a, places, s->padded, item);
    if (layer->projected) {
        run->made = crnn_take(a, rows, s->padded, item);
        run->dh_made = crnn_take(a, rows, s->h_padded, item);
        run->spare = crnn_take(a, places, s->padded, item);
        run->turned_p = crnn_take(a, s->h_wide, s->padded, item);
    }
    if (!layer->layer_norm) return;
    run->gain_x = crnn_take(a, s->packed_bias, 1, item);
    run->gain_h = crnn_take(a, s->packed_bias, 1, item);
    run->dgates_x = crnn_take(a, crnn_panel_rows(rows), s->row_gates, item);
    run->dgates_h = crnn_take(a, crnn_panel_rows(rows), s->row_gates, item);
    if (s->states != 2) return;
    run->d_norm = crnn_take(a, rows, s->padded, item);
    run->squashed = crnn_take(a, places, s->padded, item);
    run->dc_norm = crnn_take(a, places, s->padded, item);
}

static void lay_backward(const crnn_backward_args *args, crnn_backward_run *run, crnn_arena *a) {
    const crnn_shape *s = run->shape;
    const size_t B = run->rows->places, N = run->rows->total, I = s->layer.inputs,
                 H = s->layer.hidden, P = s->h_wide;
    const size_t item = crnn_dtype_size(s->layer.dtype), tile = s->kernels->tile_rows;
    /* Where sums are normalised there are three gradients of each: half as many rows fit a cache.
     */
    const size_t fitting = s->kernels->block_rows / (s->layer.layer_norm ? 2 : 1);
    const size_t most = max_size(B, fitting); /* one step's at least */
    const size_t rows = run->window = most < N ? most : N;
    run->dgates = run->dgates_x = run->dgates_h =
        crnn_take(a, crnn_panel_rows(rows), s->row_gates, item);
    run->operand = s->phases > 1 ? crnn_take(a, rows, s->padded, item) : run->dgates;
    run->direct = run->dc = crnn_take(a, B, s->h_padded, item);
    if (s->states == 2) run->dc = crnn_take(a, B, s->padded, item);
    run->turned_h = crnn_take(a, s->turned_h, 1, item);
    run->turned_x = args->dx.data ? crnn_take(a, s->turned_x, 1, item) : NULL;
    run->block = crnn_take(a, I + H + P + 3 * tile, s->kernels->block_rows, item);
    run->x_rows = crnn_take(a, rows, 1, sizeof(void *));
    run->symbol_of = crnn_take(a, rows, 1, sizeof(int64_t));
    run->h_rows = crnn_take(a, rows, s->phases, sizeof(void *));
    run->c_rows = crnn_take(a, rows, 1, sizeof(void *));
    run->made_rows = crnn_take(a, rows, 1, sizeof(void *));
    run->dx_rows = crnn_take(a, rows, 1, sizeof(void *));
    lay_options(run, rows, a);
}

static bool has_folds(const crnn_backward_args *args) {
    return args->rows->given.mask && args->dy.data;
}

crnn_status crnn_backward_workspace(const crnn_backward_args *args, size_t *bytes) {
    crnn_arena a = crnn_arena_at(NULL);
    crnn_shape s;
    if (crnn_shape_init(&s, args->layer, args->tape->kernels) != CRNN_OK) return CRNN_OVERFLOW;
    const size_t item = crnn_dtype_size(s.layer.dtype);
    const crnn_steps *given = &args->rows->given;
    crnn_backward_run run = {.shape = &s, .rows = args->rows, .noise = args->noise};
    lay_backward(args, &run, &a);
    if (has_folds(args)) crnn_take(&a, given->batch * given->steps, s.h_wide, item);
    if (crnn_drops_weights(&s, &args->noise)) {
        crnn_take(&a, s.at.total, 1, item);
        crnn_take(&a, s.at.columns, s.h_wide, item);
    }
    return crnn_arena_size(&a, bytes);
}

static size_t output_panels(const crnn_shape *s, size_t features) {
    const size_t wide = TILE_VECS * s->width;
    return (features + wide - 1) / wide;
}

/* A member's share of the panels: those of each phase's W_h, then those of W_x. */
static void turn_part(const crnn_backward_run *run, size_t part, size_t parts) {
    const crnn_shape *s = run->shape;
    const size_t to_h = output_panels(s, s->h_wide), all_h = s->phases * to_h;
    const size_t count = all_h + (run->dx.data ? output_panels(s, s->layer.inputs) : 0);
    for (size_t i = count * part / parts; i < count * (part + 1) / parts; i++) {
        if (i < all_h)
            s->kernels->turn_h(run, i / to_h, i % to_h);
        else
            s->kernels->turn_x(run, i - all_h);
    }
}

static void backward_part(void *context, size_t part, size_t parts) {
    const crnn_backward_run *run = context;
    const crnn_shape *s = run->shape;
    turn_part(run, part, parts);
    crnn_meet(parts);
    const size_t panels = output_panels(s, s->layer.hidden);
    const crnn_span span = crnn_span_of(s, run->rows, panels, part, parts);
    s->kernels->backward(run, &span);
}

/* to (wide) += the gradient of the state that places began with which was learned, places
 * ascending. */
static void add_learned(const crnn_backward_run *run, crnn_state_part part, bool from_learned,
                        const void *states) {
    const crnn_shape *s = run->shape;
    const size_t item = crnn_dtype_size(s->layer.dtype);
    char *to = (char *)run->grads + part.learned * item;
    const char *row = states;
    for (size_t i = 0; part.is_learned && i < run->rows->places; i++, row += part.padded * item)
        if (from_learned || !(run->rows->ends[i] & CRNN_READ_FIRST))
            s->kernels->add_rows(1, part.wide, NULL, row, to);
}

static void state_back(const crnn_backward_run *run, crnn_state_part part, bool from_learned,
                       const void *states, void *dinitial) {
    const size_t wide = part.padded * crnn_dtype_size(run->shape->layer.dtype);
    for (size_t i = 0; i < run->rows->places; i++)
        if (run->rows->ends[i] & CRNN_READ_FIRST)
            crnn_state_out(run->shape, run->rows, part, i, (const char *)states + i * wide,
                           dinitial);
    add_learned(run, part, from_learned, states);
}

static void finish_backward(const crnn_backward_run *run, const crnn_backward_args *args) {
    const crnn_shape *s = run->shape;
    state_back(run, crnn_state_h(s), args->from_learned, run->direct, args->dinitial.h);
    if (s->states == 2)
        state_back(run, crnn_state_c(s), args->from_learned, run->dc, args->dinitial.c);
    if (!run->add_dx)
        crnn_fill_gaps(run->rows, &run->dx, s->layer.inputs, crnn_dtype_size(s->layer.dtype),
                       false);
}

/* What options need before the team begins. */
static void pack_options(crnn_backward_run *run) {
    const crnn_shape *s = run->shape;
    if (run->vectors) s->kernels->pack_vectors(s, run->params, run->vectors);
    if (run->gain_x) s->kernels->pack_gains(s, CRNN_GAIN_X, run->params, run->gain_x);
    if (run->gain_h) s->kernels->pack_gains(s, CRNN_GAIN_H, run->params, run->gain_h);
    if (run->turned_p) /* W_p is stored transposed, (H, P) */
        s->kernels->pack_dense_transposed(
            s->layer.hidden, s->h_wide,
            (const char *)run->params + s->at.extra[CRNN_W_P] * crnn_dtype_size(s->layer.dtype),
            run->turned_p);
}

void crnn_backward(const crnn_backward_args *args) {
    crnn_shape s;
    crnn_shape_init(&s, args->layer, args->tape->kernels);
    const crnn_rows *rows = args->rows;
    const size_t item = crnn_dtype_size(s.layer.dtype);
    crnn_arena memory = crnn_arena_at(args->tape->memory), work = crnn_arena_at(args->workspace);
    const crnn_tape_parts kept = crnn_lay_tape(&s, rows, &memory);
    char *const grads_h = (char *)args->grads + s.at.w_h * item;
    crnn_backward_run run = {.shape = &s,
                             .rows = rows,
                             .params = args->params,
                             .in = args->in,
                             .noise = args->noise,
                             .dy = args->dy,
                             .dx = args->dx,
                             .add_dx = args->add_dx,
                             .gates = kept.gates,
                             .hat_x = kept.hat_x,
                             .hat_h = kept.hat_h,
                             .hat_c = kept.hat_c,
                             .spread = kept.spread,
                             .h = kept.h,
                             .c = kept.c,
                             .h0 = kept.h0,
                             .c0 = kept.c0,
                             .dh_total = args->dh,
                             .dc_total = args->dc,
                             .grads = args->grads,
                             .grads_h = grads_h};
    lay_backward(args, &run, &work);
    if (has_folds(args))
        run.dy =
            crnn_fold_gaps(rows, &args->dy, s.h_wide, s.layer.dtype,
                           crnn_take(&work, rows->given.batch * rows->given.steps, s.h_wide, item));
    const bool drops = crnn_drops_weights(&s, &args->noise);
    if (drops) {
        run.params = crnn_drop_weights(&s, &args->noise, args->params, &work);
        run.grads_h = crnn_take(&work, s.at.columns, s.h_wide, item);
        memset(run.grads_h, 0, s.at.columns * s.h_wide * item);
    }
    pack_options(&run);
    crnn_dstates_in(&s, rows, crnn_state_h(&s), args->dfinal.h, run.direct);
    if (s.states == 2) crnn_dstates_in(&s, rows, crnn_state_c(&s), args->dfinal.c, run.dc);
    crnn_team(2 * crnn_recurrence_work(&s, rows), crnn_threads(), backward_part, &run);
    if (drops) s.kernels->add_dropped(&s, &args->noise, 0, s.h_wide, run.grads_h, grads_h);
    finish_backward(&run, args);
}
