/* Forward of a recurrent layer: lays out the caller's buffers, packs weights, and shares rows and
 * panels out among the threads. The loops are in kernels/. */
#include "run.h"

/* ---- packed weights */

static void lay_packed(crnn_forward_run *run, bool x, crnn_arena *a) {
    const crnn_shape *s = run->shape;
    const size_t item = crnn_dtype_size(s->layer.dtype);
    run->bias = crnn_take(a, s->packed_bias, 1, item);
    run->packed_x = x ? crnn_take(a, s->packed_x, 1, item) : NULL;
    run->packed_h = crnn_take(a, s->packed_h, 1, item);
}

crnn_status crnn_packed_size(const crnn_layer *layer, const crnn_kernels *kernels, size_t *bytes) {
    crnn_arena a = crnn_arena_at(NULL);
    crnn_shape s;
    if (crnn_shape_init(&s, layer, kernels) != CRNN_OK) return CRNN_OVERFLOW;
    crnn_forward_run run = {.shape = &s};
    lay_packed(&run, true, &a);
    return crnn_arena_size(&a, bytes);
}

/* A member's share of the panels. */
static void pack_part(const crnn_forward_run *run, size_t part, size_t parts) {
    const crnn_shape *s = run->shape;
    for (size_t phase = 0; phase < s->phases; phase++)
        s->kernels->pack_panels(run, phase, s->panels * part / parts,
                                s->panels * (part + 1) / parts);
}

void crnn_pack(const crnn_layer *layer, const crnn_kernels *kernels, const void *params,
               void *packed) {
    crnn_shape s;
    crnn_shape_init(&s, layer, kernels);
    crnn_forward_run run = {.shape = &s, .params = params};
    crnn_arena a = crnn_arena_at(packed);
    lay_packed(&run, true, &a);
    pack_part(&run, 0, 1);
}

/* ---- the buffers of a call */

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* Weights that are read for many steps are packed. Few rows find W_x where it lies, many steps by
 * one product; a table of symbols' vectors is never packed. */
static void lay_forward(const crnn_forward_args *args, crnn_forward_run *run, crnn_arena *work) {
    const crnn_shape *s = run->shape;
    const crnn_rows *rows = args->rows;
    const bool few = rows->batch <= FEW_ROWS, symbols = args->in.symbols != NULL;
    if (args->packed) {
        crnn_arena packed = crnn_arena_at((void *)args->packed);
        lay_packed(run, true, &packed);
    } else if (few && rows->steps <= FEW_STEPS) {
        run->sums =
            crnn_take(work, rows->batch * MAX_SLOTS, s->padded, crnn_dtype_size(s->layer.dtype));
    } else {
        run->ahead = few && !symbols;
        lay_packed(run, !few && !symbols, work);
    }
    if (s->phases > 1)
        run->operand = crnn_take(work, rows->batch, s->padded, crnn_dtype_size(s->layer.dtype));
    run->keep = args->tape != NULL;
    run->keep_gates = run->keep && s->keeps_gates;
    run->steps_ahead = 1;
    if (run->ahead && rows->total > 0)
        run->steps_ahead = min_size(AHEAD_ROWS / rows->batch, rows->steps);
    run->gate_rows = run->keep_gates ? rows->total : rows->batch * run->steps_ahead;
}

static void lay_states(const crnn_forward_args *args, crnn_forward_run *run, crnn_arena *work) {
    crnn_tape_parts kept;
    if (run->keep) {
        crnn_arena memory = crnn_arena_at(args->tape->memory);
        kept = crnn_lay_tape(run->shape, run->rows, &memory);
        if (!run->keep_gates)
            kept.gates = crnn_take(work, run->gate_rows, run->shape->row_gates,
                                   crnn_dtype_size(run->shape->layer.dtype));
    } else {
        kept = crnn_lay_states(run->shape, run->gate_rows, 2 * run->rows->batch, run->rows->batch,
                               work);
    }
    run->gates = kept.gates;
    run->h = kept.h;
    run->c = kept.c;
    run->h0 = kept.h0;
    run->c0 = kept.c0;
    if (!run->operand) run->operand = run->h0;
}

crnn_status crnn_forward_workspace(const crnn_forward_args *args, size_t *bytes) {
    crnn_arena work = crnn_arena_at(NULL);
    crnn_shape s;
    if (crnn_shape_init(&s, args->layer, args->kernels) != CRNN_OK) return CRNN_OVERFLOW;
    crnn_forward_run run = {.shape = &s, .rows = args->rows};
    lay_forward(args, &run, &work);
    lay_states(args, &run, &work);
    return crnn_arena_size(&work, bytes);
}

/* ---- the call */

typedef struct forward_job {
    const crnn_forward_run *run;
    bool pack;
} forward_job;

static void forward_part(void *context, size_t part, size_t parts) {
    const forward_job *job = context;
    const crnn_forward_run *run = job->run;
    if (job->pack) {
        pack_part(run, part, parts);
        crnn_meet(parts);
    }
    const crnn_span span = crnn_span_of(run->shape, run->rows, run->shape->panels, part, parts);
    run->shape->kernels->forward(run, &span);
}

/* Where the last state of a place lies: see state_after in kernels/forward.inc. */
static const char *last_state(const crnn_forward_run *run, const void *states, const void *initial,
                              size_t place) {
    const crnn_rows *rows = run->rows;
    const size_t length = rows->length[place], item = crnn_dtype_size(run->shape->layer.dtype);
    const char *base = length == 0 ? initial : states;
    size_t row = place;
    if (length > 0) row += run->keep ? rows->first[length - 1] : length % 2 * rows->batch;
    return base + row * run->shape->padded * item;
}

static void finish_forward(const crnn_forward_run *run, const crnn_state *final) {
    const crnn_shape *s = run->shape;
    for (size_t i = 0; i < run->rows->batch; i++) {
        crnn_state_out(s, run->rows, i, last_state(run, run->h, run->h0, i), final->h);
        if (s->states == 2)
            crnn_state_out(s, run->rows, i, last_state(run, run->c, run->c0, i), final->c);
    }
    crnn_clear_padding(run->rows, &run->y, s->layer.hidden, crnn_dtype_size(s->layer.dtype));
}

void crnn_forward(const crnn_forward_args *args) {
    crnn_shape s;
    crnn_shape_init(&s, args->layer, args->kernels);
    const crnn_rows *rows = args->rows;
    crnn_forward_run run = {
        .shape = &s, .rows = rows, .params = args->params, .in = args->in, .y = args->y};
    crnn_arena work = crnn_arena_at(args->workspace);
    lay_forward(args, &run, &work);
    lay_states(args, &run, &work);
    if (args->tape) args->tape->kernels = s.kernels;
    crnn_state_in(&s, rows, args->initial.h, run.h0);
    if (s.states == 2) crnn_state_in(&s, rows, args->initial.c, run.c0);
    forward_job job = {&run, run.packed_h && !args->packed};
    crnn_team(crnn_recurrence_work(&s, rows), run.sums ? 1 : crnn_seats(&s, rows), forward_part,
              &job);
    finish_forward(&run, &args->final);
}
