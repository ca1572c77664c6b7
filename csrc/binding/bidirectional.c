/* Two layers over the same input, one of them reading it backwards, and their outputs merged. It
 * calls its layers through their public methods, so that a method overridden by a subclass is used.
 * Such a method may return anything: what memory depends on is checked here. */
#include "docs.h"
#include "pair.h"

typedef struct Bidirectional {
    PyObject_HEAD
    module_state *module;
    PyObject *forward_layer, *backward_layer;
    merge merge;
} Bidirectional;

/* ---- the state: a pair with names */

static PyStructSequence_Field pair_state_fields[] = {
    {"forward", "State of forward_layer, after the last valid step of each row."},
    {"backward", "State of backward_layer, after step 0, which it reads last."},
    {0},
};
PyStructSequence_Desc pair_state_desc = {
    "crnn._core.PairState", "Pair (forward, backward) of the states of a Bidirectional.",
    pair_state_fields, 2};

/* Of new references to f and b, which it takes. */
static PyObject *pair_state_new(module_state *module, PyObject *f, PyObject *b) {
    PyObject *pair = PyStructSequence_New(module->pair_state);
    if (!pair) {
        drop(f);
        drop(b);
        return NULL;
    }
    PyStructSequence_SetItem(pair, 0, f);
    PyStructSequence_SetItem(pair, 1, b);
    return pair;
}

/* ---- calling the layers */

/* (state of forward_layer, state of backward_layer), or (None, None). */
static bool split_pair(const char *name, PyObject *given, both *out) {
    if (given == Py_None) {
        out->f = Py_NewRef(Py_None);
        out->b = Py_NewRef(Py_None);
        return true;
    }
    if ((PyTuple_Check(given) || PyList_Check(given)) && PySequence_Size(given) == 2) {
        out->f = PySequence_GetItem(given, 0);
        out->b = PySequence_GetItem(given, 1);
        return out->f && out->b;
    }
    PyErr_Format(PyExc_TypeError,
                 "%s: expected None or the pair (forward, backward) of states, got %.200R", name,
                 given);
    return false;
}

static bool bidirectional_ready(const Bidirectional *self) {
    if (self->forward_layer) return true;
    PyErr_SetString(PyExc_RuntimeError, "the layer has no parts: its __init__ was not called");
    return false;
}

/* The layers as they are when a call begins: __init__ may run meanwhile, in another thread or in a
 * method of a subclass. */
static bool hold_layers(Bidirectional *self, both *layers) {
    *layers = (both){0};
    LOCK(self);
    if (bidirectional_ready(self))
        *layers = (both){Py_NewRef(self->forward_layer), Py_NewRef(self->backward_layer)};
    UNLOCK();
    return layers->f != NULL;
}

static PyObject *run_layer(PyObject *layer, bool keep, PyObject *x, PyObject *state,
                           PyObject *kwargs) {
    PyObject *callee = keep ? PyObject_GetAttrString(layer, "forward") : Py_NewRef(layer);
    PyObject *args = callee ? PyTuple_Pack(2, x, state) : NULL;
    PyObject *result = args ? PyObject_Call(callee, args, kwargs) : NULL;
    drop(args);
    drop(callee);
    const Py_ssize_t items = keep ? 3 : 2;
    if (result && (!PyTuple_Check(result) || PyTuple_Size(result) != items ||
                   !PyArray_Check(PyTuple_GetItem(result, 0)) ||
                   PyArray_NDIM((PyArrayObject *)PyTuple_GetItem(result, 0)) != 3)) {
        PyErr_Format(PyExc_TypeError,
                     "%.200R: expected a tuple of %zd from %s, with y (B, T, P) first, got %.200R",
                     layer, items, keep ? "forward" : "__call__", result);
        Py_CLEAR(result);
    }
    return result;
}

/* Adds the place of a layer to the error that it raised, as all compositions do. */
static void add_place(Bidirectional *self, const char *key) {
    if (!PyErr_ExceptionMatches(PyExc_Exception)) return;
    PyObject *type = NULL, *error = NULL, *trace = NULL;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    PyObject *places = PyImport_ImportModule("crnn.layers.base.places");
    PyObject *done =
        places ? PyObject_CallMethod(places, "add_place", "OOs", error, self, key) : NULL;
    if (!done) PyErr_Clear(); /* the error itself says more */
    drop(done);
    drop(places);
    PyErr_Restore(type, error, trace);
}

