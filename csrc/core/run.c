/* What forward and backward share outside the kernels. */
#include <string.h>

#include "run.h"

/* ---- buffers */

void *core_take(core_arena *a, size_t count, size_t each, size_t item) {
    void *here = a->base ? a->base + a->used.bytes : NULL;
    core_measure_add(&a->used, count, each, item);
    return here;
}

crnn_status core_arena_size(const core_arena *a, size_t *bytes) {
    *bytes = a->used.bytes;
    return a->used.fits ? CRNN_OK : CRNN_OVERFLOW;
}

/* Where a cell has no c, its pointers are those of h: the kernels compute with them and never read.
 */
core_tape_parts core_lay_states(const core_shape *s, size_t gate_rows, size_t state_rows,
                                size_t places, core_arena *a) {
    const size_t item = crnn_dtype_size(s->layer.dtype);
    const size_t panel_rows = core_panel_rows(gate_rows);
    core_tape_parts t = {.gates = core_take(a, panel_rows, s->row_gates, item)};
    if (s->layer.layer_norm) {
        t.hat_x = core_take(a, panel_rows, s->row_gates, item);
        t.hat_h = core_take(a, panel_rows, s->row_gates, item);
        t.hat_c = core_take(a, s->states == 2 ? gate_rows : 0, s->padded, item);
        t.spread = core_take(a, gate_rows, SPREADS, item);
    }
    t.h = t.c = core_take(a, state_rows, s->h_padded, item);
    t.h0 = t.c0 = core_take(a, places, s->h_padded, item);
    if (s->states == 2) {
        t.c = core_take(a, state_rows, s->padded, item);
        t.c0 = core_take(a, places, s->padded, item);
    }
    return t;
}

core_tape_parts core_lay_tape(const core_shape *s, const crnn_rows *rows, core_arena *a) {
    return core_lay_states(s, s->keeps_gates ? rows->total : 0, rows->total, rows->places, a);
}

void core_lay_extras(const core_shape *s, void **vectors, void **gain_x, void **gain_h,
                     core_arena *a) {
    const size_t item = crnn_dtype_size(s->layer.dtype);
    if (s->rich) *vectors = core_take(a, VECTORS, s->padded, item);
    if (!s->layer.layer_norm) return;
    *gain_x = core_take(a, s->packed_bias, 1, item);
    *gain_h = core_take(a, s->packed_bias, 1, item);
}

void core_pack_extras(const core_shape *s, const void *params, void *vectors, void *gain_x,
                      void *gain_h) {
    if (vectors) s->kernels->pack_vectors(s, params, vectors);
    if (gain_x) s->kernels->pack_gains(s, CRNN_GAIN_X, params, gain_x);
    if (gain_h) s->kernels->pack_gains(s, CRNN_GAIN_H, params, gain_h);
}

bool core_drops_h(const core_shape *s, const crnn_noise *noise) {
    return noise->on && s->layer.recurrent_dropout != 0;
}

core_factors core_lay_factors(const core_shape *s, const crnn_noise *noise, size_t places,
                              core_arena *a) {
    const size_t item = crnn_dtype_size(s->layer.dtype);
    core_factors f = {0};
    if (core_drops_h(s, noise)) f.recurrent = core_take(a, places, s->h_padded, item);
    if (s->layer.zoneout_h != 0) f.zone_h = core_take(a, places, s->padded, item);
    if (s->layer.zoneout_c != 0) f.zone_c = core_take(a, places, s->padded, item);
    return f;
}

bool core_drops_weights(const core_shape *s, const crnn_noise *noise) {
    return noise->on && s->layer.weight_drop != 0;
}

typedef struct drop_job {
    const core_shape *s;
    const crnn_noise *noise;
    const void *w_h;
    void *dropped;
} drop_job;

static void drop_part(void *context, size_t part, size_t parts) {
    const drop_job *job = context;
    const size_t P = job->s->h_wide;
    job->s->kernels->drop_weights(job->s, job->noise, P * part / parts, P * (part + 1) / parts,
                                  job->w_h, job->dropped);
}

const void *core_drop_weights(const core_shape *s, const crnn_noise *noise, const void *params,
                              core_arena *a) {
    const size_t item = crnn_dtype_size(s->layer.dtype), w_h = s->at.w_h * item;
    char *copy = core_take(a, s->at.total, 1, item);
    memcpy(copy, params, s->at.total * item);
    drop_job job = {s, noise, (const char *)params + w_h, copy + w_h};
    core_team(CRNN_DRAW_WORK * (double)s->at.columns * (double)s->h_wide, s->h_wide, drop_part,
              &job);
    return copy;
}

