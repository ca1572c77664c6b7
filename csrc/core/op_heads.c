/* Self-attention as a node of a plan: pairs of a piece and a head are shared out among threads. */
#include <math.h>
#include <string.h>

#include "heads.h"

enum {
    MOST_MEMBERS = 64,    /* of a team: each of them has scratch of its own */
    MOST_TILES = 16,      /* in a block of queries, or of keys in backward */
    MOST_SCORES = 1 << 15 /* of a block, where more than a tile of rows would have more */
};

static const crnn_heads *heads_of(const core_node *n) { return &n->given->as.heads; }

/* ---- the memory of a stream */

/* A window, or the steps for which there is room. */
static size_t ring_slots(const core_node *n) {
    const crnn_heads *given = heads_of(n);
    const size_t without = given->room ? given->room : given->initial.slots;
    const size_t least = given->window ? given->window : without;
    return core_round_up(least ? least : 1, n->plan->given->kernels->width);
}

typedef struct ring_layout {
    size_t *size; /* batch, slots */
    core_heads_ring ring;
    core_heads_ring next; /* `follow` writes here what the rows become, */
    uint8_t *used;        /* [batch] and which places are taken */
} ring_layout;

/* Elements of one step of one head: a key, and a value with zeros behind. */
static size_t elements_of(const core_node *n, size_t heads) {
    const size_t A = n->given->features / heads;
    return A + core_round_up(A, n->plan->given->kernels->width);
}

void core_heads_take_ring(const core_node *n, size_t heads, size_t batch, size_t slots,
                          core_heads_ring *ring, core_arena *a) {
    const size_t bytes = elements_of(n, heads) * core_item(n);
    ring->batch = batch;
    ring->slots = slots;
    ring->each = slots * bytes;
    ring->data = core_take(a, batch, slots, heads * bytes);
}

static ring_layout lay_ring(const core_node *n, size_t batch, size_t slots, core_arena *a) {
    ring_layout l = {.size = core_take(a, 2, 1, sizeof(size_t))};
    core_heads_ring *const both[] = {&l.ring, &l.next};
    for (size_t i = 0; i < 2; i++) {
        both[i]->steps = core_take(a, batch, 1, sizeof(int64_t));
        both[i]->seen = core_take(a, batch, 1, sizeof(size_t));
        both[i]->place = core_take(a, batch, 1, sizeof(size_t));
    }
    l.used = core_take(a, batch, 1, 1);
    core_heads_take_ring(n, heads_of(n)->heads, batch, slots, &l.ring, a);
    return l;
}

static void running(const core_node *n, core_arena *a) {
    lay_ring(n, n->plan->given->rows->given.batch, ring_slots(n), a);
}

static ring_layout ring_of(const core_node *n) {
    const size_t *size = n->given->running;
    core_arena a = core_arena_at(n->given->running);
    return lay_ring(n, size[0], size[1], &a);
}

char *core_heads_pair_at(const core_heads_ring *ring, size_t place, size_t heads, size_t head) {
    return ring->data + (place * heads + head) * ring->each;
}

/* Copies `count` numbers that lie `step` numbers apart, from or to dense ones. */
static void copy_apart(size_t item, size_t count, char *apart, size_t step, char *dense, bool in) {
    for (size_t i = 0; i < count; i++, apart += step * item, dense += item) {
        if (item == sizeof(float))
            memcpy(in ? apart : dense, in ? dense : apart, sizeof(float));
        else
            memcpy(in ? apart : dense, in ? dense : apart, sizeof(double));
    }
}

void core_heads_copy_step(const core_node *n, const core_heads_ring *ring, size_t heads,
                          size_t place, size_t slot, char *k, char *v, bool in) {
    const size_t item = core_item(n), wide = TILE_VECS * n->plan->given->kernels->width;
    const size_t A = n->given->features / heads;
    const size_t P = core_round_up(A, n->plan->given->kernels->width);
    const size_t first = core_in_panels(wide, ring->slots, A, slot, 0);
    const size_t step = core_in_panels(wide, ring->slots, A, slot, 1) - first;
    for (size_t m = 0; m < heads; m++, k += A * item, v += A * item) {
        char *keys = core_heads_pair_at(ring, place, heads, m);
        char *value = keys + (ring->slots * A + slot * P) * item;
        copy_apart(item, A, keys + first * item, step, k, in);
        memcpy(in ? value : v, in ? v : value, A * item);
    }
}

static void copy_step(const core_node *n, const core_heads_ring *ring, size_t row, size_t slot,
                      char *k, char *v, bool in) {
    core_heads_copy_step(n, ring, heads_of(n)->heads, ring->place[row], slot, k, v, in);
}

