/* Attention to a memory as an operation: the steps of another sequence are mapped to keys and
 * values, once a call, or once for all steps of a stream; then each pair of a row and a head runs
 * as one of self-attention does. */
#include <string.h>

#include "heads.h"

enum { LOADERS = 8 /* members that map a memory for a stream, each with scratch of its own */ };

typedef struct core_cross {
    crnn_heads given; /* what the kernels read of it */
    crnn_rows rows;   /* those of the plan, without its resets: these do not end a memory */
    core_heads_memory memory;
    core_heads_ring ring; /* of a stream, whose place of each row is */
    size_t *place;        /* [B] */
    const void **x, **kv; /* [count] rows of the memory within its lengths: their features, keys */
    void **dx;            /* and values, of backward with gradients of the latter; and dx */
    size_t count;         /* of these */
    void *packed, *scratch;  /* of products */
    void *keys_values, *dkv; /* [B][S][2 H] */
} core_cross;

static const crnn_cross *cross_of(const core_node *n) { return &n->given->as.cross; }

static core_cross *own_of(const core_node *n) { return n->as.heads.cross; }

static size_t batch_of(const core_node *n) { return n->plan->given->rows->given.batch; }

/* ---- what backward reads of forward */

typedef struct kept_layout {
    void *kv;    /* [B][S][2 H] */
    void *pairs; /* [N][heads][2] */
} kept_layout;

static kept_layout lay_kept(const crnn_plan *plan, const crnn_node *node, core_arena *a) {
    const crnn_cross *given = &node->as.cross;
    const size_t item = crnn_dtype_size(plan->kernels->dtype);
    kept_layout l;
    l.kv = core_take(a, plan->rows->given.batch * given->steps, 2 * node->features, item);
    l.pairs = core_take(a, plan->rows->total, 2 * given->heads, item);
    return l;
}

void core_cross_kept(const crnn_plan *plan, const crnn_node *node, core_arena *a) {
    lay_kept(plan, node, a);
}

/* ---- the state of a stream: keys and values of the memory of each row */

typedef struct ring_layout {
    size_t *size; /* batch */
    core_heads_ring ring;
    char *loaded; /* [LOADERS][S][2 H] */
} ring_layout;

static size_t ring_slots(const core_node *n) {
    const size_t steps = cross_of(n)->steps;
    return core_round_up(steps ? steps : 1, n->plan->given->kernels->width);
}

static ring_layout lay_ring(const core_node *n, size_t batch, core_arena *a) {
    const crnn_cross *given = cross_of(n);
    ring_layout l = {.size = core_take(a, 1, 1, sizeof(size_t))};
    l.ring.seen = core_take(a, batch, 1, sizeof(size_t));
    core_heads_take_ring(n, given->heads, batch, ring_slots(n), &l.ring, a);
    l.loaded = core_take(a, LOADERS * given->steps, 2 * n->given->features, core_item(n));
    return l;
}

static void running(const core_node *n, core_arena *a) { lay_ring(n, batch_of(n), a); }

static ring_layout ring_of(const core_node *n) {
    core_arena a = core_arena_at(n->given->running);
    return lay_ring(n, *(const size_t *)n->given->running, &a);
}

typedef struct load_job {
    const core_node *n;
    ring_layout l;
} load_job;

static void load_row(const load_job *job, size_t row, char *kv) {
    const core_node *n = job->n;
    const crnn_cross *given = cross_of(n);
    const size_t H = n->given->features, C = given->size, item = core_item(n);
    const core_matrix m =
        core_dense_matrix(n->plan->given->kernels, CORE_DIRECT, C, 2 * H, given->w);
    const size_t steps = job->l.ring.seen[row];
    core_multiply(n->plan->given->kernels, &m,
                  core_row_of(given->memory, row, given->steps * C, item), given->b, kv, 0, steps);
    for (size_t s = 0; s < steps; s++, kv += 2 * H * item)
        core_heads_copy_step(n, &job->l.ring, given->heads, row, s, kv, kv + H * item, true);
}

