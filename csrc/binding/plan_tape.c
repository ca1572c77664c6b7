/* The tape of a plan: all that one forward was given and made. */
#include "plan.h"

static void plan_tape_dealloc(PlanTape *self) {
    const size_t count = self->plan ? self->plan->count : 0;
    PyObject_GC_UnTrack(self);
    for (size_t i = 0; i < count; i++) {
        if (self->tapes) drop(self->tapes[i]);
        if (self->kept) free_aligned(self->kept[i]);
        if (self->starts) state_clear(&self->starts[i]);
    }
    PyMem_Free(self->starts);
    PyMem_Free(self->tapes);
    PyMem_Free(self->kept);
    PyMem_Free(self->place);
    attention_clear(&self->memory);
    drop(self->weights);
    drop(self->values);
    drop(self->passing);
    drop(self->y);
    call_clear(&self->call);
    drop(self->plan);
    object_free(self);
}

static int plan_tape_traverse(PlanTape *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->plan);
    return 0;
}

bool plan_keeps(const PlanTape *tape, size_t i) {
    return tape->needs_dx || tape->plan->nodes[i].trains;
}

bool plan_keeps_value(const PlanTape *tape, size_t i) {
    return plan_keeps(tape, i) || tape->plan->nodes[i].is_read;
}

PlanTape *plan_tape_new(Plan *plan) {
    PlanTape *tape = object_new(plan->module->plan_tape);
    if (!tape) return NULL;
    tape->plan = (Plan *)Py_NewRef((PyObject *)plan);
    tape->needs_dx = true;
    tape->place = PyMem_Calloc(plan->count, sizeof *tape->place);
    tape->tapes = PyMem_Calloc(plan->count, sizeof *tape->tapes);
    tape->kept = PyMem_Calloc(plan->count, sizeof *tape->kept);
    tape->starts = PyMem_Calloc(plan->count, sizeof *tape->starts);
    if (tape->place && tape->tapes && tape->kept && tape->starts) return tape;
    PyErr_NoMemory();
    drop(tape);
    return NULL;
}

size_t plan_steps(const PlanTape *tape, size_t i) {
    return tape->plan->nodes[i].once ? 1 : tape->call.rows.given.steps;
}

bool plan_value_size(const PlanTape *tape, size_t i, size_t *size) {
    return crnn_size_mul(tape->call.rows.given.batch * plan_steps(tape, i),
                         tape->plan->nodes[i].features, size);
}

crnn_seq plan_value(const PlanTape *tape, size_t i) {
    const plan_node *node = &tape->plan->nodes[i];
    const size_t steps = plan_steps(tape, i), item = crnn_dtype_size(tape->plan->dtype);
    const bool passes = tape->passing && !plan_keeps_value(tape, i);
    char *block = data_of(passes ? tape->passing : tape->values);
    if (i == 0) return tape->call.in.x;
    if (i + 1 == tape->plan->count) return tape->y ? seq_of(tape->y) : (crnn_seq){0};
    return (crnn_seq){block + tape->place[i] * item, (ptrdiff_t)(steps * node->features),
                      (ptrdiff_t)node->features};
}

PyArrayObject *plan_rows(const PlanTape *tape, size_t steps, size_t features) {
    npy_intp shape[3] = {(npy_intp)tape->call.rows.given.batch, (npy_intp)steps,
                         (npy_intp)features};
    return (PyArrayObject *)new_array(tape->plan->module, 3, shape, tape->plan->dtype);
}

PyArrayObject *plan_array(const PlanTape *tape, size_t i) {
    const plan_node *node = &tape->plan->nodes[i];
    npy_intp shape[2] = {(npy_intp)tape->call.rows.given.batch, (npy_intp)node->features};
    if (!node->once) return plan_rows(tape, plan_steps(tape, i), node->features);
    return (PyArrayObject *)new_array(tape->plan->module, 2, shape, tape->plan->dtype);
}

/* ---- the type */

/* The value of a node (B, T, features) or (B, features), a copy; x where it is the input; None
 * where the tape does not have it. */
static PyObject *plan_tape_value(PlanTape *self, PyObject *index) {
    const size_t i = PyLong_AsSize_t(index);
    if (PyErr_Occurred()) return NULL;
    if (i >= self->plan->count) return refused("index");
    if (!plan_keeps_value(self, i)) return Py_NewRef(Py_None);
    if (i == 0) return Py_NewRef((PyObject *)self->call.x);
    if (i + 1 == self->plan->count) return PyArray_NewCopy(self->y, NPY_CORDER);
    PyArrayObject *copy = plan_array(self, i);
    if (copy) memcpy(PyArray_DATA(copy), plan_value(self, i).data, (size_t)PyArray_NBYTES(copy));
    return (PyObject *)copy;
}

