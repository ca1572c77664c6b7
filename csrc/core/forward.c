/* Forward of a recurrent layer: lays out the caller's buffers, packs weights, and shares rows and
 * panels out among the threads. The loops are in kernels/. */
#include "run.h"

/* ---- packed weights */

static void lay_packed(core_forward_run *run, bool x, core_arena *a) {
    const core_shape *s = run->shape;
    const size_t item = crnn_dtype_size(s->layer.dtype);
    run->bias = core_take(a, s->packed_bias, 1, item);
    run->packed_x = x ? core_take(a, s->packed_x, 1, item) : NULL;
    run->packed_h = core_take(a, s->packed_h, 1, item);
    if (s->layer.projected) run->packed_p = core_take(a, s->layer.hidden, s->h_padded, item);
}

/* Apart from the rest, because they are there where nothing else is packed. */
static void lay_extras(core_forward_run *run, core_arena *a) {
    core_lay_extras(run->shape, &run->vectors, &run->gain_x, &run->gain_h, a);
}

static void pack_extras(const core_forward_run *run) {
    const core_shape *s = run->shape;
    core_pack_extras(s, run->params, run->vectors, run->gain_x, run->gain_h);
}

crnn_status crnn_packed_size(const crnn_layer *layer, const crnn_kernels *kernels, size_t *bytes) {
    core_arena a = core_arena_at(NULL);
    core_shape s;
    if (core_shape_init(&s, layer, kernels) != CRNN_OK) return CRNN_OVERFLOW;
    core_forward_run run = {.shape = &s};
    lay_packed(&run, true, &a);
    lay_extras(&run, &a);
    return core_arena_size(&a, bytes);
}

/* A member's share of the panels. */
static void pack_part(const core_forward_run *run, const core_member *me) {
    const core_shape *s = run->shape;
    const core_range panels = core_share(s->panels, me);
    for (size_t phase = 0; phase < s->phases; phase++)
        s->kernels->pack_panels(run, phase, panels.from, panels.to);
    if (run->packed_p)
        core_pack_dense(s->kernels, CORE_PACKED, s->layer.hidden, s->h_wide,
                        core_w_p(s, run->params), run->packed_p, me);
}

void crnn_pack(const crnn_layer *layer, const crnn_kernels *kernels, const void *params,
               void *packed) {
    core_shape s;
    core_shape_init(&s, layer, kernels);
    core_forward_run run = {.shape = &s, .params = params};
    core_arena a = core_arena_at(packed);
    lay_packed(&run, true, &a);
    lay_extras(&run, &a);
    pack_part(&run, &(core_member){.parts = 1});
    pack_extras(&run);
}

/* ---- the buffers of a call */

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* Weights that are read for many steps are packed. Few rows find W_x where it lies, many steps by
 * one product; a table of symbols' vectors is never packed. */
static void lay_weights(const crnn_forward_args *args, core_forward_run *run, core_arena *work) {
    const core_shape *s = run->shape;
    const crnn_rows *rows = args->rows;
    const bool few = rows->places <= FEW_ROWS, floats = crnn_floats(&s->layer, &args->in) > 0;
    if (args->packed) {
        core_arena packed = core_arena_at((void *)args->packed);
        lay_packed(run, true, &packed);
        lay_extras(run, &packed);
        return;
    }
    if (few && rows->given.steps <= FEW_STEPS && !s->staged && !args->stepwise) {
        run->sums =
            core_take(work, rows->places * MAX_SLOTS, s->padded, crnn_dtype_size(s->layer.dtype));
    } else {
        run->ahead = few && !args->in.symbols && !s->layer.layer_norm && !args->stepwise;
        run->table = args->in.symbols ? args->in.table : 0;
        lay_packed(run, floats && !run->ahead, work);
    }
    lay_extras(run, work);
}

static void lay_forward(const crnn_forward_args *args, core_forward_run *run, core_arena *work) {
    const core_shape *s = run->shape;
    const crnn_rows *rows = args->rows;
    const size_t item = crnn_dtype_size(s->layer.dtype);
    lay_weights(args, run, work);
    run->factors = core_lay_factors(s, &args->noise, rows->places, work);
    if (core_drops_h(s, &args->noise)) run->h_in = core_take(work, rows->places, s->h_padded, item);
    if (s->layer.projected) run->made = core_take(work, rows->places, s->padded, item);
    if (s->phases > 1) run->operand = core_take(work, rows->places, s->padded, item);
    run->keep = args->tape != NULL;
    run->keep_gates = run->keep && s->keeps_gates;
    run->steps_ahead = 1;
    if (run->ahead && rows->total > 0)
        run->steps_ahead = min_size(AHEAD_ROWS / rows->places, rows->given.steps);
    run->gate_rows = run->keep_gates ? rows->total : rows->places * run->steps_ahead;
}

