/* Plans, forward: nodes run in their order; those of a cycle step by step, each member of the team
 * with rows of its own. Where there is one step, an edge with a delay reads what was there before,
 * so nodes of a cycle run one by one, too. */
#include "plan.h"

#include <string.h>

static const core_op *const operations[CRNN_OPS] = {
    [CRNN_OP_RECURRENT] = &core_op_recurrent, [CRNN_OP_SUM] = &core_op_sum,
    [CRNN_OP_ATTEND] = &core_op_attend,       [CRNN_OP_ROWWISE] = &core_op_rowwise,
    [CRNN_OP_POOL] = &core_op_pool,           [CRNN_OP_STATE] = &core_op_state,
    [CRNN_OP_CHOOSE] = &core_op_choose,       [CRNN_OP_CONV] = &core_op_conv,
    [CRNN_OP_HEADS] = &core_op_heads,         [CRNN_OP_POSITIONS] = &core_op_positions,
    [CRNN_OP_CROSS] = &core_op_cross,
};

/* ---- cells */

static size_t row_end(const crnn_steps *s, size_t row) {
    return s->lengths ? (size_t)s->lengths[row] : s->steps;
}

static size_t count_cells(const crnn_rows *rows, core_order order) {
    size_t n = 0;
    if (order == CORE_ONCE) return rows->given.batch;
    if (order != CORE_FILLED) return rows->total;
    for (size_t b = 0; b < rows->given.batch; b++) n += row_end(&rows->given, b);
    return n;
}

static void list_step(const crnn_rows *rows, size_t t, size_t *row, size_t *time) {
    for (size_t i = 0; i < rows->active[t]; i++) {
        row[i] = rows->order[i];
        time[i] = crnn_rows_time(rows, i, t);
    }
}

/* row, time [count_cells] */
static void list_cells(const crnn_rows *rows, core_order order, size_t *row, size_t *time) {
    const crnn_steps *s = &rows->given;
    size_t n = 0;
    for (size_t t = 0; order == CORE_STEP_BY_STEP && t < s->steps; t++)
        list_step(rows, t, row + rows->first[t], time + rows->first[t]);
    for (size_t b = 0; order != CORE_STEP_BY_STEP && b < s->batch; b++) {
        const size_t end = order == CORE_ONCE ? 1 : row_end(s, b);
        const bool reads = order == CORE_ROW_BY_ROW || order == CORE_BACKWARDS;
        for (size_t i = 0; i < end; i++) {
            const size_t t = order == CORE_BACKWARDS ? end - 1 - i : i;
            if (reads && s->mask && !s->mask[b * s->steps + t]) continue;
            row[n] = b;
            time[n++] = t;
        }
    }
}

/* A node without an operation for single cells lists the steps that it reads. */
static core_order order_of(const crnn_node *node, bool cyclic) {
    if (cyclic) return CORE_STEP_BY_STEP;
    if (!operations[node->op]->cells) return CORE_ROW_BY_ROW;
    if (node->once) return CORE_ONCE;
    if (node->filled) return CORE_FILLED;
    return node->backwards ? CORE_BACKWARDS : CORE_ROW_BY_ROW;
}

/* The list that a node uses, laid out once for all of them. */
static void lay_cells(core_plan *p, const core_node *n, core_arena *a) {
    const core_order order = order_of(n->given, n->cyclic);
    const size_t count = count_cells(p->given->rows, order);
    if (p->laid[order]) return;
    size_t *row = core_take(a, count, 1, sizeof *row), *time = core_take(a, count, 1, sizeof *time);
    if (a->base) list_cells(p->given->rows, order, row, time);
    p->cells[order] = (crnn_cells){.n = count, .row = row, .time = time};
    p->laid[order] = true;
}

size_t core_steps_of(const crnn_plan *given, const crnn_node *node) {
    return node->once ? 1 : given->rows->given.steps;
}

bool core_is_full(const core_node *n) {
    const crnn_plan *given = n->plan->given;
    return n->cells->n == given->rows->given.batch * core_steps_of(given, n->given);
}

/* The first cell at or behind c where a share may begin. */
static size_t share_border(const core_node *n, size_t c) {
    const crnn_cells *cells = n->cells;
    while (n->op->by_rows && c > 0 && c < cells->n && cells->row[c] == cells->row[c - 1]) c++;
    return c;
}

core_range core_share_of_cells(const core_node *n, const core_member *me) {
    const core_range own = core_share(n->cells->n, me);
    return (core_range){share_border(n, own.from), share_border(n, own.to)};
}

