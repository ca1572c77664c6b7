/* A plan, forward and backward. Buffers, and the objects that are returned, are made before the
 * core is called, so that nothing has changed where one cannot be made. */
#include "plan.h"

/* ---- forward: arguments */

typedef struct forward_arguments {
    call_arguments given;
    bool filled, keep, needs_dx;
    PyObject *memory; /* borrowed, or NULL */
} forward_arguments;

static bool parse_forward(forward_arguments *a, PyObject *const *values, Py_ssize_t count) {
    enum { ARGUMENTS = 13, FEWEST = ARGUMENTS - 2 /* without a memory and needs_dx */ };
    *a = (forward_arguments){0};
    if (count < FEWEST || count > ARGUMENTS) return refuse_misfit("arguments");
    PyObject *own[ARGUMENTS] = {NULL};
    for (Py_ssize_t i = 0; i < count; i++) own[i] = values[i] == Py_None ? NULL : values[i];
    a->given = (call_arguments){.x = values[0],
                                .state = values[1],
                                .lengths = own[2],
                                .mask = own[3],
                                .resets = own[4],
                                .training = own[5],
                                .call = own[6],
                                .first_row = own[7],
                                .first_step = own[8]};
    a->filled = values[9] == Py_True;
    a->keep = values[10] == Py_True;
    a->memory = own[11];
    a->needs_dx = own[12] != Py_False;
    return true;
}

/* The memory, and room for the weights; none for a plan without attention. */
static bool read_memory(PlanTape *tape, PyObject *given, bool keep) {
    const crnn_steps *s = &tape->call.rows.given;
    if (!plan_read_memory(tape->plan, s->batch, given, keep, &tape->attention, &tape->memory))
        return false;
    return !given || (tape->weights = plan_rows(tape, s->steps, tape->attention.steps));
}

/* Edges with a delay and attention read every step of a row, one after the other. */
static bool steps_fit(const PlanTape *tape) {
    const bool in_order = tape->plan->delays || tape->plan->attend;
    return !in_order || (!tape->call.mask && !tape->call.resets);
}

/* The input of the model, as the one of a layer of its width. */
static bool read_call(PlanTape *tape, const forward_arguments *a) {
    const plan_node *input = &tape->plan->nodes[0];
    PyArrayObject *x = as_array("x", a->given.x);
    if (!x) return false;
    const bool floats_only = tape->plan->strict && input->symbols == 0;
    const size_t wide = PyArray_ISINTEGER(x) && !floats_only ? input->symbols : input->features;
    const held_layer as_layer = {.layer = {.dtype = tape->plan->dtype, .inputs = wide}};
    call_arguments given = a->given;
    given.x = (PyObject *)x;
    given.floats_only = floats_only;
    tape->filled = a->filled;
    tape->needs_dx = a->needs_dx;
    const bool keep = a->keep && plan_keeps_value(tape, 0);
    const bool fine =
        wide > 0 && call_init(&tape->call, tape->plan->module, &as_layer, &given, keep);
    drop(x);
    /* of answered steps that the mask leaves out, symbols are read but have not been checked */
    return fine && !(a->filled && tape->call.mask && tape->call.in.symbols);
}

/* ---- forward: buffers */

/* A part of the block of values. */
typedef struct slot {
    size_t begin, size, free_from; /* the first node that does not need it any more */
} slot;

/* A place for `size` elements of node i: a part that nobody needs any more, or a new one. */
static bool take_slot(slot *slots, size_t *used, size_t i, size_t size, size_t last, size_t *total,
                      size_t *place) {
    size_t s = 0;
    while (s < *used && (slots[s].free_from > i || slots[s].size < size)) s++;
    if (s == *used) {
        slots[(*used)++] = (slot){*total, size, 0};
        if (!crnn_size_add(*total, size, total)) return false;
    }
    slots[s].free_from = last + 1;
    *place = slots[s].begin;
    return true;
}

/* A block for the values between input and output that are kept, or for the others; of these, one
 * is overwritten once no node reads it any more. NULL with an exception. */
