/* What a layer is made of: the cells' table as facts, the layout of the parameters, and the shape
 * that the kernels of one instruction set give it. */
#include <string.h>

#include "kernels.h"

typedef struct cell_row {
    crnn_cell_facts facts;
    size_t gates, phases, slots[MAX_PHASES]; /* how many */
    const char *x[MAX_PHASES], *h[MAX_PHASES], *raw, *apart;
} cell_row;

static const cell_row cells[CRNN_CELLS] = {
#define CRNN_CELL(id, cell, type, gates, states, phases, x0, h0, x1, h1, raw, apart, candidate, \
                  ...) \
    [CRNN_##id] = {{#cell, gates, states, sizeof(raw) == 1 && sizeof(gates) > 2, CRNN_##candidate, \
                    sizeof(h0) > 1}, \
                   sizeof(gates) - 1, \
                   phases, \
                   {sizeof(x0) - 1, sizeof(x1) - 1}, \
                   {x0, x1}, \
                   {h0, h1}, \
                   raw, \
                   apart},
#include "cells.def"
#undef CRNN_CELL
};

/* crnn/layer.h writes out the number of each line. */
enum {
#define CRNN_CELL(id, ...) LINE_##id,
#include "cells.def"
#undef CRNN_CELL
    LINES
};
#define CRNN_CELL(id, ...) \
    _Static_assert((int)CRNN_##id == (int)LINE_##id, "CRNN_" #id " is the number of its line");
#include "cells.def"
#undef CRNN_CELL
_Static_assert((int)CRNN_CELLS == (int)LINES, "CRNN_CELLS is the number of lines");

const crnn_cell_facts *crnn_cell_describe(crnn_cell cell) { return &cells[cell].facts; }

char crnn_cell_b_h(crnn_cell cell) {
    const char *apart = strchr(cells[cell].x[0], '.');
    return apart ? cells[cell].h[0][apart - cells[cell].x[0]] : 0;
}

size_t crnn_reads(const crnn_layer *layer) {
    const bool reads = cells[layer->cell].facts.multiplies_h;
    return reads ? crnn_delay_count(layer) * crnn_width(layer) : 0;
}

bool crnn_cell_leaks(crnn_cell cell) { return cells[cell].facts.gates[0] == 'h'; }

static bool has_gate(const crnn_layer *layer, char letter) {
    return strchr(cells[layer->cell].facts.gates, letter) != NULL;
}

/* Elements of each parameter beyond the matrix. Their products fit: crnn_layer_layout checks one
 * that is larger. */
static void size_extras(const crnn_layer *layer, size_t columns, size_t *size) {
    const size_t H = layer->hidden;
    const bool has_c = cells[layer->cell].facts.states == 2, peep = layer->peepholes;
    size[CRNN_B_H] = layer->bias && crnn_cell_b_h(layer->cell) ? H : 0;
    size[CRNN_P_I] = peep && has_gate(layer, 'i') ? H : 0;
    size[CRNN_P_F] = peep && has_gate(layer, 'f') ? H : 0;
    size[CRNN_P_O] = peep && has_gate(layer, 'o') ? H : 0;
    size[CRNN_GAIN_X] = layer->layer_norm ? columns : 0;
    size[CRNN_GAIN_H] = cells[layer->cell].facts.multiplies_h ? size[CRNN_GAIN_X] : 0;
    size[CRNN_GAIN_C] = layer->layer_norm && has_c ? H : 0;
    size[CRNN_B_C] = layer->bias ? size[CRNN_GAIN_C] : 0;
    size[CRNN_W_P] = layer->projected * H;
    const size_t states = layer->learns_state ? crnn_longest_delay(layer) : 0;
    size[CRNN_H0] = states * crnn_width(layer);
    size[CRNN_C0] = has_c ? states * H : 0;
    size[CRNN_LEAK] = layer->leaks && crnn_cell_leaks(layer->cell) ? H : 0;
}

crnn_status crnn_layer_layout(const crnn_layer *layer, crnn_layout *at) {
    const size_t gates = cells[layer->cell].gates, H = layer->hidden;
    const size_t P = crnn_width(layer), K = crnn_delay_count(layer), D = crnn_longest_delay(layer);
    size_t columns, reads, rows, matrix, most, bytes;
    /* The extras are at most 16 rows of G*H + P, besides the (H, P) of a projection and, for each
     * state, another such row. */
    if (!crnn_size_mul(gates, H, &columns) || !crnn_size_mul(K, P, &reads) ||
        !crnn_size_add(layer->inputs, reads, &rows) || !crnn_size_add(rows, 17, &rows) ||
        !crnn_size_add(columns, P, &most) || !crnn_size_add(rows, H, &rows) ||
        !crnn_size_add(rows, D, &rows) || !crnn_size_mul(rows, most, &matrix) ||
        !crnn_size_mul(matrix, sizeof(double), &bytes))
        return CRNN_OVERFLOW;
    at->b = 0;
    at->columns = columns;
    at->b_size = at->w_x = layer->bias ? columns : 0;
    at->w_h = at->w_x + layer->inputs * columns;
    at->total = at->w_h + crnn_reads(layer) * columns;
    size_extras(layer, columns, at->extra_size);
    for (size_t e = 0; e < CRNN_EXTRAS; e++) {
        at->extra[e] = at->total;
        at->total += at->extra_size[e];
    }
    at->learned = layer->learns_leak ? at->total : at->extra[CRNN_LEAK];
    return CRNN_OK;
}

/* Which of the slots a string of letters feeds: they lie side by side. An empty one feeds none. */
static void read_slots(const char *letters, const char *gates, size_t *first, size_t *count,
                       size_t *gate) {
    *first = *count = 0;
    for (size_t s = 0; s < MAX_SLOTS; s++) gate[s] = NO_GATE;
    for (size_t s = 0; letters[s]; s++) {
        const bool feeds = letters[s] != '.';
        *count += feeds;
        *first += !feeds && *count == 0;
        if (feeds) gate[s] = 0;
        while (feeds && gates[gate[s]] != letters[s]) gate[s]++;
    }
}

/* Which sums are normalised together, of those that a factor feeds: slots of a group lie side by
 * side. */
static void group_slots(const cell_row *cell, size_t slots, const size_t *gate, core_slots *group) {
    memset(group, 0, GROUPS * sizeof *group);
    for (size_t slot = 0; slot < slots; slot++) {
        if (gate[slot] == NO_GATE) continue;
        core_slots *own = &group[strchr(cell->apart, cell->facts.gates[gate[slot]]) ? 1 : 0];
        if (own->count++ == 0) own->first = slot;
    }
}

/* Where the slots that a factor feeds lie in a row of its weights. */
static void blocks_init(core_blocks *b, const core_shape *s, const core_columns *columns,
                        const size_t *gate, size_t count) {
    b->columns = *columns;
    b->count = count;
    b->step = s->at.columns;
    for (size_t i = 0; i < count; i++) b->block[i] = gate[i];
}

static void phase_init(core_shape *s, size_t i) {
    const cell_row *cell = &cells[s->layer.cell];
    core_phase *ph = &s->phase[i];
    ph->slots = cell->slots[i];
    ph->columns = (core_columns){.wide = s->layer.hidden,
                                 .pitch = s->padded,
                                 .slots = ph->slots,
                                 .vecs = s->vecs,
                                 .units = s->units,
                                 .panels = s->panels};
    read_slots(cell->x[i], cell->facts.gates, &ph->x_first, &ph->x_count, ph->x_gate);
    read_slots(cell->h[i], cell->facts.gates, &ph->h_first, &ph->h_count, ph->h_gate);
    blocks_init(&ph->of_x, s, &ph->columns, ph->x_gate + ph->x_first, ph->x_count);
    blocks_init(&ph->of_h, s, &ph->columns, ph->h_gate + ph->h_first, ph->h_count);
    if (s->layer.layer_norm) {
        group_slots(cell, ph->slots, ph->x_gate, ph->x_group);
        group_slots(cell, ph->slots, ph->h_gate, ph->h_group);
    }
    const size_t units = s->panels * s->units * s->width; /* with room for a full last panel */
    ph->bias = s->packed_bias;
    ph->x = s->packed_x;
    ph->h = s->packed_h;
    s->packed_bias += ph->slots * s->padded;
    s->packed_x += s->layer.inputs * ph->x_count * units;
    s->packed_h += s->h_rows * ph->h_count * units;
    ph->gates = s->row_gates;
    s->row_gates += ph->slots * s->padded;
}

static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

bool crnn_layer_same(const crnn_layer *a, const crnn_layer *b) {
    return memcmp(a->delays, b->delays, sizeof a->delays) == 0
#define CRNN_FIELD(name, rich) &&a->name == b->name
#include "options.def"
        ;
}

/* Whether the cell itself computes anything but its plain equations. */
static bool is_rich(const crnn_layer *layer) {
    return false
#define CRNN_FIELD(name, rich) || (rich && layer->name != 0)
#include "options.def"
        ;
}

/* Field by field: most calls of one step would spend more time on zeros than on their product. */
crnn_status core_shape_init(core_shape *s, const crnn_layer *layer, const crnn_kernels *kernels) {
    const cell_row *cell = &cells[layer->cell];
    size_t rows, columns, most;
    if (crnn_layer_layout(layer, &s->at) != CRNN_OK) return CRNN_OVERFLOW;
    /* All that is derived below is at most 8 gates of (I + 16 P + H + 192) x (H + P + 64), doubles:
     * check that once. */
    if (!crnn_size_mul(CRNN_DELAYS, crnn_width(layer), &rows) ||
        !crnn_size_add(layer->hidden, crnn_width(layer), &columns) ||
        !crnn_size_add(columns, 64, &columns) || !crnn_size_add(rows, columns, &rows) ||
        !crnn_size_add(rows, layer->inputs, &rows) || !crnn_size_add(rows, 128, &rows) ||
        !crnn_size_mul(rows, columns, &most) || !crnn_size_mul(most, 8 * sizeof(double), &most))
        return CRNN_OVERFLOW;
    const size_t *per_phase = cell->slots,
                 slots = per_phase[0] > per_phase[1] ? per_phase[0] : per_phase[1];
    s->layer = *layer;
    s->kernels = kernels;
    s->width = kernels->width;
    s->states = cell->facts.states;
    s->candidate = cell->facts.candidate ? cell->facts.candidate : CRNN_TANH;
    s->rich = is_rich(layer);
    s->staged = layer->layer_norm || layer->projected;
    s->leaks = s->at.extra_size[CRNN_LEAK] > 0;
    s->keeps_gates = !crnn_cell_leaks(layer->cell) || s->rich;
    s->phases = cell->phases;
    s->padded = round_up(layer->hidden, s->width);
    s->h_wide = crnn_width(layer);
    s->h_rows = crnn_reads(layer);
    s->h_padded = round_up(s->h_wide, s->width);
    s->vecs = s->padded / s->width;
    s->last_lanes = layer->hidden - (s->vecs - 1) * s->width;
    s->units = TILE_VECS / slots < s->vecs ? TILE_VECS / slots : s->vecs;
    s->panels = (s->vecs + s->units - 1) / s->units;
    s->kept = 1;
    s->packed_bias = s->packed_x = s->packed_h = s->row_gates = 0;
    for (size_t i = 0; i < s->phases; i++) phase_init(s, i);
    const char *output = s->rich ? strchr(cell->x[0], 'o') : NULL;
    s->output_slot = output ? (size_t)(output - cell->x[0]) : NO_GATE;
    return CRNN_OK;
}

bool core_find_gate(const crnn_layer *layer, char letter, core_gate_slots *found) {
    const cell_row *cell = &cells[layer->cell];
    for (size_t i = 0; i < cell->phases; i++) {
        const char *x = strchr(cell->x[i], letter), *h = strchr(cell->h[i], letter);
        if (!x || (cell->facts.multiplies_h && !h)) continue;
        *found = (core_gate_slots){.phase = i,
                                   .slot = (size_t)(x - cell->x[i]),
                                   .slot_h = h ? (size_t)(h - cell->h[i]) : NO_GATE,
                                   .raw = strchr(cell->raw, letter) != NULL};
        return true;
    }
    return false;
}
