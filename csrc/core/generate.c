/* A decoder that reads what it chose: attention, layers, logits, the next symbols; step after step.
 * Source rows know nothing of each other, so each member of a team takes some of them through all
 * steps. A row is a sample or a beam of its source; where rows end or branch, states move along. */
#include <string.h>

#include "run.h"

/* ---- matrices that all parts read */

typedef struct packed_matrices {
    void *query, *out; /* W_query and W_out, packed; query may be NULL */
} packed_matrices;

static size_t top_width(const crnn_generator *g) {
    return crnn_width(g->level[g->depth - 1].layer);
}

static size_t context_width(const crnn_generator *g) {
    return g->attention ? g->attention->value_size : 0;
}

/* What logits are made of: h and the context. */
static size_t joined_width(const crnn_generator *g) { return top_width(g) + context_width(g); }

/* Floats that the lowest layer reads. */
static size_t floats_of(const crnn_generator *g) {
    return g->embedded + (g->feeds ? context_width(g) : 0);
}

static packed_matrices lay_matrices(const crnn_generator *g, core_arena *a) {
    packed_matrices m = {0};
    if (g->w_query) m.query = core_take_packed(g->kernels, top_width(g), g->attention->key_size, a);
    m.out = core_take_packed(g->kernels, joined_width(g), g->symbols, a);
    return m;
}

/* Whether the sums above do not wrap. */
static bool widths_fit(const crnn_generator *g) {
    size_t joined, floats;
    return crnn_size_add(top_width(g), context_width(g), &joined) &&
           crnn_size_add(g->embedded, context_width(g), &floats);
}

crnn_status crnn_generator_size(const crnn_generator *g, size_t *bytes) {
    core_arena a = core_arena_at(NULL);
    if (!widths_fit(g)) return CRNN_OVERFLOW;
    lay_matrices(g, &a);
    return core_arena_size(&a, bytes);
}

void crnn_generator_pack(const crnn_generator *g) {
    core_arena a = core_arena_at(g->packed);
    const packed_matrices m = lay_matrices(g, &a);
    if (m.query)
        core_pack_dense(g->kernels, CORE_PACKED, top_width(g), g->attention->key_size, g->w_query,
                        m.query, &core_alone);
    core_pack_dense(g->kernels, CORE_PACKED, joined_width(g), g->symbols, g->w_out, m.out,
                    &core_alone);
}

/* ---- the memory of a part: it goes on from call to call */

/* One of two, of which the other is for rows on the move. */
typedef struct kept_rows {
    void *now, *spare; /* [rows][wide] bytes */
    size_t wide;
} kept_rows;

typedef struct part_memory {
    kept_rows *h, *c; /* [depth] states by row; c of width 0 where there is none */
    kept_rows source; /* size_t by row: its source row */
    void **y;         /* [depth - 1] [rows][P] what layers give to those above */
    void *x;          /* [rows][floats] */
    void *queries;    /* [rows][A] */
    void *weights;    /* [T_s] of one row at a time */
    void *joined;     /* [rows][P + C] */
    void *logits;     /* [rows][K] */
    int64_t *symbols; /* [rows] what is read next */
    size_t *parents;  /* [rows] */
    size_t *words;    /* of the rows of a step */
    void *workspace;  /* of a layer's step */
} part_memory;

static kept_rows lay_kept(size_t rows, size_t wide, size_t item, core_arena *a) {
    return (kept_rows){core_take(a, rows, wide, item), core_take(a, rows, wide, item), wide * item};
}

/* A step of layer l, of the rows that live. */
static crnn_forward_args step_args(const crnn_generator *g, size_t l, const crnn_rows *rows) {
    return (crnn_forward_args){.layer = g->level[l].layer,
                               .kernels = g->kernels,
                               .rows = rows,
                               .packed = g->level[l].packed};
}

/* What a layer's step needs at most. */
static crnn_status workspace_size(const crnn_generator *g, const crnn_rows *rows, size_t *most) {
    *most = 0;
    for (size_t l = 0; l < g->depth; l++) {
        const crnn_forward_args args = step_args(g, l, rows);
        size_t bytes;
        if (crnn_forward_workspace(&args, &bytes) != CRNN_OK) return CRNN_OVERFLOW;
        if (bytes > *most) *most = bytes;
    }
    return CRNN_OK;
}

