/* Forward and backward of a recurrent layer: lays out the caller's buffers, brings states into
 * place order and back, and shares rows, panels and products out among the threads. The loops are
 * in kernels/. */
#include <string.h>

#include "kernels.h"

/* ---- buffers: each is laid out by one function, which measures when `base` is NULL and gives
 * addresses otherwise, so that a size and its use cannot disagree */

typedef struct arena {
    char *base;
    crnn_measure used;
} arena;

static void *take(arena *a, size_t count, size_t each, size_t item) {
    void *here = a->base ? a->base + a->used.bytes : NULL;
    crnn_measure_add(&a->used, count, each, item);
    return here;
}

typedef struct tape_parts {
    void *gates;   /* [N][row_gates] in panels */
    void *h, *c;   /* [N][padded] */
    void *h0, *c0; /* [B][padded] */
} tape_parts;

/* Where a cell has no c, its pointers are those of h: the kernels compute with them and never read.
 */
static tape_parts lay_tape(const crnn_shape *s, const crnn_rows *rows, arena *a) {
    const size_t item = crnn_dtype_size(s->layer.dtype);
    tape_parts t;
    t.gates = take(a, rows->total, s->row_gates, item);
    t.h = t.c = take(a, rows->total, s->padded, item);
    t.h0 = t.c0 = take(a, rows->batch, s->padded, item);
    if (s->states == 2) {
        t.c = take(a, rows->total, s->padded, item);
        t.c0 = take(a, rows->batch, s->padded, item);
    }
    return t;
}

/* Without a tape the gates of one step and two states in turn are enough. */
static tape_parts lay_short_memory(const crnn_shape *s, const crnn_rows *rows, arena *a) {
    const crnn_rows one_step = {.batch = rows->batch, .total = rows->batch},
                    two_steps = {.total = 2 * rows->batch};
    crnn_shape states_only = *s;
    tape_parts t = lay_tape(s, &one_step, a);
    states_only.row_gates = 0;
    const tape_parts turns = lay_tape(&states_only, &two_steps, a);
    t.h = turns.h;
    t.c = turns.c;
    return t;
}

static void lay_forward(crnn_forward_run *run, arena *a) {
    const crnn_shape *s = run->shape;
    const size_t B = run->rows->batch;
    run->x_rows = take(a, B, 1, sizeof(void *));
    run->x_symbols = take(a, B, 1, sizeof(int64_t));
    run->y_rows = take(a, B, 1, sizeof(void *));
    run->operand = s->phases > 1 ? take(a, B, s->padded, crnn_dtype_size(s->layer.dtype)) : NULL;
}

static void lay_backward(crnn_backward_run *run, bool dx, arena *a) {
    const crnn_shape *s = run->shape;
    const size_t B = run->rows->batch, N = run->rows->total, I = s->layer.inputs,
                 H = s->layer.hidden;
    const size_t item = crnn_dtype_size(s->layer.dtype), tile = s->kernels->tile_rows;
    run->dgates = take(a, N, s->row_gates, item);
    run->direct = run->dc = take(a, B, s->padded, item);
    if (s->states == 2) run->dc = take(a, B, s->padded, item);
    run->operand = s->phases > 1 ? take(a, N, s->padded, item) : NULL;
    run->packed_h = take(a, s->packed_h, 1, item);
    run->packed_x = dx ? take(a, s->packed_x, 1, item) : NULL;
    run->block = take(a, I + H + 2 * tile, s->kernels->block_rows, item);
    run->dy_rows = take(a, B, 1, sizeof(void *));
    run->x_rows = take(a, N, 1, sizeof(void *));
    run->symbol_of = take(a, N, 1, sizeof(int64_t));
    run->dx_rows = dx ? take(a, N, 1, sizeof(void *)) : NULL;
}

/* ---- sizes */

static crnn_status result(const arena *a, size_t *bytes) {
    *bytes = a->used.bytes;
    return a->used.fits ? CRNN_OK : CRNN_OVERFLOW;
}

crnn_status crnn_tape_size(const crnn_layer *layer, const crnn_kernels *kernels,
                           const crnn_rows *rows, size_t *bytes) {
    arena a = {.used.fits = true};
    crnn_shape s;
    if (crnn_shape_init(&s, layer, kernels) != CRNN_OK) return CRNN_OVERFLOW;
    lay_tape(&s, rows, &a);
    return result(&a, bytes);
}

