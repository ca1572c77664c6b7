/* The type Plan: a model whose layers the core runs in one call. */
#include "plan.h"

/* ---- description: nodes as tuples (operation, edges, filled, ...) */

static bool read_edges(Plan *plan, size_t index, PyObject *given) {
    plan_node *node = &plan->nodes[index];
    if (!PyTuple_Check(given)) return refuse_misfit("edges");
    const size_t count = (size_t)PyTuple_Size(given);
    node->from = PyMem_Calloc(count ? count : 1, sizeof *node->from);
    if (!node->from) return PyErr_NoMemory() != NULL;
    node->edges = count;
    for (size_t k = 0; k < count; k++) {
        PyObject *edge = PyTuple_GetItem(given, (Py_ssize_t)k);
        Py_ssize_t from, delay;
        if (!PyTuple_Check(edge)) return refuse_misfit("edges");
        if (!PyArg_ParseTuple(edge, "nn", &from, &delay)) return false;
        if (from < 0 || delay < 0 || (size_t)from >= (delay ? plan->count : index))
            return refuse_misfit("edges");
        node->from[k] = (crnn_edge){(size_t)from, (size_t)delay};
    }
    return true;
}

/* An array of parameters, or None. */
static bool read_parameter(const Plan *plan, const char *name, PyObject *given, int axes,
                           PyArrayObject **to) {
    if (given == Py_None) return true;
    PyArrayObject *array = buffer_array(name, given);
    if (!array) return false;
    if (PyArray_NDIM(array) != axes || !PyArray_IS_C_CONTIGUOUS(array) ||
        PyArray_TYPE(array) != typenum_of(plan->dtype))
        return refuse_misfit(name);
    *to = (PyArrayObject *)Py_NewRef(given);
    return true;
}

/* Parameters and their gradients. */
static bool read_pair(const Plan *plan, PyObject *given, PyObject *gradient, int axes,
                      PyArrayObject **to, PyArrayObject **d) {
    if (!read_parameter(plan, "W", given, axes, to) ||
        !read_parameter(plan, "dW", gradient, axes, d))
        return false;
    return !*to == !*d && (!*to || PyArray_SAMESHAPE(*to, *d)) ? true : refuse_misfit("dW");
}

/* (I, K): floats of so many features, or symbols; 0: none. */
static bool read_input(Plan *plan, plan_node *node, PyObject *rest) {
    Py_ssize_t features, symbols;
    (void)plan;
    if (!PyArg_ParseTuple(rest, "nn", &features, &symbols)) return false;
    if (features < 0 || symbols < 0 || (features == 0 && symbols == 0))
        return refuse_misfit("input");
    node->features = (size_t)features;
    node->symbols = (size_t)symbols;
    return true;
}

/* (layer, number, vectors, dvectors): the last two are those of an embedding in front, or None. */
static bool read_recurrent(Plan *plan, plan_node *node, PyObject *rest) {
    PyObject *layer, *w, *dw;
    if (!PyArg_ParseTuple(rest, "OIOO", &layer, &node->number, &w, &dw) ||
        !read_pair(plan, w, dw, 2, &node->w, &node->dw))
        return false;
    if (!PyObject_TypeCheck(layer, plan->module->recurrent)) return refuse_misfit("layer");
    node->layer = Py_NewRef(layer);
    if (!recurrent_ready((Recurrent *)layer)) return false;
    const crnn_layer *own = &((Recurrent *)layer)->layer;
    node->features = crnn_width(own);
    node->inputs = own->inputs;
    if (node->w) node->symbols = (size_t)PyArray_DIM(node->w, 0);
    return own->dtype == plan->dtype || refuse_misfit("layer");
}