static void lay_states(const crnn_forward_args *args, core_forward_run *run, core_arena *work) {
    core_tape_parts kept;
    if (run->keep) {
        core_arena memory = core_arena_at(args->tape->memory);
        kept = core_lay_tape(run->shape, run->rows, &memory);
        if (!run->keep_gates)
            kept.gates = core_take(work, core_panel_rows(run->gate_rows), run->shape->row_gates,
                                   crnn_dtype_size(run->shape->layer.dtype));
    } else {
        kept = core_lay_states(run->shape, run->gate_rows, 2 * run->rows->places, run->rows->places,
                               work);
    }
    run->gates = kept.gates;
    run->hat_x = kept.hat_x;
    run->hat_h = kept.hat_h;
    run->hat_c = kept.hat_c;
    run->spread = kept.spread;
    run->h = kept.h;
    run->c = kept.c;
    run->h0 = kept.h0;
    run->c0 = kept.c0;
    if (!run->operand) run->operand = run->h0;
}

/* Weights that come packed stay as they are. */
static bool drops_weights(const core_shape *s, const crnn_forward_args *args) {
    return !args->packed && core_drops_weights(s, &args->noise);
}

crnn_status crnn_forward_workspace(const crnn_forward_args *args, size_t *bytes) {
    core_arena work = core_arena_at(NULL);
    core_shape s;
    if (core_shape_init(&s, args->layer, args->kernels) != CRNN_OK) return CRNN_OVERFLOW;
    core_forward_run run = {.shape = &s, .rows = args->rows};
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

/* Where the last state of a place lies: see state_after in kernels/forward.inc. */
static const char *last_state(const core_forward_run *run, core_state_part part, const void *states,
                              const void *initial, size_t place) {
    const crnn_rows *rows = run->rows;
    const size_t length = rows->length[place], item = crnn_dtype_size(run->shape->layer.dtype);
    const char *base = length == 0 ? initial : states;
    size_t row = place;
    if (length > 0) row += run->keep ? rows->first[length - 1] : length % 2 * rows->places;
    return base + row * part.padded * item;
}

void core_forward_close(const core_forward_call *call) {
    const core_shape *s = &call->shape;
    const core_forward_run *run = &call->run;
    const core_state_part h = core_state_h(s), c = core_state_c(s);
    for (size_t i = 0; i < run->rows->places; i++) {
        if (!(run->rows->ends[i] & CRNN_READ_LAST)) continue;
        core_state_out(s, run->rows, h, i, last_state(run, h, run->h, run->h0, i), call->final.h);
        if (s->states == 2)
            core_state_out(s, run->rows, c, i, last_state(run, c, run->c, run->c0, i),
                           call->final.c);
    }
    crnn_fill_gaps(run->rows, &run->y, s->h_wide, crnn_dtype_size(s->layer.dtype), true);
}

void core_forward_open(core_forward_call *call, const crnn_forward_args *args) {
    core_shape *s = &call->shape;
    core_forward_run *run = &call->run;
    core_shape_init(s, args->layer, args->kernels);
    *run = (core_forward_run){.shape = s,
                              .rows = args->rows,
                              .params = args->params,
                              .in = args->in,
                              .noise = args->noise,
                              .y = args->y};
    core_arena work = core_arena_at(args->workspace);
    lay_forward(args, run, &work);
    lay_states(args, run, &work);
    if (drops_weights(s, args))
        run->params = core_drop_weights(s, &args->noise, args->params, &work);
    if (args->tape) args->tape->kernels = s->kernels;
    core_states_in(s, args->rows, core_state_h(s), args->initial.h, args->params, run->h0);
    if (s->states == 2)
        core_states_in(s, args->rows, core_state_c(s), args->initial.c, args->params, run->c0);
    call->final = args->final;
    call->packs = run->packed_h && !args->packed;
    if (!args->packed) pack_extras(run);
}

void core_forward_all(core_forward_call *call) {
    const core_shape *s = &call->shape;
    const crnn_rows *rows = call->run.rows;
    const double work = core_recurrence_work(s, rows);
    core_in_team(work, call->run.sums ? 1 : core_seats(s, rows, s->panels, work), forward_part,
                 call);
}

void crnn_forward(const crnn_forward_args *args) {
    core_forward_call call;
    core_forward_open(&call, args);
    core_forward_all(&call);
    core_forward_close(&call);
}