static void load_part(void *context, const core_member *me) {
    const load_job *job = context;
    const size_t each = cross_of(job->n)->steps * 2 * job->n->given->features * core_item(job->n);
    for (size_t row = me->part; row < job->l.ring.batch; row += me->parts)
        load_row(job, row, job->l.loaded + me->part * each);
}

static void load(const core_node *n) {
    const crnn_cross *given = cross_of(n);
    const size_t batch = batch_of(n), S = given->memory ? given->steps : 0;
    core_arena a = core_arena_at(n->given->running);
    load_job job = {n, lay_ring(n, batch, &a)};
    const double work = (double)batch * (double)S * (double)given->size;
    memset(n->given->running, 0, a.used.bytes);
    *job.l.size = batch;
    for (size_t row = 0; row < batch; row++)
        job.l.ring.seen[row] = S && given->lengths ? (size_t)given->lengths[row] : S;
    if (S)
        core_in_team(2 * work * (double)n->given->features, core_clamp(batch, 1, LOADERS),
                     load_part, &job);
}

static void follow(const core_node *n, const size_t *parents, size_t count) {
    size_t *source = cross_of(n)->source;
    for (size_t i = 0; source && i < count; i++) source[i] = own_of(n)->place[parents[i]];
}

/* ---- layout */

static double work(const core_node *n) {
    const crnn_cross *given = cross_of(n);
    const crnn_heads heads = {.heads = given->heads, .p = given->p, .noise = given->noise};
    return core_heads_work(&heads, n->given->features, 1, (double)given->steps);
}

static double work_of_pairs(const core_node *n) {
    return work(n) * (double)n->plan->given->rows->total;
}

static double work_of_map(const core_node *n) {
    return (double)own_of(n)->count * (double)cross_of(n)->size * 2 * (double)n->given->features;
}

/* The rows without resets; where nothing is laid out, their numbers alone. */
static void lay_rows(const core_node *n, core_cross *c, core_arena *a) {
    const crnn_rows *rows = n->plan->given->rows;
    crnn_steps steps = rows->given;
    size_t words = 0;
    c->rows = *rows;
    if (!steps.resets) return;
    steps.resets = NULL;
    a->used.fits = crnn_rows_size(&steps, &words) == CRNN_OK && a->used.fits;
    size_t *memory = core_take(a, words, 1, sizeof *memory);
    c->rows.places = steps.batch;
    if (a->base) crnn_rows_init(&c->rows, memory, &steps);
}

/* Steps of a row, at most: the same number where nothing is laid out. */
static size_t most_steps(const core_node *n) {
    const crnn_rows *rows = n->plan->given->rows;
    return rows->given.resets ? rows->given.steps : rows->places ? rows->length[0] : 0;
}

/* What maps the memory to keys and values, or back. */
static void lay_map(const core_node *n, core_cross *c, bool back, core_arena *a) {
    const crnn_cross *given = cross_of(n);
    const crnn_kernels *kernels = n->plan->given->kernels;
    const size_t rows = batch_of(n) * given->steps, H = n->given->features, item = core_item(n);
    c->x = core_take(a, rows, 1, sizeof(void *));
    c->kv = core_take(a, rows, 1, sizeof(void *));
    if (back) {
        c->dx = core_take(a, rows, 1, sizeof(void *));
        c->dkv = core_take(a, rows, 2 * H, item);
        c->packed = core_take_packed(kernels, 2 * H, given->size, a);
        c->scratch = core_take(a, core_outer_rows(kernels, given->size), kernels->block_rows, item);
    } else {
        c->packed = core_take_packed(kernels, given->size, 2 * H, a);
    }
}