bool core_step_cells(const core_plan *p, const core_span *span, size_t t, size_t *from,
                     size_t *to) {
    const crnn_rows *rows = p->given->rows;
    const size_t end = span->to < rows->active[t] ? span->to : rows->active[t];
    *from = rows->first[t] + span->from;
    *to = rows->first[t] + end;
    return end > span->from;
}

const void *core_input_row(const core_node *n, size_t k, size_t row, size_t t) {
    const crnn_edge *edge = &n->given->from[k];
    const core_node *from = &n->plan->nodes[edge->node];
    const size_t item = core_item(n);
    if (t >= edge->delay) return crnn_seq_at(&from->given->value, row, t - edge->delay, item);
    return from->first ? core_row_of(from->first, row, from->given->features, item) : NULL;
}

void core_fill(const crnn_plan *given, const crnn_node *node, const crnn_seq *to,
               const crnn_seq *from) {
    const size_t item = crnn_dtype_size(given->kernels->dtype), wide = node->features * item;
    for (size_t b = 0; b < given->rows->given.batch; b++) {
        for (size_t t = 0; t < core_steps_of(given, node); t++) {
            if (from)
                memcpy(crnn_seq_at(to, b, t, item), crnn_seq_at(from, b, t, item), wide);
            else
                memset(crnn_seq_at(to, b, t, item), 0, wide);
        }
    }
}

/* ---- layout */

size_t core_cycle_end(const crnn_plan *given, size_t begin) {
    size_t end = begin + 1;
    for (size_t i = begin; i < end; i++)
        for (size_t k = 0; k < given->node[i].edges; k++)
            if (given->node[i].from[k].node >= end) end = given->node[i].from[k].node + 1;
    return end;
}

/* Whether any node reads node i with a delay. */
static bool is_read_late(const crnn_plan *given, size_t i) {
    for (size_t j = 0; j < given->count; j++)
        for (size_t k = 0; k < given->node[j].edges; k++)
            if (given->node[j].from[k].node == i && given->node[j].from[k].delay > 0) return true;
    return false;
}

static bool reads_itself(const crnn_plan *given, size_t i) {
    for (size_t k = 0; k < given->node[i].edges; k++)
        if (given->node[i].from[k].node == i) return true;
    return false;
}

static void init_node(core_node *n, const core_plan *p, size_t i) {
    memset(n, 0, offsetof(core_node, as));
    n->plan = p;
    n->given = &p->given->node[i];
    n->op = operations[n->given->op];
}

/* Node i in a call. */
static void set_node(core_plan *p, core_node *n, size_t i, bool in_cycle) {
    init_node(n, p, i);
    n->cyclic = n->op && (in_cycle || reads_itself(p->given, i));
    n->cells = &p->cells[n->op ? order_of(n->given, n->cyclic) : 0];
}

/* What other nodes see of it: its cells, and the value before its first step. */
static void lay_seen(core_plan *p, core_node *n, size_t i, bool back, core_arena *a) {
    const size_t batch = p->given->rows->given.batch;
    if (!n->op) return;
    if (n->op->cells || back) lay_cells(p, n, a);
    if (n->given->op != CRNN_OP_RECURRENT || !is_read_late(p->given, i)) return;
    n->first = core_take(a, batch, n->given->features, core_item(n));
    if (back) n->dfirst = core_take(a, batch, n->given->features, core_item(n));
}

/* What it needs itself. */
static void lay_own(core_plan *p, core_node *n, size_t i, bool back, core_arena *a) {
    if (!n->op) return;
    if (back && core_runs_back(n->given)) {
        core_lay_targets(n, a);
        if (n->op->lay_back) n->op->lay_back(n, a);
    }
    if (!back && p->given->packed)
        n->packed_at = (const size_t *)p->given->packed + PACKED_PLACES * i;
    if (!back && n->op->lay) n->op->lay(n, a);
}

void core_lay_nodes(core_plan *p, size_t begin, size_t end, bool back, core_arena *a) {
    for (size_t i = begin; i < end; i++) {
        core_node measured, *n = a->base ? &p->nodes[i] : &measured;
        if (!a->base) set_node(p, n, i, end > begin + 1);
        lay_own(p, n, i, back, a);
    }
}

void core_lay_seen(core_plan *p, const crnn_plan *given, bool back, core_arena *a) {
    *p = (core_plan){.given = given};
    p->nodes = core_take(a, given->count, 1, sizeof *p->nodes);
    for (size_t begin = 0, end; begin < given->count; begin = end) {
        end = core_cycle_end(given, begin);
        for (size_t i = begin; i < end; i++) {
            core_node measured, *n = a->base ? &p->nodes[i] : &measured;
            set_node(p, n, i, end > begin + 1);
            lay_seen(p, n, i, back, a);
        }
    }
}