static size_t slot_of_step(const core_heads_ring *ring, size_t row, size_t age) {
    return (size_t)(((uint64_t)ring->steps[row] - age) % ring->slots);
}

static void clear_row(core_heads_ring *ring, size_t row) {
    ring->steps[row] = 0;
    ring->seen[row] = 0;
}

static size_t stored(const crnn_cache *cache, size_t row) {
    const uint64_t steps = cache->k ? (uint64_t)cache->steps[row] : 0;
    return steps < cache->slots ? (size_t)steps : cache->slots;
}

static void load(const core_node *n) {
    const crnn_cache *initial = &heads_of(n)->initial;
    const size_t batch = n->plan->given->rows->given.batch, slots = ring_slots(n);
    const size_t H = n->given->features, item = core_item(n);
    core_arena a = core_arena_at(n->given->running);
    ring_layout l = lay_ring(n, batch, slots, &a);
    memset(n->given->running, 0, a.used.bytes);
    l.size[0] = batch;
    l.size[1] = slots;
    for (size_t row = 0; row < batch; row++) {
        const size_t seen = stored(initial, row);
        l.ring.place[row] = row;
        l.ring.steps[row] = initial->k ? initial->steps[row] : 0;
        l.ring.seen[row] = seen < slots ? seen : slots;
        for (size_t age = l.ring.seen[row]; age > 0; age--) {
            const size_t at = row * initial->slots + initial->slots - age;
            copy_step(n, &l.ring, row, slot_of_step(&l.ring, row, age),
                      core_row_of(initial->k, at, H, item), core_row_of(initial->v, at, H, item),
                      true);
        }
    }
}

static void save(const core_node *n) {
    const crnn_cache *final = &heads_of(n)->final;
    const size_t H = n->given->features, item = core_item(n);
    const core_heads_ring ring = ring_of(n).ring;
    if (!final->k) return;
    for (size_t row = 0; row < ring.batch; row++) {
        final->steps[row] = ring.steps[row];
        for (size_t s = 0; s < final->slots; s++) {
            const size_t at = row * final->slots + s, age = final->slots - s;
            char *k = core_row_of(final->k, at, H, item), *v = core_row_of(final->v, at, H, item);
            if (age <= ring.seen[row]) {
                copy_step(n, &ring, row, slot_of_step(&ring, row, age), k, v, false);
            } else {
                memset(k, 0, H * item);
                memset(v, 0, H * item);
            }
        }
    }
}

static void clear(const core_node *n, size_t row) {
    core_heads_ring ring = ring_of(n).ring;
    clear_row(&ring, row);
}

/* A row that goes on takes over the place of its parent; its other children get copies in places
 * that are free. There are enough: each place has at most one row. */
static void follow(const core_node *n, const size_t *parents, size_t count) {
    if (!n->given->running) return;
    const ring_layout l = ring_of(n);
    const core_heads_ring *ring = &l.ring, *next = &l.next;
    const size_t batch = ring->batch, bytes = ring->each * heads_of(n)->heads;
    memset(l.used, 0, batch);
    for (size_t i = 0; i < count; i++) {
        const size_t place = ring->place[parents[i]];
        next->steps[i] = ring->steps[parents[i]];
        next->seen[i] = ring->seen[parents[i]];
        next->place[i] = l.used[place] ? batch : place;
        l.used[place] = 1;
    }
    for (size_t i = 0, spare = 0; i < batch; i++) {
        if (i >= count) next->steps[i] = 0, next->seen[i] = 0;
        if (i < count && next->place[i] < batch) continue;
        while (l.used[spare]) spare++;
        l.used[spare] = 1;
        next->place[i] = spare;
        if (i < count)
            memcpy(ring->data + spare * bytes, ring->data + ring->place[parents[i]] * bytes, bytes);
    }
    memcpy(ring->steps, next->steps, batch * sizeof *ring->steps);
    memcpy(ring->seen, next->seen, batch * sizeof *ring->seen);
    memcpy(ring->place, next->place, batch * sizeof *ring->place);
}

/* ---- layout */

/* Keys of the cache that a step may see at most. */
static size_t most_cached(const crnn_heads *given) {
    const size_t given_slots = given->initial.k && !given->whole ? given->initial.slots : 0;
    const size_t slots = given_slots < SIZE_MAX / 4 ? given_slots : SIZE_MAX / 4; /* + n fits */
    return given->window && given->window - 1 < slots ? given->window - 1 : slots;
}