crnn_status crnn_packed_size(const crnn_layer *layer, const crnn_kernels *kernels, size_t *bytes) {
    crnn_shape s;
    if (crnn_shape_init(&s, layer, kernels) != CRNN_OK) return CRNN_OVERFLOW;
    *bytes = s.packed * crnn_dtype_size(layer->dtype);
    return CRNN_OK;
}

crnn_status crnn_forward_workspace(const crnn_layer *layer, const crnn_kernels *kernels,
                                   const crnn_rows *rows, bool keep, size_t *bytes) {
    arena a = {.used.fits = true};
    crnn_shape s;
    if (crnn_shape_init(&s, layer, kernels) != CRNN_OK) return CRNN_OVERFLOW;
    crnn_forward_run run = {.shape = &s, .rows = rows};
    lay_forward(&run, &a);
    if (!keep) lay_short_memory(&s, rows, &a);
    return result(&a, bytes);
}

crnn_status crnn_backward_workspace(const crnn_layer *layer, const crnn_rows *rows,
                                    const crnn_tape *tape, bool dx, size_t *bytes) {
    arena a = {.used.fits = true};
    crnn_shape s;
    if (crnn_shape_init(&s, layer, tape->kernels) != CRNN_OK) return CRNN_OVERFLOW;
    crnn_backward_run run = {.shape = &s, .rows = rows};
    lay_backward(&run, dx, &a);
    return result(&a, bytes);
}

/* ---- states and sequences of the caller's */

/* to [B][padded] in place order, zeros where from is NULL and in the padding. */
static void state_in(const crnn_shape *s, const crnn_rows *rows, const void *from, void *to) {
    const size_t item = crnn_dtype_size(s->layer.dtype), wide = s->layer.hidden * item;
    memset(to, 0, rows->batch * s->padded * item);
    for (size_t i = 0; from && i < rows->batch; i++)
        memcpy((char *)to + i * s->padded * item, (const char *)from + rows->order[i] * wide, wide);
}

/* Row `row` [padded], in place order, of one place to (B, H) in the caller's. */
static void state_out(const crnn_shape *s, const crnn_rows *rows, size_t place, const void *row,
                      void *to) {
    const size_t wide = s->layer.hidden * crnn_dtype_size(s->layer.dtype);
    if (to) memcpy((char *)to + rows->order[place] * wide, row, wide);
}

/* Zeros past every row's end. */
static void clear_padding(const crnn_rows *rows, const crnn_seq *seq, size_t features,
                          size_t item) {
    for (size_t i = 0; seq->data && i < rows->batch; i++)
        for (size_t t = rows->length[i]; t < rows->steps; t++)
            memset(crnn_seq_at(seq, rows->order[i], t, item), 0, features * item);
}

/* First place of a thread's share: shares have about as many steps each. */
static size_t share_of_rows(const crnn_rows *rows, size_t part, size_t parts) {
    const double wanted = (double)rows->total * (double)part / (double)parts;
    double steps = 0;
    size_t place = 0;
    while (place < rows->batch && steps + 0.5 * (double)rows->length[place] < wanted)
        steps += (double)rows->length[place++];
    return part == parts ? rows->batch : place;
}

static double recurrence_work(const crnn_shape *s, const crnn_rows *rows) {
    return (double)rows->total * (double)s->at.columns *
           (double)(s->layer.inputs + s->layer.hidden);
}

/* ---- forward */

typedef struct pack_job {
    const crnn_shape *shape;
    const void *params;
    void *packed;
} pack_job;

static void pack_part(void *context, size_t part) {
    const pack_job *job = context;
    const crnn_shape *s = job->shape;
    s->kernels->pack_panel(s, part / s->panels, part % s->panels, job->params, job->packed);
}

/* Packing is copying: threads pay when there is much of it. */
static bool pack_is_large(const crnn_shape *s) { return crnn_parts((double)s->packed * 4, 2) > 1; }

static void for_each(bool shared, size_t count, void (*task)(void *, size_t), void *context) {
    if (shared) {
        crnn_parallel(count, task, context);
    } else {
        for (size_t i = 0; i < count; i++) task(context, i);
    }
}

void crnn_pack(const crnn_layer *layer, const crnn_kernels *kernels, const void *params,
               void *packed) {
    crnn_shape s;
    crnn_shape_init(&s, layer, kernels);
    pack_job job = {&s, params, packed};
    for_each(pack_is_large(&s), s.phases * s.panels, pack_part, &job);
}