/* All nodes of forward are opened before one runs, so each has memory of its own. */
static void lay_forward(core_plan *p, const crnn_plan *given, core_arena *a) {
    core_lay_seen(p, given, false, a);
    for (size_t begin = 0, end; begin < given->count; begin = end) {
        end = core_cycle_end(given, begin);
        core_lay_nodes(p, begin, end, false, a);
    }
}

crnn_status crnn_node_kept(const crnn_plan *plan, size_t i, size_t *bytes) {
    const crnn_node *node = &plan->node[i];
    core_arena a = core_arena_at(NULL);
    if (node->op == CRNN_OP_ROWWISE)
        core_take(&a, count_cells(plan->rows, order_of(node, false)),
                  crnn_rowwise_kept(&node->as.rowwise), crnn_dtype_size(plan->kernels->dtype));
    else if (node->op == CRNN_OP_POOL)
        core_take_steps(plan, node, &a);
    else if (node->op == CRNN_OP_HEADS)
        core_take(&a, node->as.heads.rows->total, 2 * node->as.heads.heads,
                  crnn_dtype_size(plan->kernels->dtype));
    else if (node->op == CRNN_OP_CROSS)
        core_cross_kept(plan, node, &a);
    return core_arena_size(&a, bytes);
}

/* ---- the state of a stream */

crnn_status crnn_node_running(const crnn_plan *plan, size_t i, size_t *bytes) {
    const core_plan p = {.given = plan};
    core_arena a = core_arena_at(NULL);
    core_node n;
    init_node(&n, &p, i);
    if (n.op && n.op->running) n.op->running(&n, &a);
    return core_arena_size(&a, bytes);
}

void crnn_node_load(const crnn_plan *plan, size_t i) {
    const core_plan p = {.given = plan};
    core_node n;
    init_node(&n, &p, i);
    if (n.given->running && n.op->load) n.op->load(&n);
}

void crnn_node_save(const crnn_plan *plan, size_t i) {
    const core_plan p = {.given = plan};
    core_node n;
    init_node(&n, &p, i);
    if (n.given->running && n.op->save) n.op->save(&n);
}

void crnn_node_clear(const crnn_plan *plan, size_t i, size_t row) {
    const core_plan p = {.given = plan};
    core_node n;
    init_node(&n, &p, i);
    if (n.given->running && n.op->clear) n.op->clear(&n, row);
}

/* ---- packed weights */

/* The places of the weights of each node, then the weights. */
static void take_packed(const crnn_plan *plan, core_arena *a) {
    const core_plan p = {.given = plan};
    size_t *places = core_take(a, plan->count, PACKED_PLACES, sizeof *places);
    for (size_t i = 0; i < plan->count; i++) {
        size_t measured[PACKED_PLACES];
        core_node n;
        init_node(&n, &p, i);
        if (n.op && n.op->packed)
            n.op->packed(&n, a, places ? places + PACKED_PLACES * i : measured);
    }
}

crnn_status crnn_plan_packed_size(const crnn_plan *plan, size_t *bytes) {
    core_arena a = core_arena_at(NULL);
    take_packed(plan, &a);
    return core_arena_size(&a, bytes);
}

void crnn_plan_pack(const crnn_plan *plan, void *packed) {
    core_arena a = core_arena_at(packed);
    take_packed(plan, &a);
}

/* The workspace of forward begins with the plan that is laid out. */
crnn_status crnn_plan_workspace(const crnn_plan *plan, size_t *bytes) {
    core_arena a = core_arena_at(NULL);
    core_plan measured;
    core_take(&a, 1, 1, sizeof measured);
    lay_forward(&measured, plan, &a);
    return core_arena_size(&a, bytes);
}

void crnn_plan_lay(const crnn_plan *plan) {
    core_arena a = core_arena_at(plan->workspace);
    lay_forward(core_take(&a, 1, 1, sizeof(core_plan)), plan, &a);
}

/* ---- running */

double core_work_of(const core_plan *p, size_t begin, size_t end) {
    const crnn_rows *rows = p->given->rows;
    double work = 0;
    for (size_t i = begin; i < end; i++) {
        const core_node *n = &p->nodes[i];
        const size_t steps = n->given->once ? rows->given.batch : rows->total;
        if (n->op) work += n->op->work(n) * (double)steps;
    }
    return work;
}