static PyArrayObject *new_block(PlanTape *tape, bool keep, bool kept) {
    const Plan *plan = tape->plan;
    slot *slots = PyMem_Calloc(plan->count, sizeof *slots);
    size_t used = 0, total = 0;
    bool fits = slots != NULL;
    for (size_t i = 1; fits && i + 1 < plan->count; i++) {
        const size_t last = kept ? plan->count : plan->nodes[i].last;
        size_t size;
        if ((keep && plan_keeps_value(tape, i)) != kept) continue;
        fits = plan_value_size(tape, i, &size) &&
               take_slot(slots, &used, i, size, last, &total, &tape->place[i]);
    }
    PyMem_Free(slots);
    npy_intp length = (npy_intp)total;
    if (fits && total <= NPY_MAX_INTP)
        return (PyArrayObject *)new_array(plan->module, 1, &length, plan->dtype);
    PyErr_NoMemory();
    return NULL;
}

/* Where the values between input and output lie, and the blocks for them. */
static bool new_values(PlanTape *tape, bool keep) {
    tape->values = new_block(tape, keep, keep);
    if (tape->values && keep && !tape->needs_dx) tape->passing = new_block(tape, keep, false);
    return tape->values && (tape->passing || !keep || tape->needs_dx);
}

/* Frees what only forward reads. */
static void forget_passing(PlanTape *tape) {
    drop(tape->passing);
    tape->passing = NULL;
    if (plan_keeps_value(tape, 0)) return;
    drop(tape->call.x);
    tape->call.x = NULL;
    tape->call.in = (crnn_input){0};
}

/* The array that a node reads, which its tape keeps alive. */
static PyArrayObject *read_array(const PlanTape *tape, size_t i) {
    const size_t from = tape->plan->nodes[i].from[0].node;
    return from == 0 ? tape->call.x : tape->values;
}

static PyArrayObject *new_reference(PyArrayObject *array) {
    return (PyArrayObject *)Py_XNewRef((PyObject *)array);
}

/* The tape of a layer, as its own forward would make it, but that it reads symbols as they are
 * where they have vectors. One that has read symbols beside floats has no x. */
static bool new_layer_tape(PlanTape *tape, size_t i, const node_call *call,
                           const crnn_kernels *kernels) {
    const crnn_layer *layer = &call->held.layer;
    const plan_node *node = &tape->plan->nodes[i];
    Tape *own = tape_new(tape->plan->module, &call->held);
    const crnn_steps steps = plan_layer_steps(tape->plan, i, layer, &tape->call.rows.given);
    size_t bytes;
    if (!own) return false;
    tape->tapes[i] = own;
    if (node->edges == 1) own->call.x = new_reference(read_array(tape, i));
    own->call.lengths = new_reference(tape->call.lengths);
    own->call.mask = new_reference(tape->call.mask);
    own->call.resets = new_reference(tape->call.resets);
    own->call.in.x = plan_value(tape, node->from[0].node);
    if (node->from[0].node == 0 && !node->w) own->call.in = tape->call.in;
    if (node->w || node->edges > 1) own->call.in.x = (crnn_seq){0}; /* see plan_tape_layer */
    own->call.noise = tape->call.noise;
    own->call.noise.seed = call->held.seed;
    own->call.noise.layer = node->number;
    own->call.from_learned = layer->learns_state && !call->initial.h;
    return call_rows(&own->call, &steps) &&
           check_status(crnn_tape_size(layer, kernels, &own->call.rows, &bytes), "x") &&
           (own->tape.memory = alloc_aligned(bytes));
}

static bool new_kept(PlanTape *tape, size_t i, const crnn_plan *core) {
    size_t bytes;
    if (!check_status(crnn_node_kept(core, i, &bytes), "x")) return false;
    return bytes == 0 || (tape->kept[i] = alloc_aligned(bytes));
}

/* A copy of the initial state of a node, if it is given and backward reads it. */
static bool keep_start(PlanTape *tape, size_t i, const node_call *call) {
    const state_arrays *from = &call->initial;
    const plan_node *node = &tape->plan->nodes[i];
    const bool reads = plan_keeps(tape, i) || (node->cross && plan_keeps(tape, node->cross));
    if (node->layer || !reads) return true;
    memory_share(from, &tape->starts[i]);
    if (from->h && !(tape->starts[i].h = array_copy(tape->plan->module, from->h))) return false;
    if (from->c && !(tape->starts[i].c = array_copy(tape->plan->module, from->c))) return false;
    if (!from->steps) return true;
    tape->starts[i].steps = (PyArrayObject *)PyArray_NewCopy(from->steps, NPY_CORDER);
    return tape->starts[i].steps != NULL;
}