/* (W, b, dW, db): W (inputs, features); the others, in the shape of W and (features,), or None. */
static bool read_sum(Plan *plan, plan_node *node, PyObject *rest) {
    PyObject *w, *b, *dw, *db;
    if (!PyArg_ParseTuple(rest, "OOOO", &w, &b, &dw, &db) ||
        !read_pair(plan, w, dw, 2, &node->w, &node->dw) ||
        !read_pair(plan, b, db, 1, &node->b, &node->db))
        return false;
    if (!node->w || (node->b && PyArray_SIZE(node->b) != PyArray_DIM(node->w, 1)))
        return refuse_misfit("W");
    node->features = (size_t)PyArray_DIM(node->w, 1);
    return true;
}

/* The widths of what a function of steps reads. */
static bool read_inputs(const Plan *plan, plan_node *node) {
    crnn_rowwise *o = &node->rowwise;
    if (node->edges != o->inputs) return refuse_misfit("edges");
    for (size_t k = 0; k < node->edges; k++)
        o->features[k] = plan->nodes[node->from[k].node].features;
    node->features = crnn_rowwise_features(o);
    return o->inputs == 1 || o->kind == CRNN_ROWWISE_CONCAT || o->features[0] == o->features[1] ||
           refuse_misfit("edges");
}

/* (C, v, dv): the width of the values of the memory, and v (A,), or None. */
static bool read_attend(Plan *plan, plan_node *node, PyObject *rest) {
    PyObject *v, *dv;
    Py_ssize_t width;
    if (!PyArg_ParseTuple(rest, "nOO", &width, &v, &dv) ||
        !read_pair(plan, v, dv, 1, &node->w, &node->dw))
        return false;
    if (width < 1 || plan->attend) return refuse_misfit("attend");
    node->features = (size_t)width;
    plan->attend = (size_t)(node - plan->nodes);
    return true;
}

/* (operation, params, dparams): as rowwise_parse reads it; gain and bias in one array, or None. */
static bool read_rowwise(Plan *plan, plan_node *node, PyObject *rest) {
    PyObject *operation, *w, *dw;
    if (!PyArg_ParseTuple(rest, "OOO", &operation, &w, &dw) || !PyTuple_Check(operation) ||
        !rowwise_parse(&node->rowwise, operation) ||
        !read_pair(plan, w, dw, 1, &node->w, &node->dw))
        return refuse_misfit("operation");
    if (!read_inputs(plan, node)) return false;
    const bool is_norm = node->rowwise.kind == CRNN_ROWWISE_NORM;
    const bool fits = !is_norm || (node->w && (size_t)PyArray_SIZE(node->w) == 2 * node->features);
    return (fits && !is_norm == !node->w) || refuse_misfit("operation");
}

/* (): the sum of a layer's output and its input, which is left out at steps that do not run. */
static bool read_residual(Plan *plan, plan_node *node, PyObject *rest) {
    node->rowwise = (crnn_rowwise){.kind = CRNN_ROWWISE_SUM, .inputs = 2};
    node->rest = true;
    return PyArg_ParseTuple(rest, "") && read_inputs(plan, node);
}

/* (how,) */
static bool read_pool(Plan *plan, plan_node *node, PyObject *rest) {
    const char *how;
    if (!PyArg_ParseTuple(rest, "s", &how) || !pool_how_parse(&node->how, how)) return false;
    if (node->edges != 1) return refuse_misfit("edges");
    node->features = plan->nodes[node->from[0].node].features;
    return true;
}

/* The width of a part of a state; 0 where there is no such part. */
static size_t state_width(const crnn_layer *layer, bool cell) {
    if (!cell) return crnn_width(layer);
    return state_count(layer) == 2 ? layer->hidden : 0;
}

/* (cell,): c, or h, of the recurrent node that the edge names. */
static bool read_state(Plan *plan, plan_node *node, PyObject *rest) {
    int cell;
    if (!PyArg_ParseTuple(rest, "p", &cell)) return false;
    const plan_node *from = node->edges == 1 ? &plan->nodes[node->from[0].node] : NULL;
    if (!from || !from->layer) return refuse_misfit("edges");
    node->cell = cell;
    node->features = state_width(&((const Recurrent *)from->layer)->layer, cell);
    return node->features > 0 || refuse_misfit("state");
}

