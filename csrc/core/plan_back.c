/* Plans, backward: nodes in reverse order; those of a cycle step by step from the last, window by
 * window. A node writes the gradient of what it reads into the gradient of the node that it reads
 * if it is the first to do so, and else adds it. */
#include "plan.h"

#include <string.h>

/* ---- where gradients go */

bool core_runs_back(const crnn_node *node) {
    if (node->op == CRNN_OP_RECURRENT) return node->as.recurrent.tape;
    return node->op != CRNN_OP_INPUT && node->gradient.data;
}

/* The same, of a node of a cycle. */
static bool is_running(const core_node *n) { return n->op && core_runs_back(n->given); }

/* Edges that read node i and run back, and the one of them that does so first: that of the last
 * node. */
typedef struct readers {
    size_t count, node, edge;
} readers;

static readers readers_of(const crnn_plan *given, size_t i) {
    readers r = {0};
    for (size_t j = given->count; j-- > 0;) {
        const crnn_node *node = &given->node[j];
        for (size_t k = 0; core_runs_back(node) && k < node->edges; k++)
            if (node->from[k].node == i && r.count++ == 0) r.node = j, r.edge = k;
    }
    return r;
}

/* Where nothing is laid out yet, it tells by its data whether there is a target. */
crnn_seq core_target(const core_node *n, size_t k) {
    if (n->to) return n->to[k];
    return core_runs_back(n->given) ? core_read(n, k)->gradient : (crnn_seq){0};
}

void core_lay_targets(core_node *n, core_arena *a) {
    const crnn_plan *given = n->plan->given;
    const crnn_steps *s = &given->rows->given;
    const size_t own = (size_t)(n->given - given->node);
    crnn_seq *to = core_take(a, n->given->edges, 1, sizeof *to);
    bool *in_scratch = core_take(a, n->given->edges, 1, sizeof *in_scratch);
    for (size_t k = 0; k < n->given->edges; k++) {
        const crnn_edge *edge = &n->given->from[k];
        const crnn_node *from = &given->node[edge->node];
        const readers r = readers_of(given, edge->node);
        const size_t steps = n->cyclic ? 1 : core_steps_of(given, from); /* at a time */
        const bool wanted = core_runs_back(n->given) && from->gradient.data;
        const bool direct = !from->given && edge->delay == 0 && r.node == own && r.edge == k &&
                            (!n->cyclic || r.count == 1);
        crnn_seq there = wanted ? from->gradient : (crnn_seq){0};
        if (wanted && !direct)
            there = (crnn_seq){core_take(a, s->batch * steps, from->features, core_item(n)),
                               (ptrdiff_t)(steps * from->features),
                               n->cyclic ? 0 : (ptrdiff_t)from->features};
        if (!a->base) continue;
        to[k] = there;
        in_scratch[k] = wanted && !direct;
    }
    n->to = to;
    n->in_scratch = in_scratch;
}

bool core_has_gradient(const core_node *n) {
    const crnn_plan *given = n->plan->given;
    return n->given->gradient.data &&
           (n->given->given || readers_of(given, (size_t)(n->given - given->node)).count > 0);
}

/* The gradient at steps that do not run goes to edge 0. */
static void add_rest(const core_node *n, bool is_first) {
    const crnn_plan *given = n->plan->given;
    const crnn_node *from = core_read(n, 0);
    const crnn_cells *cells = n->cells;
    const size_t features = from->features, item = core_item(n);
    size_t c = 0;
    if (is_first) core_fill(given, from, &from->gradient, &n->given->gradient);
    for (size_t b = 0; !is_first && b < given->rows->given.batch; b++) {
        for (size_t t = 0; t < core_steps_of(given, from); t++) {
            if (c < cells->n && cells->row[c] == b && cells->time[c] == t)
                c++;
            else
                given->kernels->add_rows(1, features, features, NULL,
                                         crnn_seq_at(&n->given->gradient, b, t, item),
                                         crnn_seq_at(&from->gradient, b, t, item));
        }
    }
}

