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

void core_reads_init(core_reads *reads, const crnn_layer *layer, const crnn_rows *rows) {
    const size_t count = crnn_delay_count(layer);
    reads->count = crnn_cell_describe(layer->cell)->multiplies_h ? count : 0;
    reads->kept = 0;
    reads->depth = 1;
    reads->delay[0] = 1;
    if (crnn_strands(&rows->given) > 1) return;
    for (size_t k = 0; k < count; k++) {
        reads->delay[k] = crnn_delay(layer, k);
        if (reads->delay[k] > reads->depth) reads->depth = reads->delay[k];
        if (reads->delay[k] < reads->delay[reads->kept]) reads->kept = k;
    }
}

size_t core_rows_in(size_t buffers, const crnn_rows *rows, core_arena *a) {
    size_t count = 0;
    if (!crnn_size_mul(buffers, rows->places, &count)) a->used.fits = false;
    return count;
}

/* Where a cell has no c, its pointers are those of h: the kernels compute with them and never read.
 */
core_tape_parts core_lay_states(const core_shape *s, const crnn_rows *rows, size_t gate_rows,
                                size_t buffers, core_arena *a) {
    const size_t item = crnn_dtype_size(s->layer.dtype);
    const size_t panel_rows = core_panel_rows(gate_rows);
    core_reads reads;
    core_reads_init(&reads, &s->layer, rows);
    const size_t state_rows = buffers ? core_rows_in(buffers, rows, a) : rows->total;
    const size_t places = core_rows_in(reads.depth, rows, a);
    core_tape_parts t = {.gates = core_take(a, panel_rows, s->row_gates, item)};
    if (s->layer.layer_norm) {
        t.hat_x = core_take(a, panel_rows, s->row_gates, item);
        if (s->h_rows) t.hat_h = core_take(a, panel_rows, s->row_gates, item);
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
    return core_lay_states(s, rows, s->keeps_gates ? rows->total : 0, 0, a);
}

void core_lay_extras(const core_shape *s, void **vectors, void **gain_x, void **gain_h,
                     core_arena *a) {
    const size_t item = crnn_dtype_size(s->layer.dtype);
    if (s->rich) *vectors = core_take(a, VECTORS, s->padded, item);
    if (!s->layer.layer_norm) return;
    *gain_x = core_take(a, s->packed_bias, 1, item);
    if (s->h_rows) *gain_h = core_take(a, s->packed_bias, 1, item);
}

void core_pack_extras(const core_shape *s, const void *params, void *vectors, void *gain_x,
                      void *gain_h) {
    if (vectors) s->kernels->pack_vectors(s, params, vectors);
    if (gain_x) s->kernels->pack_gains(s, CRNN_GAIN_X, params, gain_x);
    if (gain_h) s->kernels->pack_gains(s, CRNN_GAIN_H, params, gain_h);
}

bool core_adds_noise(const core_shape *s, const crnn_noise *noise) {
    return noise->on && s->layer.noise != 0 && crnn_cell_leaks(s->layer.cell);
}

bool core_drops_h(const core_shape *s, const crnn_noise *noise) {
    return noise->on && s->layer.recurrent_dropout != 0 && s->h_rows;
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
    return noise->on && s->layer.weight_drop != 0 && s->h_rows;
}

typedef struct drop_job {
    const core_shape *s;
    const crnn_noise *noise;
    const void *w_h;
    void *dropped;
} drop_job;

static void drop_part(void *context, const core_member *me) {
    const drop_job *job = context;
    const core_range own = core_share(job->s->h_rows, me);
    job->s->kernels->drop_weights(job->s, job->noise, own.from, own.to, job->w_h, job->dropped);
}

double core_drop_work(const core_shape *s) {
    return CORE_DRAW_WORK * (double)s->at.columns * (double)s->h_rows;
}

const void *core_drop_weights(const core_shape *s, const crnn_noise *noise, const void *params,
                              core_arena *a) {
    const size_t item = crnn_dtype_size(s->layer.dtype), w_h = s->at.w_h * item;
    char *copy = core_take(a, s->at.total, 1, item);
    memcpy(copy, params, s->at.total * item);
    drop_job job = {s, noise, (const char *)params + w_h, copy + w_h};
    core_in_team(core_drop_work(s), s->h_rows, drop_part, &job);
    return copy;
}

void *core_take_packed(const crnn_kernels *kernels, size_t inner, size_t columns, core_arena *a) {
    const size_t wide = TILE_VECS * kernels->width * crnn_dtype_size(kernels->dtype);
    return core_take(a, inner, core_dense_panels(kernels, columns), wide);
}

/* ---- blocks of zeros */

static size_t divide_up(size_t n, size_t by) { return n / by + (n % by != 0); }

static size_t clamp(size_t n, size_t from, size_t to) { return n < from ? from : n > to ? to : n; }

bool core_leaves_out(const core_shape *s) { return s->kept <= CORE_MOST_KEPT; }

void core_set_kept(core_shape *s, double kept) { s->kept = kept > 0 ? kept : 1; }

double core_kept_rows(const core_shape *s) {
    return (double)s->h_rows * (core_leaves_out(s) ? s->kept : 1);
}

core_skips core_lay_skips(const crnn_kernels *kernels, const core_columns *columns, size_t count,
                          size_t runs, size_t run, core_arena *a) {
    const size_t vecs = BLOCK_UNITS / kernels->width; /* GROUP_VECS in kernels/blocks.inc */
    const size_t each = vecs < 1 ? 1 : vecs > TILE_VECS ? TILE_VECS : vecs;
    core_skips z = {.runs = runs,
                    .run = run,
                    .groups = count * divide_up(columns->units, each),
                    .most = runs * divide_up(run, BLOCK_UNITS)};
    z.kept = core_take(a, columns->panels, z.groups, sizeof *z.kept);
    z.block = core_take(a, columns->panels * z.groups, z.most, sizeof *z.block);
    return z;
}

/* Blocks that are looked at. If the first of them are not 0, the others are not looked at. */
enum { LOOKED_AT = 64, FIRST = 4, SMALLEST = 4 * BLOCK_UNITS };

static bool is_zero(const crnn_layout *at, const crnn_layer *layer, const void *params,
                    const size_t block[3]) {
    static const char zeros[BLOCK_UNITS * sizeof(double)];
    const size_t item = crnn_dtype_size(layer->dtype), column = block[2] * BLOCK_UNITS;
    const size_t rows = crnn_reads(layer), row = block[0] * BLOCK_UNITS;
    const size_t lanes = clamp(layer->hidden - column, 1, BLOCK_UNITS);
    const char *from = core_row_of(
        params, at->w_h + row * at->columns + block[1] * layer->hidden + column, 1, item);
    for (size_t i = row; i < rows && i < row + BLOCK_UNITS; i++, from += at->columns * item)
        if (memcmp(from, zeros, lanes * item) != 0) return false;
    return true;
}

double crnn_kept_share(const crnn_layer *layer, const void *params) {
    crnn_layout at;
    const size_t P = crnn_width(layer), H = layer->hidden;
    const size_t rows = crnn_reads(layer);
    if (!rows || P < SMALLEST || H < SMALLEST || crnn_layer_layout(layer, &at) != CRNN_OK) return 1;
    const size_t blocks[3] = {divide_up(rows, BLOCK_UNITS), at.columns / H,
                              divide_up(H, BLOCK_UNITS)};
    size_t kept = 0;
    for (uint32_t i = 0; i < LOOKED_AT; i++) {
        const uint32_t key[2] = {0}, counter[4] = {i};
        uint32_t words[4];
        size_t block[3];
        crnn_philox(key, counter, words);
        for (size_t k = 0; k < 3; k++) block[k] = words[k] % blocks[k];
        kept += !is_zero(&at, layer, params, block);
        if (i + 1 == FIRST && kept == FIRST) return 1;
    }
    return (double)(kept > 0 ? kept : 1) / LOOKED_AT;
}

/* ---- shares */

double core_step_work(const crnn_layer *layer, double kept) {
    const double columns = (double)strlen(crnn_cell_describe(layer->cell)->gates);
    const double rows = (double)crnn_reads(layer);
    const double share = kept > 0 && kept <= CORE_MOST_KEPT ? kept : 1;
    return columns * (double)layer->hidden * ((double)layer->inputs + share * rows);
}

/* Multiply-adds that take as long as the equations of a cell for one sum of a unit. They count
 * where there is no W_h; elsewhere its products take much longer. */
static const double CELL_WORK = 16;

double core_recurrence_work(const core_shape *s, const crnn_rows *rows) {
    const double cell = s->h_rows ? 0 : CELL_WORK;
    const double inner = (double)s->layer.inputs + core_kept_rows(s) + cell;
    return (double)rows->total * (double)s->at.columns * inner;
}

/* Multiply-adds that take as long as a meeting, and what each member adds to its time; the share of
 * its work that a member waits for a slower one. */
static const double MEETING = 60e3, ARRIVAL = 2e3, WAITING = 0.05;

/* A tile that is less than half full takes as long as one that is half full: reading the weights
 * limits its speed. */
double core_grid_cost(const core_step_size *step, core_grid grid) {
    const double rows = (double)divide_up(step->rows, grid.row_groups);
    const double panels = (double)divide_up(step->panels, grid.panel_groups);
    const double tiles = (double)divide_up((size_t)rows, step->tile_rows);
    const double half_full = 0.5 * tiles * (double)step->tile_rows;
    const double work =
        (rows > half_full ? rows : half_full) * step->row_work * panels / (double)step->panels;
    if (grid.panel_groups == 1 || step->apart) return work;
    return (1 + WAITING) * work + MEETING + ARRIVAL * (double)grid.panel_groups;
}

/* Of equally fast ones the one with more groups of rows, which share the other work of a call. */
core_grid core_grid_of(const core_step_size *step, size_t parts) {
    core_grid best = {1, 1};
    double least = core_grid_cost(step, best);
    for (size_t r = 1; r <= parts && r <= step->rows; r++) {
        for (size_t p = 1; p <= parts / r && p <= step->panels; p++) {
            const core_grid grid = {r, p};
            const double cost = core_grid_cost(step, grid);
            if (cost > least || (cost == least && r == best.row_groups)) continue;
            best = grid;
            least = cost;
        }
    }
    return best;
}

/* Multiply-adds of a row in a step that its group shares: of h, or, if there is no W_h, all. */
static double shared_work(const core_shape *s) {
    const double rows = s->h_rows ? core_kept_rows(s) : (double)s->layer.inputs + CELL_WORK;
    return (double)s->at.columns * rows;
}

/* Rows count as those that a step has on average. A step that has stages needs whole rows. */
static core_grid grid_of(const core_shape *s, const crnn_rows *rows, size_t panels, size_t parts) {
    if (parts == 1) return (core_grid){1, 1};
    const size_t longest = rows->places > 0 ? rows->length[0] : 0;
    const core_step_size step = {.rows = longest > 0 ? divide_up(rows->total, longest) : 1,
                                 .panels = s->staged ? 1 : panels,
                                 .tile_rows = s->kernels->tile_rows,
                                 .row_work = shared_work(s),
                                 .apart = s->h_rows == 0};
    return core_grid_of(&step, parts);
}

size_t core_seats(const core_shape *s, const crnn_rows *rows, size_t panels, double multiply_adds) {
    const core_grid grid = grid_of(s, rows, panels, core_worth(multiply_adds));
    return grid.row_groups * grid.panel_groups;
}

/* First place of a share: shares have about as many steps each, and one place at least where there
 * are enough. */
static size_t share_of_rows(const crnn_rows *rows, size_t part, size_t parts) {
    if (part == 0) return 0;
    if (part == parts) return rows->places;
    const double wanted = (double)rows->total * (double)part / (double)parts;
    double steps = 0;
    size_t place = 0;
    while (place < rows->places && steps + 0.5 * (double)rows->length[place] < wanted)
        steps += (double)rows->length[place++];
    return rows->places < parts ? place : clamp(place, part, rows->places - (parts - part));
}

static core_range rows_of(const crnn_rows *rows, size_t part, size_t parts) {
    return (core_range){share_of_rows(rows, part, parts), share_of_rows(rows, part + 1, parts)};
}

core_span core_span_of_rows(const crnn_rows *rows, size_t panels, const core_member *me) {
    const core_range own = rows_of(rows, me->part, me->parts);
    return (core_span){own.from, own.to, 0, panels, {.parts = 1}};
}

/* Members beyond the grid have no rows: fewer came than were wanted. */
core_span core_span_of(const core_shape *s, const crnn_rows *rows, size_t panels,
                       const core_member *me) {
    const core_grid grid = grid_of(s, rows, panels, me->parts);
    const size_t row_group = me->part / grid.panel_groups;
    if (row_group >= grid.row_groups) return (core_span){.group = {.parts = 1}};
    const core_member group = core_group_of(me, grid.panel_groups);
    const core_range own = rows_of(rows, row_group, grid.row_groups),
                     shared = core_share(panels, &group);
    return (core_span){own.from, own.to, shared.from, shared.to, group};
}

/* ---- states */

core_state_part core_state_h(const core_shape *s, const core_reads *reads) {
    return (core_state_part){s->h_wide, s->h_padded, s->at.extra[CRNN_H0],
                             s->at.extra_size[CRNN_H0], reads->depth};
}

core_state_part core_state_c(const core_shape *s, const core_reads *reads) {
    return (core_state_part){s->layer.hidden, s->padded, s->at.extra[CRNN_C0],
                             s->at.extra_size[CRNN_C0], reads->depth};
}

/* The row of (B, D, wide) of state `nth` of a place. */
static size_t state_row(const crnn_rows *rows, core_state_part part, size_t place, bool final,
                        size_t nth) {
    return core_state_row(rows, place, final) * part.depth + nth;
}

/* Whether a step reads initial state `nth`, or an edge of a plan does: it reads the last one. */
static bool is_read(const core_reads *reads, size_t nth, size_t steps) {
    const size_t kept = reads->depth - reads->delay[reads->kept];
    bool read = nth + 1 == reads->depth || (nth >= kept && nth - kept < steps);
    for (size_t k = 0; k < reads->count; k++) {
        const size_t first = reads->depth - reads->delay[k];
        read |= nth >= first && nth - first < steps;
    }
    return read;
}

/* States that no step reads are copied from what is given once more at the end: a stream with a
 * long delay would spend its time on them. */
void core_states_in(const core_shape *s, const crnn_rows *rows, const core_reads *reads,
                    core_state_part part, const void *given, const void *params, void *to) {
    const bool all_given = given && rows->places == rows->given.batch;
    const size_t item = crnn_dtype_size(s->layer.dtype), wide = part.wide * item;
    const char *learned =
        part.is_learned && params ? core_row_of(params, part.learned, 1, item) : NULL;
    const size_t block = rows->places * part.padded * item;
    for (size_t nth = 0; nth < part.depth; nth++) {
        char *next = (char *)to + nth * block;
        if (all_given && !is_read(reads, nth, rows->given.steps)) continue;
        memset(next, 0, block);
        for (size_t i = 0; i < rows->places; i++, next += part.padded * item) {
            if (given && rows->ends[i] & CRNN_READ_FIRST)
                memcpy(next, (const char *)given + state_row(rows, part, i, false, nth) * wide,
                       wide);
            else if (learned)
                memcpy(next, learned + (rows->strand[i] + nth) * wide, wide);
        }
    }
}

void core_dstates_in(const core_shape *s, const crnn_rows *rows, core_state_part part,
                     const void *given, void *to) {
    const size_t item = crnn_dtype_size(s->layer.dtype), wide = part.wide * item;
    const size_t blocks = part.depth > 1 ? part.depth + 1 : 1;
    memset(to, 0, blocks * rows->places * part.padded * item);
    for (size_t i = 0; given && i < rows->places; i++) {
        for (size_t nth = 0; rows->ends[i] & CRNN_READ_LAST && nth < part.depth; nth++) {
            const size_t block =
                part.depth > 1 ? core_ring_at(part.depth, rows->length[i] + nth, part.depth) : 0;
            memcpy(core_row_of(to, block * rows->places + i, part.padded, item),
                   (const char *)given + state_row(rows, part, i, true, nth) * wide, wide);
        }
    }
}

void core_state_out(const core_shape *s, const crnn_rows *rows, core_state_part part, size_t place,
                    bool final, size_t nth, const void *row, void *to) {
    const size_t wide = part.wide * crnn_dtype_size(s->layer.dtype);
    if (to) memcpy((char *)to + state_row(rows, part, place, final, nth) * wide, row, wide);
}

size_t core_state_keep(const core_shape *s, const crnn_rows *rows, core_state_part part,
                       size_t place, const void *given, void *to) {
    const size_t wide = part.wide * crnn_dtype_size(s->layer.dtype), length = rows->length[place];
    const bool keeps = given && part.depth > 1 && rows->ends[place] & CRNN_READ_FIRST;
    if (!keeps || length >= part.depth) return 0;
    const size_t row = state_row(rows, part, place, true, 0), count = part.depth - length;
    memmove((char *)to + row * wide, (const char *)given + (row + length) * wide, count * wide);
    return count;
}
