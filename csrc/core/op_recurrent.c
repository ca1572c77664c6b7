/* A recurrent layer as a node of a plan. */
#include <string.h>

#include "plan.h"

/* What the layer reads: floats, symbols, or both. */
static crnn_input input_of(const core_node *n) {
    const crnn_recurrent *r = &n->given->as.recurrent;
    crnn_input in = {0};
    for (size_t k = 0; k < n->given->edges; k++) {
        const crnn_node *from = core_read(n, k);
        if (from->features == 0) {
            in.symbols = n->embedded.index ? n->embedded.index : from->symbols;
            in.table = r->table;
            in.products = n->products ? n->products : n->embedded.product;
        } else {
            in.x = from->value;
        }
    }
    if (r->begun) {
        in.begun = r->begun;
        in.shared = r->shared;
        in.x.data = (char *)in.x.data + in.shared * core_item(n);
    }
    return in;
}

static size_t edge_of_floats(const core_node *n) { return core_read(n, 0)->features == 0 ? 1 : 0; }

static crnn_forward_args forward_args(const core_node *n) {
    const crnn_recurrent *r = &n->given->as.recurrent;
    return (crnn_forward_args){.layer = r->layer,
                               .kernels = n->plan->given->kernels,
                               .rows = r->rows,
                               .params = r->params,
                               .packed = n->packed,
                               .in = input_of(n),
                               .stepwise = n->cyclic,
                               .kept = r->kept,
                               .noise = r->noise,
                               .initial = r->initial,
                               .y = n->given->value,
                               .final = r->final,
                               .tape = r->tape,
                               .workspace = n->work};
}

static double work(const core_node *n) {
    const crnn_recurrent *r = &n->given->as.recurrent;
    return core_step_work(r->layer, r->kept);
}

/* Symbols with vectors. Backward, and a forward before it, take each symbol once; others do not
 * where a table of all symbols would be far larger than the batch. */
static void describe_embedded(core_node *n) {
    enum { LARGE_TABLE = 16 /* times the steps of a batch */ };
    const crnn_recurrent *r = &n->given->as.recurrent;
    crnn_layout at;
    crnn_layer_layout(r->layer, &at); /* fits: there are parameters */
    n->embedded = (core_embedded){.kernels = n->plan->given->kernels,
                                  .rows = r->rows,
                                  .vectors = r->vectors,
                                  .w = core_row_of(r->params, at.w_x, 1, core_item(n)),
                                  .count = r->symbols,
                                  .size = r->table,
                                  .columns = at.columns};
    n->embedded.distinct = r->tape || (r->rows && r->symbols / LARGE_TABLE <= r->rows->total);
}

/* The weights, packed for many calls, and behind them what symbols with vectors need. */
static void packed(core_node *n, core_arena *a, size_t *place) {
    const crnn_recurrent *r = &n->given->as.recurrent;
    const crnn_kernels *kernels = n->plan->given->kernels;
    size_t bytes = 0;
    if (crnn_packed_size(r->layer, kernels, &bytes) != CRNN_OK) a->used.fits = false;
    place[0] = a->used.bytes;
    void *weights = core_take(a, a->used.fits ? bytes : 0, 1, 1);
    if (weights) crnn_pack(r->layer, kernels, r->params, weights);
    place[1] = a->used.bytes;
    if (!r->vectors) return;
    describe_embedded(n);
    core_pack_embedded(&n->embedded, a);
}

/* Finds the weights that `packed` has packed. */
static void find_packed(core_node *n) {
    char *base = (char *)n->plan->given->packed;
    n->packed = base + n->packed_at[0];
    if (n->given->as.recurrent.vectors && core_has_few_symbols(&n->embedded))
        n->products = base + n->packed_at[1];
    else
        n->embedded.ready = base + n->packed_at[1];
}

/* The initial h, row by row, for edges with a delay: the last one where there are several. */
static void set_first(const core_node *n, const core_shape *s, const void *h0) {
    const crnn_rows *rows = n->given->as.recurrent.rows;
    const size_t item = core_item(n), newest = crnn_strands(&rows->given) - 1;
    core_reads reads;
    if (!n->first) return;
    core_reads_init(&reads, &s->layer, rows);
    for (size_t i = 0; i < rows->places; i++)
        if (rows->strand[i] == newest)
            memcpy(core_row_of(n->first, rows->order[i], s->h_wide, item),
                   core_row_of(h0, (reads.depth - 1) * rows->places + i, s->h_padded, item),
                   s->h_wide * item);
}

static bool makes_products(const core_node *n) {
    return n->given->as.recurrent.vectors && !n->products;
}

static void lay(core_node *n, core_arena *a) {
    size_t bytes = 0;
    if (n->given->as.recurrent.vectors) describe_embedded(n);
    if (n->packed_at) find_packed(n);
    if (makes_products(n)) core_lay_embedded(&n->embedded, false, a);
    if (!a->base) {
        const crnn_forward_args args = forward_args(n);
        if (crnn_forward_workspace(&args, &bytes) != CRNN_OK) a->used.fits = false;
        core_take(a, bytes, 1, 1);
        return;
    }
    n->work = a->base + a->used.bytes;
    const crnn_forward_args args = forward_args(n);
    core_take(a, core_forward_lay(&n->as.forward, &args), 1, 1);
}