/* Before nodes run back: their gradients that are not written yet, and where they write. */
static void begin_gradients(core_node *n) {
    const crnn_plan *given = n->plan->given;
    const size_t own = (size_t)(n->given - given->node);
    if (n->given->op != CRNN_OP_RECURRENT && !core_has_gradient(n))
        core_fill(given, n->given, &n->given->gradient, NULL);
    for (size_t k = 0; k < n->given->edges; k++) {
        const crnn_node *from = core_read(n, k);
        const readers r = readers_of(given, n->given->from[k].node);
        const bool is_first = r.node == own && r.edge == k && !from->given;
        const bool is_short = n->op->cells && !core_is_full(n);
        if (!n->to[k].data) continue;
        if (k == 0 && is_short && n->given->rest)
            add_rest(n, is_first);
        else if (is_first && (n->in_scratch[k] || n->cyclic || is_short))
            core_fill(given, from, &from->gradient, NULL);
    }
}

/* Adds what was written to scratch memory to the gradient of the node that edge k reads. */
static void hand_down(const core_node *n, size_t k, size_t from, size_t to) {
    const crnn_edge *edge = &n->given->from[k];
    const core_node *other = &n->plan->nodes[edge->node];
    const crnn_kernels *kernels = n->plan->given->kernels;
    const size_t features = other->given->features, item = core_item(n);
    for (size_t c = from; n->in_scratch[k] && c < to; c++) {
        const size_t row = n->cells->row[c], t = n->cells->time[c];
        void *sum = t >= edge->delay
                        ? crnn_seq_at(&other->given->gradient, row, t - edge->delay, item)
                    : other->dfirst ? core_row_of(other->dfirst, row, features, item)
                                    : NULL;
        if (sum)
            kernels->add_rows(1, features, features, NULL, crnn_seq_at(&n->to[k], row, t, item),
                              sum);
    }
}

static void cells_back(const core_node *n, size_t k, size_t from, size_t to) {
    if (!n->to[k].data) return;
    n->op->cells_back(n, k, from, to);
    hand_down(n, k, from, to);
}

/* ---- a node by itself */

static void run_cells_back(void *context, const core_member *me) {
    const core_node *n = context;
    const core_window all = {.rows = n->cells->n};
    const core_range own = core_share_of_cells(n, me);
    if (n->op->pack_back) n->op->pack_back(n, me);
    core_meet(me);
    for (size_t k = 0; k < n->given->edges; k++) {
        cells_back(n, k, own.from, own.to);
        core_meet(me); /* edges may add to the same rows */
    }
    if (n->op->grads) n->op->grads(n, &all, me);
    if (n->op->end_back) n->op->end_back(n, me);
}

static void hand_down_part(void *context, const core_member *me) {
    const core_node *n = context;
    const core_range own = core_share_of_cells(n, me);
    for (size_t k = 0; k < n->given->edges; k++) {
        hand_down(n, k, own.from, own.to);
        core_meet(me); /* edges may add to the same rows */
    }
}

/* Multiply-adds that take as long as hand_down. */
static double hand_down_work(const core_node *n) {
    enum { ELEMENT_WORK = 8 };
    double features = 0;
    for (size_t k = 0; k < n->given->edges; k++)
        if (n->in_scratch[k]) features += (double)core_read(n, k)->features;
    return ELEMENT_WORK * features * (double)n->cells->n;
}

/* ---- a cycle */

typedef struct cycle {
    const core_plan *p;
    size_t begin, end;
} cycle;

static void step_back(const core_node *n, const core_span *span, const core_window *w, size_t t) {
    size_t from, to;
    if (!is_running(n) || !core_step_cells(n->plan, span, t, &from, &to)) return;
    if (n->op->step_back) n->op->step_back(n, span, w, t);
    for (size_t k = 0; k < n->given->edges; k++) {
        if (n->op->step_back)
            hand_down(n, k, from, to);
        else
            cells_back(n, k, from, to);
    }
}

static void window_back(const cycle *c, const core_span *span, const core_window *w,
                        const core_member *me) {
    const core_node *nodes = c->p->nodes;
    for (size_t i = c->begin; i < c->end; i++)
        if (is_running(&nodes[i]) && nodes[i].op->list) nodes[i].op->list(&nodes[i], w, me);
    core_meet(me);
    for (size_t t = w->end; t-- > w->begin;)
        for (size_t i = c->end; i-- > c->begin;) step_back(&nodes[i], span, w, t);
    for (size_t i = c->begin; i < c->end; i++)
        if (is_running(&nodes[i]) && nodes[i].op->finish) nodes[i].op->finish(&nodes[i], span, w);
    core_meet(me);
    for (size_t i = c->begin; i < c->end; i++)
        if (is_running(&nodes[i]) && nodes[i].op->grads) nodes[i].op->grads(&nodes[i], w, me);
    core_meet(me);
}

