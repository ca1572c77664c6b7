/* Rows whose steps go on from d steps before: whole calls, forward and backward, against calls in
 * which every strand is a row of its own, and against calls with a ring of states, also with a
 * further delay whose weights are zeros. The same sums in the same order: equal bits. */
#include "support.h"

enum { BATCH = 3, STEPS = 11, INPUTS = 5, HIDDEN = 9, MOST_DELAY = 5 };

typedef struct call {
    crnn_steps steps;
    void *x, *y, *dy, *dx, *grads;
    crnn_state initial, final, dfinal, dinitial;
} call;

/* ---- a call of either kind */

static void *zeros(const crnn_kernels *k, size_t n) {
    return memset(fenced(n * crnn_dtype_size(k->dtype)), 0, n * crnn_dtype_size(k->dtype));
}

static call new_call(const crnn_kernels *k, const crnn_steps *steps, size_t states, size_t params) {
    const size_t cells = steps->batch * steps->steps;
    call c = {.steps = *steps};
    c.x = zeros(k, cells * INPUTS);
    c.dx = zeros(k, cells * INPUTS);
    c.y = zeros(k, cells * HIDDEN);
    c.dy = zeros(k, cells * HIDDEN);
    c.grads = zeros(k, params);
    crnn_state *const each[] = {&c.initial, &c.final, &c.dfinal, &c.dinitial};
    for (size_t i = 0; i < 4; i++) *each[i] = (crnn_state){zeros(k, states), zeros(k, states)};
    return c;
}

static void run(const crnn_kernels *k, const crnn_layer *layer, const void *params, const call *c) {
    const ptrdiff_t T = (ptrdiff_t)c->steps.steps;
    size_t words, bytes;
    crnn_rows rows;
    crnn_tape tape;
    CHECK(crnn_rows_size(&c->steps, &words) == CRNN_OK, "rows");
    crnn_rows_init(&rows, fenced(words * sizeof(size_t)), &c->steps);
    crnn_tape_size(layer, k, &rows, &bytes);
    tape = (crnn_tape){k, fenced(bytes)};
    const crnn_input in = {.x = {c->x, T * INPUTS, INPUTS}};
    crnn_forward_args f = {.layer = layer,
                           .kernels = k,
                           .rows = &rows,
                           .params = params,
                           .in = in,
                           .initial = c->initial,
                           .y = {c->y, T * HIDDEN, HIDDEN},
                           .final = c->final,
                           .tape = &tape};
    crnn_forward_workspace(&f, &bytes);
    f.workspace = fenced(bytes);
    crnn_forward(&f);
    crnn_backward_args b = {.layer = layer,
                            .rows = &rows,
                            .tape = &tape,
                            .params = params,
                            .in = in,
                            .dy = {c->dy, T * HIDDEN, HIDDEN},
                            .dfinal = c->dfinal,
                            .dinitial = c->dinitial,
                            .grads = c->grads,
                            .dx = {c->dx, T * INPUTS, INPUTS}};
    crnn_backward_workspace(&b, &bytes);
    b.workspace = fenced(bytes);
    crnn_backward(&b);
}

/* ---- strands as rows */

static size_t length_of(const crnn_steps *s, size_t b) {
    return s->lengths ? (size_t)s->lengths[b] : s->steps;
}

/* Strand k of the steps of row b between two resets: the steps that are read, in the order of time,
 * and the states, of d, with which it begins and ends. */
typedef struct strand {
    size_t b, first_state, last_state, count, times[STEPS];
    bool begins, ends; /* with the state of the caller, and with the one that is returned */
} strand;

enum { MOST_STRANDS = BATCH * (STEPS + 1) * MOST_DELAY };

/* The strands of the steps from..to-1 of row b; returns how many there are. */
static size_t cut_part(const crnn_steps *s, size_t b, size_t from, size_t to, strand *out) {
    const size_t d = crnn_strands(s);
    size_t read = 0, nth = 0;
    for (size_t t = from; t < to; t++) read += !s->mask || s->mask[b * s->steps + t];
    for (size_t k = 0; k < d; k++)
        out[k] = (strand){.b = b,
                          .first_state = b * d + k,
                          .last_state = b * d + (k + d * (STEPS + 1) - read) % d,
                          .begins = s->reverse ? to == length_of(s, b) : from == 0,
                          .ends = s->reverse ? from == 0 : to == length_of(s, b)};
    for (size_t t = from; t < to; t++) {
        if (s->mask && !s->mask[b * s->steps + t]) continue;
        strand *own = &out[(s->reverse ? read - 1 - nth : nth) % d];
        own->times[own->count++] = t;
        nth++;
    }
    return d;
}