typedef struct forward_job {
    const crnn_forward_run *run;
    size_t parts;
} forward_job;

static void forward_part(void *context, size_t part) {
    const forward_job *job = context;
    const crnn_forward_run *run = job->run;
    const size_t from = share_of_rows(run->rows, part, job->parts);
    const size_t to = share_of_rows(run->rows, part + 1, job->parts);
    if (from < to) run->shape->kernels->forward(run, from, to);
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
        state_out(s, run->rows, i, last_state(run, run->h, run->h0, i), final->h);
        if (s->states == 2)
            state_out(s, run->rows, i, last_state(run, run->c, run->c0, i), final->c);
    }
    clear_padding(run->rows, &run->y, s->layer.hidden, crnn_dtype_size(s->layer.dtype));
}

void crnn_forward(const crnn_forward_args *args) {
    crnn_shape s;
    crnn_shape_init(&s, args->layer, args->kernels);
    const crnn_rows *rows = args->rows;
    crnn_forward_run run = {.shape = &s,
                            .rows = rows,
                            .packed = args->packed,
                            .in = args->in,
                            .y = args->y,
                            .keep = args->tape != NULL,
                            .gate_rows = args->tape ? rows->total : rows->batch};
    arena work = {args->workspace, {.fits = true}};
    lay_forward(&run, &work);
    tape_parts kept;
    if (args->tape) {
        arena memory = {args->tape->memory, {.fits = true}};
        args->tape->kernels = s.kernels;
        kept = lay_tape(&s, rows, &memory);
    } else {
        kept = lay_short_memory(&s, rows, &work);
    }
    run.gates = kept.gates;
    run.h = kept.h;
    run.c = kept.c;
    run.h0 = kept.h0;
    run.c0 = kept.c0;
    if (!run.operand) run.operand = run.h0;
    state_in(&s, rows, args->initial.h, run.h0);
    if (s.states == 2) state_in(&s, rows, args->initial.c, run.c0);
    forward_job job = {&run, crnn_parts(recurrence_work(&s, rows), rows->batch)};
    crnn_parallel(job.parts, forward_part, &job);
    finish_forward(&run, &args->final);
}

/* ---- backward */

typedef struct backward_job {
    crnn_backward_run *run;
    const void *params;
    size_t parts;
} backward_job;

static size_t output_panels(const crnn_shape *s, size_t features) {
    const size_t wide = TILE_VECS * s->width;
    return (features + wide - 1) / wide;
}

/* Parts: the output panels of each phase's W_h, then those of W_x. */
static void pack_backward_part(void *context, size_t part) {
    const backward_job *job = context;
    const crnn_shape *s = job->run->shape;
    const size_t panels = output_panels(s, s->layer.hidden), phase = part / panels;
    if (phase < s->phases)
        s->kernels->pack_h(s, phase, part % panels, job->params, job->run->packed_h);
    else
        s->kernels->pack_x(s, part - s->phases * panels, job->params, job->run->packed_x);
}

static void backward_part(void *context, size_t part) {
    const backward_job *job = context;
    const crnn_backward_run *run = job->run;
    const size_t from = share_of_rows(run->rows, part, job->parts);
    const size_t to = share_of_rows(run->rows, part + 1, job->parts);
    if (from < to) run->shape->kernels->backward(run, from, to);
}

static void gradients_part(void *context, size_t part) {
    const backward_job *job = context;
    const crnn_backward_run *run = job->run;
    const size_t N = run->rows->total;
    run->shape->kernels->weight_grads(run, part, job->parts);
    if (run->dx.data)
        run->shape->kernels->input_grad(run, N * part / job->parts, N * (part + 1) / job->parts);
}

/* What stands at each tape row: the row of x or its symbol, and the row of dx. */
static void list_tape_rows(crnn_backward_run *run) {
    const crnn_rows *rows = run->rows;
    const size_t item = crnn_dtype_size(run->shape->layer.dtype);
    for (size_t t = 0; t < rows->steps; t++) {
        for (size_t i = 0; i < rows->active[t]; i++) {
            const size_t n = rows->first[t] + i, row = rows->order[i];
            const size_t time = run->shape->layer.reverse ? rows->length[i] - 1 - t : t;
            if (run->in.symbols)
                run->symbol_of[n] = run->in.symbols[row * rows->steps + time];
            else
                run->x_rows[n] = crnn_seq_at(&run->in.x, row, time, item);
            if (run->dx.data) run->dx_rows[n] = crnn_seq_at(&run->dx, row, time, item);
        }
    }
}