/* Whether both layers gave a result; else names the one that raised. */
static bool both_there(Bidirectional *self, const both *results) {
    if (!results->b) add_place(self, results->f ? "backward_layer" : "forward_layer");
    return results->b != NULL;
}

static bool run_both(Bidirectional *self, const both *layers, bool keep, PyObject *x,
                     PyObject *state, PyObject *kwargs, both *out) {
    both states = {0};
    const bool fine = split_pair("state", state, &states);
    if (fine) out->f = run_layer(layers->f, keep, x, states.f, kwargs);
    if (out->f) out->b = run_layer(layers->b, keep, x, states.b, kwargs);
    both_clear(&states);
    return fine && both_there(self, out);
}

/* (y, states) or (y, states, tape) of what both directions returned. */
static PyObject *join_outputs(module_state *module, merge how, bool keep, crnn_dtype dtype,
                              const both *results) {
    PyArrayObject *y = merge_outputs(how, dtype, results);
    PyObject *states = NULL, *tuple = NULL;
    PairTape *tape = NULL;
    if (y)
        states = pair_state_new(module, Py_NewRef(PyTuple_GetItem(results->f, 1)),
                                Py_NewRef(PyTuple_GetItem(results->b, 1)));
    if (states && !keep) tuple = PyTuple_Pack(2, y, states);
    if (states && keep && (tape = pair_tape_new(module, how, results, y)))
        tuple = PyTuple_Pack(3, y, states, tape);
    drop(y);
    drop(states);
    drop(tape);
    return tuple;
}

/* x for both directions: floats that a tape keeps are copied once. A new reference. */
static PyObject *shared_input(module_state *module, bool keep, PyObject *x) {
    if (!keep || !PyArray_Check(x) || !PyArray_ISFLOAT((PyArrayObject *)x)) return Py_NewRef(x);
    return (PyObject *)kept_array(module, (PyArrayObject *)Py_NewRef(x));
}

static PyObject *run(Bidirectional *self, bool keep, PyObject *x, PyObject *state,
                     PyObject *kwargs) {
    both layers, results = {0};
    const merge how = self->merge;
    PyObject *result = NULL, *shared = NULL;
    if (!hold_layers(self, &layers)) return NULL;
    const crnn_dtype dtype = ((const Recurrent *)layers.f)->layer.dtype;
    shared = shared_input(self->module, keep, x);
    if (shared && run_both(self, &layers, keep, shared, state, kwargs, &results))
        result = join_outputs(self->module, how, keep, dtype, &results);
    drop(shared);
    both_clear(&results);
    both_clear(&layers);
    return result;
}

/* The keyword arguments for the layers: those that were given. */
static PyObject *layer_kwargs(const call_arguments *given) {
    const struct {
        const char *name;
        PyObject *value;
    } all[] = {
        {"lengths", given->lengths},       {"mask", given->mask},  {"resets", given->resets},
        {"training", given->training},     {"call", given->call},  {"first_row", given->first_row},
        {"first_step", given->first_step}, {"layer", given->layer}};
    PyObject *kwargs = PyDict_New();
    for (size_t i = 0; kwargs && i < sizeof all / sizeof *all; i++)
        if (all[i].value && PyDict_SetItemString(kwargs, all[i].name, all[i].value) < 0)
            Py_CLEAR(kwargs);
    return kwargs;
}

/* Whether the parts draw what depends on `call`: the attribute of crnn.Layer, which the types of
 * the core lack. -1 with an exception. */
static int pair_draws(Bidirectional *self) {
    PyObject *value = PyObject_GetAttrString((PyObject *)self, "stochastic");
    if (!value && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        return 0;
    }
    const int draws = value ? PyObject_IsTrue(value) : -1;
    drop(value);
    return draws;
}

/* The pair's own number for a training call that was given none: a new reference, or NULL where
 * nothing is drawn. False with an exception. */