/* A reset at step 0 cuts off the state of the caller: an empty part has it. */
static size_t cut_rows(const crnn_steps *s, strand *out) {
    size_t count = 0;
    for (size_t b = 0; b < s->batch; b++) {
        size_t from = 0;
        for (size_t t = 0; s->resets && t < length_of(s, b); t++) {
            if (!s->resets[b * s->steps + t] || (t == 0 && s->reverse)) continue;
            count += cut_part(s, b, from, t, out + count);
            from = t;
        }
        const size_t first = count;
        count += cut_part(s, b, from, length_of(s, b), out + count);
        const bool cut =
            s->resets && !s->reverse && length_of(s, b) > 0 && from == 0 && s->resets[b * s->steps];
        for (size_t i = first; cut && i < count; i++) out[i].begins = false;
    }
    return count;
}

/* The steps of the strands, as rows. */
static crnn_steps rows_of_strands(const crnn_steps *s, const strand *strands, size_t count,
                                  int64_t *lengths) {
    for (size_t i = 0; i < count; i++) lengths[i] = (int64_t)strands[i].count;
    return (crnn_steps){
        .batch = count, .steps = s->steps, .lengths = lengths, .reverse = s->reverse};
}

/* Copies the elements of row `from` to row `to`. */
static void copy_row(const crnn_kernels *k, size_t wide, const void *a, size_t from, void *b,
                     size_t to) {
    const size_t bytes = wide * crnn_dtype_size(k->dtype);
    memcpy((char *)b + to * bytes, (const char *)a + from * bytes, bytes);
}

static bool same_row(const crnn_kernels *k, size_t wide, const void *a, size_t i, const void *b,
                     size_t j) {
    const size_t bytes = wide * crnn_dtype_size(k->dtype);
    return memcmp((const char *)a + i * bytes, (const char *)b + j * bytes, bytes) == 0;
}

/* What goes into the call of rows is what goes into the call of strands. */
static void share_inputs(const crnn_kernels *k, const call *whole, const call *rows,
                         const strand *strands) {
    for (size_t i = 0; i < rows->steps.batch; i++) {
        const strand *r = &strands[i];
        for (size_t j = 0; j < r->count; j++) {
            const size_t at = r->b * STEPS + r->times[j], to = i * STEPS + j;
            copy_row(k, INPUTS, whole->x, at, rows->x, to);
            copy_row(k, HIDDEN, whole->dy, at, rows->dy, to);
        }
        if (r->begins) {
            copy_row(k, HIDDEN, whole->initial.h, r->first_state, rows->initial.h, i);
            copy_row(k, HIDDEN, whole->initial.c, r->first_state, rows->initial.c, i);
        }
        if (r->ends) {
            copy_row(k, HIDDEN, whole->dfinal.h, r->last_state, rows->dfinal.h, i);
            copy_row(k, HIDDEN, whole->dfinal.c, r->last_state, rows->dfinal.c, i);
        }
    }
}

static bool strand_agrees(const crnn_kernels *k, const call *whole, const call *rows,
                          const strand *strands, size_t i, bool has_c) {
    const strand *r = &strands[i];
    bool same = true;
    for (size_t j = 0; j < r->count; j++) {
        const size_t at = r->b * STEPS + r->times[j], to = i * STEPS + j;
        same = same && same_row(k, HIDDEN, whole->y, at, rows->y, to);
        same = same && same_row(k, INPUTS, whole->dx, at, rows->dx, to);
    }
    for (int c = 0; c <= has_c; c++) {
        const void *final = c ? whole->final.c : whole->final.h;
        const void *dinitial = c ? whole->dinitial.c : whole->dinitial.h;
        const void *row_final = c ? rows->final.c : rows->final.h;
        const void *row_dinitial = c ? rows->dinitial.c : rows->dinitial.h;
        same = same && (!r->ends || same_row(k, HIDDEN, final, r->last_state, row_final, i));
        same =
            same && (!r->begins || same_row(k, HIDDEN, dinitial, r->first_state, row_dinitial, i));
    }
    return same;
}

/* The gradient at a step that is not read belongs to the step whose output stands there: none. */
static void clear_holes(const crnn_kernels *k, const call *c) {
    for (size_t i = 0; c->steps.mask && i < BATCH * STEPS; i++)
        if (!c->steps.mask[i]) copy_row(k, HIDDEN, zeros(k, HIDDEN), 0, c->dy, i);
}