double core_heads_work(const crnn_heads *given, size_t features, double steps, double seen) {
    const double draws =
        given->noise.on && given->p > 0 ? CORE_DRAW_WORK * (double)given->heads : 0;
    return steps * seen * (2 * (double)features + draws);
}

/* Of a pass over n steps that go on from so many others. */
static double work_of_steps(const core_node *n, double steps, double cached) {
    const crnn_heads *given = heads_of(n);
    double seen = cached + (given->whole ? steps : 0.5 * steps);
    if (given->window && (double)given->window < seen) seen = (double)given->window;
    return core_heads_work(given, n->given->features, steps, seen);
}

static double work_of_pieces(const core_node *n) {
    const crnn_heads *given = heads_of(n);
    const double cached = (double)(n->given->running ? ring_slots(n) : most_cached(given));
    double sum = 0;
    for (size_t i = 0; i < given->rows->places; i++)
        sum += work_of_steps(n, (double)given->rows->length[i], cached);
    return sum;
}

static double work(const core_node *n) {
    const size_t T = n->plan->given->rows->given.steps;
    const double cached = (double)(n->given->running ? ring_slots(n) : most_cached(heads_of(n)));
    return T ? work_of_steps(n, (double)T, cached) / (double)T : 0;
}

static size_t longest_of(const crnn_rows *rows) { return rows->places ? rows->length[0] : 0; }

/* How many rows a block has, and for how many columns of scores there is room: those that one of
 * its rows sees, or is seen by, whole vectors from a whole vector on. */
static void choose_block(core_heads_run *run, const crnn_kernels *kernels, size_t count) {
    const size_t tile = kernels->tile_rows, window = run->given->window;
    for (run->block = MOST_TILES * tile;;
         run->block = core_clamp(run->block / 2, tile, run->block)) {
        run->range = core_round_up(count, kernels->width);
        if (window && window < count && run->block + window < count)
            run->range = core_round_up(run->block + window - 1, kernels->width) + kernels->width;
        if (run->block == tile || run->range <= MOST_SCORES / run->block) return;
    }
}

static core_heads_scratch lay_scratch(const core_heads_run *run, const crnn_kernels *kernels,
                                      bool back, size_t n, core_arena *a) {
    const size_t item = crnn_dtype_size(kernels->dtype), panel = TILE_VECS * kernels->width;
    const size_t keys = run->keys, row = run->pitch * item;
    const size_t scores = run->range * item;
    core_heads_scratch s = {0};
    s.queries = core_take(a, back ? n : run->block, 1, row);
    s.keys = core_take(a, back ? keys : panel, 1, row);
    s.values = core_take(a, keys, 1, row);
    s.turned = core_take(a, core_round_up(back ? n : keys, kernels->width), run->size, item);
    s.scores = core_take(a, run->block, 1, scores);
    s.sums = core_take(a, run->block, 1, row);
    s.inverse = core_take(a, back ? n : run->block, 1, item);
    if (!back) return s;
    s.dcontexts = core_take(a, n, 1, row);
    s.turned_d = core_take(a, core_round_up(n, kernels->width), run->size, item);
    s.dqueries = core_take(a, n, 1, row);
    s.dscores = core_take(a, run->block, 1, scores);
    if (run->given->noise.on && run->given->p > 0) s.factors = core_take(a, run->block, 1, scores);
    s.dsums = core_take(a, run->block, 1, row);
    s.top = core_take(a, n, 1, item);
    s.mean = core_take(a, n, 1, item);
    return s;
}

/* Of a step of a stream: scores by slot, then in the order of steps. */
static core_heads_scratch lay_step_scratch(const core_heads_run *run, const crnn_kernels *kernels,
                                           core_arena *a) {
    const size_t item = crnn_dtype_size(kernels->dtype);
    core_heads_scratch s = {0};
    s.queries = core_take(a, run->pitch, 1, item);
    s.keys = core_take(a, run->pitch, 1, item);
    s.scores = core_take(a, run->slots, 1, item);
    s.dscores = core_take(a, run->slots, 1, item);
    s.sums = core_take(a, run->pitch, 1, item);
    return s;
}

static core_heads_scratch scratch_at(const core_node *n, bool back, core_arena *a) {
    const crnn_kernels *kernels = n->plan->given->kernels;
    const core_heads_run *run = &n->as.heads.run;
    if (n->given->running) return lay_step_scratch(run, kernels, a);
    return lay_scratch(run, kernels, back, n->as.heads.steps, a);
}