static void lay_levels(const crnn_generator *g, size_t rows, part_memory *m, core_arena *a) {
    const size_t item = crnn_dtype_size(g->kernels->dtype);
    m->h = core_take(a, g->depth, 1, sizeof *m->h);
    m->c = core_take(a, g->depth, 1, sizeof *m->c);
    m->y = core_take(a, g->depth, 1, sizeof *m->y);
    for (size_t l = 0; l < g->depth; l++) {
        const crnn_layer *layer = g->level[l].layer;
        const bool has_c = crnn_cell_describe(layer->cell)->states == 2;
        const kept_rows h = lay_kept(rows, crnn_width(layer), item, a);
        const kept_rows c = lay_kept(rows, has_c ? layer->hidden : 0, item, a);
        void *y = l + 1 < g->depth ? core_take(a, rows, crnn_width(layer), item) : NULL;
        if (!a->base) continue;
        m->h[l] = h;
        m->c[l] = c;
        m->y[l] = y;
    }
}

/* The part's memory begins with the table of where the rest lies. */
static crnn_status lay_part(const crnn_generator *g, const crnn_search_options *o, part_memory *m,
                            core_arena *a) {
    const size_t item = crnn_dtype_size(g->kernels->dtype), rows = o->groups * o->width;
    const crnn_steps step = {.batch = rows, .steps = 1};
    const crnn_rows sizes = {.given = step, .places = rows, .total = rows}; /* and nothing else */
    size_t words, workspace;
    if (crnn_rows_size(&step, &words) != CRNN_OK ||
        workspace_size(g, &sizes, &workspace) != CRNN_OK)
        return CRNN_OVERFLOW;
    core_take(a, 1, 1, sizeof *m);
    m->words = core_take(a, words, 1, sizeof(size_t));
    m->workspace = core_take(a, workspace, 1, 1);
    lay_levels(g, rows, m, a);
    m->source = lay_kept(rows, 1, sizeof(size_t), a);
    m->x = core_take(a, rows, floats_of(g), item);
    m->queries = core_take(a, rows, g->attention ? g->attention->key_size : 0, item);
    m->weights = core_take(a, g->attention ? g->attention->steps : 0, 1, item);
    m->joined = core_take(a, rows, joined_width(g), item);
    m->logits = core_take(a, rows, g->symbols, item);
    m->symbols = core_take(a, rows, 1, sizeof *m->symbols);
    m->parents = core_take(a, rows, 1, sizeof *m->parents);
    return CRNN_OK;
}

crnn_status crnn_generation_size(const crnn_generator *g, const crnn_search *search,
                                 size_t *bytes) {
    const crnn_search_options *o = &search->options;
    part_memory m;
    size_t rows;
    core_arena a = core_arena_at(NULL);
    if (!widths_fit(g) || !crnn_size_mul(o->groups, o->width, &rows) ||
        lay_part(g, o, &m, &a) != CRNN_OK)
        return CRNN_OVERFLOW;
    return core_arena_size(&a, bytes);
}

static void begin_rows(kept_rows *rows, const void *initial, size_t first, size_t count) {
    if (rows->wide)
        memcpy(rows->now, (const char *)initial + first * rows->wide, count * rows->wide);
}

void crnn_generation_begin(const crnn_generator *g, crnn_part *part) {
    const crnn_search_options *o = &part->search->options;
    part_memory *m = part->memory;
    core_arena a = core_arena_at(part->memory);
    lay_part(g, o, m, &a);
    for (size_t l = 0; l < g->depth; l++) {
        begin_rows(&m->h[l], g->level[l].initial.h, o->first_group, o->groups);
        begin_rows(&m->c[l], g->level[l].initial.c, o->first_group, o->groups);
    }
    for (size_t i = 0; i < o->groups; i++) ((size_t *)m->source.now)[i] = o->first_group + i;
    memcpy(m->symbols, g->start + o->first_group, o->groups * sizeof *m->symbols);
    part->finite = true;
}

/* ---- a step */

typedef struct step {
    const crnn_generator *g;
    const part_memory *m;
    size_t rows; /* that live */
    size_t item;
} step;

static void multiply(const step *st, size_t inner, size_t columns, const void *a, const void *b,
                     const void *init, void *c) {
    const core_matrix matrix = core_dense_matrix(st->g->kernels, CORE_PACKED, inner, columns, b);
    core_multiply(st->g->kernels, &matrix, a, init, c, 0, st->rows);
}

/* The top layer's h asks; contexts come behind h in `joined`. */
static void attend_rows(const step *st) {
    const crnn_generator *g = st->g;
    const part_memory *m = st->m;
    const crnn_attention *att = g->attention;
    const size_t P = top_width(g), A = att->key_size, *source = m->source.now;
    const void *h = m->h[g->depth - 1].now, *queries = g->w_query ? m->queries : h;
    core_arena packed = core_arena_at(g->packed);
    if (g->w_query) multiply(st, P, A, h, lay_matrices(g, &packed).query, NULL, m->queries);
    for (size_t i = 0; i < st->rows; i++)
        g->kernels->attend(att, source[i], core_row_of(queries, i, A, st->item), m->weights,
                           core_row_of(m->joined, i, joined_width(g), st->item) + P * st->item);
}