/* ---- cases */

static void fill(const crnn_kernels *k, size_t stream, size_t n, void *to) {
    memcpy(to, sampled(k->dtype, stream, n), n * crnn_dtype_size(k->dtype));
}

static bool same_states(const crnn_kernels *k, size_t states, const crnn_state *a,
                        const crnn_state *b) {
    return same_row(k, states, a->h, 0, b->h, 0) && same_row(k, states, a->c, 0, b->c, 0);
}

/* The same call with states in a ring. Its tape is in another order, and the sums over it too. */
static void check_ring(const crnn_kernels *k, const crnn_layer *layer, const void *params,
                       const call *whole, size_t states, size_t total) {
    crnn_steps steps = whole->steps;
    steps.stride = 0;
    call ring = new_call(k, &steps, states, total);
    ring.x = whole->x;
    ring.dy = whole->dy;
    ring.initial = whole->initial;
    ring.dfinal = whole->dfinal;
    run(k, layer, params, &ring);
    CHECK(same_row(k, BATCH * STEPS * HIDDEN, whole->y, 0, ring.y, 0) &&
              same_row(k, BATCH * STEPS * INPUTS, whole->dx, 0, ring.dx, 0) &&
              same_states(k, states, &whole->final, &ring.final) &&
              same_states(k, states, &whole->dinitial, &ring.dinitial),
          "%s %s, cell %d: a ring of %zu, lengths %d, mask %d, resets %d, reverse %d", k->isa,
          type_name[k->dtype], (int)layer->cell, layer->delays[0], steps.lengths != NULL,
          steps.mask != NULL, steps.resets != NULL, steps.reverse);
    const double bound = k->dtype == CRNN_F64 ? 1e-12 : 1e-4;
    double most = 0;
    for (size_t i = 0; i < total; i++) {
        const double off =
            fabs(real_at(k->dtype, whole->grads, i) - real_at(k->dtype, ring.grads, i));
        if (!(off <= most)) most = isnan(off) ? INFINITY : off;
    }
    CHECK(most < bound, "%s %s, cell %d: gradients of a ring of %zu, off by %g", k->isa,
          type_name[k->dtype], (int)layer->cell, layer->delays[0], most);
}

/* The rows of states of d steps among those of more steps, the last ones of each row. */
static void last_rows(const crnn_kernels *k, size_t d, const void *states, size_t more, void *to) {
    for (size_t b = 0; b < BATCH; b++)
        for (size_t i = 0; i < d; i++)
            copy_row(k, HIDDEN, states, b * d + i, to, b * more + more - d + i);
}

/* Parameters of a layer with the delays (FAR, d), whose block for FAR is zeros. */
static void *with_zeros(const crnn_kernels *k, const crnn_layout *at, const void *params,
                        const crnn_layout *wide) {
    const size_t item = crnn_dtype_size(k->dtype), block = HIDDEN * at->columns * item;
    const size_t w_h = at->w_h * item;
    char *to = zeros(k, wide->total);
    memcpy(to, params, w_h);
    memcpy(to + w_h + block, (const char *)params + w_h, at->total * item - w_h);
    return to;
}

/* The same call with a further delay that reads nothing: its block of W_h is zeros. */
static void check_further(const crnn_kernels *k, const crnn_layer *layer, const void *params,
                          const call *whole) {
    enum { FAR = 7 };
    const size_t d = layer->delays[0], states = BATCH * FAR * HIDDEN;
    crnn_layer wide = *layer;
    crnn_steps steps = whole->steps;
    crnn_layout at, at_wide;
    wide.delays[0] = FAR;
    wide.delays[1] = d;
    steps.stride = 0;
    crnn_layer_layout(layer, &at);
    crnn_layer_layout(&wide, &at_wide);
    call other = new_call(k, &steps, states, at_wide.total);
    other.x = whole->x;
    other.dy = whole->dy;
    last_rows(k, d, whole->initial.h, FAR, other.initial.h);
    last_rows(k, d, whole->initial.c, FAR, other.initial.c);
    last_rows(k, d, whole->dfinal.h, FAR, other.dfinal.h);
    last_rows(k, d, whole->dfinal.c, FAR, other.dfinal.c);
    run(k, &wide, with_zeros(k, &at, params, &at_wide), &other);
    bool same = same_row(k, BATCH * STEPS * HIDDEN, whole->y, 0, other.y, 0) &&
                same_row(k, BATCH * STEPS * INPUTS, whole->dx, 0, other.dx, 0);
    for (size_t i = 0; i < BATCH * d; i++) {
        const size_t row = i / d * FAR + FAR - d + i % d;
        same = same && same_row(k, HIDDEN, whole->final.h, i, other.final.h, row) &&
               same_row(k, HIDDEN, whole->dinitial.h, i, other.dinitial.h, row) &&
               same_row(k, HIDDEN, whole->final.c, i, other.final.c, row) &&
               same_row(k, HIDDEN, whole->dinitial.c, i, other.dinitial.c, row);
    }
    CHECK(same, "%s %s, cell %d: delays %d and %zu, lengths %d, mask %d, resets %d, reverse %d",
          k->isa, type_name[k->dtype], (int)layer->cell, FAR, d, steps.lengths != NULL,
          steps.mask != NULL, steps.resets != NULL, steps.reverse);
}