void core_heads_lay(core_node *n, bool back, size_t steps, double work, core_arena *a) {
    core_heads_run *run = &n->as.heads.run;
    core_arena one = core_arena_at(NULL);
    n->as.heads.steps = steps;
    choose_block(run, n->plan->given->kernels, back ? steps : run->keys);
    scratch_at(n, back, &one);
    n->as.heads.members =
        core_clamp(core_most_worth(work), 1,
                   core_clamp(run->rows->places * run->given->heads, 1, MOST_MEMBERS));
    n->as.heads.each = one.used.bytes;
    a->used.fits = a->used.fits && one.used.fits;
    n->as.heads.scratch = core_take(a, n->as.heads.members, 1, one.used.fits ? one.used.bytes : 0);
}

/* Rows of angles that there are at most: without earlier steps all pieces begin at position 0. */
static void lay_angles(core_node *n, core_arena *a) {
    const crnn_heads *given = heads_of(n);
    const crnn_rows *rows = given->rows;
    const size_t half = n->as.heads.run.size / 2;
    const size_t most = given->initial.k || n->given->running ? rows->total : longest_of(rows);
    if (given->rotary == 0) return;
    n->as.heads.rates = core_take(a, half, 1, sizeof(double));
    n->as.heads.positions = core_take(a, most, 1, sizeof(int64_t));
    n->as.heads.angle_row = core_take(a, rows->places, 1, sizeof(size_t));
    for (n->as.heads.slots = 1; n->as.heads.slots < 2 * rows->places;) n->as.heads.slots *= 2;
    n->as.heads.found = core_take(a, n->as.heads.slots, 1, sizeof(size_t));
    n->as.heads.run.angles = core_take(a, most, n->as.heads.run.size, core_item(n));
    for (size_t i = 0; a->base && i < half; i++)
        n->as.heads.rates[i] = pow(given->rotary, -2 * (double)i / (double)n->as.heads.run.size);
    n->as.heads.run.rates = n->as.heads.rates;
    n->as.heads.run.positions = n->as.heads.positions;
    n->as.heads.run.angle_row = n->as.heads.angle_row;
}

static void lay_pass(core_node *n, bool back, core_arena *a) {
    const crnn_heads *given = heads_of(n);
    const crnn_kernels *kernels = n->plan->given->kernels;
    const size_t H = n->given->features, A = H / given->heads, n_steps = longest_of(given->rows);
    const size_t cached = n->given->running ? 0 : most_cached(given);
    memset(&n->as.heads, 0, sizeof n->as.heads);
    n->as.heads.run = (core_heads_run){.given = given,
                                       .rows = given->rows,
                                       .hidden = H,
                                       .size = A,
                                       .pitch = core_round_up(A, kernels->width),
                                       .cached = cached,
                                       .keys = n_steps + cached,
                                       .slots = n->given->running ? ring_slots(n) : 0,
                                       .kept = n->given->kept};
    lay_angles(n, a);
    core_heads_lay(n, back, n_steps, work_of_pieces(n) * (back ? 2 : 1), a);
}

static void lay(core_node *n, core_arena *a) { lay_pass(n, false, a); }

/* ---- a pass */

/* The position of the first step of a piece. */
static int64_t first_position(const core_node *n, size_t place) {
    const crnn_heads *given = heads_of(n);
    const size_t row = given->rows->order[place];
    if (!(given->rows->ends[place] & CRNN_READ_FIRST)) return 0;
    if (n->given->running) return n->as.heads.ring.steps[row];
    return given->initial.k ? given->initial.steps[row] : 0;
}

/* The entry of a position, or the free one where it belongs. */
static size_t *find_position(core_node *n, int64_t position) {
    const size_t mask = n->as.heads.slots - 1;
    size_t at = (size_t)(((uint64_t)position * 0x9E3779B97F4A7C15) >> 32) & mask;
    while (n->as.heads.found[at] && first_position(n, n->as.heads.found[at] - 1) != position)
        at = (at + 1) & mask;
    return &n->as.heads.found[at];
}

/* Pieces that begin at the same position share the angles of the longest, which is the first. */
static void list_positions(core_node *n) {
    const crnn_rows *rows = heads_of(n)->rows;
    n->as.heads.angles = 0;
    if (!n->as.heads.rates) return;
    memset(n->as.heads.found, 0, n->as.heads.slots * sizeof *n->as.heads.found);
    for (size_t i = 0; i < rows->places; i++) {
        const int64_t begin = first_position(n, i);
        size_t *found = find_position(n, begin);
        if (!*found) {
            n->as.heads.angle_row[i] = n->as.heads.angles;
            for (size_t t = 0; t < rows->length[i]; t++)
                n->as.heads.positions[n->as.heads.angles++] = begin + (int64_t)t;
            *found = i + 1;
        }
        n->as.heads.angle_row[i] = n->as.heads.angle_row[*found - 1];
    }
}