double core_work_of_step(const crnn_plan *given) {
    const core_plan p = {.given = given};
    double work = 0;
    for (size_t i = 0; i < given->count; i++) {
        core_node n;
        init_node(&n, &p, i);
        if (n.op) work += n.op->work(&n);
    }
    return work;
}

static void run_cells(void *context, const core_member *me) {
    const core_node *n = context;
    const core_range own = core_share_of_cells(n, me);
    if (n->op->pack) n->op->pack(n, me);
    core_meet(me);
    n->op->cells(n, own.from, own.to);
}

/* Nodes that run step by step. */
typedef struct cycle {
    const core_plan *p;
    size_t begin, end;
} cycle;

static void run_step(const core_node *n, const core_span *span, size_t t) {
    size_t from, to;
    if (n->op && n->op->step)
        n->op->step(n, span, t);
    else if (n->op && core_step_cells(n->plan, span, t, &from, &to))
        n->op->cells(n, from, to);
}

static void run_cycle(void *context, const core_member *me) {
    const cycle *c = context;
    const crnn_rows *rows = c->p->given->rows;
    for (size_t i = c->begin; i < c->end; i++) {
        const core_node *n = &c->p->nodes[i];
        if (n->op && n->op->pack) n->op->pack(n, me);
    }
    core_meet(me);
    const core_span span = core_span_of_rows(rows, 0, me);
    for (size_t t = 0; t < rows->given.steps && rows->active[t] > span.from; t++)
        for (size_t i = c->begin; i < c->end; i++) run_step(&c->p->nodes[i], &span, t);
}

static void run_node(core_plan *p, size_t i) {
    core_node *n = &p->nodes[i];
    if (n->op && n->op->alone)
        n->op->alone(n);
    else if (n->op)
        core_in_team(core_work_of(p, i, i + 1), n->cells->n, run_cells, n);
}

static void run_nodes(core_plan *p, size_t begin, size_t end) {
    const crnn_rows *rows = p->given->rows;
    if (p->nodes[begin].cyclic && rows->given.steps > 1) {
        cycle c = {p, begin, end};
        core_in_team(core_work_of(p, begin, end), rows->places, run_cycle, &c);
    } else {
        for (size_t i = begin; i < end; i++) run_node(p, i);
    }
}

/* After a choice. */
static void follow_parents(const core_plan *p) {
    const core_node *last = &p->nodes[p->given->count - 1];
    if (last->given->op != CRNN_OP_CHOOSE) return;
    for (size_t i = 0; i < p->given->count; i++) {
        const core_node *n = &p->nodes[i];
        if (n->op && n->op->follow)
            n->op->follow(n, last->as.choose.parents, last->as.choose.count);
    }
}

/* All nodes are opened first: an edge with a delay may read the initial value of a later one. */
void crnn_plan_run(const crnn_plan *given) {
    core_plan *p = given->workspace;
    for (size_t i = 0; i < given->count; i++)
        if (p->nodes[i].op && p->nodes[i].op->open) p->nodes[i].op->open(&p->nodes[i]);
    for (size_t begin = 0, end; begin < given->count; begin = end) {
        end = core_cycle_end(given, begin);
        for (size_t i = begin; i < end; i++) {
            const core_node *n = &p->nodes[i];
            if (n->op && n->op->cells && !core_is_full(n))
                core_fill(given, n->given, &n->given->value,
                          n->given->rest ? &core_read(n, 0)->value : NULL);
        }
        run_nodes(p, begin, end);
        for (size_t i = begin; i < end; i++) {
            const core_node *n = &p->nodes[i];
            if (n->op && n->op->close) n->op->close(&p->nodes[i]);
            if (!n->given->repeats) continue;
            const crnn_rows rows = core_rows_repeated(n);
            crnn_fill_gaps(&rows, &n->given->value, n->given->features, core_item(n), true);
        }
    }
    follow_parents(p);
}

void crnn_plan_forward(const crnn_plan *plan) {
    crnn_plan_lay(plan);
    crnn_plan_run(plan);
}

/* ---- plans that run again and again */

typedef struct parts_job {
    char *parts;
    size_t size, count, steps;
    void (*run)(void *part, size_t steps);
} parts_job;

static void run_parts(void *context, const core_member *me) {
    const parts_job *job = context;
    for (size_t i = me->part; i < job->count; i += me->parts)
        job->run(job->parts + i * job->size, job->steps);
}

void core_run_parts(void *parts, size_t size, size_t count, size_t steps, double work,
                    void (*run)(void *part, size_t steps)) {
    parts_job job = {parts, size, count, steps, run};
    core_in_team((double)steps * work, count, run_parts, &job);
}
