/* The types of the recurrent layers: the base, which has the methods and the attributes, and one
 * for each cell, which has its name. */
#include "binding.h"
#include "docs.h"

/* ---- attributes */

static PyObject *get_gate_order(Recurrent *self, void *unused) {
    (void)unused;
    if (!recurrent_ready(self)) return NULL;
    const char *gates = crnn_cell_describe(self->layer.cell)->gates;
    PyObject *list = PyList_New(0), *tuple = NULL;
    for (; list && *gates; gates++) {
        PyObject *letter = PyUnicode_FromStringAndSize(gates, 1);
        const bool added = letter && PyList_Append(list, letter) == 0;
        drop(letter);
        if (!added) Py_CLEAR(list);
    }
    if (list) tuple = PyList_AsTuple(list);
    drop(list);
    return tuple;
}

static PyObject *get_seed(Recurrent *self, void *unused) {
    (void)unused;
    uint64_t seed;
    LOCK(self);
    seed = self->seed;
    UNLOCK();
    return PyLong_FromUnsignedLongLong(seed);
}

static int set_seed(Recurrent *self, PyObject *value, void *unused) {
    (void)unused;
    if (!value) {
        PyErr_SetString(PyExc_AttributeError, "seed: cannot be deleted");
        return -1;
    }
    uint64_t seed;
    if (!parse_count("seed", value, &seed)) return -1;
    LOCK(self);
    self->seed = seed;
    UNLOCK();
    return 0;
}

static PyObject *get_frozen(Recurrent *self, void *unused) {
    (void)unused;
    return PyBool_FromLong(recurrent_is_frozen(self));
}

static int set_frozen(Recurrent *self, PyObject *value, void *unused) {
    (void)unused;
    if (!value || !PyBool_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "_frozen: expected True or False");
        return -1;
    }
    LOCK(self);
    self->frozen = value == Py_True;
    UNLOCK();
    return 0;
}

/* The attributes that need a layer that is ready; `what` says which. */
enum {
    INPUT_SIZE,
    HIDDEN_SIZE,
    WIDTH,
    DTYPE,
    PARAMS,
    GRADS,
    HAS_GRADS,
    FLAT_PARAMS,
    FLAT_GRADS,
    NAMED,
    DRAWS
};

static const char *flat_name(bool grads) { return grads ? "flat_grads" : "flat_params"; }

/* Copies into the buffer. `layer.flat_params -= ...` assigns the buffer to itself. */
static int set_flat(Recurrent *self, PyObject *value, void *what) {
    const bool grads = (int)(intptr_t)what == FLAT_GRADS;
    if (!value) {
        PyErr_Format(PyExc_AttributeError, "%s: cannot be deleted", flat_name(grads));
        return -1;
    }
    PyArrayObject *from = as_array(flat_name(grads), value);
    held_layer held = {0};
    if (!from || !layer_hold(&held, self, grads)) {
        drop(from);
        return -1;
    }
    PyArrayObject *to = (PyArrayObject *)(grads ? held.flat_grads : held.flat_params);
    const bool real = PyArray_ISINTEGER(from) || PyArray_ISFLOAT(from);
    const bool fits = PyArray_NDIM(from) == 0 ||
                      (PyArray_NDIM(from) == 1 && PyArray_DIM(from, 0) == PyArray_DIM(to, 0));
    int result = -1;
    if (from == to) {
        result = 0;
    } else if (real && fits) {
        result = PyArray_CopyInto(to, from);
    } else {
        char expected[100];
        PyOS_snprintf(expected, sizeof expected, "real numbers of shape (%lld,), or one number",
                      (long long)PyArray_DIM(to, 0));
        set_array_error(real ? PyExc_ValueError : PyExc_TypeError, flat_name(grads), expected,
                        from);
    }
    drop(from);
    layer_release(&held);
    return result;
}

static PyObject *locked_attribute(Recurrent *self, void *what) {
    if (!recurrent_ready(self)) return NULL;
    switch ((int)(intptr_t)what) {
    case INPUT_SIZE:
        return PyLong_FromSize_t(self->layer.inputs);
    case HIDDEN_SIZE:
        return PyLong_FromSize_t(self->layer.hidden);
    case WIDTH:
        return PyLong_FromSize_t(crnn_width(&self->layer));
    case NAMED:
        return options_show(&self->layer, self->leak);
    case DRAWS:
        return PyBool_FromLong(layer_draws(&self->layer));
    case DTYPE:
        return (PyObject *)PyArray_DescrFromType(typenum_of(self->layer.dtype));
    case PARAMS:
        return PyDict_Copy(self->params);
    case GRADS:
        return recurrent_own_grads(self) ? PyDict_Copy(self->grads) : NULL;
    case HAS_GRADS:
        return PyBool_FromLong(self->flat_grads != NULL);
    case FLAT_PARAMS:
        return Py_NewRef(self->flat_params);
    default:
        return recurrent_own_grads(self) ? Py_NewRef(self->flat_grads) : NULL;
    }
}