typedef struct heads_job {
    const core_node *n;
    bool back;
    core_heads_pair *pair;
} heads_job;

/* The pairs are dealt out one by one. */
static void run_pairs(void *context, const core_member *me) {
    const heads_job *job = context;
    const core_node *n = job->n;
    const core_heads_run *run = &n->as.heads.run;
    const core_range own = core_share(n->as.heads.angles, me);
    const size_t M = run->given->heads;
    core_arena a = core_arena_at(n->as.heads.scratch + me->part * n->as.heads.each);
    const core_heads_scratch s = scratch_at(n, job->back, &a);
    if (run->rates) n->plan->given->kernels->heads_angles(run, own.from, own.to);
    core_meet(me);
    for (size_t i = me->part; i < run->rows->places * M; i += me->parts)
        job->pair(run, i / M, i % M, &s);
}

void core_heads_run_pairs(core_node *n, bool back, double work, core_heads_pair *pair) {
    heads_job job = {n, back, pair};
    core_in_team(work, n->as.heads.members, run_pairs, &job);
}

static void run_pass(core_node *n, bool back, core_heads_pair *pair) {
    list_positions(n);
    core_heads_run_pairs(n, back, work_of_pieces(n) * (back ? 2 : 1), pair);
}

static void count_steps(const core_node *n) {
    const crnn_cache *final = &heads_of(n)->final;
    const crnn_rows *rows = heads_of(n)->rows;
    for (size_t i = 0; final->k && i < rows->places; i++)
        if (rows->ends[i] & CRNN_READ_LAST)
            final->steps[rows->order[i]] = first_position(n, i) + (int64_t)rows->length[i];
}

static void advance(core_heads_ring *ring, const crnn_rows *rows) {
    for (size_t i = 0; i < rows->places; i++) {
        const size_t row = rows->order[i];
        if (rows->length[i] == 0) continue;
        ring->steps[row]++;
        if (ring->seen[row] < ring->slots) ring->seen[row]++;
    }
}

static void clear_weights(const core_node *n) {
    const crnn_heads *given = heads_of(n);
    const size_t T = given->rows->given.steps, pairs = given->rows->given.batch * given->heads;
    memset(given->weights, 0, pairs * T * (given->initial.slots + T) * core_item(n));
}

static void alone(core_node *n) {
    const crnn_heads *given = heads_of(n);
    const crnn_kernels *kernels = n->plan->given->kernels;
    core_heads_run *run = &n->as.heads.run;
    run->qkv = core_read(n, 0)->value;
    run->value = n->given->value;
    if (n->given->running) {
        n->as.heads.ring = ring_of(n).ring;
        run->ring = &n->as.heads.ring;
    } else if (given->weights) {
        clear_weights(n);
    }
    run_pass(n, false, run->ring ? kernels->heads_step : kernels->heads);
    if (run->ring)
        advance(&n->as.heads.ring, given->rows);
    else
        count_steps(n);
    crnn_fill_gaps(given->rows, &n->given->value, n->given->features, core_item(n), true);
}

/* ---- backward */

static void lay_back(core_node *n, core_arena *a) {
    const crnn_steps *s = &heads_of(n)->rows->given;
    lay_pass(n, true, a);
    n->as.heads.folded =
        s->mask ? core_take(a, s->batch * s->steps, n->given->features, core_item(n)) : NULL;
}

static void alone_back(core_node *n) {
    const crnn_heads *given = heads_of(n);
    const size_t H = n->given->features;
    core_heads_run *run = &n->as.heads.run;
    run->qkv = core_read(n, 0)->value;
    run->value = n->given->value;
    run->dqkv = n->to[0];
    run->dvalue = n->given->gradient;
    if (n->as.heads.folded)
        run->dvalue = crnn_fold_gaps(given->rows, &n->given->gradient, H,
                                     n->plan->given->kernels->dtype, n->as.heads.folded);
    run_pass(n, true, n->plan->given->kernels->heads_back);
    crnn_fill_gaps(given->rows, &run->dqkv, 3 * H, core_item(n), false);
}

const core_op core_op_heads = {.work = work,
                               .lay = lay,
                               .alone = alone,
                               .follow = follow,
                               .running = running,
                               .load = load,
                               .save = save,
                               .clear = clear,
                               .lay_back = lay_back,
                               .alone_back = alone_back};
