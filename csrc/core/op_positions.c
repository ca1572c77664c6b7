/* Positions as a node of a plan: to the value of each step that is read, the row of its position is
 * added. */
#include <math.h>
#include <string.h>

#include "plan.h"

enum {
    ADD_WORK = 2,      /* multiply-adds that take as long as an element of a sum, */
    SINUSOID_WORK = 16 /* as a sine or a cosine */
};

static const crnn_positions *positions_of(const core_node *n) { return &n->given->as.positions; }

static double work(const core_node *n) {
    return (double)n->given->features * (positions_of(n)->table ? ADD_WORK : SINUSOID_WORK);
}

/* ---- the memory of a stream */

typedef struct step_counts {
    size_t *rows;   /* that there may be */
    int64_t *steps; /* [rows] that each has read */
    int64_t *next;  /* [rows] `follow` writes here what they become */
} step_counts;

static step_counts lay_counts(size_t rows, core_arena *a) {
    return (step_counts){.rows = core_take(a, 1, 1, sizeof(size_t)),
                         .steps = core_take(a, rows, 1, sizeof(int64_t)),
                         .next = core_take(a, rows, 1, sizeof(int64_t))};
}

static void running(const core_node *n, core_arena *a) {
    lay_counts(n->plan->given->rows->given.batch, a);
}

static step_counts counts_of(const core_node *n) {
    core_arena a = core_arena_at(n->given->running);
    return lay_counts(*(const size_t *)n->given->running, &a);
}

static void load(const core_node *n) {
    const size_t rows = n->plan->given->rows->given.batch;
    core_arena a = core_arena_at(n->given->running);
    const step_counts counts = lay_counts(rows, &a);
    *counts.rows = rows;
    for (size_t row = 0; row < rows; row++)
        counts.steps[row] = positions_of(n)->initial ? positions_of(n)->initial[row] : 0;
}

static void save(const core_node *n) {
    const step_counts counts = counts_of(n);
    if (positions_of(n)->final)
        memcpy(positions_of(n)->final, counts.steps, *counts.rows * sizeof *counts.steps);
}

static void clear(const core_node *n, size_t row) { counts_of(n).steps[row] = 0; }

static void follow(const core_node *n, const size_t *parents, size_t count) {
    if (!n->given->running) return;
    const step_counts counts = counts_of(n);
    for (size_t i = 0; i < *counts.rows; i++)
        counts.next[i] = i < count ? counts.steps[parents[i]] : 0;
    memcpy(counts.steps, counts.next, *counts.rows * sizeof *counts.steps);
}

/* ---- the rows of positions */

/* The position of the first step of a piece. */
static int64_t first_position(const core_node *n, size_t place) {
    const crnn_positions *given = positions_of(n);
    const size_t row = given->rows->order[place];
    if (!(given->rows->ends[place] & CRNN_READ_FIRST)) return 0;
    if (n->given->running) return counts_of(n).steps[row];
    return given->initial ? given->initial[row] : 0;
}

/* Without earlier steps all pieces begin at position 0. */
static void lay(core_node *n, core_arena *a) {
    const crnn_positions *given = positions_of(n);
    const crnn_rows *rows = given->rows;
    const size_t H = n->given->features, rates = (H + 1) / 2;
    const size_t longest = rows->places ? rows->length[0] : 0;
    const size_t most = given->initial || n->given->running ? rows->total : longest;
    memset(&n->as.positions, 0, sizeof n->as.positions);
    if (given->table) return;
    core_sinusoids *s = &n->as.positions.sinusoids;
    s->size = H;
    s->rates = core_take(a, rates, 1, sizeof(double));
    s->table = core_take(a, most, H, core_item(n));
    n->as.positions.row = core_take(a, rows->places, 1, sizeof(size_t));
    n->as.positions.positions = core_take(a, most, 1, sizeof(int64_t));
    s->positions = n->as.positions.positions;
    for (size_t i = 0; a->base && i < rates; i++)
        s->rates[i] = pow(10000, -2 * (double)i / (double)H);
}

/* A piece that begins at the position of the one before, which is no shorter, shares its rows. */
static void list_positions(core_node *n) {
    const crnn_rows *rows = positions_of(n)->rows;
    int64_t before = -1;
    n->as.positions.rows = 0;
    for (size_t i = 0; !positions_of(n)->table && i < rows->places; i++) {
        const int64_t begin = first_position(n, i);
        n->as.positions.row[i] =
            begin == before ? n->as.positions.row[i - 1] : n->as.positions.rows;
        for (size_t t = 0; begin != before && t < rows->length[i]; t++)
            n->as.positions.positions[n->as.positions.rows++] = begin + (int64_t)t;
        before = begin;
    }
}

static const void *position_row(const core_node *n, size_t place, size_t t) {
    const crnn_positions *given = positions_of(n);
    const size_t H = n->given->features, item = core_item(n);
    if (given->table)
        return core_row_of(given->table, (size_t)first_position(n, place) + t, H, item);
    return core_row_of(n->as.positions.sinusoids.table, n->as.positions.row[place] + t, H, item);
}

/* ---- passes */

/* A step of a piece; cells are counted step by step. */
typedef struct cell {
    size_t place, t;
} cell;