static void lay_pass(core_node *n, bool back, core_arena *a) {
    const crnn_cross *given = cross_of(n);
    const size_t H = n->given->features, A = H / given->heads;
    const size_t V = n->plan->given->kernels->width;
    core_cross measured, *c = core_take(a, 1, 1, sizeof *c);
    void *pairs = NULL;
    memset(&n->as.heads, 0, sizeof n->as.heads);
    n->as.heads.cross = c ? c : &measured;
    c = n->as.heads.cross;
    memset(c, 0, sizeof *c);
    c->given = (crnn_heads){.rows = &c->rows,
                            .heads = given->heads,
                            .whole = true,
                            .p = given->p,
                            .noise = given->noise,
                            .weights = n->given->running ? NULL : given->weights};
    lay_rows(n, c, a);
    if (n->given->running) {
        c->place = core_take(a, batch_of(n), 1, sizeof(size_t));
    } else {
        lay_map(n, c, back, a);
        core_arena kept = core_arena_at(n->given->kept);
        const kept_layout l = lay_kept(n->plan->given, n->given, n->given->kept ? &kept : a);
        c->keys_values = l.kv;
        pairs = n->given->kept ? l.pairs : NULL;
    }
    n->as.heads.run = (core_heads_run){.given = &c->given,
                                       .rows = &c->rows,
                                       .hidden = H,
                                       .size = A,
                                       .pitch = core_round_up(A, V),
                                       .keys = given->steps,
                                       .slots = n->given->running ? ring_slots(n) : 0,
                                       .memory = n->given->running ? NULL : &c->memory,
                                       .kept = pairs};
    core_heads_lay(n, back, most_steps(n), work_of_pairs(n) * (back ? 2 : 1), a);
}

static void lay(core_node *n, core_arena *a) { lay_pass(n, false, a); }

static void lay_back(core_node *n, core_arena *a) { lay_pass(n, true, a); }

/* ---- the map of the memory */

/* Lists the rows within the lengths; kv: keys and values, or their gradients. */
static void list_memory(const core_node *n, void *kv) {
    const crnn_cross *given = cross_of(n);
    const size_t S = given->steps, wide = 2 * n->given->features, item = core_item(n);
    core_cross *c = own_of(n);
    c->count = 0;
    for (size_t b = 0; b < batch_of(n); b++) {
        const size_t end = given->lengths ? (size_t)given->lengths[b] : S;
        for (size_t row = b * S; row < b * S + end; row++, c->count++) {
            c->x[c->count] = core_row_of(given->memory, row, given->size, item);
            c->kv[c->count] = core_row_of(kv, row, wide, item);
            if (c->dx && given->dmemory)
                c->dx[c->count] = core_row_of(given->dmemory, row, given->size, item);
        }
    }
}

static void map_part(void *context, const core_member *me) {
    const core_node *n = context;
    const core_cross *c = own_of(n);
    const crnn_cross *given = cross_of(n);
    const crnn_kernels *kernels = n->plan->given->kernels;
    const size_t wide = 2 * n->given->features;
    const core_range own = core_share(c->count, me);
    const core_matrix m =
        core_pack_dense(kernels, core_choose_kind(kernels, given->size, wide, (double)c->count, 1),
                        given->size, wide, given->w, c->packed, me);
    const core_factor factor = {.matrix = &m, .rows = {.list = c->x}};
    const core_sum sum = {.factors = 1, .factor = &factor, .init = given->b, .to = {.list = c->kv}};
    core_meet(me);
    kernels->sum(&sum, own.from, own.to);
}

/* A matrix of gradients gains the product of a factor's rows and the gradients of keys and values.
 */
static void add_product(const core_node *n, core_factor factor, size_t inner, void *gradient,
                        const core_member *me) {
    const core_cross *c = own_of(n);
    const crnn_kernels *kernels = n->plan->given->kernels;
    const core_matrix matrix =
        core_dense_matrix(kernels, CORE_DIRECT, inner, 2 * n->given->features, gradient);
    factor.matrix = &matrix;
    const core_outer outer = {
        .n = c->count, .factor = &factor, .d = {.list = c->kv}, .scratch = c->scratch};
    kernels->outer(&outer, me);
}