static const struct {
    const char *name;
    crnn_op op;
    bool (*read)(Plan *plan, plan_node *node, PyObject *rest);
} readers[] = {{"input", CRNN_OP_INPUT, read_input},
               {"recurrent", CRNN_OP_RECURRENT, read_recurrent},
               {"sum", CRNN_OP_SUM, read_sum},
               {"attend", CRNN_OP_ATTEND, read_attend},
               {"rowwise", CRNN_OP_ROWWISE, read_rowwise},
               {"residual", CRNN_OP_ROWWISE, read_residual},
               {"pool", CRNN_OP_POOL, read_pool},
               {"state", CRNN_OP_STATE, read_state}};
enum { READERS = sizeof readers / sizeof *readers };

/* ---- what nodes may read, as crnn/plan.h says */

static size_t width_of(const plan_node *node) {
    return node->features ? node->features : node->symbols;
}

/* An input may be read as floats or as symbols where it takes both. */
static bool may_be_symbols(const plan_node *node) {
    return node->op == CRNN_OP_INPUT && node->symbols > 0;
}

/* The floats that a layer reads beside symbols. */
static size_t floats_of(const Plan *plan, const plan_node *node) {
    return node->edges == 2 ? plan->nodes[node->from[0].node].features : 0;
}

/* Whether a layer may read floats, symbols or, with two edges, floats and symbols. */
static bool recurrent_fits(const Plan *plan, const plan_node *node) {
    const size_t floats = floats_of(plan, node);
    if (node->edges < 1 || node->edges > 2 || (node->edges == 2 && floats == 0)) return false;
    const plan_node *last = &plan->nodes[node->from[node->edges - 1].node];
    const bool looks_up = node->w || node->edges == 2;
    if (looks_up && !(may_be_symbols(last) && last->features == 0)) return false;
    const size_t table = node->w ? (size_t)PyArray_DIM(node->w, 1) : width_of(last);
    return node->inputs >= floats && node->inputs - floats == table &&
           (!node->w || node->symbols == last->symbols);
}

/* Whether a value has one step for each row: that of a pool or of a final state, and of nodes
 * behind them. */
static bool makes_steps_one(const plan_node *node) {
    return node->op == CRNN_OP_POOL || node->op == CRNN_OP_STATE;
}

static void find_once(const Plan *plan, plan_node *node) {
    node->once = makes_steps_one(node);
    for (size_t k = 0; k < node->edges; k++)
        if (node->from[k].delay == 0) node->once |= plan->nodes[node->from[k].node].once;
}

/* Such values are read by nodes that run once for each row, and these read no others. */
static bool steps_fit(const plan_node *node, const plan_node *from, size_t delay) {
    const bool may_read = node->op == CRNN_OP_SUM || node->op == CRNN_OP_ROWWISE;
    if (from->once) return may_read && delay == 0;
    return !node->once || makes_steps_one(node);
}

static bool edge_fits(const Plan *plan, const plan_node *node, const crnn_edge *edge) {
    const plan_node *from = &plan->nodes[edge->node];
    if (!steps_fit(node, from, edge->delay)) return false;
    const bool may_delay =
        node->op == CRNN_OP_SUM || (node->op == CRNN_OP_ATTEND && from->op == CRNN_OP_RECURRENT);
    if (edge->delay > 0 && (!may_delay || may_be_symbols(from))) return false;
    return !may_be_symbols(from) || from->features == 0 || from->features == from->symbols;
}

static bool edges_fit(const Plan *plan, const plan_node *node) {
    size_t width = 0, symbols = 0;
    for (size_t k = 0; k < node->edges; k++) {
        const plan_node *from = &plan->nodes[node->from[k].node];
        if (!edge_fits(plan, node, &node->from[k])) return false;
        if (!crnn_size_add(width, width_of(from), &width)) return false;
        symbols += may_be_symbols(from);
    }
    if (node->op == CRNN_OP_INPUT) return node->edges == 0;
    if (node->op == CRNN_OP_RECURRENT) return recurrent_fits(plan, node);
    if (node->op == CRNN_OP_ROWWISE || makes_steps_one(node)) return symbols == 0;
    if (node->op == CRNN_OP_SUM && symbols > 1) return false;
    if (node->op == CRNN_OP_ATTEND && (node->edges != 1 || symbols > 0)) return false;
    return node->edges > 0 && (!node->w || (size_t)PyArray_DIM(node->w, 0) == width);
}