/* The value that a node reads with its first edge. */
static PyObject *plan_tape_read(PlanTape *self, PyObject *index) {
    const size_t i = PyLong_AsSize_t(index);
    if (PyErr_Occurred()) return NULL;
    if (i >= self->plan->count || self->plan->nodes[i].edges == 0) return refused("index");
    PyObject *from = PyLong_FromSize_t(self->plan->nodes[i].from[0].node);
    PyObject *value = from ? plan_tape_value(self, from) : NULL;
    drop(from);
    return value;
}

/* The tape of a recurrent node. One that has read symbols with vectors is given these, (B, T, E),
 * and from then on is the tape of a layer that has read them. */
static PyObject *plan_tape_layer(PlanTape *self, PyObject *args) {
    PyObject *vectors;
    Py_ssize_t i;
    if (!PyArg_ParseTuple(args, "nO:layer", &i, &vectors)) return NULL;
    if (i < 0 || (size_t)i >= self->plan->count || !self->tapes[i]) return refused("index");
    call *own = &self->tapes[i]->call;
    if (self->plan->nodes[i].w && self->plan->nodes[i].edges == 1 && !own->in.x.data) {
        dims shape = {3,
                      {(npy_intp)own->rows.given.batch, (npy_intp)own->rows.given.steps,
                       (npy_intp)self->tapes[i]->layer.inputs},
                      {"B", "T", "E"}};
        PyArrayObject *x = sequence_array(self->plan->module, "vectors", vectors, self->plan->dtype,
                                          &shape, &own->in.x);
        if (!x) return NULL;
        drop(own->x);
        own->x = x;
    }
    return Py_NewRef((PyObject *)self->tapes[i]);
}

/* The initial state of a node with a state of its own, as it was given; None: none was. */
static PyObject *plan_tape_start(PlanTape *self, PyObject *index) {
    const size_t i = PyLong_AsSize_t(index);
    if (PyErr_Occurred()) return NULL;
    if (i >= self->plan->count) return refused("index");
    return self->starts[i].h ? state_object(&self->starts[i]) : Py_NewRef(Py_None);
}

/* Columns of the weights of attention: S + T, or those of a memory. */
static size_t columns_of(const PlanTape *tape, size_t i) {
    const state_arrays *start = &tape->starts[plan_owner(tape->plan, i)];
    if (tape->plan->nodes[i].op == CRNN_OP_HEADS)
        return node_slots(start) + tape->call.rows.given.steps;
    return start->memory ? (size_t)PyArray_DIM(start->memory, 1) : 0;
}

/* The weights (B, M, T, S + T) of self-attention, or (B, M, T, T_s) of attention to a memory: the
 * node runs again on what it has read. */
static PyObject *plan_tape_attention(PlanTape *self, PyObject *index) {
    const size_t i = PyLong_AsSize_t(index);
    const node_call none = {0};
    if (PyErr_Occurred()) return NULL;
    const Plan *plan = self->plan;
    if (i >= plan->count ||
        (plan->nodes[i].op != CRNN_OP_HEADS && plan->nodes[i].op != CRNN_OP_CROSS))
        return refused("index");
    const size_t from = plan->nodes[i].from[0].node;
    if (!plan_keeps_value(self, from)) return Py_NewRef(Py_None);
    const crnn_steps *s = &self->call.rows.given;
    const npy_intp shape[4] = {(npy_intp)s->batch, (npy_intp)plan->nodes[i].heads,
                               (npy_intp)s->steps, (npy_intp)columns_of(self, i)};
    PyArrayObject *weights = (PyArrayObject *)new_array(plan->module, 4, shape, plan->dtype);
    PyArrayObject *value = weights ? plan_array(self, i) : NULL;
    const crnn_edge edge = {0};
    crnn_node nodes[2] = {{.op = CRNN_OP_INPUT,
                           .features = plan->nodes[from].features,
                           .value = plan_value(self, from)}};
    crnn_plan core = {.kernels = crnn_kernels_now(plan->dtype),
                      .rows = &self->call.rows,
                      .count = 2,
                      .node = nodes};
    nodes[1] = plan_core_node(plan, self, i, &none, core.kernels, core.rows);
    nodes[1].from = &edge;
    nodes[1].kept = NULL;
    if (nodes[1].op == CRNN_OP_CROSS)
        nodes[1].as.cross.weights = data_of(weights);
    else
        nodes[1].as.heads.weights = data_of(weights);
    if (value) nodes[1].value = seq_of(value);
    size_t bytes;
    const bool fine = value && check_status(crnn_plan_workspace(&core, &bytes), "x") &&
                      (core.workspace = alloc_aligned(bytes));
    if (fine) {
        Py_BEGIN_ALLOW_THREADS crnn_plan_forward(&core);
        Py_END_ALLOW_THREADS
    }
    free_aligned(core.workspace);
    drop(value);
    if (!fine) Py_CLEAR(weights);
    return (PyObject *)weights;
}