/* All that forward writes to. */
static bool forward_buffers(PlanTape *tape, node_call *calls, const crnn_kernels *kernels,
                            bool keep) {
    const Plan *plan = tape->plan;
    const size_t batch = tape->call.rows.given.batch;
    if (!new_values(tape, keep) || !(tape->y = plan_array(tape, plan->count - 1))) return false;
    for (size_t i = 1; i < plan->count; i++) {
        if (!node_has_state(&plan->nodes[i])) continue;
        const size_t slots = node_final_slots(&plan->nodes[i], &tape->call.rows, &calls[i].initial);
        if (!node_state_new(plan, i, &calls[i].held.layer, batch, slots, false, &calls[i].final))
            return false;
        memory_share(&calls[i].initial, &calls[i].final);
    }
    bool fine = !keep || memories_keep(plan, calls);
    for (size_t i = 1; fine && keep && i < plan->count; i++)
        fine = !node_has_state(&plan->nodes[i]) ||
               (keep_start(tape, i, &calls[i]) && (!plan->nodes[i].layer || !plan_keeps(tape, i) ||
                                                   new_layer_tape(tape, i, &calls[i], kernels)));
    return fine;
}

/* ---- forward: the call */

/* Rows of the input, reversed or cut into strands. */
typedef struct own_rows {
    crnn_rows rows;
    size_t *words; /* owned */
} own_rows;

/* The plan as the core wants it. */
typedef struct core_call {
    crnn_node *nodes; /* owned [count] */
    own_rows *own;    /* owned [count], the first `owns` of which there are */
    size_t owns;
    void *workspace; /* owned */
    crnn_plan plan;
} core_call;

static void core_clear_call(core_call *c) {
    PyMem_Free(c->nodes);
    for (size_t i = 0; i < c->owns; i++) free_aligned(c->own[i].words);
    PyMem_Free(c->own);
    free_aligned(c->workspace);
}

/* Such rows for a layer that has no tape of its own; NULL with an exception. */
static const crnn_rows *rows_for(core_call *c, const crnn_steps *steps) {
    size_t words;
    for (size_t i = 0; i < c->owns; i++) {
        const crnn_steps *given = &c->own[i].rows.given;
        if (given->reverse == steps->reverse && given->stride == steps->stride)
            return &c->own[i].rows;
    }
    if (!check_status(crnn_rows_size(steps, &words), "x")) return NULL;
    own_rows *own = &c->own[c->owns];
    own->words = alloc_aligned(words * sizeof(size_t));
    if (!own->words) return NULL;
    c->owns++;
    crnn_rows_init(&own->rows, own->words, steps);
    return &own->rows;
}

/* The rows of node i: of a recurrent one without a tape they may be other ones than the input's. */
static const crnn_rows *rows_of_node(core_call *c, const Plan *plan, const PlanTape *tape, size_t i,
                                     const node_call *call) {
    const crnn_rows *rows = &tape->call.rows;
    if (!node_has_state(&plan->nodes[i]) || tape->tapes[i]) return rows;
    const crnn_steps steps = plan_layer_steps(plan, i, &call->held.layer, &rows->given);
    return plan_has_own_rows(&steps) ? rows_for(c, &steps) : rows;
}

/* The plan is that of the tape, or one like it. */
static bool core_open_call(core_call *c, const Plan *plan, PlanTape *tape, node_call *calls,
                           const crnn_kernels *kernels) {
    c->nodes = PyMem_Calloc(plan->count, sizeof *c->nodes);
    c->own = PyMem_Calloc(plan->count, sizeof *c->own);
    if (!c->nodes || !c->own) return PyErr_NoMemory() != NULL;
    for (size_t i = 0; i < plan->count; i++) {
        const crnn_rows *rows = rows_of_node(c, plan, tape, i, &calls[i]);
        if (!rows) return false;
        const node_call *call = &calls[plan_owner(plan, i)];
        c->nodes[i] = plan_core_node(plan, tape, i, call, kernels, rows);
    }
    c->plan = (crnn_plan){
        .kernels = kernels, .rows = &tape->call.rows, .count = plan->count, .node = c->nodes};
    return true;
}