/* The end of the cycle that begins with a node; the next node where it is in none. */
static size_t group_end(const Plan *plan, size_t begin) {
    size_t end = begin + 1;
    for (size_t i = begin; i < end; i++)
        for (size_t k = 0; k < plan->nodes[i].edges; k++)
            if (plan->nodes[i].from[k].node >= end) end = plan->nodes[i].from[k].node + 1;
    return end;
}

/* A node of a cycle runs until the end of the cycle, and reads what it reads until then. */
static void find_cycles(Plan *plan) {
    for (size_t begin = 0, end; begin < plan->count; begin = end) {
        end = group_end(plan, begin);
        for (size_t i = begin; i < end; i++) {
            plan_node *node = &plan->nodes[i];
            node->cyclic = end > begin + 1;
            if (node->last < end - 1) node->last = end - 1;
            for (size_t k = 0; k < node->edges; k++) {
                plan->nodes[node->from[k].node].last = end - 1;
                node->cyclic |= node->from[k].node == i;
            }
        }
    }
}

/* Whether the gradient of a value is wanted: of floats of the input, of a memory, for parameters,
 * or for another node. True if that is news. */
static bool find_wanted(const Plan *plan, plan_node *node) {
    bool wants = node->dw || node->op == CRNN_OP_RECURRENT || node->op == CRNN_OP_ATTEND ||
                 (node->op == CRNN_OP_INPUT && node->features > 0);
    for (size_t k = 0; k < node->edges; k++) wants |= plan->nodes[node->from[k].node].wants;
    const bool is_news = wants && !node->wants;
    node->wants |= wants;
    return is_news;
}

static bool read_node(Plan *plan, size_t index, PyObject *given) {
    plan_node *node = &plan->nodes[index];
    const char *name;
    PyObject *edges, *rest;
    int filled;
    size_t i = 0;
    if (!PyTuple_Check(given)) return refuse_misfit("nodes");
    if (!PyArg_ParseTuple(given, "sOpO", &name, &edges, &filled, &rest)) return false;
    if (!PyTuple_Check(rest) || !read_edges(plan, index, edges)) return refuse_misfit("nodes");
    while (i < READERS && strcmp(readers[i].name, name) != 0) i++;
    if (i == READERS || (i == 0) != (index == 0)) return refuse_misfit("operation");
    node->op = readers[i].op;
    node->filled = filled;
    if (!readers[i].read(plan, node, rest)) return false;
    return node->features > 0 || index == 0 || refuse_misfit("nodes");
}

/* Reads all nodes, then checks what they read, which may be later nodes. */
static bool read_nodes(Plan *plan, PyObject *given) {
    for (size_t i = 0; i < plan->count; i++)
        if (!read_node(plan, i, PyTuple_GetItem(given, (Py_ssize_t)i))) return false;
    find_cycles(plan);
    for (size_t i = 0; i < plan->count; i++) find_once(plan, &plan->nodes[i]);
    for (size_t i = 0; i < plan->count; i++) {
        const plan_node *node = &plan->nodes[i];
        const bool reverse = node->layer && ((Recurrent *)node->layer)->layer.reverse;
        const bool alone = reverse || node->once || node->rest; /* outside of cycles */
        if (!edges_fit(plan, node) || (node->cyclic && alone)) return refuse_misfit("nodes");
        for (size_t k = 0; k < node->edges; k++) {
            const crnn_edge *edge = &node->from[k];
            const bool is_state = plan->nodes[edge->node].op == CRNN_OP_RECURRENT;
            plan->delays |= edge->delay > 0;
            plan->late |= edge->delay > (is_state ? 1 : 0);
        }
    }
    for (bool news = true; news;) {
        news = false;
        for (size_t i = 0; i < plan->count; i++) news |= find_wanted(plan, &plan->nodes[i]);
    }
    return true;
}

