/* How a team shares a step: the grid of groups of rows and groups of panels, and the spans of its
 * members. */
#include "check.h"

#include <string.h>

#include "run.h"

enum { MOST_PARTS = 256, MOST_PANELS = 64 };

/* ---- the grid, a pure function */

static size_t members_of(core_grid grid) { return grid.row_groups * grid.panel_groups; }

/* Every member has work, and more members never make a step slower. */
static void check_grids(const core_step_size *step) {
    double before = core_grid_cost(step, (core_grid){1, 1});
    for (size_t parts = 1; parts <= MOST_PARTS; parts++) {
        const core_grid grid = core_grid_of(step, parts);
        const double cost = core_grid_cost(step, grid);
        CHECK(grid.row_groups >= 1 && grid.row_groups <= step->rows && grid.panel_groups >= 1 &&
                  grid.panel_groups <= step->panels && members_of(grid) <= parts,
              "%zu rows, %zu panels, %zu parts: %zu x %zu", step->rows, step->panels, parts,
              grid.row_groups, grid.panel_groups);
        CHECK(cost <= before, "%zu rows, %zu panels, %zu parts: slower than with fewer", step->rows,
              step->panels, parts);
        before = cost;
    }
}

static void check_all_grids(void) {
    static const size_t rows[] = {1, 2, 3, 4, 7, 8, 31, 64, 65, 255, 1000};
    static const size_t hidden[] = {1, 16, 64, 100, 256, 512, 1024};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t j = 0; j < sizeof hidden / sizeof *hidden; j++) {
            const double row_work = 4.0 * (double)hidden[j] * (double)hidden[j];
            for (size_t wide = 8; wide <= 64; wide *= 2) {
                core_step_size step = {rows[i], (hidden[j] + wide - 1) / wide, wide == 64 ? 7 : 3,
                                       row_work, false};
                check_grids(&step);
                step.apart = true; /* members that do not meet */
                check_grids(&step);
            }
        }
    }
}

/* Few rows of large layers keep many members busy, small layers do not: LSTMs with AVX-512. */
static void check_known_grids(void) {
    static const struct {
        size_t rows, hidden, parts, row_groups, panel_groups;
    } known[] = {
        {1, 64, 64, 1, 1},    {1, 256, 4, 1, 4},    {1, 256, 8, 1, 4},  {1, 256, 64, 1, 4},
        {4, 256, 8, 2, 4},    {1, 512, 8, 1, 8},    {1, 512, 64, 1, 8}, {64, 256, 8, 8, 1},
        {64, 256, 32, 16, 2}, {64, 256, 64, 16, 4}, {7, 32, 4, 4, 1},   {1000, 512, 16, 16, 1},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const size_t H = known[i].hidden;
        const core_step_size step = {.rows = known[i].rows,
                                     .panels = (H + 63) / 64,
                                     .tile_rows = 7,
                                     .row_work = 4.0 * (double)(H * H)};
        const core_grid grid = core_grid_of(&step, known[i].parts);
        CHECK(grid.row_groups == known[i].row_groups && grid.panel_groups == known[i].panel_groups,
              "%zu rows, H = %zu, %zu parts: %zu x %zu", known[i].rows, H, known[i].parts,
              grid.row_groups, grid.panel_groups);
    }
}

/* ---- spans */

enum { MOST_ROWS = 70, STEPS = 9, MOST_WORDS = 6 * MOST_ROWS + 2 * STEPS + 1 };

/* Every pair of a row and a panel belongs to one member, and every member of the grid has some. */
static void check_spans(const core_shape *s, const crnn_rows *rows, size_t panels, size_t parts,
                        const char *what) {
    static unsigned owners[MOST_ROWS][MOST_PANELS];
    const size_t team = core_seats(s, rows, panels, 1e6 * (double)parts);
    size_t empty = 0, wrong = 0;
    memset(owners, 0, sizeof owners);
    CHECK(team >= 1 && team <= parts, "%s: a team of %zu in %zu", what, team, parts);
    for (size_t part = 0; part < parts; part++) {
        const core_span span =
            core_span_of(s, rows, panels, &(core_member){.part = part, .parts = parts});
        empty += part < team && (span.from >= span.to || span.panel_from >= span.panel_to);
        wrong += part >= team && span.from < span.to;
        for (size_t i = span.from; i < span.to; i++)
            for (size_t p = span.panel_from; p < span.panel_to; p++) owners[i][p]++;
    }
    for (size_t i = 0; i < rows->places; i++)
        for (size_t p = 0; p < panels; p++) wrong += owners[i][p] != 1;
    CHECK(empty == 0 && wrong == 0, "%s: %zu rows, %zu panels, %zu parts: %zu empty, %zu wrong",
          what, rows->places, panels, parts, empty, wrong);
}

static void check_layer(size_t hidden, size_t batch, const int64_t *lengths, const char *what) {
    const crnn_layer layer = {
        .cell = CRNN_LSTM, .dtype = CRNN_F32, .inputs = 3, .hidden = hidden, .bias = true};
    const crnn_steps steps = {.batch = batch, .steps = STEPS, .lengths = lengths};
    size_t words[MOST_WORDS], count = 0;
    core_shape s;
    crnn_rows rows;
    CHECK(crnn_rows_size(&steps, &count) == CRNN_OK && count <= MOST_WORDS, "%zu words", count);
    core_shape_init(&s, &layer, core_kernels_for("scalar", CRNN_F32));
    crnn_rows_init(&rows, words, &steps);
    for (size_t panels = 1; panels <= MOST_PANELS; panels = 3 * panels + 1)
        for (size_t parts = 1; parts <= MOST_PARTS; parts += 1 + parts / 9)
            check_spans(&s, &rows, panels, parts, what);
}

static void check_layers(void) {
    static int64_t mixed[MOST_ROWS], one[MOST_ROWS];
    static const size_t hidden[] = {4, 128, 512};
    for (size_t b = 0; b < MOST_ROWS; b++) {
        mixed[b] = (int64_t)(b * 7 % (STEPS + 1));
        one[b] = b == 0 ? STEPS : 1;
    }
    crnn_set_threads(MOST_PARTS);
    for (size_t h = 0; h < sizeof hidden / sizeof *hidden; h++) {
        for (size_t batch = 1; batch <= MOST_ROWS; batch += batch < 5 ? 1 : 13) {
            check_layer(hidden[h], batch, NULL, "equal lengths");
            check_layer(hidden[h], batch, mixed, "mixed lengths");
            check_layer(hidden[h], batch, one, "one long row");
        }
    }
}

int main(void) {
    check_deadline(60);
    check_all_grids();
    check_known_grids();
    check_layers();
    return check_done();
}