static bool number_call(Bidirectional *self, const call_arguments *given, PyObject **number) {
    const int training = given->training ? PyObject_IsTrue(given->training) : 0;
    *number = NULL;
    if (given->call || training <= 0) return training >= 0;
    const int draws = pair_draws(self);
    if (draws > 0) *number = next_call((PyObject *)self);
    return draws == 0 || *number;
}

static PyObject *run_numbered(Bidirectional *self, call_arguments *given, bool keep) {
    PyObject *number, *result = NULL;
    if (!number_call(self, given, &number)) return NULL;
    if (number) given->call = number;
    PyObject *options = layer_kwargs(given);
    if (options) result = run(self, keep, given->x, given->state ? given->state : Py_None, options);
    drop(options);
    drop(number);
    return result;
}

static PyObject *bidirectional_call(Bidirectional *self, PyObject *args, PyObject *kwargs) {
    call_arguments given;
    return call_parse(&given, args, kwargs, false) ? run_numbered(self, &given, false) : NULL;
}

static PyObject *bidirectional_call_method(Bidirectional *self, PyObject *const *values,
                                           Py_ssize_t count, PyObject *names) {
    call_arguments given;
    return call_parse_vector(&given, values, count, names) ? run_numbered(self, &given, false)
                                                           : NULL;
}

static PyObject *bidirectional_forward(Bidirectional *self, PyObject *args, PyObject *kwargs) {
    call_arguments given;
    return call_parse(&given, args, kwargs, true) ? run_numbered(self, &given, true) : NULL;
}

/* ---- backward */

static PyObject *walk_back(PyObject *layer, PyObject *tape, PyObject *dy, PyObject *dstate,
                           PyObject *kwargs) {
    PyObject *method = PyObject_GetAttrString(layer, "backward");
    PyObject *args = method ? PyTuple_Pack(3, tape, dy, dstate) : NULL;
    PyObject *result = args ? PyObject_Call(method, args, kwargs) : NULL;
    drop(args);
    drop(method);
    if (result && (!PyTuple_Check(result) || PyTuple_Size(result) != 2)) {
        PyErr_Format(PyExc_TypeError,
                     "%.200R: expected the pair (dx, dstate) from backward, got %.200R", layer,
                     result);
        Py_CLEAR(result);
    }
    return result;
}

/* (dx_f + dx_b, (dstate_f, dstate_b)). */
static PyObject *join_gradients(module_state *module, const both *results) {
    PyObject *dx_f = PyTuple_GetItem(results->f, 0), *dx_b = PyTuple_GetItem(results->b, 0);
    PyObject *dx = dx_f == Py_None ? Py_NewRef(Py_None) : PyNumber_Add(dx_f, dx_b);
    PyObject *dstates = dx ? pair_state_new(module, Py_NewRef(PyTuple_GetItem(results->f, 1)),
                                            Py_NewRef(PyTuple_GetItem(results->b, 1)))
                           : NULL;
    PyObject *tuple = dstates ? PyTuple_Pack(2, dx, dstates) : NULL;
    drop(dx);
    drop(dstates);
    return tuple;
}

static PairTape *check_pair_tape(const module_state *module, merge how, PyObject *object) {
    if (!PyObject_TypeCheck(object, module->pair_tape)) {
        PyErr_Format(PyExc_TypeError,
                     "tape: expected the PairTape that forward returned, got %.200R", object);
        return NULL;
    }
    PairTape *tape = (PairTape *)object;
    if (tape->merge == how) return tape;
    PyErr_Format(PyExc_ValueError, "tape: expected one of a layer with merge '%s', got merge '%s'",
                 merge_names[how], merge_names[tape->merge]);
    return NULL;
}

/* Everything that could be wrong is looked at before either layer adds to its grads. */
static bool check_backward(Bidirectional *self, const both *layers, const PairTape *tape,
                           PyObject *dstate, both *dstates) {
    if (!split_pair("dstate", dstate, dstates)) return false;
    const bool f = recurrent_check_backward((Recurrent *)layers->f, tape->forward_tape, dstates->f);
    const bool b =
        f && recurrent_check_backward((Recurrent *)layers->b, tape->backward_tape, dstates->b);
    if (!b) add_place(self, f ? "backward_layer" : "forward_layer");
    return b;
}