/* ---- states */

static PyStructSequence_Field pair_state_fields[] = {
    {"forward", "State of forward_layer, after the last valid step of each row."},
    {"backward", "State of backward_layer, after step 0, which it reads last."},
    {0},
};
PyStructSequence_Desc pair_state_desc = {
    "crnn._core.PairState", "Pair (forward, backward) of the states of a Bidirectional.",
    pair_state_fields, 2};

static bool check_form(const Plan *plan, PyObject *form) {
    if (form == Py_None) return true;
    if (PyLong_Check(form)) {
        const size_t i = PyLong_AsSize_t(form);
        return !PyErr_Occurred() && i < plan->count && plan->nodes[i].layer;
    }
    for (Py_ssize_t k = 0; PyTuple_Check(form) && k < PyTuple_Size(form); k++)
        if (!check_form(plan, PyTuple_GetItem(form, k))) return false;
    return PyTuple_Check(form);
}

static node_call *call_at(node_call *calls, PyObject *form) {
    return &calls[PyLong_AsSize_t(form)];
}

state_arrays *initial_of(node_call *call) { return &call->initial; }
state_arrays *final_of(node_call *call) { return &call->final; }

/* Reads states in a form; false where they do not fit, perhaps with an exception. */
static bool read_states(PyObject *form, node_call *calls, const char *name, size_t batch,
                        PyObject *state, state_arrays *(*of)(node_call *call)) {
    if (state == Py_None || form == Py_None) return state == Py_None;
    if (PyLong_Check(form)) {
        node_call *call = call_at(calls, form);
        return state_parse(of(call), name, &call->held.layer, batch, state);
    }
    const Py_ssize_t count = PyTuple_Size(form);
    if ((!PyList_Check(state) && !PyTuple_Check(state)) || PySequence_Size(state) != count)
        return false;
    for (Py_ssize_t k = 0; k < count; k++) {
        PyObject *part = PySequence_GetItem(state, k);
        const bool fine =
            part && read_states(PyTuple_GetItem(form, k), calls, name, batch, part, of);
        drop(part);
        if (!fine) return false;
    }
    return true;
}

bool plan_read_states(const Plan *plan, node_call *calls, const char *name, size_t batch,
                      PyObject *state, state_arrays *(*of)(node_call *call)) {
    return read_states(plan->states, calls, name, batch, state, of);
}

static PyObject *show_states(const Plan *plan, PyObject *form, node_call *calls,
                             state_arrays *(*of)(node_call *call)) {
    if (form == Py_None) return Py_NewRef(Py_None);
    if (PyLong_Check(form)) return state_object(of(call_at(calls, form)));
    PyTypeObject *pair = plan->module->pair_state;
    const Py_ssize_t count = PyTuple_Size(form);
    const bool is_pair = Py_TYPE(form) == pair;
    PyObject *states = is_pair ? PyStructSequence_New(pair) : PyList_New(count);
    for (Py_ssize_t k = 0; states && k < count; k++) {
        PyObject *part = show_states(plan, PyTuple_GetItem(form, k), calls, of);
        if (!part)
            Py_CLEAR(states);
        else if (is_pair)
            PyStructSequence_SetItem(states, k, part);
        else
            PyList_SetItem(states, k, part);
    }
    return states;
}

PyObject *plan_show_states(const Plan *plan, node_call *calls,
                           state_arrays *(*of)(node_call *call)) {
    return show_states(plan, plan->states, calls, of);
}

/* ---- what the passes share */