static bool core_workspace(core_call *c,
                           crnn_status (*size)(const crnn_plan *plan, size_t *bytes)) {
    size_t bytes;
    if (!check_status(size(&c->plan, &bytes), "x")) return false;
    c->workspace = c->plan.workspace = alloc_aligned(bytes);
    return c->workspace != NULL;
}

/* Whether backward reads the value of a node itself, or of a later step of the node. */
static bool back_reads_value(const plan_node *node) {
    if (node->op == CRNN_OP_ROWWISE) return node->cyclic || crnn_rowwise_reads_y(&node->rowwise);
    if (node->op == CRNN_OP_CONV) return node->activation != CRNN_IDENTITY;
    return node->cyclic || node->op == CRNN_OP_HEADS || node->op == CRNN_OP_CROSS;
}

/* (y, states), with `keep` (y, states, tape), which does not share its y with the user where
 * backward reads it. */
static PyObject *forward_result(PlanTape *tape, PyObject *states, bool keep) {
    if (!keep) return PyTuple_Pack(2, tape->y, states);
    const bool is_read = back_reads_value(&tape->plan->nodes[tape->plan->count - 1]);
    PyObject *y = is_read ? PyArray_NewCopy(tape->y, NPY_CORDER) : Py_NewRef((PyObject *)tape->y);
    PyObject *result = y ? PyTuple_Pack(3, y, states, tape) : NULL;
    drop(y);
    return result;
}

static bool run_forward(PlanTape *tape, node_call *calls, bool keep) {
    const crnn_kernels *kernels = crnn_kernels_now(tape->plan->dtype);
    core_call c = {0};
    bool fine = forward_buffers(tape, calls, kernels, keep) &&
                core_open_call(&c, tape->plan, tape, calls, kernels);
    for (size_t i = 0; fine && keep && i < tape->plan->count; i++) {
        fine = !plan_keeps(tape, i) || new_kept(tape, i, &c.plan);
        if (fine) c.nodes[i].kept = tape->kept[i];
    }
    fine = fine && core_workspace(&c, crnn_plan_workspace);
    if (fine) {
        Py_BEGIN_ALLOW_THREADS crnn_plan_forward(&c.plan);
        Py_END_ALLOW_THREADS
    }
    if (fine && keep) forget_passing(tape);
    core_clear_call(&c);
    return fine;
}

PyObject *plan_forward(Plan *self, PyObject *const *values, Py_ssize_t count) {
    forward_arguments a;
    if (!parse_forward(&a, values, count)) return NULL;
    PlanTape *tape = plan_tape_new(self);
    node_call *calls = tape ? plan_hold(self, false) : NULL;
    PyObject *states = NULL, *result = NULL;
    if (!calls)
        result = plan_refuse(self, "layer");
    else if (!read_call(tape, &a) || !steps_fit(tape) || !read_memory(tape, a.memory, a.keep) ||
             !plan_read_states(self, calls, "state", tape->call.rows.given.batch, a.given.state,
                               initial_of) ||
             !memories_are_given(self, calls) || !plan_positions_fit(self, calls, &tape->call.rows))
        result = plan_refuse(self, "state");
    else if (run_forward(tape, calls, a.keep) && (states = plan_show_states(self, calls, final_of)))
        result = forward_result(tape, states, a.keep);
    drop(states);
    plan_release(self, calls);
    drop(tape);
    return result;
}

/* ---- backward */

typedef struct backward_buffers {
    PyArrayObject *dy, *dx; /* owned, or NULL: none is given, none is wanted */
    PyArrayObject *dkeys,
        *dvalues; /* owned, or NULL: there is no memory; its gradient is not wanted */
    crnn_seq dy_seq;
    void *gradients; /* owned: of the values between, and of y where none is given */
    void **traces;   /* owned [count] of owned */
} backward_buffers;

static void backward_clear(const Plan *plan, backward_buffers *b) {
    drop(b->dy);
    drop(b->dx);
    drop(b->dkeys);
    drop(b->dvalues);
    free_aligned(b->gradients);
    for (size_t i = 0; b->traces && i < plan->count; i++) free_aligned(b->traces[i]);
    PyMem_Free(b->traces);
}

