/* The trace of a walk back: its size, and looking into it. */
#include <string.h>

#include "run.h"

core_trace_parts core_lay_trace(const core_shape *s, const crnn_rows *rows, core_arena *a) {
    const size_t N = rows->total, item = crnn_dtype_size(s->layer.dtype);
    core_trace_parts parts = {0};
    parts.dh = core_take(a, N, s->h_padded, item);
    if (s->states == 2) parts.dc = core_take(a, N, s->padded, item);
    parts.dgates = parts.dgates_h = core_take(a, core_panel_rows(N), s->row_gates, item);
    if (s->layer.layer_norm && s->h_rows)
        parts.dgates_h = core_take(a, core_panel_rows(N), s->row_gates, item);
    const size_t blocks = s->phases * (s->h_rows / s->h_wide);
    parts.h_read = core_take(a, blocks * N, s->h_padded, item);
    return parts;
}

crnn_status crnn_trace_size(const crnn_layer *layer, const crnn_tape *tape, const crnn_rows *rows,
                            size_t *bytes) {
    core_arena a = core_arena_at(NULL);
    core_shape s;
    if (core_shape_init(&s, layer, tape->kernels) != CRNN_OK) return CRNN_OVERFLOW;
    core_lay_trace(&s, rows, &a);
    return core_arena_size(&a, bytes);
}

static core_trace_parts parts_of(const crnn_traced *t, core_shape *s) {
    core_arena memory = core_arena_at((void *)t->trace);
    core_shape_init(s, t->layer, t->tape->kernels);
    return core_lay_trace(s, t->rows, &memory);
}

void crnn_trace_state(const crnn_traced *t, bool cell_state, void *out) {
    core_shape s;
    const core_trace_parts parts = parts_of(t, &s);
    if (cell_state)
        core_view_rows(&s, t->rows, t->layer->hidden, parts.dc, out);
    else
        core_view_rows(&s, t->rows, s.h_wide, parts.dh, out);
}

static void view_gradient(const crnn_traced *t, char gate, bool of_product, void *out) {
    core_shape s;
    core_gate_slots at;
    const core_trace_parts parts = parts_of(t, &s);
    if (!core_find_gate(t->layer, gate, &at) || (of_product && at.slot_h == NO_GATE)) return;
    core_view_gate(&s, t->rows, of_product ? parts.dgates_h : parts.dgates, at.phase,
                   of_product ? at.slot_h : at.slot, false, out);
}

void crnn_trace_sum(const crnn_traced *t, char gate, void *out) {
    view_gradient(t, gate, false, out);
}

void crnn_trace_product(const crnn_traced *t, char gate, void *out) {
    view_gradient(t, gate, true, out);
}

void crnn_trace_read(const crnn_traced *t, char gate, void *out) {
    core_shape s;
    core_gate_slots at;
    const core_trace_parts parts = parts_of(t, &s);
    const size_t item = crnn_dtype_size(t->layer->dtype);
    const size_t K = s.h_rows / s.h_wide, N = t->rows->total;
    if (!core_find_gate(t->layer, gate, &at)) return;
    memset(out, 0, t->rows->given.batch * t->rows->given.steps * s.h_rows * item);
    for (size_t k = 0; k < K; k++)
        core_copy_rows(&s, t->rows, s.h_wide,
                       core_row_of(parts.h_read, (at.phase * K + k) * N, s.h_padded, item),
                       core_row_of(out, k, s.h_wide, item), s.h_rows);
}

bool crnn_trace_dropped(const crnn_traced *t, const crnn_noise *noise, const void *w_h,
                        void *dropped) {
    core_shape s;
    core_shape_init(&s, t->layer, t->tape->kernels);
    if (!core_drops_weights(&s, noise)) return false;
    s.kernels->drop_weights(&s, noise, 0, s.h_rows, w_h, dropped);
    return true;
}