/* Whether a layer is one like that of which the plan was made: __init__ may have run again. */
static bool is_as_described(const Plan *plan, const plan_node *node, const node_call *calls) {
    if (node->op == CRNN_OP_STATE)
        return state_width(&calls[node->from[0].node].held.layer, node->cell) == node->features ||
               refuse_misfit("layer");
    const crnn_layer *layer = &calls[node - plan->nodes].held.layer;
    return (layer->dtype == plan->dtype && layer->inputs == node->inputs &&
            crnn_width(layer) == node->features && !(node->cyclic && layer->reverse)) ||
           refuse_misfit("layer");
}

node_call *plan_hold(const Plan *plan) {
    node_call *calls = PyMem_Calloc(plan->count, sizeof *calls);
    bool fine = calls || PyErr_NoMemory() != NULL;
    for (size_t i = 0; fine && i < plan->count; i++) {
        const plan_node *node = &plan->nodes[i];
        if (node->op == CRNN_OP_RECURRENT)
            fine = node->layer && layer_hold(&calls[i].held, (Recurrent *)node->layer);
        if (fine && (node->op == CRNN_OP_RECURRENT || node->op == CRNN_OP_STATE))
            fine = is_as_described(plan, node, calls);
    }
    if (fine) return calls;
    plan_release(plan, calls);
    return NULL;
}

void plan_release(const Plan *plan, node_call *calls) {
    for (size_t i = 0; calls && i < plan->count; i++) {
        layer_release(&calls[i].held);
        state_clear(&calls[i].initial);
        state_clear(&calls[i].final);
    }
    PyMem_Free(calls);
}

PyObject *plan_refuse(void) {
    if (!PyErr_Occurred()) return Py_NewRef(Py_None);
    if (!PyErr_ExceptionMatches(PyExc_ValueError) && !PyErr_ExceptionMatches(PyExc_TypeError))
        return NULL;
    PyErr_Clear();
    return Py_NewRef(Py_None);
}

/* What a recurrent node adds. */
static crnn_recurrent recurrent_of(const Plan *plan, const PlanTape *tape, size_t i,
                                   const node_call *call, const crnn_rows *rows) {
    const plan_node *node = &plan->nodes[i];
    Tape *own = tape->tapes[i];
    crnn_noise noise = own ? own->call.noise : tape->call.noise;
    if (!own) {
        noise.seed = call->held.seed;
        noise.layer = node->number;
    }
    return (crnn_recurrent){.layer = &call->held.layer,
                            .rows = own && own->layer.reverse ? &own->call.rows : rows,
                            .params = held_params(&call->held),
                            .table = node->inputs - floats_of(plan, node),
                            .symbols = node->symbols,
                            .vectors = data_of(node->w),
                            .dvectors = data_of(node->dw),
                            .noise = noise,
                            .initial = state_pointers(&call->initial),
                            .final = state_pointers(&call->final),
                            .tape = own ? &own->tape : NULL};
}

crnn_node plan_core_node(const Plan *plan, const PlanTape *tape, size_t i, const node_call *call,
                         const crnn_kernels *kernels, const crnn_rows *rows) {
    const plan_node *node = &plan->nodes[i];
    const bool symbols = i == 0 && tape->call.in.symbols;
    crnn_node core = {.op = node->op,
                      .edges = node->edges,
                      .from = node->from,
                      .features = symbols ? 0 : node->features,
                      .value = plan_value(tape, i),
                      .symbols = symbols ? (int64_t *)tape->call.in.symbols : NULL,
                      .filled = node->filled || tape->filled,
                      .rest = node->rest,
                      .once = node->once,
                      .kept = tape->kept[i],
                      .grads = data_of(node->dw)};
    if (node->op == CRNN_OP_RECURRENT) {
        core.as.recurrent = recurrent_of(plan, tape, i, call, rows);
    } else if (node->op == CRNN_OP_SUM) {
        core.as.sum = (crnn_sum){.w = data_of(node->w),
                                 .symbols = plan->nodes[0].symbols,
                                 .b = data_of(node->b),
                                 .dw = data_of(node->dw),
                                 .db = data_of(node->db)};
    } else if (node->op == CRNN_OP_ATTEND) {
        core.as.attend = (crnn_attend){.attention = tape->attention,
                                       .weights = data_of(tape->weights),
                                       .dv = data_of(node->dw)};
        core.as.attend.attention.v = data_of(node->w);
    } else if (node->op == CRNN_OP_ROWWISE) {
        const crnn_rowwise *run = &tape->plan->nodes[i].rowwise; /* what forward ran */
        crnn_noise noise = tape->call.noise;
        noise.seed = run->noise.seed;
        noise.layer = run->noise.layer;
        core.as.rowwise = *run;
        core.as.rowwise.kernels = kernels;
        core.as.rowwise.params = data_of(node->w);
        core.as.rowwise.noise = noise;
    } else if (node->op == CRNN_OP_POOL) {
        core.as.pool = node->how;
    } else if (node->op == CRNN_OP_STATE) {
        core.edges = 0;
        core.as.final = (crnn_final){.node = node->from[0].node, .cell = node->cell};
    }
    return core;
}