/* Whether a tape is one of a plan like this; the layers whose gradients are added to are held. */
static bool fits_tape(const Plan *plan, const PlanTape *tape, const node_call *calls) {
    const Plan *other = tape->plan;
    if (other->count != plan->count || other->dtype != plan->dtype || !tape->y) return false;
    for (size_t i = 0; i < plan->count; i++) {
        const plan_node *a = &plan->nodes[i], *b = &other->nodes[i];
        if (a->op != b->op || a->edges != b->edges || a->features != b->features ||
            a->symbols != b->symbols || a->filled != b->filled || !a->w != !b->w ||
            a->rest != b->rest || a->repeats != b->repeats || a->backwards != b->backwards ||
            a->how != b->how || a->cell != b->cell || !a->g != !b->g || a->taps != b->taps ||
            a->dilation != b->dilation || a->activation != b->activation ||
            a->reverse != b->reverse || a->heads != b->heads || a->window != b->window ||
            a->whole != b->whole || a->rotary != b->rotary || a->most != b->most ||
            a->cross != b->cross || memcmp(a->from, b->from, a->edges * sizeof *a->from) != 0)
            return false;
        if (a->op == CRNN_OP_CROSS && !PyArray_SAMESHAPE(a->w, b->w)) return false;
        if (a->layer && !tape->tapes[i] && plan_keeps(tape, i)) return false;
        if (tape->tapes[i] && !tape_fits(tape->tapes[i], &calls[i].held)) return false;
        if (a->op == CRNN_OP_ROWWISE && a->rowwise.kind != b->rowwise.kind) return false;
    }
    return true;
}

/* Whether node i runs back: a plan of layers that were frozen, or are frozen now, needs less. */
static bool runs_back(const Plan *plan, const PlanTape *tape, size_t i) {
    const plan_node *node = &plan->nodes[i];
    return plan_keeps(tape, i) && (tape->needs_dx ? node->wants : node->trains);
}

/* dy; false where it does not fit. The core adds to a copy where nodes read the last value. */
static bool read_dy(const PlanTape *tape, PyObject *given, backward_buffers *b) {
    const crnn_steps *s = &tape->call.rows.given;
    const plan_node *last = &tape->plan->nodes[tape->plan->count - 1];
    dims shape = {3,
                  {(npy_intp)s->batch, (npy_intp)s->steps, (npy_intp)last->features},
                  {"B", "T", "features"}};
    if (given == Py_None) return true;
    if (last->once) {
        shape = (dims){2, {(npy_intp)s->batch, (npy_intp)last->features}, {"B", "features"}};
        b->dy = float_array("dy", given, tape->plan->dtype, &shape, true);
        if (b->dy) b->dy_seq = seq_of(b->dy);
        return b->dy != NULL;
    }
    b->dy = sequence_array(NULL, "dy", given, tape->plan->dtype, &shape, &b->dy_seq);
    if (!b->dy || !(last->cyclic || last->repeats)) return b->dy != NULL;
    PyArrayObject *copy = array_copy(tape->plan->module, b->dy);
    drop(b->dy);
    b->dy = copy;
    if (copy) b->dy_seq = seq_of(copy);
    return copy != NULL;
}

/* The first node of the cycle of node k; k where it is in none. */
static size_t cycle_begin(const Plan *plan, size_t k) {
    size_t begin = k;
    for (size_t i = 0; plan->nodes[k].cyclic && i < k; i++)
        if (plan->nodes[i].cyclic && plan->nodes[i].last >= k && i < begin) begin = i;
    return begin;
}

/* Gradients of values between, and of y where none is given; `begin` [count] is where each begins,
 * in elements. The gradient of a node is there from the time when its last reader runs back until
 * the node itself has run: others may then lie in its place. */