static void run_cycle_back(void *context, const core_member *me) {
    const cycle *c = context;
    const core_plan *p = c->p;
    const crnn_rows *rows = p->given->rows;
    const core_node *nodes = p->nodes;
    for (size_t i = c->begin; i < c->end; i++)
        if (is_running(&nodes[i]) && nodes[i].op->pack_back) nodes[i].op->pack_back(&nodes[i], me);
    core_meet(me);
    const core_span span = core_span_of_rows(rows, 0, me);
    for (size_t end = rows->given.steps; end > 0;) {
        const core_window w = core_window_before(rows, p->window, end);
        end = w.begin;
        if (w.rows > 0) window_back(c, &span, &w, me);
    }
    for (size_t i = c->begin; i < c->end; i++)
        if (is_running(&nodes[i]) && nodes[i].op->end_back) nodes[i].op->end_back(&nodes[i], me);
}

/* ---- the call */

static void run_nodes_back(core_plan *p, size_t begin, size_t end) {
    core_node *n = &p->nodes[begin];
    const double work = 2 * core_work_of(p, begin, end);
    if (n->cyclic) {
        cycle c = {p, begin, end};
        core_in_team(work, p->given->rows->places, run_cycle_back, &c);
    } else if (n->op->alone_back) {
        n->op->alone_back(n);
        if (hand_down_work(n) > 0) core_in_team(hand_down_work(n), n->cells->n, hand_down_part, n);
    } else {
        core_in_team(work, n->cells->n, run_cells_back, n);
    }
}

static void nodes_back(core_plan *p, size_t begin, size_t end) {
    p->window = p->given->rows->total;
    for (size_t i = begin; i < end; i++) {
        core_node *n = &p->nodes[i];
        if (!is_running(n)) continue;
        begin_gradients(n);
        const crnn_rows rows = core_rows_repeated(n);
        if (n->given->repeats && rows.given.mask)
            crnn_fold_gaps(&rows, &n->given->gradient, n->given->features, p->given->kernels->dtype,
                           n->given->gradient.data);
        if (n->op->open_back) n->op->open_back(n);
        if (n->op->window && n->op->window(n) < p->window) p->window = n->op->window(n);
    }
    if (end > begin + 1 || is_running(&p->nodes[begin])) run_nodes_back(p, begin, end);
    for (size_t i = begin; i < end; i++)
        if (is_running(&p->nodes[i]) && p->nodes[i].op->close_back)
            p->nodes[i].op->close_back(&p->nodes[i]);
}

/* Nodes run back one after the other, or cycle after cycle, in the same memory. */
crnn_status crnn_plan_backward_workspace(const crnn_plan *plan, size_t *bytes) {
    core_arena a = core_arena_at(NULL);
    core_plan p;
    core_lay_seen(&p, plan, true, &a);
    const size_t seen = a.used.bytes;
    size_t most = seen;
    for (size_t begin = 0, end; begin < plan->count; begin = end) {
        end = core_cycle_end(plan, begin);
        a.used.bytes = seen;
        core_lay_nodes(&p, begin, end, true, &a);
        if (a.used.bytes > most) most = a.used.bytes;
    }
    a.used.bytes = most;
    return core_arena_size(&a, bytes);
}

/* The gradient of an input that no node reads. */
static void clear_unread(const crnn_plan *plan) {
    for (size_t i = 0; i < plan->count; i++) {
        const crnn_node *node = &plan->node[i];
        if (node->op == CRNN_OP_INPUT && node->gradient.data && !node->given &&
            readers_of(plan, i).count == 0)
            core_fill(plan, node, &node->gradient, NULL);
    }
}

void crnn_plan_backward(const crnn_plan *plan) {
    core_arena a = core_arena_at(plan->workspace);
    core_plan p;
    core_lay_seen(&p, plan, true, &a);
    for (size_t i = 0; i < plan->count; i++)
        if (p.nodes[i].first && core_runs_back(p.nodes[i].given))
            p.nodes[i].op->begin_back(&p.nodes[i]);
    clear_unread(plan);
    for (size_t end = plan->count; end > 0;) {
        size_t begin = end - 1;
        for (size_t i = 0; i < end; i = core_cycle_end(plan, i)) begin = i;
        core_arena own = a;
        core_lay_nodes(&p, begin, end, true, &own);
        nodes_back(&p, begin, end);
        end = begin;
    }
}