/* ---- whether a plan is still that of its model */

/* Whether an attribute is what it was: the same object, or an equal one. -1 with an exception. */
static int is_same(PyObject *object, PyObject *name, PyObject *expected) {
    PyObject *value = PyObject_GetAttr(object, name);
    const int same = value ? PyObject_RichCompareBool(value, expected, Py_EQ) : -1;
    drop(value);
    return same;
}

/* entry: (layer, type, __call__ of the type, names of attributes, their values, entries of the
 * layers inside, which the attributes tell). */
static int layer_unchanged(PyObject *layer, PyObject *entry, PyObject *call_name) {
    PyObject *type = PyTuple_GetItem(entry, 1), *names = PyTuple_GetItem(entry, 3),
             *values = PyTuple_GetItem(entry, 4), *inside = PyTuple_GetItem(entry, 5);
    if (layer != PyTuple_GetItem(entry, 0) || (PyObject *)Py_TYPE(layer) != type) return 0;
    int same = is_same(type, call_name, PyTuple_GetItem(entry, 2));
    for (Py_ssize_t k = 0; same > 0 && k < PyTuple_Size(names); k++)
        same = is_same(layer, PyTuple_GetItem(names, k), PyTuple_GetItem(values, k));
    for (Py_ssize_t k = 0; same > 0 && k < PyTuple_Size(inside); k++) {
        PyObject *part = PyTuple_GetItem(inside, k);
        same = layer_unchanged(PyTuple_GetItem(part, 0), part, call_name);
    }
    return same;
}

PyObject *unchanged(PyObject *module, PyObject *args) {
    PyObject *layers, *witness;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!O!:unchanged", &PyList_Type, &layers, &PyTuple_Type, &witness))
        return NULL;
    PyObject *call_name = PyUnicode_InternFromString("__call__");
    int same = call_name ? PyList_Size(layers) == PyTuple_Size(witness) : -1;
    for (Py_ssize_t i = 0; same > 0 && i < PyTuple_Size(witness); i++) {
        PyObject *layer = PySequence_GetItem(layers, i); /* its code may change the list */
        same = layer ? layer_unchanged(layer, PyTuple_GetItem(witness, i), call_name) : -1;
        drop(layer);
    }
    drop(call_name);
    return same < 0 ? NULL : PyBool_FromLong(same);
}

/* ---- the type */

/* Other objects may still refer to it: arrays of numbers, which are part of no cycle, remain. */
static int plan_clear(Plan *self) {
    for (size_t i = 0; self->nodes && i < self->count; i++) Py_CLEAR(self->nodes[i].layer);
    return 0;
}

static int plan_traverse(Plan *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    for (size_t i = 0; self->nodes && i < self->count; i++) Py_VISIT(self->nodes[i].layer);
    return 0;
}