static bool new_gradients(const Plan *plan, const PlanTape *tape, backward_buffers *b,
                          size_t *begin) {
    slot *slots = PyMem_Calloc(plan->count, sizeof *slots);
    size_t total = 0, used = 0, size, bytes;
    bool fits = slots != NULL;
    for (size_t k = plan->count; fits && k-- > 1;) {
        const size_t now = plan->count - k; /* slots count time upwards */
        for (size_t i = k + 1; fits && i-- > 1;) {
            const bool is_last = i + 1 == plan->count;
            if ((is_last ? i : plan->nodes[i].last) != k) continue;
            if ((is_last && b->dy) || !runs_back(plan, tape, i)) continue;
            fits = plan_value_size(tape, i, &size) &&
                   take_slot(slots, &used, now, size, plan->count - cycle_begin(plan, i), &total,
                             &begin[i]);
        }
    }
    PyMem_Free(slots);
    if (!fits || !crnn_size_mul(total, crnn_dtype_size(plan->dtype), &bytes))
        return PyErr_NoMemory() != NULL;
    b->gradients = alloc_aligned(bytes);
    return b->gradients != NULL;
}

static void set_gradient(const Plan *plan, const PlanTape *tape, const backward_buffers *b,
                         size_t i, size_t begin, crnn_node *node) {
    const plan_node *own = &plan->nodes[i];
    const size_t steps = plan_steps(tape, i), item = crnn_dtype_size(plan->dtype);
    const bool is_last = i + 1 == plan->count;
    if (i == 0) {
        node->gradient = b->dx ? seq_of(b->dx) : (crnn_seq){0};
    } else if (!runs_back(plan, tape, i)) {
        return;
    } else if (is_last && b->dy) {
        node->gradient = b->dy_seq;
        node->given = true;
    } else if (!(is_last && own->layer && !own->cyclic)) {
        /* a layer takes no dy as zeros */
        node->gradient = (crnn_seq){(char *)b->gradients + begin * item,
                                    (ptrdiff_t)(steps * own->features), (ptrdiff_t)own->features};
    }
}

/* Whether a node reads the final state of node i. */
static bool is_state_read(const Plan *plan, size_t i) {
    for (size_t k = i + 1; k < plan->count; k++)
        if (plan->nodes[k].op == CRNN_OP_STATE && plan->nodes[k].from[0].node == i) return true;
    return false;
}

/* The gradients of the states of node i, where it runs back. */
static bool open_state_back(const Plan *plan, const PlanTape *tape, size_t i, node_call *call,
                            crnn_node *node) {
    const crnn_layer *layer = &call->held.layer;
    const size_t batch = tape->call.rows.given.batch;
    if (!node_state_new(plan, i, layer, batch, node_slots(&tape->starts[i]), true,
                        &call->initial) ||
        (is_state_read(tape->plan, i) && !node_state_own(plan, i, layer, batch, &call->final)))
        return false;
    node_set_gradients(node, &call->initial, &call->final);
    return true;
}

/* The rest of a recurrent node of backward. */
static bool open_layer_back(const Plan *plan, const PlanTape *tape, backward_buffers *b, size_t i,
                            node_call *call, bool trace, crnn_node *node) {
    crnn_recurrent *r = &node->as.recurrent;
    const Tape *own = tape->tapes[i];
    if (!runs_back(plan, tape, i)) {
        r->tape = NULL;
        return true;
    }
    if (!open_state_back(plan, tape, i, call, node)) return false;
    if ((trace || own->traced) && !(b->traces[i] = trace_new(own))) return false;
    r->from_learned = own->call.from_learned;
    r->grads = held_grads(&call->held);
    r->trace = b->traces[i];
    return true;
}

/* The gradients of the memory. */
static bool open_memory_back(const PlanTape *tape, backward_buffers *b, crnn_attend *attend) {
    const crnn_attention *a = &tape->attention;
    b->dkeys = plan_rows(tape, a->steps, a->key_size);
    if (b->dkeys && tape->needs_dx) b->dvalues = plan_rows(tape, a->steps, a->value_size);
    attend->dkeys = data_of(b->dkeys);
    attend->dvalues = data_of(b->dvalues);
    return b->dkeys && (b->dvalues || !tape->needs_dx);
}