static PyObject *bidirectional_check(Bidirectional *self, PyObject *args) {
    PyObject *object, *dstate;
    both layers, dstates = {0};
    if (!PyArg_ParseTuple(args, "OO:check_backward", &object, &dstate) ||
        !hold_layers(self, &layers))
        return NULL;
    const PairTape *tape = check_pair_tape(self->module, self->merge, object);
    const bool fine = tape && check_backward(self, &layers, tape, dstate, &dstates);
    both_clear(&dstates);
    both_clear(&layers);
    return fine ? Py_NewRef(Py_None) : NULL;
}

/* Both tapes walked back; every argument has been checked. */
static PyObject *back_both(Bidirectional *self, const both *layers, const PairTape *tape,
                           const both *dys, const both *dstates, PyObject *kwargs) {
    both results = {0};
    PyObject *joined = NULL;
    results.f = walk_back(layers->f, tape->forward_tape, dys->f, dstates->f, kwargs);
    if (results.f)
        results.b = walk_back(layers->b, tape->backward_tape, dys->b, dstates->b, kwargs);
    if (both_there(self, &results)) joined = join_gradients(self->module, &results);
    both_clear(&results);
    return joined;
}

static PyObject *run_backward(Bidirectional *self, const both *layers, const PairTape *tape,
                              PyObject *dy, PyObject *dstate, PyObject *kwargs) {
    both dys = {0}, dstates = {0};
    writer writer;
    PyObject *result = NULL;
    if (check_backward(self, layers, tape, dstate, &dstates) && split_dy(tape, dy, &dys) &&
        writer_enter(self->module, &writer, (PyObject *)self)) {
        result = back_both(self, layers, tape, &dys, &dstates, kwargs);
        writer_leave(self->module, &writer);
    }
    both_clear(&dys);
    both_clear(&dstates);
    return result;
}

static PyObject *bidirectional_backward(Bidirectional *self, PyObject *args, PyObject *given) {
    static char *names[] = {"tape", "dy", "dstate", "trace", NULL};
    PyObject *object, *dy, *dstate = Py_None, *trace = Py_False, *result = NULL;
    both layers;
    if (!PyArg_ParseTupleAndKeywords(args, given, "OO|O$O:backward", names, &object, &dy, &dstate,
                                     &trace) ||
        !hold_layers(self, &layers))
        return NULL;
    const PairTape *tape = check_pair_tape(self->module, self->merge, object);
    PyObject *kwargs = tape ? PyDict_New() : NULL;
    if (kwargs && PyDict_SetItemString(kwargs, "trace", trace) == 0)
        result = run_backward(self, &layers, tape, dy, dstate, kwargs);
    drop(kwargs);
    both_clear(&layers);
    return result;
}

/* ---- the type */

static bool parse_merge(PyObject *given, merge *how) {
    for (int i = 0; i < MERGES && PyUnicode_Check(given); i++) {
        *how = (merge)i;
        if (PyUnicode_CompareWithASCIIString(given, merge_names[i]) == 0) return true;
    }
    PyErr_Format(PyExc_ValueError, "merge: expected 'concat', 'sum', 'mean' or 'mul', got %R",
                 given);
    return false;
}

static bool check_part(const Bidirectional *self, const char *name, PyObject *layer, bool reverse) {
    if (!PyObject_TypeCheck(layer, self->module->recurrent)) {
        PyErr_Format(PyExc_TypeError, "%s: expected a recurrent layer (%s), got %.200R", name,
                     layer_type_names, layer);
        return false;
    }
    const Recurrent *part = (const Recurrent *)layer;
    if (!recurrent_ready(part)) return false;
    if (part->layer.reverse == reverse) return true;
    PyErr_Format(PyExc_ValueError, "%s: expected a layer with reverse=%s, got %.200R", name,
                 reverse ? "True" : "False", layer);
    return false;
}

static int bidirectional_clear(Bidirectional *self) {
    Py_CLEAR(self->forward_layer);
    Py_CLEAR(self->backward_layer);
    return 0;
}

