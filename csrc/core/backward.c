/* Backward through time of a recurrent layer: lays out the caller's buffers, packs weights, and
 * shares rows, panels and products out among the threads. The loops are in kernels/. */
#include "run.h"

static size_t max_size(size_t a, size_t b) { return a > b ? a : b; }

static void lay_backward(const crnn_backward_args *args, crnn_backward_run *run, crnn_arena *a) {
    const crnn_shape *s = run->shape;
    const size_t B = run->rows->batch, N = run->rows->total, I = s->layer.inputs,
                 H = s->layer.hidden;
    const size_t item = crnn_dtype_size(s->layer.dtype), tile = s->kernels->tile_rows;
    const size_t most = max_size(B, s->kernels->block_rows); /* one step's at least */
    const size_t rows = run->window = most < N ? most : N;
    run->dgates = crnn_take(a, rows, s->row_gates, item);
    run->operand = s->phases > 1 ? crnn_take(a, rows, s->padded, item) : run->dgates;
    run->direct = run->dc = crnn_take(a, B, s->padded, item);
    if (s->states == 2) run->dc = crnn_take(a, B, s->padded, item);
    run->turned_h = crnn_take(a, s->turned_h, 1, item);
    run->turned_x = args->dx.data ? crnn_take(a, s->turned_x, 1, item) : NULL;
    run->block = crnn_take(a, I + H + 2 * tile, s->kernels->block_rows, item);
    run->x_rows = crnn_take(a, rows, 1, sizeof(void *));
    run->symbol_of = crnn_take(a, rows, 1, sizeof(int64_t));
    run->h_rows = crnn_take(a, rows, s->phases, sizeof(void *));
    run->dx_rows = crnn_take(a, rows, 1, sizeof(void *));
}

crnn_status crnn_backward_workspace(const crnn_backward_args *args, size_t *bytes) {
    crnn_arena a = crnn_arena_at(NULL);
    crnn_shape s;
    if (crnn_shape_init(&s, args->layer, args->tape->kernels) != CRNN_OK) return CRNN_OVERFLOW;
    crnn_backward_run run = {.shape = &s, .rows = args->rows};
    lay_backward(args, &run, &a);
    return crnn_arena_size(&a, bytes);
}

static size_t output_panels(const crnn_shape *s, size_t features) {
    const size_t wide = TILE_VECS * s->width;
    return (features + wide - 1) / wide;
}

/* A member's share of the panels: those of each phase's W_h, then those of W_x. */
static void turn_part(const crnn_backward_run *run, size_t part, size_t parts) {
    const crnn_shape *s = run->shape;
    const size_t to_h = output_panels(s, s->layer.hidden), all_h = s->phases * to_h;
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

static void finish_backward(const crnn_backward_run *run, const crnn_state *dinitial) {
    const crnn_shape *s = run->shape;
    const size_t item = crnn_dtype_size(s->layer.dtype), wide = s->padded * item;
    for (size_t i = 0; i < run->rows->batch; i++) {
        crnn_state_out(s, run->rows, i, (const char *)run->direct + i * wide, dinitial->h);
        if (s->states == 2)
            crnn_state_out(s, run->rows, i, (const char *)run->dc + i * wide, dinitial->c);
    }
    if (!run->add_dx) crnn_clear_padding(run->rows, &run->dx, s->layer.inputs, item);
}

void crnn_backward(const crnn_backward_args *args) {
    crnn_shape s;
    crnn_shape_init(&s, args->layer, args->tape->kernels);
    const crnn_rows *rows = args->rows;
    crnn_arena memory = crnn_arena_at(args->tape->memory), work = crnn_arena_at(args->workspace);
    const crnn_tape_parts kept = crnn_lay_tape(&s, rows, &memory);
    crnn_backward_run run = {.shape = &s,
                             .rows = rows,
                             .params = args->params,
                             .in = args->in,
                             .dy = args->dy,
                             .dx = args->dx,
                             .add_dx = args->add_dx,
                             .gates = kept.gates,
                             .h = kept.h,
                             .c = kept.c,
                             .h0 = kept.h0,
                             .c0 = kept.c0,
                             .dh_total = args->dh,
                             .dc_total = args->dc,
                             .grads = args->grads};
    lay_backward(args, &run, &work);
    crnn_state_in(&s, rows, args->dfinal.h, run.direct);
    if (s.states == 2) crnn_state_in(&s, rows, args->dfinal.c, run.dc);
    crnn_team(2 * crnn_recurrence_work(&s, rows), crnn_threads(), backward_part, &run);
    finish_backward(&run, &args->dinitial);
}
