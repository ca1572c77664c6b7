/* Rows whose steps go on from d steps before: whole calls, forward and backward, against calls in
 * which every strand is a row of its own. The same sums in the same order: equal bits. */
#include "support.h"

enum { BATCH = 3, STEPS = 11, INPUTS = 5, HIDDEN = 9 };

typedef struct call {
    crnn_steps steps;
    void *x, *y, *dy, *dx, *grads;
    crnn_state initial, final, dfinal, dinitial;
} call;

/* ---- a call of either kind */

static void *zeros(const crnn_kernels *k, size_t n) {
    return memset(fenced(n * crnn_dtype_size(k->dtype)), 0, n * crnn_dtype_size(k->dtype));
}

static call new_call(const crnn_kernels *k, const crnn_steps *steps, size_t params) {
    const size_t cells = steps->batch * steps->steps;
    const size_t states = steps->batch * crnn_strands(steps) * HIDDEN;
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

typedef struct marks {
    int64_t lengths[BATCH * STEPS];
    uint8_t mask[BATCH * STEPS * STEPS], resets[BATCH * STEPS * STEPS];
} marks;

static size_t length_of(const crnn_steps *s, size_t b) {
    return s->lengths ? (size_t)s->lengths[b] : s->steps;
}

/* Whether there is a reset at one of the steps from..to-1 of row b. */
static bool resets_in(const crnn_steps *s, size_t b, size_t from, size_t to) {
    for (size_t t = from; s->resets && t < to; t++)
        if (s->resets[b * s->steps + t]) return true;
    return false;
}

/* Strand k of row b: its steps, and what lies before the first and behind the last of them. */
typedef struct strand {
    size_t b, k, d, count, first_state, last_state;
    bool cut_before, cut_behind; /* resets there, that a row of its own cannot show */
} strand;

static strand strand_of(const crnn_steps *s, size_t b, size_t k) {
    const size_t d = crnn_strands(s), end = length_of(s, b);
    strand r = {.b = b, .k = k, .d = d};
    while (k + r.count * d < end) r.count++;
    /* in the order of reading the strand's first step has number `read` */
    const size_t read = s->reverse ? (end + d * STEPS - 1 - k) % d : k;
    r.first_state = b * d + read;
    r.last_state = b * d + (read + d * STEPS - end) % d;
    const size_t behind = r.count ? k + (r.count - 1) * d + 1 : s->reverse;
    r.cut_behind = resets_in(s, b, behind, end);
    r.cut_before = s->reverse && r.count && resets_in(s, b, 1, k + 1);
    return r;
}

/* Whether a reset lies before the first step of a strand that is read, or behind the last one. */
static bool starts_anew(const crnn_steps *s, const strand *r) {
    return s->reverse && r->cut_behind;
}

static bool ends_anew(const crnn_steps *s, const strand *r) {
    if (!s->reverse || r->count == 0) return r->cut_behind;
    return r->cut_before;
}

/* The steps of the strands, as rows. */
static crnn_steps rows_of_strands(const crnn_steps *s, marks *m) {
    const size_t d = crnn_strands(s), T = (s->steps + d - 1) / d;
    for (size_t i = 0; i < s->batch * d; i++) {
        const strand r = strand_of(s, i / d, i % d);
        m->lengths[i] = (int64_t)r.count;
        for (size_t j = 0; j < r.count; j++) {
            const size_t t = r.k + j * d;
            m->mask[i * T + j] = !s->mask || s->mask[r.b * s->steps + t];
            m->resets[i * T + j] = resets_in(s, r.b, j ? t - d + 1 : 0, t + 1);
        }
    }
    return (crnn_steps){.batch = s->batch * d,
                        .steps = T,
                        .lengths = m->lengths,
                        .mask = s->mask ? m->mask : NULL,
                        .resets = s->resets ? m->resets : NULL,
                        .reverse = s->reverse};
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
static void share_inputs(const crnn_kernels *k, const call *whole, const call *rows) {
    const size_t d = crnn_strands(&whole->steps), T = whole->steps.steps;
    for (size_t i = 0; i < rows->steps.batch; i++) {
        const strand r = strand_of(&whole->steps, i / d, i % d);
        for (size_t j = 0; j < r.count; j++) {
            const size_t at = r.b * T + r.k + j * d, to = i * rows->steps.steps + j;
            copy_row(k, INPUTS, whole->x, at, rows->x, to);
            copy_row(k, HIDDEN, whole->dy, at, rows->dy, to);
        }
        if (!starts_anew(&whole->steps, &r)) {
            copy_row(k, HIDDEN, whole->initial.h, r.first_state, rows->initial.h, i);
            copy_row(k, HIDDEN, whole->initial.c, r.first_state, rows->initial.c, i);
        }
        if (!ends_anew(&whole->steps, &r)) {
            copy_row(k, HIDDEN, whole->dfinal.h, r.last_state, rows->dfinal.h, i);
            copy_row(k, HIDDEN, whole->dfinal.c, r.last_state, rows->dfinal.c, i);
        }
    }
}

static bool strand_agrees(const crnn_kernels *k, const call *whole, const call *rows, size_t i,
                          bool has_c) {
    const size_t d = crnn_strands(&whole->steps), T = whole->steps.steps;
    const strand r = strand_of(&whole->steps, i / d, i % d);
    const bool anew = starts_anew(&whole->steps, &r), ended = ends_anew(&whole->steps, &r);
    const void *none = zeros(k, HIDDEN);
    bool same = true;
    for (size_t j = 0; j < r.count; j++) {
        const size_t at = r.b * T + r.k + j * d, to = i * rows->steps.steps + j;
        same = same && same_row(k, HIDDEN, whole->y, at, rows->y, to);
        same = same && same_row(k, INPUTS, whole->dx, at, rows->dx, to);
    }
    for (int c = 0; c <= has_c; c++) {
        const void *final = c ? whole->final.c : whole->final.h;
        const void *dinitial = c ? whole->dinitial.c : whole->dinitial.h;
        const void *row_final = c ? rows->final.c : rows->final.h;
        const void *row_dinitial = c ? rows->dinitial.c : rows->dinitial.h;
        same = same &&
               same_row(k, HIDDEN, final, r.last_state, ended ? none : row_final, ended ? 0 : i);
        same = same && same_row(k, HIDDEN, dinitial, r.first_state, anew ? none : row_dinitial,
                                anew ? 0 : i);
    }
    return same;
}

/* ---- cases */

static void fill(const crnn_kernels *k, size_t stream, size_t n, void *to) {
    memcpy(to, sampled(k->dtype, stream, n), n * crnn_dtype_size(k->dtype));
}

static void check_case(const crnn_kernels *k, crnn_cell cell, const crnn_steps *steps) {
    const crnn_layer layer = {.cell = cell,
                              .dtype = k->dtype,
                              .inputs = INPUTS,
                              .hidden = HIDDEN,
                              .bias = true,
                              .reverse = steps->reverse};
    const size_t mark = fences_used, states = BATCH * crnn_strands(steps) * HIDDEN;
    static marks m;
    crnn_layout at;
    crnn_layer_layout(&layer, &at);
    const crnn_steps as_rows = rows_of_strands(steps, &m);
    const call whole = new_call(k, steps, at.total), rows = new_call(k, &as_rows, at.total);
    const void *params = sampled(k->dtype, 3, at.total);
    fill(k, 1, BATCH * STEPS * INPUTS, whole.x);
    fill(k, 2, BATCH * STEPS * HIDDEN, whole.dy);
    fill(k, 4, states, whole.initial.h);
    fill(k, 5, states, whole.initial.c);
    fill(k, 6, states, whole.dfinal.h);
    fill(k, 7, states, whole.dfinal.c);
    share_inputs(k, &whole, &rows);
    run(k, &layer, params, &whole);
    run(k, &layer, params, &rows);
    const bool has_c = crnn_cell_describe(cell)->states == 2;
    for (size_t i = 0; i < as_rows.batch; i++)
        CHECK(strand_agrees(k, &whole, &rows, i, has_c),
              "%s %s, cell %d: strand %zu of %zu, lengths %d, mask %d, resets %d, reverse %d",
              k->isa, type_name[k->dtype], (int)cell, i, steps->stride, steps->lengths != NULL,
              steps->mask != NULL, steps->resets != NULL, steps->reverse);
    CHECK(same_row(k, at.total, whole.grads, 0, rows.grads, 0), "%s %s, cell %d: gradients, of %zu",
          k->isa, type_name[k->dtype], (int)cell, steps->stride);
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
        for (size_t d = 1; d <= 3; d++) {
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