static int bidirectional_init(Bidirectional *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"forward_layer", "backward_layer", "merge", NULL};
    PyObject *f, *b, *word = NULL;
    merge how = CONCAT;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O:Bidirectional", names, &f, &b, &word) ||
        !check_part(self, "forward_layer", f, false) ||
        !check_part(self, "backward_layer", b, true) || (word && !parse_merge(word, &how)))
        return -1;
    const crnn_layer *one = &((Recurrent *)f)->layer, *two = &((Recurrent *)b)->layer;
    if (one->inputs != two->inputs || crnn_width(one) != crnn_width(two) ||
        one->dtype != two->dtype) {
        PyErr_Format(PyExc_ValueError,
                     "backward_layer: expected input_size=%zu, output_size=%zu and the dtype of "
                     "forward_layer, got %.200R",
                     one->inputs, crnn_width(one), b);
        return -1;
    }
    PyObject *old_f, *old_b;
    LOCK(self);
    old_f = self->forward_layer;
    old_b = self->backward_layer;
    self->forward_layer = Py_NewRef(f);
    self->backward_layer = Py_NewRef(b);
    self->merge = how;
    UNLOCK();
    drop(old_f);
    drop(old_b);
    return 0;
}

static PyObject *bidirectional_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)args;
    (void)kwargs;
    module_state *module = state_of_type(type);
    Bidirectional *self = module ? object_new(type) : NULL;
    if (self) self->module = module;
    return (PyObject *)self;
}

static int bidirectional_traverse(Bidirectional *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->forward_layer);
    Py_VISIT(self->backward_layer);
    return 0;
}

static void bidirectional_dealloc(Bidirectional *self) {
    PyObject_GC_UnTrack(self);
    bidirectional_clear(self);
    object_free(self);
}

static PyObject *get_part(Bidirectional *self, void *second) {
    PyObject *part = NULL;
    LOCK(self);
    if (bidirectional_ready(self))
        part = Py_NewRef(second ? self->backward_layer : self->forward_layer);
    UNLOCK();
    return part;
}

static PyObject *get_merge(Bidirectional *self, void *unused) {
    (void)unused;
    return PyUnicode_FromString(merge_names[self->merge]);
}

static PyGetSetDef bidirectional_attributes[] = {
    {"forward_layer", (getter)get_part, NULL,
     PyDoc_STR("Recurrent layer that reads each row from its first step to its last."), NULL},
    {"backward_layer", (getter)get_part, NULL,
     PyDoc_STR("Recurrent layer that reads each row from its last step to its first."), "second"},
    {"merge", (getter)get_merge, NULL,
     PyDoc_STR("How the outputs of a step are merged: 'concat', 'sum', 'mean' or 'mul'."), NULL},
    {0},
};

#define KEYWORDS (METH_VARARGS | METH_KEYWORDS)

static PyMethodDef bidirectional_methods[] = {
    {"__call__", (PyCFunction)(void (*)(void))bidirectional_call_method,
     METH_FASTCALL | METH_KEYWORDS | METH_COEXIST, PyDoc_STR(DOC_PAIR_CALL)},
    {"forward", (PyCFunction)(void (*)(void))bidirectional_forward, KEYWORDS,
     PyDoc_STR(DOC_PAIR_FORWARD)},
    {"backward", (PyCFunction)(void (*)(void))bidirectional_backward, KEYWORDS,
     PyDoc_STR(DOC_PAIR_BACKWARD)},
    {"check_backward", (PyCFunction)bidirectional_check, METH_VARARGS,
     PyDoc_STR(DOC_CHECK_BACKWARD)},
    {0},
};

static PyType_Slot bidirectional_slots[] = {
    {Py_tp_doc,
     (void *)PyDoc_STR("Bidirectional(forward_layer, backward_layer, merge='concat')\n--\n\n"
                       "Two recurrent layers that read x (B, T, I) in opposite directions.\n\n"
                       "`crnn.Bidirectional` documents the parameters.")},
    {Py_tp_new, bidirectional_new},
    {Py_tp_init, bidirectional_init},
    {Py_tp_dealloc, bidirectional_dealloc},
    {Py_tp_traverse, bidirectional_traverse},
    {Py_tp_clear, bidirectional_clear},
    {Py_tp_call, bidirectional_call},
    {Py_tp_methods, bidirectional_methods},
    {Py_tp_getset, bidirectional_attributes},
    {0, NULL},
};
PyType_Spec bidirectional_spec = {"crnn._core.Bidirectional", sizeof(Bidirectional), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                                  bidirectional_slots};