static void map_back_part(void *context, const core_member *me) {
    const core_node *n = context;
    const core_cross *c = own_of(n);
    const crnn_cross *given = cross_of(n);
    const crnn_kernels *kernels = n->plan->given->kernels;
    const core_range own = core_share(c->count, me);
    if (given->dw)
        add_product(n, (core_factor){.rows = {.list = c->x}}, given->size, given->dw, me);
    if (given->db) add_product(n, (core_factor){0}, 1, given->db, me);
    if (!given->dmemory) return;
    const core_matrix m = core_pack_dense(kernels, CORE_TURNED, 2 * n->given->features, given->size,
                                          given->w, c->packed, me);
    const core_factor factor = {.matrix = &m, .rows = {.list = c->kv}};
    const core_sum sum = {
        .factors = 1, .factor = &factor, .to = {.list = (const void *const *)c->dx}};
    core_meet(me);
    kernels->sum(&sum, own.from, own.to);
}

/* ---- a pass */

/* The place of each row in the memory of a stream. */
static void find_places(const core_node *n) {
    core_cross *c = own_of(n);
    for (size_t row = 0; row < batch_of(n); row++)
        c->place[row] = cross_of(n)->source ? cross_of(n)->source[row] : row;
    c->ring = ring_of(n).ring;
    c->ring.place = c->place;
}

static void alone(core_node *n) {
    const crnn_cross *given = cross_of(n);
    const crnn_kernels *kernels = n->plan->given->kernels;
    const size_t H = n->given->features, T = n->plan->given->rows->given.steps;
    core_heads_run *run = &n->as.heads.run;
    core_cross *c = own_of(n);
    run->qkv = core_read(n, 0)->value;
    run->value = n->given->value;
    if (n->given->running) {
        find_places(n);
        run->ring = &c->ring;
    } else {
        c->memory = (core_heads_memory){given->steps, given->lengths, c->keys_values, NULL};
        list_memory(n, c->keys_values);
        if (c->count > 0) core_in_team(work_of_map(n), c->count, map_part, n);
        if (given->weights)
            memset(given->weights, 0, batch_of(n) * given->heads * T * given->steps * core_item(n));
    }
    core_heads_run_pairs(n, false, work_of_pairs(n),
                         n->given->running ? kernels->memory_step : kernels->heads);
    crnn_fill_gaps(&c->rows, &n->given->value, H, core_item(n), false);
}

static void alone_back(core_node *n) {
    const crnn_cross *given = cross_of(n);
    const crnn_kernels *kernels = n->plan->given->kernels;
    const size_t elements = batch_of(n) * given->steps * given->size;
    core_heads_run *run = &n->as.heads.run;
    core_cross *c = own_of(n);
    run->qkv = core_read(n, 0)->value;
    run->value = n->given->value;
    run->dqkv = n->to[0];
    run->dvalue = n->given->gradient;
    c->memory = (core_heads_memory){given->steps, given->lengths, c->keys_values, c->dkv};
    list_memory(n, c->dkv);
    core_heads_run_pairs(n, true, 2 * work_of_pairs(n), kernels->heads_back);
    crnn_fill_gaps(&c->rows, &run->dqkv, n->given->features, core_item(n), false);
    if (given->dmemory) memset(given->dmemory, 0, elements * core_item(n));
    const size_t most = c->count > given->size ? c->count : given->size;
    if (c->count > 0) core_in_team(2 * work_of_map(n), most, map_back_part, n);
    if (given->dmemory && given->dfinal)
        kernels->add_rows(1, elements, elements, NULL, given->dfinal, given->dmemory);
}

const core_op core_op_cross = {.work = work,
                               .lay = lay,
                               .alone = alone,
                               .follow = follow,
                               .running = running,
                               .load = load,
                               .lay_back = lay_back,
                               .alone_back = alone_back};