/* What the lowest layer reads. */
static crnn_input input_of(const step *st) {
    const crnn_generator *g = st->g;
    const part_memory *m = st->m;
    const size_t floats = floats_of(g), E = g->embedded, C = floats - E, P = top_width(g);
    for (size_t i = 0; i < st->rows; i++) {
        char *x = core_row_of(m->x, i, floats, st->item);
        if (E)
            memcpy(x, core_row_of(g->embedding, (size_t)m->symbols[i], E, st->item), E * st->item);
        if (C)
            memcpy(x + E * st->item,
                   core_row_of(m->joined, i, joined_width(g), st->item) + P * st->item,
                   C * st->item);
    }
    return (crnn_input){.x = {floats ? m->x : NULL, (ptrdiff_t)floats, 0},
                        .symbols = E ? NULL : m->symbols,
                        .table = g->level[0].layer->inputs - floats};
}

/* All layers; the top one's h comes to the front of `joined`. */
static void run_layers(const step *st) {
    const crnn_generator *g = st->g;
    const part_memory *m = st->m;
    const crnn_steps one = {.batch = st->rows, .steps = 1};
    crnn_rows rows;
    crnn_rows_init(&rows, m->words, &one);
    crnn_input in = input_of(st);
    for (size_t l = 0; l < g->depth; l++) {
        const bool is_top = l + 1 == g->depth;
        const size_t wide = is_top ? joined_width(g) : crnn_width(g->level[l].layer);
        const crnn_state state = {m->h[l].now, m->c[l].wide ? m->c[l].now : NULL};
        crnn_forward_args args = step_args(g, l, &rows);
        args.in = in;
        args.initial = args.final = state;
        args.y = (crnn_seq){is_top ? m->joined : m->y[l], (ptrdiff_t)wide, 0};
        args.workspace = m->workspace;
        crnn_forward(&args);
        in = (crnn_input){.x = args.y};
    }
}

static void make_logits(const step *st) {
    const crnn_generator *g = st->g;
    core_arena packed = core_arena_at(g->packed);
    multiply(st, joined_width(g), g->symbols, st->m->joined, lay_matrices(g, &packed).out, g->b_out,
             st->m->logits);
}

/* Rows become those of their parents. */
static void follow(kept_rows *rows, const size_t *parents, size_t count) {
    for (size_t i = 0; i < count && rows->wide; i++)
        memcpy((char *)rows->spare + i * rows->wide, (char *)rows->now + parents[i] * rows->wide,
               rows->wide);
    void *const now = rows->now;
    rows->now = rows->spare;
    rows->spare = now;
}

static void move_rows(const crnn_generator *g, part_memory *m, size_t count) {
    size_t same = 0;
    while (same < count && m->parents[same] == same) same++;
    if (same == count) return;
    for (size_t l = 0; l < g->depth; l++) {
        follow(&m->h[l], m->parents, count);
        follow(&m->c[l], m->parents, count);
    }
    follow(&m->source, m->parents, count);
}

static void generate_step(const crnn_generator *g, crnn_part *part) {
    part_memory *m = part->memory;
    const step st = {g, m, part->search->live, crnn_dtype_size(g->kernels->dtype)};
    if (g->feeds) attend_rows(&st);
    run_layers(&st);
    if (g->attention && !g->feeds) attend_rows(&st);
    make_logits(&st);
    part->finite =
        crnn_search_step(part->search, g->kernels->dtype, m->logits, m->symbols, m->parents);
    if (part->finite) move_rows(g, m, part->search->live);
}

/* ---- all parts */

typedef struct generate_job {
    const crnn_generator *g;
    crnn_part *parts;
    size_t count, steps;
} generate_job;

static void generate_part(void *context, const core_member *me) {
    const generate_job *job = context;
    for (size_t i = me->part; i < job->count; i += me->parts) {
        crnn_part *part = &job->parts[i];
        for (size_t t = 0; t < job->steps && part->finite && part->search->live > 0; t++)
            generate_step(job->g, part);
    }
}

/* Multiply-adds of a step of all rows. */
static double step_work(const crnn_generator *g, const crnn_part *parts, size_t count) {
    double rows = 0, each = (double)joined_width(g) * (double)g->symbols;
    for (size_t i = 0; i < count; i++) rows += (double)parts[i].search->live;
    for (size_t l = 0; l < g->depth; l++) each += core_step_work(g->level[l].layer);
    return rows * each;
}

void crnn_generate_parts(const crnn_generator *g, crnn_part *parts, size_t count, size_t steps) {
    generate_job job = {g, parts, count, steps};
    core_in_team((double)steps * step_work(g, parts, count), count, generate_part, &job);
}