static cell find_cell(const crnn_rows *rows, size_t c, size_t t) {
    while (c >= rows->first[t + 1]) t++;
    return (cell){c - rows->first[t], t};
}

static void *cell_at(const core_node *n, const crnn_seq *seq, cell c) {
    const crnn_rows *rows = positions_of(n)->rows;
    return crnn_seq_at(seq, rows->order[c.place], crnn_rows_time(rows, c.place, c.t), core_item(n));
}

static void run_part(void *context, const core_member *me) {
    const core_node *n = context;
    const crnn_kernels *kernels = n->plan->given->kernels;
    const crnn_rows *rows = positions_of(n)->rows;
    const size_t H = n->given->features;
    const core_range own = core_share(rows->total, me);
    const core_range listed = core_share(n->as.positions.rows, me);
    kernels->sinusoids(&n->as.positions.sinusoids, listed.from, listed.to);
    core_meet(me);
    cell c = {0};
    for (size_t i = own.from; i < own.to; i++) {
        c = find_cell(rows, i, c.t);
        void *y = cell_at(n, &n->given->value, c);
        memcpy(y, cell_at(n, &core_read(n, 0)->value, c), H * core_item(n));
        kernels->add_rows(1, H, H, NULL, position_row(n, c.place, c.t), y);
    }
}

static double work_of_all(const core_node *n) {
    return work(n) * (double)positions_of(n)->rows->total;
}

static void alone(core_node *n) {
    const size_t total = positions_of(n)->rows->total;
    list_positions(n);
    if (total > 0) core_in_team(work_of_all(n), total, run_part, n);
}

static void close(core_node *n) {
    const crnn_positions *given = positions_of(n);
    const crnn_rows *rows = given->rows;
    int64_t *steps = n->given->running ? counts_of(n).steps : given->final;
    for (size_t i = 0; steps && i < rows->places; i++)
        if (rows->ends[i] & CRNN_READ_LAST)
            steps[rows->order[i]] = first_position(n, i) + (int64_t)rows->length[i];
    crnn_fill_gaps(rows, &n->given->value, n->given->features, core_item(n), true);
}

static void lay_back(core_node *n, core_arena *a) {
    const crnn_steps *s = &positions_of(n)->rows->given;
    memset(&n->as.positions, 0, sizeof n->as.positions);
    if (s->mask)
        n->as.positions.folded =
            core_take(a, s->batch * s->steps, n->given->features, core_item(n));
}

/* The gradients of a member's share of the table: of a position, those of all steps, the last piece
 * first. */
static void add_to_table(const core_node *n, const crnn_seq *dy, const core_member *me) {
    const crnn_positions *given = positions_of(n);
    const crnn_rows *rows = given->rows;
    const size_t H = n->given->features, item = core_item(n);
    size_t least = SIZE_MAX, end = 0;
    for (size_t i = 0; i < rows->places && rows->length[i] > 0; i++) {
        const size_t begin = (size_t)first_position(n, i);
        if (begin < least) least = begin;
        if (begin + rows->length[i] > end) end = begin + rows->length[i];
    }
    const core_range own = core_share(end > least ? end - least : 0, me);
    for (size_t i = rows->places; i-- > 0;) {
        const size_t begin = (size_t)first_position(n, i), last = begin + rows->length[i];
        const size_t from = own.from + least > begin ? own.from + least : begin;
        for (size_t p = own.to + least < last ? own.to + least : last; p > from; p--)
            n->plan->given->kernels->add_rows(1, H, H, NULL,
                                              cell_at(n, dy, (cell){i, p - 1 - begin}),
                                              core_row_of(given->dtable, p - 1, H, item));
    }
}

static void part_back(void *context, const core_member *me) {
    const core_node *n = context;
    const crnn_rows *rows = positions_of(n)->rows;
    const core_range own = core_share(rows->total, me);
    crnn_seq dy = n->given->gradient;
    if (n->as.positions.folded)
        dy = (crnn_seq){n->as.positions.folded, (ptrdiff_t)(rows->given.steps * n->given->features),
                        (ptrdiff_t)n->given->features};
    cell c = {0};
    for (size_t i = own.from; n->to[0].data && i < own.to; i++) {
        c = find_cell(rows, i, c.t);
        memcpy(cell_at(n, &n->to[0], c), cell_at(n, &dy, c), n->given->features * core_item(n));
    }
    if (positions_of(n)->dtable) add_to_table(n, &dy, me);
}

static void alone_back(core_node *n) {
    const crnn_rows *rows = positions_of(n)->rows;
    if (n->as.positions.folded)
        crnn_fold_gaps(rows, &n->given->gradient, n->given->features,
                       n->plan->given->kernels->dtype, n->as.positions.folded);
    if (rows->total > 0) core_in_team(work_of_all(n), rows->total, part_back, n);
    crnn_fill_gaps(rows, &n->to[0], n->given->features, core_item(n), false);
}

const core_op core_op_positions = {.work = work,
                                   .lay = lay,
                                   .alone = alone,
                                   .close = close,
                                   .follow = follow,
                                   .running = running,
                                   .load = load,
                                   .save = save,
                                   .clear = clear,
                                   .lay_back = lay_back,
                                   .alone_back = alone_back};