/* Whether the tape has what backward of a node reads. */
static PyObject *plan_tape_keeps(PlanTape *self, PyObject *index) {
    const size_t i = PyLong_AsSize_t(index);
    if (PyErr_Occurred()) return NULL;
    return i < self->plan->count ? PyBool_FromLong(plan_keeps(self, i)) : refused("index");
}

static PyObject *plan_tape_weights(PlanTape *self, void *unused) {
    (void)unused;
    if (!self->weights) return Py_NewRef(Py_None);
    return PyArray_NewCopy(self->weights, NPY_CORDER); /* backward needs them as they are */
}

PyObject *plan_add_name(PyObject *names, const plan_node *node, const crnn_layer *layer) {
    if (!names) return NULL;
    const char *name = node->op == CRNN_OP_CONV        ? "CausalConv"
                       : node->op == CRNN_OP_HEADS     ? "SelfAttention"
                       : node->op == CRNN_OP_POSITIONS ? "Positions"
                                                       : layer_type_name(layer);
    PyObject *more =
        PyUnicode_FromFormat("%U%s%s", names, PyUnicode_GetLength(names) ? ", " : "", name);
    drop(names);
    return more;
}

/* <PlanTape of LSTM, LSTM: B=2, T=7, T_source=5>; without attention <PlanTape of LSTM: B=2, T=7> */
static PyObject *plan_tape_repr(PlanTape *self) {
    const crnn_steps *s = &self->call.rows.given;
    const size_t count = self->plan && self->tapes ? self->plan->count : 0;
    PyObject *names = PyUnicode_FromString(""), *text = NULL;
    for (size_t i = 0; i < count; i++) {
        const plan_node *node = &self->plan->nodes[i];
        if (self->tapes[i] || (node_has_state(node) && !node->layer))
            names = plan_add_name(names, node, self->tapes[i] ? &self->tapes[i]->layer : NULL);
    }
    if (names && self->weights)
        text = PyUnicode_FromFormat("<PlanTape of %U: B=%zu, T=%zu, T_source=%zu>", names, s->batch,
                                    s->steps, self->attention.steps);
    else if (names)
        text = PyUnicode_FromFormat("<PlanTape of %U: B=%zu, T=%zu>", names, s->batch, s->steps);
    drop(names);
    return text;
}

static PyGetSetDef plan_tape_attributes[] = {
    {"weights", (getter)plan_tape_weights, NULL,
     PyDoc_STR("Array (B, T, T_source): attention weights of each step; None without attention."),
     NULL},
    {0},
};

static PyMethodDef plan_tape_methods[] = {
    {"value", (PyCFunction)plan_tape_value, METH_O,
     PyDoc_STR("value($self, node, /)\n--\n\nReturn the value of a node, (B, T, features) or "
               "(B, features), or None if the tape does not have it.")},
    {"keeps", (PyCFunction)plan_tape_keeps, METH_O,
     PyDoc_STR("keeps($self, node, /)\n--\n\nReturn whether backward may run a node.")},
    {"attention", (PyCFunction)plan_tape_attention, METH_O,
     PyDoc_STR("attention($self, node, /)\n--\n\nReturn the weights of attention before dropout.\n\n"
               "They are (B, M, T, S + T), or (B, M, T, T_s) for a memory; None if the tape does "
               "not have what the node read.")},
    {"start", (PyCFunction)plan_tape_start, METH_O,
     PyDoc_STR("start($self, node, /)\n--\n\nReturn the initial state of a node that is no "
               "recurrent layer; None if none was given.")},
    {"read", (PyCFunction)plan_tape_read, METH_O,
     PyDoc_STR("read($self, node, /)\n--\n\nReturn the value that a node reads.")},
    {"layer", (PyCFunction)plan_tape_layer, METH_VARARGS,
     PyDoc_STR("layer($self, node, vectors, /)\n--\n\nReturn the tape of a recurrent node, which "
               "reads these vectors if it has an embedding.")},
    {0},
};

static PyType_Slot plan_tape_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Tape of a model that the core ran in one call.")},
    {Py_tp_repr, plan_tape_repr},
    {Py_tp_dealloc, plan_tape_dealloc},
    {Py_tp_traverse, plan_tape_traverse},
    {Py_tp_methods, plan_tape_methods},
    {Py_tp_getset, plan_tape_attributes},
    {0, NULL},
};
PyType_Spec plan_tape_spec = {
    "crnn._core.PlanTape", sizeof(PlanTape), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, plan_tape_slots};