static void check_case(const crnn_kernels *k, crnn_cell cell, const crnn_steps *steps) {
    const crnn_layer layer = {.cell = cell,
                              .dtype = k->dtype,
                              .inputs = INPUTS,
                              .hidden = HIDDEN,
                              .bias = true,
                              .reverse = steps->reverse,
                              .delays = {steps->stride}};
    const size_t mark = fences_used, states = BATCH * crnn_strands(steps) * HIDDEN;
    static strand strands[MOST_STRANDS];
    static int64_t lengths[MOST_STRANDS];
    crnn_layout at;
    crnn_layer_layout(&layer, &at);
    const crnn_steps as_rows = rows_of_strands(steps, strands, cut_rows(steps, strands), lengths);
    const call whole = new_call(k, steps, states, at.total),
               rows = new_call(k, &as_rows, as_rows.batch * HIDDEN, at.total);
    const void *params = sampled(k->dtype, 3, at.total);
    fill(k, 1, BATCH * STEPS * INPUTS, whole.x);
    fill(k, 2, BATCH * STEPS * HIDDEN, whole.dy);
    fill(k, 4, states, whole.initial.h);
    fill(k, 5, states, whole.initial.c);
    fill(k, 6, states, whole.dfinal.h);
    fill(k, 7, states, whole.dfinal.c);
    clear_holes(k, &whole);
    share_inputs(k, &whole, &rows, strands);
    run(k, &layer, params, &whole);
    crnn_layer plain = layer;
    plain.delays[0] = 0;
    run(k, &plain, params, &rows);
    const bool has_c = crnn_cell_describe(cell)->states == 2;
    for (size_t i = 0; i < as_rows.batch; i++)
        CHECK(strand_agrees(k, &whole, &rows, strands, i, has_c),
              "%s %s, cell %d: strand %zu of %zu, lengths %d, mask %d, resets %d, reverse %d",
              k->isa, type_name[k->dtype], (int)cell, i, steps->stride, steps->lengths != NULL,
              steps->mask != NULL, steps->resets != NULL, steps->reverse);
    CHECK(same_row(k, at.total, whole.grads, 0, rows.grads, 0), "%s %s, cell %d: gradients, of %zu",
          k->isa, type_name[k->dtype], (int)cell, steps->stride);
    check_ring(k, &layer, params, &whole, states, at.total);
    check_further(k, &layer, params, &whole);
    fences_release(mark);
}

static void check_table(const crnn_kernels *k) {
    static int64_t lengths[BATCH] = {STEPS, 1, 7};
    static uint8_t mask[BATCH * STEPS], resets[BATCH * STEPS];
    for (size_t i = 0; i < BATCH * STEPS; i++) {
        mask[i] = sample(11, i) > -0.5;
        resets[i] = sample(12, i) > 0.7;
    }
    for (size_t choice = 0; choice < 16; choice++) {
        for (size_t d = 1; d <= MOST_DELAY; d += d > 2 ? 2 : 1) {
            const crnn_steps steps = {.batch = BATCH,
                                      .steps = STEPS,
                                      .lengths = choice & 1 ? lengths : NULL,
                                      .mask = choice & 2 ? mask : NULL,
                                      .resets = choice & 4 ? resets : NULL,
                                      .reverse = choice & 8,
                                      .stride = d};
            for (int cell = 0; cell < CRNN_CELLS; cell++) check_case(k, (crnn_cell)cell, &steps);
        }
    }
}

int main(void) {
    check_deadline(120);
    crnn_set_threads(1);
    for (int d = 0; d < CRNN_DTYPES; d++) {
        const crnn_kernels *k;
        for (size_t i = 0; (k = table_at(i, (crnn_dtype)d)); i++)
            if (!left_out(k)) check_table(k);
    }
    return check_done();
}
