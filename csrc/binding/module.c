/* The module crnn._core: its types, its functions, and the settings read from the environment. */
#define CRNN_IMPORTS_NUMPY
#include "binding.h"

static struct PyModuleDef core_module;

module_state *state_of_type(PyTypeObject *type) {
    for (PyTypeObject *t = type; t; t = (PyTypeObject *)PyType_GetSlot(t, Py_tp_base)) {
        PyObject *module = PyType_GetModule(t);
        if (module && PyModule_GetDef(module) == &core_module) return PyModule_GetState(module);
        PyErr_Clear();
    }
    PyErr_Format(PyExc_TypeError, "%R is not a type of crnn._core", type);
    return NULL;
}

void *object_new(PyTypeObject *type) {
    return ((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
}

void object_free(void *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    drop(type);
}

/* ---- types: the table says what inherits from the recurrent base and what the state refers to */

static PyTypeObject *add_type(PyObject *module, PyType_Spec *spec, PyTypeObject *base) {
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, (PyObject *)base);
    if (type && PyModule_AddType(module, type) == 0) return type;
    drop(type);
    return NULL;
}

/* One that the state does not refer to. */
static bool add_alone(PyObject *module, PyType_Spec *spec, PyTypeObject *base) {
    PyTypeObject *type = add_type(module, spec, base);
    drop(type);
    return type != NULL;
}

static bool add_types(PyObject *module) {
    module_state *state = PyModule_GetState(module);
    PyType_Spec *const alone[] = {&writing_spec, &plan_spec};
    state->tape = add_type(module, &tape_spec, NULL);
    state->stream = add_type(module, &stream_spec, NULL);
    state->pair_state = PyStructSequence_NewType(&pair_state_desc);
    state->buffer = add_type(module, &buffer_spec, NULL);
    state->search = add_type(module, &search_spec, NULL);
    state->plan_tape = add_type(module, &plan_tape_spec, NULL);
    state->recurrent = add_type(module, &recurrent_spec, NULL);
    if (!state->tape || !state->stream || !state->buffer || !state->recurrent || !state->search ||
        !state->plan_tape || !state->pair_state || PyModule_AddType(module, state->pair_state) < 0)
        return false;
    for (size_t i = 0; i < sizeof alone / sizeof alone[0]; i++)
        if (!add_alone(module, alone[i], NULL)) return false;
    for (size_t i = 0; i < LAYER_TYPES; i++)
        if (!add_alone(module, &layer_specs[i], state->recurrent)) return false;
    return true;
}

/* ---- settings: a wrong one is an error at import, not a silent default */

static bool read_isa(void) {
    const char *wish = getenv("CRNN_ISA");
    if (!wish || !*wish || crnn_isa_select(wish)) return true;
    char names[64];
    size_t used = 0;
    const char *name;
    for (size_t i = 0; (name = crnn_isa_available(i)); i++)
        used +=
            (size_t)PyOS_snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", name);
    PyErr_Format(PyExc_ImportError,
                 "CRNN_ISA: expected one of %s, which this machine can run, got '%s'", names, wish);
    return false;
}

static bool read_threads(void) {
    const char *wish = getenv("CRNN_NUM_THREADS");
    if (!wish || !*wish || crnn_parse_threads(wish)) return true;
    PyErr_Format(PyExc_ImportError, "CRNN_NUM_THREADS: expected an integer of at least 1, got '%s'",
                 wish);
    return false;
}

static int core_exec(PyObject *module) {
    if (PyArray_ImportNumPyAPI() < 0) return -1;
    ((module_state *)PyModule_GetState(module))->self = module;
    return read_isa() && read_threads() && add_types(module) && writers_watch_forks(module) ? 0
                                                                                            : -1;
}

static int core_traverse(PyObject *module, visitproc visit, void *arg) {
    module_state *state = PyModule_GetState(module);
    Py_VISIT(state->recurrent);
    Py_VISIT(state->tape);
    Py_VISIT(state->stream);
    Py_VISIT(state->pair_state);
    Py_VISIT(state->buffer);
    Py_VISIT(state->search);
    Py_VISIT(state->plan_tape);
    return 0;
}

static int core_clear(PyObject *module) {
    module_state *state = PyModule_GetState(module);
    Py_CLEAR(state->recurrent);
    Py_CLEAR(state->tape);
    Py_CLEAR(state->stream);
    Py_CLEAR(state->pair_state);
    Py_CLEAR(state->buffer);
    Py_CLEAR(state->search);
    Py_CLEAR(state->plan_tape);
    return 0;
}

static void core_free(void *module) { core_clear(module); }

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
#if defined(Py_GIL_DISABLED)
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_core",
    .m_doc = "C core of crnn: the recurrent layers, attention, losses, optimizers and settings.",
    .m_size = sizeof(module_state),
    .m_methods = module_functions,
    .m_slots = core_slots,
    .m_traverse = core_traverse,
    .m_clear = core_clear,
    .m_free = core_free,
};

PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&core_module); }