static void plan_dealloc(Plan *self) {
    PyObject_GC_UnTrack(self);
    plan_clear(self);
    for (size_t i = 0; self->nodes && i < self->count; i++) {
        plan_node *node = &self->nodes[i];
        PyMem_Free(node->from);
        drop(node->w);
        drop(node->b);
        drop(node->dw);
        drop(node->db);
    }
    PyMem_Free(self->nodes);
    drop(self->states);
    object_free(self);
}

static bool plan_init(Plan *self, PyObject *nodes, PyObject *states) {
    if (!PyTuple_Check(nodes) || PyTuple_Size(nodes) < 2) return refuse_misfit("nodes");
    const size_t count = (size_t)PyTuple_Size(nodes);
    self->nodes = PyMem_Calloc(count, sizeof *self->nodes);
    if (!self->nodes) return PyErr_NoMemory() != NULL;
    self->count = count;
    if (!read_nodes(self, nodes)) return false;
    self->states = Py_NewRef(states);
    return check_form(self, states) || refuse_misfit("states");
}

static PyObject *plan_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"dtype", "nodes", "states", NULL};
    PyObject *dtype, *nodes, *states;
    module_state *module = state_of_type(type);
    if (!module ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "OOO:Plan", names, &dtype, &nodes, &states))
        return NULL;
    Plan *self = object_new(type);
    if (!self) return NULL;
    self->module = module;
    if (!parse_dtype(dtype, &self->dtype) || !plan_init(self, nodes, states)) Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *plan_draws(Plan *self, void *unused) {
    bool draws = false;
    (void)unused;
    for (size_t i = 0; i < self->count; i++) {
        const plan_node *node = &self->nodes[i];
        draws |= node->op == CRNN_OP_ROWWISE && node->rowwise.p > 0;
        draws |= node->layer && layer_draws(&((Recurrent *)node->layer)->layer);
    }
    return PyBool_FromLong(draws);
}

static PyGetSetDef plan_attributes[] = {
    {"stochastic", (getter)plan_draws, NULL,
     PyDoc_STR("Whether `forward` draws random numbers in training."), NULL},
    {0},
};

static PyMethodDef plan_methods[] = {
    {"forward", (PyCFunction)(void (*)(void))plan_forward, METH_FASTCALL,
     PyDoc_STR("forward($self, x, state, lengths, mask, resets, training, call, first_row, "
               "first_step, filled, keep, memory=None, /)\n--\n\n"
               "Return (y, state), with `keep` (y, state, tape); None if an argument does not "
               "fit.\n\n"
               "`memory`, of a plan with attention: (keys, values, lengths).")},
    {"backward", (PyCFunction)(void (*)(void))plan_backward, METH_FASTCALL,
     PyDoc_STR("backward($self, owner, tape, dy, dstate, trace, /)\n--\n\n"
               "Add to the gradients of all layers, and return (dx, dstate).\n\n"
               "With attention (dx, dstate, dkeys, dvalues). None if an argument does not fit. "
               "`owner` is the layer whose gradients these are.")},
    {"stream", (PyCFunction)plan_stream, METH_VARARGS,
     PyDoc_STR("stream($self, batch_size, state, memory=None, /)\n--\n\n"
               "Return a stream of the model; None if it does not run step by step.")},
    {"check", (PyCFunction)plan_check, METH_VARARGS,
     PyDoc_STR("check($self, tape, dstate, /)\n--\n\nReturn whether backward would take these.")},
    {0},
};

static PyType_Slot plan_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Plan(dtype, nodes, states)\n--\n\n"
                                  "A model that the core runs in one call.\n\n"
                                  "`nodes` has a tuple (operation, edges, filled, rest) for each "
                                  "operation; an edge is a pair (node, delay).")},
    {Py_tp_new, plan_new},
    {Py_tp_dealloc, plan_dealloc},
    {Py_tp_traverse, plan_traverse},
    {Py_tp_clear, plan_clear},
    {Py_tp_methods, plan_methods},
    {Py_tp_getset, plan_attributes},
    {0, NULL},
};
PyType_Spec plan_spec = {"crnn._core.Plan", sizeof(Plan), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, plan_slots};
