/* Whole calls of crnn_forward and crnn_backward, for every cell, number type and instruction set.
 *
 * What a cell computes is not written down here a second time. The scalar table in double is held
 * against central differences of its own forward pass, every other table against the scalar one;
 * and calls that must agree to the last bit are held against each other: a row alone and in a
 * batch, a sequence in one piece and in two, read backward and turned around, as symbols and as
 * one-hot rows, on one thread and on several, with a tape and without. Options of layers, holes and
 * cuts have test_options.c.
 *
 * Every buffer has exactly the size that the library asks for, stands in fenced memory and holds
 * NaN at first, and so does the padding of what is read. */
#include "agreement.h"
#include "teams.h"

/* ---- shapes and forms */

enum { SHAPES = 9, MOST_ROWS = 32 };

/* Around the tiles and vectors of a table; and longer than what is projected ahead at a time, or
 * kept of gradients. */
static void set_shape(problem *p, const crnn_kernels *k, crnn_cell cell, int i) {
    static int64_t lengths[MOST_ROWS];
    const size_t V = k->width, R = k->tile_rows;
    const size_t shapes[SHAPES][4] = {
        /* B, T, I, H */
        {1, 1, 4 * V + 1, 1},
        {R - 1, 5, 1, V},
        {R, 3, V, V + 1},
        {R + 1, 2, R + 1, 3 * V},
        {2 * R, 4, V + 1, 4 * V},
        {2 * R + 1, 3, 3, 4 * V + 1},
        {3 * R + 1, 6, 2 * R, 5 * V + 2},
        {2, AHEAD_ROWS + 10, 3, V + 1},
        {9, 40, 2, 2 * V},
    };
    p->layer.cell = cell;
    p->kernels = k;
    p->layer.dtype = k->dtype;
    p->layer.beta = 1;
    p->batch = shapes[i][0];
    p->steps = shapes[i][1];
    p->layer.inputs = shapes[i][2];
    p->layer.hidden = shapes[i][3];
    for (size_t b = 0; b < p->batch; b++)
        lengths[b] = (int64_t)((0.5 + 0.5 * sample(S_LENGTHS, b)) * (double)(p->steps + 1));
    lengths[p->batch / 2] = (int64_t)p->steps;
    if (p->ragged) p->lengths = lengths;
}

static const problem forms[] = {
    {.name = "plain", .layer = {.bias = true}},
    {.name = "lengths", .layer = {.bias = true}, .ragged = true, .given = true},
    {.name = "reverse", .layer = {.bias = true, .reverse = true}, .ragged = true, .strided = true},
    {.name = "symbols", .layer = {.bias = true}, .symbols = true, .given = true},
    {.name = "no bias", .ragged = true, .symbols = true},
    {.name = "last gradient", .layer = {.reverse = true}, .given = true, .no_dy = true},
};
enum { FORMS = sizeof forms / sizeof *forms };

static void check_all_gradients(crnn_cell cell) {
    static const int64_t lengths[] = {1, 3, 0, 3, 2};
    for (int i = 0; i < 2 * FORMS; i++) {
        const bool large = i % 2; /* more than a tile each way */
        problem p = forms[i / 2];
        p.kernels = core_kernels_for("scalar", CRNN_F64);
        p.layer.cell = cell;
        p.layer.dtype = CRNN_F64;
        p.layer.beta = 0.7;
        p.layer.inputs = large ? 9 : 2;
        p.layer.hidden = large ? 7 : 3;
        p.batch = large ? 5 : 2;
        p.steps = 3;
        p.strided = false;
        p.lengths = p.ragged ? lengths : NULL;
        check_gradients(&p, large ? 5 : 1);
    }
}

static void check_threads(const crnn_kernels *k, crnn_cell cell) {
    for (int shape = 0; shape < TEAM_SHAPES; shape++) {
        problem p = {
            .name = "threads", .layer = {.cell = cell, .bias = true, .beta = 1}, .given = true};
        set_team_shape(&p, k, shape);
        check_teams(p);
    }
}

static void check_all_empty(const crnn_kernels *k, crnn_cell cell) {
    static const int64_t zeros[MOST_ROWS];
    for (int i = 0; i < FORMS; i++) {
        problem p = forms[i];
        set_shape(&p, k, cell, 3);
        check_empty(p, zeros);
    }
}

/* ---- everything */

static void check_table(const crnn_kernels *k, crnn_cell cell) {
    const bool scalar = strcmp(k->isa, "scalar") == 0;
    for (int shape = 0; shape < SHAPES; shape++) {
        for (int i = 0; i < FORMS; i++) {
            problem p = forms[i];
            set_shape(&p, k, cell, shape);
            if (!scalar) check_against_scalar(&p);
            if ((shape + i) % 2 == 0) check_bits(&p);
        }
    }
    check_all_empty(k, cell);
    check_threads(k, cell);
}

int main(void) {
    check_deadline(300);
    crnn_set_threads(1);
    for (int cell = 0; cell < CRNN_CELLS; cell++) {
        if (!slow_runner()) check_all_gradients((crnn_cell)cell); /* in scalar code */
        for (int d = 0; d < CRNN_DTYPES; d++) {
            const crnn_kernels *k;
            for (size_t i = 0; (k = table_at(i, (crnn_dtype)d)); i++)
                check_table(k, (crnn_cell)cell);
        }
    }
    return check_done();
}