static void finish_backward(const crnn_backward_run *run, const crnn_state *dinitial) {
    const crnn_shape *s = run->shape;
    const size_t item = crnn_dtype_size(s->layer.dtype), wide = s->padded * item;
    for (size_t i = 0; i < run->rows->batch; i++) {
        state_out(s, run->rows, i, (const char *)run->direct + i * wide, dinitial->h);
        if (s->states == 2)
            state_out(s, run->rows, i, (const char *)run->dc + i * wide, dinitial->c);
    }
    if (!run->add_dx) clear_padding(run->rows, &run->dx, s->layer.inputs, item);
}

void crnn_backward(const crnn_backward_args *args) {
    crnn_shape s;
    crnn_shape_init(&s, args->layer, args->tape->kernels);
    const crnn_rows *rows = args->rows;
    arena memory = {args->tape->memory, {.fits = true}}, work = {args->workspace, {.fits = true}};
    const tape_parts kept = lay_tape(&s, rows, &memory);
    crnn_backward_run run = {.shape = &s,
                             .rows = rows,
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
    lay_backward(&run, args->dx.data != NULL, &work);
    if (!run.operand) run.operand = run.dgates;
    state_in(&s, rows, args->dfinal.h, run.direct);
    if (s.states == 2) state_in(&s, rows, args->dfinal.c, run.dc);
    list_tape_rows(&run);

    backward_job job = {&run, args->params, crnn_parts(recurrence_work(&s, rows), rows->batch)};
    const size_t panels = s.phases * output_panels(&s, s.layer.hidden) +
                          (args->dx.data ? output_panels(&s, s.layer.inputs) : 0);
    for_each(pack_is_large(&s), panels, pack_backward_part, &job);
    crnn_parallel(job.parts, backward_part, &job);
    job.parts = crnn_parts(recurrence_work(&s, rows), crnn_threads());
    crnn_parallel(job.parts, gradients_part, &job);
    finish_backward(&run, &args->dinitial);
}

/* ---- looking into a tape */

size_t crnn_padded_hidden(const crnn_layer *layer, const crnn_tape *tape) {
    const size_t width = tape->kernels->width;
    return (layer->hidden + width - 1) / width * width;
}

void crnn_rows_view(const crnn_layer *layer, const crnn_rows *rows, const crnn_tape *tape,
                    const void *values, void *out) {
    const size_t item = crnn_dtype_size(layer->dtype), wide = layer->hidden * item;
    const size_t padded = crnn_padded_hidden(layer, tape) * item;
    memset(out, 0, rows->batch * rows->steps * wide);
    for (size_t t = 0; t < rows->steps; t++) {
        for (size_t i = 0; i < rows->active[t]; i++) {
            const size_t time = layer->reverse ? rows->length[i] - 1 - t : t;
            memcpy((char *)out + (rows->order[i] * rows->steps + time) * wide,
                   (const char *)values + (rows->first[t] + i) * padded, wide);
        }
    }
}

void crnn_tape_gate(const crnn_layer *layer, const crnn_rows *rows, const crnn_tape *tape,
                    char gate, void *out) {
    crnn_shape s;
    size_t phase, slot;
    bool raw;
    arena memory = {tape->memory, {.fits = true}};
    memset(out, 0, rows->batch * rows->steps * layer->hidden * crnn_dtype_size(layer->dtype));
    crnn_shape_init(&s, layer, tape->kernels);
    if (crnn_find_gate(layer, gate, &phase, &slot, &raw))
        s.kernels->view_gate(&s, rows, lay_tape(&s, rows, &memory).gates, phase, slot, raw, out);
}

void crnn_tape_state(const crnn_layer *layer, const crnn_rows *rows, const crnn_tape *tape,
                     bool cell_state, void *out) {
    crnn_shape s;
    arena memory = {tape->memory, {.fits = true}};
    crnn_shape_init(&s, layer, tape->kernels);
    const tape_parts kept = lay_tape(&s, rows, &memory);
    crnn_rows_view(layer, rows, tape, cell_state ? kept.c : kept.h, out);
}