/* Of symbols with vectors. */
static void open_embedded(core_node *n, bool back) {
    for (size_t k = 0; k < n->given->edges; k++)
        if (core_read(n, k)->features == 0) n->embedded.symbols = core_read(n, k)->symbols;
    core_open_embedded(&n->embedded, back);
}

/* Values may lie elsewhere in each run. */
static void open(core_node *n) {
    if (makes_products(n)) open_embedded(n, false);
    n->as.forward.run.in = input_of(n);
    n->as.forward.run.y = n->given->value;
    core_forward_begin(&n->as.forward);
    set_first(n, &n->as.forward.shape, n->as.forward.run.tape.h0);
}

static void pack(const core_node *n, const core_member *me) {
    if (makes_products(n)) core_run_embedded(&n->embedded, me);
    core_forward_pack(&n->as.forward, me);
}

static void make_products(void *context, const core_member *me) { core_run_embedded(context, me); }

static void alone(core_node *n) {
    core_embedded *e = &n->embedded;
    if (makes_products(n)) core_in_team(core_embedded_work(e), e->products, make_products, e);
    core_forward_all(&n->as.forward);
}

static void step(const core_node *n, const core_span *rows, size_t t) {
    core_span span = *rows;
    span.panel_to = n->as.forward.shape.panels;
    n->plan->given->kernels->forward(&n->as.forward.run, &span, t, t + 1);
}

static void close(core_node *n) { core_forward_close(&n->as.forward); }

/* Row i of `to` becomes row parents[i] of `from`, where there is such a state. */
static void copy_rows(const size_t *parents, size_t count, size_t bytes, const char *from,
                      char *to) {
    for (size_t i = 0; to && i < count; i++)
        memcpy(to + i * bytes, from + parents[i] * bytes, bytes);
}

static void follow(const core_node *n, const size_t *parents, size_t count) {
    const crnn_recurrent *r = &n->given->as.recurrent;
    const size_t item = core_item(n) * crnn_longest_delay(r->layer);
    copy_rows(parents, count, n->given->features * item, r->final.h, r->initial.h);
    copy_rows(parents, count, r->layer->hidden * item, r->final.c, r->initial.c);
}

/* ---- sums that are begun */

size_t core_begun_wide(const crnn_plan *given, size_t i) {
    const crnn_node *node = &given->node[i];
    const crnn_recurrent *r = &node->as.recurrent;
    size_t wide = 0;
    if (!given->packed || node->op != CRNN_OP_RECURRENT || node->edges != 1 ||
        given->node[node->from[0].node].features == 0 || r->vectors || !crnn_may_begin(r->layer))
        return 0;
    return crnn_begun_wide(r->layer, given->kernels, &wide) == CRNN_OK ? wide : 0;
}

void core_begin_sums(const crnn_plan *given, size_t i, const void *const *x, size_t count,
                     size_t shared, void *begun) {
    const size_t *places = given->packed;
    const crnn_begin_args args = {.layer = given->node[i].as.recurrent.layer,
                                  .kernels = given->kernels,
                                  .packed = (const char *)places + places[PACKED_PLACES * i],
                                  .n = count,
                                  .x = x,
                                  .shared = shared,
                                  .begun = begun};
    crnn_begin_sums(&args);
}

void core_go_on(crnn_node *node, const void *const *begun, size_t shared) {
    node->as.recurrent.begun = begun;
    node->as.recurrent.shared = shared;
}

/* ---- backward */

/* Whether the gradients of symbols with vectors are wanted: for the vectors, or for W_x. */
static bool wants_products(const core_node *n) {
    const crnn_recurrent *r = &n->given->as.recurrent;
    return r->vectors && (r->dvectors || r->grads);
}

static crnn_backward_args backward_args(const core_node *n) {
    const crnn_recurrent *r = &n->given->as.recurrent;
    const size_t floats = edge_of_floats(n);
    crnn_input in = input_of(n);
    in.dproducts = wants_products(n) ? n->embedded.product : NULL;
    return (crnn_backward_args){.layer = r->layer,
                                .rows = r->rows,
                                .tape = r->tape,
                                .params = r->params,
                                .in = in,
                                .kept = r->kept,
                                .noise = r->noise,
                                .from_learned = r->from_learned,
                                .dy = core_has_gradient(n) ? n->given->gradient : (crnn_seq){0},
                                .dfinal = r->dfinal,
                                .dinitial = r->dinitial,
                                .grads = r->grads,
                                .dx = floats < n->given->edges ? core_target(n, floats)
                                                               : (crnn_seq){0},
                                .trace = r->trace,
                                .workspace = n->work};
}