static PyObject *get_attribute(Recurrent *self, void *what) {
    PyObject *value;
    LOCK(self);
    value = locked_attribute(self, what);
    UNLOCK();
    return value;
}

#define ATTRIBUTE(name, what, doc) \
    {name, (getter)get_attribute, NULL, PyDoc_STR(doc), (void *)(intptr_t)what}
#define FLAT(name, what, doc) \
    {name, (getter)get_attribute, (setter)set_flat, PyDoc_STR(doc), (void *)(intptr_t)what}

static PyGetSetDef recurrent_attributes[] = {
    ATTRIBUTE("input_size", INPUT_SIZE, "I, the number of inputs of a step."),
    ATTRIBUTE("hidden_size", HIDDEN_SIZE, "H, the number of hidden units."),
    ATTRIBUTE("output_size", WIDTH, "P, the number of outputs of a step: H, or proj_size."),
    ATTRIBUTE("options", NAMED, "dict of name -> value: all options of the cell."),
    ATTRIBUTE("dtype", DTYPE, "numpy.dtype of the parameters, outputs and states."),
    ATTRIBUTE("param_views", PARAMS, "dict of name -> array: views of flat_params."),
    ATTRIBUTE("grad_views", GRADS, "dict of name -> array: views of flat_grads."),
    ATTRIBUTE("stochastic", DRAWS, "Whether `forward` draws random numbers in training."),
    FLAT("flat_params", FLAT_PARAMS,
         "All parameters as one array (N,); assigning copies the values into it."),
    FLAT("flat_grads", FLAT_GRADS,
         "All gradients as one array (N,); assigning copies the values into it."),
    {"seed", (getter)get_seed, (setter)set_seed,
     PyDoc_STR("Seed of dropout, zoneout, weight drop and noise, from 0 to 2**64 - 1."), NULL},
    {"_frozen", (getter)get_frozen, (setter)set_frozen,
     PyDoc_STR("Whether `backward` adds to no gradients: `not trainable`."), NULL},
    ATTRIBUTE("_has_grads", HAS_GRADS, "Whether the layer has memory for gradients."),
    {"gate_order", (getter)get_gate_order, NULL,
     PyDoc_STR("Letters of the gates, in the order of their H rows in W_x, W_h and b."), NULL},
    {0},
};

/* ---- the types */

#define KEYWORDS (METH_VARARGS | METH_KEYWORDS)

static PyMethodDef recurrent_methods[] = {
    {"__call__", (PyCFunction)(void (*)(void))recurrent_call_method,
     METH_FASTCALL | METH_KEYWORDS | METH_COEXIST, PyDoc_STR(DOC_CALL)},
    {"forward", (PyCFunction)(void (*)(void))recurrent_forward, KEYWORDS, PyDoc_STR(DOC_FORWARD)},
    {"backward", (PyCFunction)(void (*)(void))recurrent_backward, KEYWORDS,
     PyDoc_STR(DOC_BACKWARD)},
    {"check_backward", (PyCFunction)recurrent_check, METH_VARARGS, PyDoc_STR(DOC_CHECK_BACKWARD)},
    {"stream", (PyCFunction)(void (*)(void))recurrent_stream, KEYWORDS, PyDoc_STR(DOC_STREAM)},
    {0},
};

static PyObject *recurrent_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)args;
    (void)kwargs;
    module_state *module = state_of_type(type);
    Recurrent *self = module ? object_new(type) : NULL;
    if (self) self->module = module;
    return (PyObject *)self;
}

static int recurrent_traverse(Recurrent *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->params);
    Py_VISIT(self->grads);
    return 0;
}

static void recurrent_dealloc(Recurrent *self) {
    PyObject_GC_UnTrack(self);
    recurrent_clear(self);
    object_free(self);
}

/* The base has no cell: only its subclasses can be made. */
static int recurrent_init(Recurrent *self, PyObject *args, PyObject *kwargs) {
    (void)args;
    (void)kwargs;
    PyErr_Format(PyExc_TypeError, "%R has no cell: use one of %s", Py_TYPE((PyObject *)self),
                 layer_type_names);
    return -1;
}

static PyType_Slot recurrent_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Base class of the recurrent layers.")},
    {Py_tp_new, recurrent_new},
    {Py_tp_init, recurrent_init},
    {Py_tp_dealloc, recurrent_dealloc},
    {Py_tp_traverse, recurrent_traverse},
    {Py_tp_clear, recurrent_clear},
    {Py_tp_call, recurrent_call},
    {Py_tp_methods, recurrent_methods},
    {Py_tp_getset, recurrent_attributes},
    {0, NULL},
};
PyType_Spec recurrent_spec = {"crnn._core.Recurrent", sizeof(Recurrent), 0,
                              Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                              recurrent_slots};