static bool open_back(core_call *c, const Plan *plan, PlanTape *tape, node_call *calls,
                      backward_buffers *b, bool trace) {
    const crnn_kernels *kernels = crnn_kernels_now(plan->dtype);
    size_t *begin = PyMem_Calloc(plan->count, sizeof *begin);
    b->traces = PyMem_Calloc(plan->count, sizeof *b->traces);
    bool fine = begin && b->traces ? new_gradients(plan, tape, b, begin) : PyErr_NoMemory() != NULL;
    for (size_t i = 0; i < plan->count; i++)
        if (tape->tapes[i]) kernels = tape->tapes[i]->tape.kernels;
    if (fine && tape->call.in.x.data && tape->needs_dx)
        fine = (b->dx = plan_array(tape, 0)) != NULL;
    fine = fine && core_open_call(c, plan, tape, calls, kernels);
    for (size_t i = 0; fine && i < plan->count; i++) {
        set_gradient(plan, tape, b, i, begin[i], &c->nodes[i]);
        if (plan->nodes[i].layer)
            fine = open_layer_back(plan, tape, b, i, &calls[i], trace, &c->nodes[i]);
        else if (node_has_state(&plan->nodes[i]) && runs_back(plan, tape, i))
            fine = open_state_back(plan, tape, i, &calls[i], &c->nodes[i]);
        else if (plan->nodes[i].op == CRNN_OP_CROSS && runs_back(plan, tape, i))
            fine = cross_open_back(tape, i, calls, &c->nodes[i].as.cross);
    }
    if (fine && plan->attend) fine = open_memory_back(tape, b, &c->nodes[plan->attend].as.attend);
    PyMem_Free(begin);
    return fine && core_workspace(c, crnn_plan_backward_workspace);
}

static PyObject *gradients(const backward_buffers *b, PyObject *states) {
    PyObject *dx = b->dx ? (PyObject *)b->dx : Py_None;
    if (b->dvalues) return PyTuple_Pack(4, dx, states, b->dkeys, b->dvalues);
    if (b->dkeys) return PyTuple_Pack(4, dx, states, Py_None, Py_None);
    return PyTuple_Pack(2, dx, states);
}

/* With all arguments checked. */
static PyObject *run_backward(Plan *self, PyObject *owner, PlanTape *tape, node_call *calls,
                              backward_buffers *b, bool trace) {
    core_call c = {0};
    writer writer;
    PyObject *states = NULL, *result = NULL;
    bool done = false;
    if (open_back(&c, self, tape, calls, b, trace) &&
        (states = plan_show_states(self, calls, initial_of)) && (result = gradients(b, states)) &&
        writer_enter(self->module, &writer, owner)) {
        Py_BEGIN_ALLOW_THREADS crnn_plan_backward(&c.plan);
        Py_END_ALLOW_THREADS done = true;
        for (size_t i = 0; i < self->count; i++)
            if (tape->tapes[i]) tape_take_trace(tape->tapes[i], &b->traces[i]);
        writer_leave(self->module, &writer);
    }
    if (!done) Py_CLEAR(result);
    drop(states);
    core_clear_call(&c);
    return result;
}

PyObject *plan_backward(Plan *self, PyObject *const *values, Py_ssize_t count) {
    backward_buffers b = {0};
    PyObject *result = NULL;
    if (count != 5) return refused("arguments");
    if (Py_TYPE(values[1]) != self->module->plan_tape) return Py_NewRef(Py_None);
    PlanTape *tape = (PlanTape *)values[1];
    node_call *calls = plan_hold(self, true);
    if (!calls) return plan_refuse(self, "layer");
    if (!fits_tape(self, tape, calls))
        result = plan_refuse(self, "tape");
    else if (!read_dy(tape, values[2], &b) || !plan_read_gradients(tape, calls, values[3]))
        result = plan_refuse(self, "dstate");
    else
        result = run_backward(self, values[0], tape, calls, &b, values[4] == Py_True);
    backward_clear(self, &b);
    plan_release(self, calls);
    return result;
}

PyObject *plan_check(Plan *self, PyObject *args) {
    PyObject *object, *dstate;
    if (!PyArg_ParseTuple(args, "OO:check", &object, &dstate)) return NULL;
    node_call *calls = plan_hold(self, false);
    const PlanTape *tape = (PlanTape *)object;
    const bool fits_both =
        calls && Py_TYPE(object) == self->module->plan_tape && fits_tape(self, tape, calls);
    const bool fits = fits_both && plan_read_gradients(tape, calls, dstate);
    plan_release(self, calls);
    if (fits) return PyBool_FromLong(true);
    PyObject *refused = plan_refuse(self, fits_both ? "dstate" : "tape");
    drop(refused);
    return refused ? PyBool_FromLong(false) : NULL;
}