/* Nodes that run back before the layer read its initial h, and add to its gradient. */
static void begin_first(core_node *n) {
    const crnn_recurrent *r = &n->given->as.recurrent;
    core_arena tape = core_arena_at(r->tape->memory);
    core_shape s;
    core_shape_init(&s, r->layer, r->tape->kernels);
    set_first(n, &s, core_lay_tape(&s, r->rows, &tape).h0);
    memset(n->dfirst, 0, n->plan->given->rows->given.batch * n->given->features * core_item(n));
}

static void lay_back(core_node *n, core_arena *a) {
    if (n->given->as.recurrent.vectors) {
        describe_embedded(n);
        core_lay_embedded(&n->embedded, true, a);
    }
    const crnn_backward_args args = backward_args(n);
    size_t bytes = 0;
    if (crnn_backward_workspace(&args, &bytes) != CRNN_OK) a->used.fits = false;
    n->work = core_take(a, a->used.fits ? bytes : 0, 1, 1);
}

static void open_back(core_node *n) {
    if (n->given->as.recurrent.vectors) open_embedded(n, true);
    const crnn_backward_args args = backward_args(n);
    core_backward_open(&n->as.backward, &args);
}

static void pack_back(const core_node *n, const core_member *me) {
    core_backward_turn(&n->as.backward, me);
}

static void end_back(const core_node *n, const core_member *me) {
    const crnn_recurrent *r = &n->given->as.recurrent;
    const core_shape *s = &n->as.backward.shape;
    if (wants_products(n))
        core_embedded_back(&n->embedded,
                           r->grads ? core_row_of(r->grads, s->at.w_x, 1, core_item(n)) : NULL,
                           r->dvectors, me);
}

static void embedded_back(void *context, const core_member *me) { end_back(context, me); }

/* The initial h was read by edges with a delay, too. */
static void add_first(const core_node *n, const core_span *span) {
    const core_backward_run *run = &n->as.backward.run;
    const crnn_rows *rows = run->rows;
    const size_t wide = n->given->features, item = core_item(n);
    const size_t newest = crnn_strands(&rows->given) - 1;
    const size_t last = newest > 0 ? rows->places : rows->active[0];
    const void *dh = run->ring_h ? core_row_of(run->ring_h, run->reads.depth * rows->places,
                                               n->as.backward.shape.h_padded, item)
                                 : run->bypass;
    for (size_t i = span->from; i < span->to && i < last; i++)
        if (rows->strand[i] == newest)
            n->plan->given->kernels->add_rows(
                1, wide, wide, NULL, core_row_of(n->dfirst, rows->order[i], wide, item),
                core_row_of(dh, i, n->as.backward.shape.h_padded, item));
}

static void alone_back(core_node *n) {
    const core_span all = {.to = n->given->as.recurrent.rows->places};
    core_backward_all(&n->as.backward);
    if (n->dfirst) add_first(n, &all);
    if (wants_products(n))
        core_in_team(2 * core_embedded_work(&n->embedded), n->embedded.products, embedded_back, n);
}

static size_t window(const core_node *n) { return n->as.backward.run.window; }

static void list(const core_node *n, const core_window *w, const core_member *me) {
    n->plan->given->kernels->list_window(&n->as.backward.run, me, w);
}

static core_span with_panels(const core_node *n, const core_span *rows) {
    const core_shape *s = &n->as.backward.shape;
    core_span span = *rows;
    span.panel_to = core_dense_panels(s->kernels, s->layer.hidden);
    return span;
}

static void step_back(const core_node *n, const core_span *rows, const core_window *w, size_t t) {
    const core_backward_run *run = &n->as.backward.run;
    const core_span span = with_panels(n, rows);
    size_t from, to;
    n->plan->given->kernels->step_back(run, &span, w, t);
    if (run->dx.data && core_step_cells(n->plan, rows, t, &from, &to))
        n->plan->given->kernels->input_grad(run, from - w->row, to - w->row);
}

static void finish(const core_node *n, const core_span *rows, const core_window *w) {
    const core_span span = with_panels(n, rows);
    n->plan->given->kernels->finish_window(&n->as.backward.run, &span, w);
    if (w->begin == 0 && n->dfirst) add_first(n, rows);
}

static void grads(const core_node *n, const core_window *w, const core_member *me) {
    n->plan->given->kernels->weight_grads(&n->as.backward.run, w, me);
}

static void close_back(core_node *n) { core_backward_close(&n->as.backward); }

const core_op core_op_recurrent = {.work = work,
                                   .packed = packed,
                                   .lay = lay,
                                   .open = open,
                                   .pack = pack,
                                   .alone = alone,
                                   .step = step,
                                   .close = close,
                                   .follow = follow,
                                   .begin_back = begin_first,
                                   .lay_back = lay_back,
                                   .open_back = open_back,
                                   .pack_back = pack_back,
                                   .window = window,
                                   .list = list,
                                   .step_back = step_back,
                                   .finish = finish,
                                   .grads = grads,
                                   .end_back = end_back,
                                   .alone_back = alone_back,
                                   .close_back = close_back};