void *core_take_packed(const crnn_kernels *kernels, size_t inner, size_t columns, core_arena *a) {
    const size_t wide = TILE_VECS * kernels->width;
    const size_t panels = columns / wide + (columns % wide != 0);
    return core_take(a, inner, panels, wide * crnn_dtype_size(kernels->dtype));
}

/* ---- shares */

double core_step_work(const crnn_layer *layer) {
    const double columns = (double)strlen(crnn_cell_describe(layer->cell)->gates);
    return columns * (double)layer->hidden * (double)(layer->inputs + crnn_width(layer));
}

/* Multiply-adds of one step worth meeting for. */
static const double STEP_WORK = 40e3;

static double step_work(const core_shape *s, const crnn_rows *rows) {
    return (double)rows->places * (double)s->at.columns * (double)s->h_wide;
}

double core_recurrence_work(const core_shape *s, const crnn_rows *rows) {
    return (double)rows->total * (double)s->at.columns * (double)(s->layer.inputs + s->h_wide);
}

size_t core_seats(const core_shape *s, const crnn_rows *rows) {
    const double by_panels = step_work(s, rows) / STEP_WORK;
    return !s->staged && by_panels > (double)rows->places ? (size_t)by_panels : rows->places;
}

/* First place of a share: shares have about as many steps each. */
static size_t share_of_rows(const crnn_rows *rows, size_t part, size_t parts) {
    const double wanted = (double)rows->total * (double)part / (double)parts;
    double steps = 0;
    size_t place = 0;
    while (place < rows->places && steps + 0.5 * (double)rows->length[place] < wanted)
        steps += (double)rows->length[place++];
    return part == parts ? rows->places : place;
}

core_span core_span_of_rows(const crnn_rows *rows, size_t panels, size_t part, size_t parts) {
    return (core_span){
        part,   parts, share_of_rows(rows, part, parts), share_of_rows(rows, part + 1, parts), 0,
        panels, false};
}

/* Rows of its own for each member, unless that left most of a tile empty. A step that has stages
 * needs whole rows. */
core_span core_span_of(const core_shape *s, const crnn_rows *rows, size_t panels, size_t part,
                       size_t parts) {
    const bool too_few_rows = 2 * rows->places < parts * s->kernels->tile_rows;
    if (parts > 1 && !s->staged && too_few_rows && step_work(s, rows) >= (double)parts * STEP_WORK)
        return (core_span){
            part, parts, 0, rows->places, panels * part / parts, panels * (part + 1) / parts, true};
    return core_span_of_rows(rows, panels, part, parts);
}

/* ---- states */

core_state_part core_state_h(const core_shape *s) {
    return (core_state_part){s->h_wide, s->h_padded, s->at.extra[CRNN_H0],
                             s->at.extra_size[CRNN_H0]};
}

core_state_part core_state_c(const core_shape *s) {
    return (core_state_part){s->layer.hidden, s->padded, s->at.extra[CRNN_C0],
                             s->at.extra_size[CRNN_C0]};
}

/* Rows of `given` at the places that are an `end` of their row; of `other` (wide) elsewhere. */
static void states_to_places(const core_shape *s, const crnn_rows *rows, core_state_part part,
                             size_t end, const char *given, const char *other, char *to) {
    const size_t item = crnn_dtype_size(s->layer.dtype), wide = part.wide * item;
    memset(to, 0, rows->places * part.padded * item);
    for (size_t i = 0; i < rows->places; i++, to += part.padded * item) {
        if (given && rows->ends[i] & end)
            memcpy(to, given + rows->order[i] * wide, wide);
        else if (other)
            memcpy(to, other, wide);
    }
}

void core_states_in(const core_shape *s, const crnn_rows *rows, core_state_part part,
                    const void *given, const void *params, void *to) {
    const size_t item = crnn_dtype_size(s->layer.dtype);
    const bool has_learned = part.is_learned && params;
    const char *learned = has_learned ? (const char *)params + part.learned * item : NULL;
    states_to_places(s, rows, part, CRNN_READ_FIRST, given, learned, to);
}

void core_dstates_in(const core_shape *s, const crnn_rows *rows, core_state_part part,
                     const void *given, void *to) {
    states_to_places(s, rows, part, CRNN_READ_LAST, given, NULL, to);
}

void core_state_out(const core_shape *s, const crnn_rows *rows, core_state_part part, size_t place,
                    const void *row, void *to) {
    const size_t wide = part.wide * crnn_dtype_size(s->layer.dtype);
    if (to) memcpy((char *)to + rows->order[place] * wide, row, wide);
}
