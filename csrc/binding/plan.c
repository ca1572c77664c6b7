/* The type Plan: a model whose layers the core runs in one call. */
#include "plan.h"

/* ---- what the passes share */

/* Whether a layer is one like that of which the plan was made: __init__ may have run again. */
static bool is_as_described(const Plan *plan, const plan_node *node, const node_call *calls) {
    if (node->op == CRNN_OP_STATE)
        return plan_state_width(&calls[node->from[0].node].held.layer, node->cell) ==
                   node->features ||
               refuse_misfit("layer");
    const crnn_layer *layer = &calls[node - plan->nodes].held.layer;
    return (layer->dtype == plan->dtype && layer->inputs == node->inputs &&
            crnn_width(layer) == node->features && !(node->cyclic && layer->reverse)) ||
           refuse_misfit("layer");
}

node_call *plan_hold(const Plan *plan, bool grads) {
    node_call *calls = PyMem_Calloc(plan->count, sizeof *calls);
    bool fine = calls || PyErr_NoMemory() != NULL;
    for (size_t i = 0; fine && i < plan->count; i++) {
        const plan_node *node = &plan->nodes[i];
        if (node->op == CRNN_OP_RECURRENT)
            fine = node->layer &&
                   layer_hold(&calls[i].held, (Recurrent *)node->layer, grads && !node->frozen);
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

PyObject *plan_refuse(const Plan *plan, const char *name) {
    if (plan->strict) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_TypeError,
                         "%s: expected one that forward of this layer returned, got another one",
                         name);
        return NULL;
    }
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
    return (crnn_recurrent){
        .layer = &call->held.layer,
        .rows = own && plan_has_own_rows(&own->call.rows.given) ? &own->call.rows : rows,
        .params = held_params(&call->held),
        .table = node->inputs - plan_floats_beside_symbols(plan, node),
        .symbols = node->symbols,
        .vectors = data_of(node->w),
        .dvectors = data_of(node->dw),
        .noise = noise,
        .kept = crnn_kept_share(&call->held.layer, held_params(&call->held)),
        .tape = own ? &own->tape : NULL};
}

/* What a convolution adds. */
static crnn_conv conv_of(const plan_node *node, const crnn_rows *rows) {
    return (crnn_conv){.rows = rows,
                       .taps = node->taps,
                       .dilation = node->dilation,
                       .activation = node->activation,
                       .w = data_of(node->w),
                       .g = data_of(node->g),
                       .b = data_of(node->b),
                       .dw = data_of(node->dw),
                       .dg = data_of(node->dg),
                       .db = data_of(node->db)};
}

/* What self-attention adds. */
static crnn_heads heads_of(const PlanTape *tape, const plan_node *node, const crnn_rows *rows) {
    crnn_noise noise = tape->call.noise;
    noise.seed = node->seed;
    noise.layer = node->number;
    return (crnn_heads){.rows = rows,
                        .heads = node->heads,
                        .window = node->window,
                        .whole = node->whole,
                        .rotary = node->rotary,
                        .p = node->p,
                        .noise = noise};
}

/* What positions add. */
static crnn_positions positions_of(const plan_node *node, const crnn_rows *rows) {
    return (crnn_positions){.rows = rows, .table = data_of(node->w), .dtable = data_of(node->dw)};
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
                      .filled = !node->repeats && (node->filled || tape->filled),
                      .repeats = node->repeats,
                      .backwards = node->backwards,
                      .rest = node->rest,
                      .once = node->once,
                      .kept = tape->kept[i],
                      .grads = data_of(node->dw)};
    if (node->op == CRNN_OP_RECURRENT) {
        core.as.recurrent = recurrent_of(plan, tape, i, call, rows);
    } else if (node->op == CRNN_OP_CONV) {
        core.as.conv = conv_of(node, rows);
    } else if (node->op == CRNN_OP_HEADS) {
        core.as.heads = heads_of(tape, node, rows);
    } else if (node->op == CRNN_OP_CROSS) {
        core.as.cross = cross_of(tape, node);
    } else if (node->op == CRNN_OP_POSITIONS) {
        core.as.positions = positions_of(node, rows);
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
    const state_arrays *start = &tape->starts[plan_owner(plan, i)];
    node_set_states(&core, start->h ? start : &call->initial, &call->final, 0);
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
        drop(node->g);
        drop(node->dw);
        drop(node->db);
        drop(node->dg);
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
    if (!plan_read_nodes(self, nodes)) return false;
    self->states = Py_NewRef(states);
    return plan_check_form(self, states) || refuse_misfit("states");
}

static PyObject *plan_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"dtype", "nodes", "states", "strict", NULL};
    PyObject *dtype, *nodes, *states;
    int strict = 0;
    module_state *module = state_of_type(type);
    if (!module || !PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|p:Plan", names, &dtype, &nodes,
                                                &states, &strict))
        return NULL;
    Plan *self = object_new(type);
    if (!self) return NULL;
    self->module = module;
    self->strict = strict;
    if (!parse_dtype(dtype, &self->dtype) || !plan_init(self, nodes, states)) Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *plan_draws(Plan *self, void *unused) {
    bool draws = false;
    (void)unused;
    for (size_t i = 0; i < self->count; i++) {
        const plan_node *node = &self->nodes[i];
        draws |= (node->op == CRNN_OP_ROWWISE && node->rowwise.p > 0) || node->p > 0;
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
     PyDoc_STR(
         "forward($self, x, state, lengths, mask, resets, training, call, first_row, "
         "first_step, filled, keep, memory=None, needs_dx=True, /)\n--\n\n"
         "Return (y, state), with `keep` (y, state, tape); None if an argument does not "
         "fit.\n\n"
         "`memory`, of a plan with attention: (keys, values, lengths). If `needs_dx` is False, "
         "the tape has only what the gradients of parameters need that are not frozen: "
         "backward returns None for x, for the memory, and for states of layers that it does "
         "not run.")},
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
    {Py_tp_doc, (void *)PyDoc_STR("Plan(dtype, nodes, states, strict=False)\n--\n\n"
                                  "A model that the core runs in one call.\n\n"
                                  "`nodes` has a tuple (operation, edges, filled, rest) for each "
                                  "operation; an edge is a pair (node, delay). A strict plan "
                                  "raises an error where another one returns None.")},
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
