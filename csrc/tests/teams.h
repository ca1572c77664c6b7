/* Calls with enough work for three threads, whose outcome must not depend on how many there are. */
#ifndef CRNN_TESTS_TEAMS_H
#define CRNN_TESTS_TEAMS_H

#include "outcome.h"

/* Where there are more inputs than units, more units than inputs, and so few rows that threads
 * share the panels of every step. */
enum { MANY_INPUTS, MANY_UNITS, FEW, TEAM_SHAPES, TEAM_ROWS = 32 };

static void set_team_shape(problem *p, const crnn_kernels *k, int shape) {
    static int64_t lengths[TEAM_ROWS];
    const size_t inputs[TEAM_SHAPES] = {90, 3 * k->tile_rows, 64};
    const size_t hidden[TEAM_SHAPES] = {5, 80, 1};
    const size_t gates = strlen(crnn_cell_describe(p->layer.cell)->gates), I = inputs[shape];
    const size_t rows[TEAM_SHAPES] = {2 * k->tile_rows, 2 * k->tile_rows, k->tile_rows > 3 ? 2 : 1};
    size_t H = hidden[shape];
    while (shape == FEW && rows[shape] * gates * H * H < 130000) H++;
    p->kernels = k;
    p->layer.dtype = k->dtype;
    p->layer.inputs = I;
    p->layer.hidden = H;
    p->batch = rows[shape];
    const bool much = k->width > 1 && !slow_runner(); /* else just enough for three threads */
    p->steps = (much ? 12000000 : 3600000) / (p->batch * gates * H * (I + H)) + 2;
    for (size_t b = 0; b < p->batch; b++) lengths[b] = (int64_t)(p->steps * (b % 5) / 4);
    lengths[0] = (int64_t)p->steps;
    p->lengths = lengths;
}

static void check_teams(problem p) {
    if (left_out(p.kernels)) return;
    const size_t mark = fences_used;
    crnn_set_threads(1);
    const outcome a = run(&p);
    crnn_set_threads(3);
    check_same("three threads", &a, &p);
    if (!slow_runner()) {
        crnn_set_threads(2);
        check_same("two threads", &a, &p);
        crnn_set_threads(3);
        p.no_tape = true;
        check_same("three threads, no tape", &a, &p);
    }
    crnn_set_threads(1);
    fences_release(mark);
}

#endif