/* ---- the cells */

/* input_size and hidden_size, by place or by name, and the options by name. *leak: see
 * options_read.
 */
static bool cell_parse(crnn_layer *layer, PyObject **leak, PyObject *args, PyObject *kwargs,
                       const char *name) {
    static char *names[] = {"input_size", "hidden_size", NULL};
    PyObject *sizes = PyDict_New(), *rest = kwargs ? PyDict_Copy(kwargs) : PyDict_New();
    PyObject *inputs, *hidden;
    bool parsed = false;
    for (char **size = names; sizes && rest && *size; size++) {
        PyObject *value = PyDict_GetItemString(rest, *size);
        if (!value) continue;
        if (PyDict_SetItemString(sizes, *size, value) < 0 || PyDict_DelItemString(rest, *size) < 0)
            goto done;
    }
    parsed =
        sizes && rest && PyArg_ParseTupleAndKeywords(args, sizes, "OO", names, &inputs, &hidden) &&
        parse_size("input_size", inputs, &layer->inputs) &&
        parse_size("hidden_size", hidden, &layer->hidden) && options_read(layer, leak, name, rest);
done:
    drop(sizes);
    drop(rest);
    return parsed;
}

static int cell_init(Recurrent *self, PyObject *args, PyObject *kwargs, const char *name,
                     crnn_layer layer) {
    PyObject *leak = NULL;
    const bool parsed = cell_parse(&layer, &leak, args, kwargs, name);
    const int result = parsed ? recurrent_setup(self, &layer, leak) : -1;
    drop(leak);
    return result;
}

/* (parameters, P, states) of the layer that __init__ would make of these arguments. */
static PyObject *cell_outline(PyObject *args, PyObject *kwargs, const char *name,
                              crnn_layer layer) {
    PyObject *leak = NULL;
    crnn_layout at;
    const bool parsed = cell_parse(&layer, &leak, args, kwargs, name);
    drop(leak);
    if (!parsed || !check_status(crnn_layer_layout(&layer, &at), size_names(&layer))) return NULL;
    return Py_BuildValue("(nnn)", (Py_ssize_t)at.learned, (Py_ssize_t)crnn_width(&layer),
                         (Py_ssize_t)crnn_cell_describe(layer.cell)->states);
}

/* A type's part in garbage collection is its base's. */
#define CRNN_TYPE(NAME, cell_, beta_) \
    static const crnn_layer NAME##_usual = { \
        .cell = CRNN_##cell_, .dtype = CRNN_F32, .bias = true, .beta = (beta_)}; \
    static int NAME##_init(Recurrent *self, PyObject *args, PyObject *kwargs) { \
        return cell_init(self, args, kwargs, #NAME, NAME##_usual); \
    } \
    static PyObject *NAME##_outline(PyObject *type, PyObject *args, PyObject *kwargs) { \
        (void)type; \
        return cell_outline(args, kwargs, #NAME, NAME##_usual); \
    } \
    static PyMethodDef NAME##_methods[] = { \
        {"_outline", (PyCFunction)(void (*)(void))NAME##_outline, KEYWORDS | METH_CLASS, \
         PyDoc_STR("_outline($type, /, input_size, hidden_size, **options)\n--\n\n" \
                   "Return (parameters, output_size, states) of a layer with these arguments.\n\n" \
                   "These are the number of its parameters, P, and the number of arrays of its " \
                   "state. No layer is made.")}, \
        {0}, \
    }; \
    static PyType_Slot NAME##_slots[] = { \
        {Py_tp_doc, (void *)PyDoc_STR(#NAME "(input_size, hidden_size, **options)\n--\n\n" \
                                            "Recurrent layer of the cell " #NAME \
                                            ", with parameters of zero.\n\n" \
                                            "`crnn." #NAME "` documents the options.")}, \
        {Py_tp_init, NAME##_init}, \
        {Py_tp_methods, NAME##_methods}, \
        {0, NULL}, \
    };
#include "types.def"
#undef CRNN_TYPE

PyType_Spec layer_specs[LAYER_TYPES] = {
#define CRNN_TYPE(NAME, cell, beta) \
    [TYPE_##NAME] = {"crnn._core." #NAME, sizeof(Recurrent), 0, \
                     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, NAME##_slots},
#include "types.def"
#undef CRNN_TYPE
};

#define CRNN_TYPE(NAME, cell, beta) ", " #NAME
const char *const layer_type_names =
#include "types.def"
    +2; /* without the first comma */
#undef CRNN_TYPE
