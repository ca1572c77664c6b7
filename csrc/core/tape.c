/* The tape: its size, and looking into it. */
#include <string.h>

#include "run.h"

crnn_status crnn_tape_size(const crnn_layer *layer, const crnn_kernels *kernels,
                           const crnn_rows *rows, size_t *bytes) {
    core_arena a = core_arena_at(NULL);
    core_shape s;
    if (core_shape_init(&s, layer, kernels) != CRNN_OK) return CRNN_OVERFLOW;
    core_lay_tape(&s, rows, &a);
    return core_arena_size(&a, bytes);
}

void core_copy_rows(const core_shape *s, const crnn_rows *rows, size_t features, const void *values,
                    void *out, size_t pitch) {
    const size_t item = crnn_dtype_size(s->layer.dtype), wide = features * item;
    const size_t padded = (features + s->width - 1) / s->width * s->width * item;
    for (size_t t = 0; t < rows->given.steps; t++) {
        for (size_t i = 0; i < rows->active[t]; i++) {
            const size_t at = rows->order[i] * rows->given.steps + crnn_rows_time(rows, i, t);
            memcpy((char *)out + at * pitch * item,
                   (const char *)values + (rows->first[t] + i) * padded, wide);
        }
    }
}

void core_view_rows(const core_shape *s, const crnn_rows *rows, size_t features, const void *values,
                    void *out) {
    const size_t item = crnn_dtype_size(s->layer.dtype);
    memset(out, 0, rows->given.batch * rows->given.steps * features * item);
    core_copy_rows(s, rows, features, values, out, features);
}

void core_view_gate(const core_shape *s, const crnn_rows *rows, const void *gates, size_t phase,
                    size_t slot, bool raw, void *out) {
    const size_t item = crnn_dtype_size(s->layer.dtype);
    memset(out, 0, rows->given.batch * rows->given.steps * s->layer.hidden * item);
    s->kernels->view_gate(s, rows, gates, phase, slot, raw, out);
}

void crnn_tape_gate(const crnn_layer *layer, const crnn_rows *rows, const crnn_tape *tape,
                    char gate, void *out) {
    core_shape s;
    core_gate_slots found;
    core_arena memory = core_arena_at(tape->memory);
    core_shape_init(&s, layer, tape->kernels);
    const core_tape_parts kept = core_lay_tape(&s, rows, &memory);
    if (!s.keeps_gates) /* the one there is is h */
        core_view_rows(&s, rows, layer->hidden, kept.h, out);
    else if (core_find_gate(layer, gate, &found))
        core_view_gate(&s, rows, kept.gates, found.phase, found.slot, found.raw, out);
}

void crnn_tape_state(const crnn_layer *layer, const crnn_rows *rows, const crnn_tape *tape,
                     bool cell_state, void *out) {
    core_shape s;
    core_arena memory = core_arena_at(tape->memory);
    core_shape_init(&s, layer, tape->kernels);
    const core_tape_parts kept = core_lay_tape(&s, rows, &memory);
    const size_t wide = cell_state ? layer->hidden : s.h_wide;
    const crnn_seq whole = {out, (ptrdiff_t)(rows->given.steps * wide), (ptrdiff_t)wide};
    core_view_rows(&s, rows, wide, cell_state ? kept.c : kept.h, out);
    crnn_fill_gaps(rows, &whole, wide, crnn_dtype_size(layer->dtype), true);
}
