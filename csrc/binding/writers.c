/* Which threads are in a backward, and which gradients they add to: two of them may not add to the
 * same ones at a time, because what one adds would be lost without a word.
 *
 * Every backward enters here before it writes and leaves when it is done. The outermost backward of
 * a thread speaks for all the layers inside it, so that a model refuses as a whole, before any part
 * of it has changed. As long as one thread alone is in a backward, entering looks at nothing but
 * this list; gradients are compared, by their addresses, only where two threads meet. The list is
 * read and written with the GIL held, or in a critical section of the module. */
#include "binding.h"

static void forget_places(places *p) {
    PyMem_Free(p->address);
    *p = (places){0};
}

static bool list_places(places *p, PyObject *arrays) {
    const Py_ssize_t count = PyList_Size(arrays);
    p->address = PyMem_Calloc((size_t)count + 1, sizeof *p->address); /* never NULL once asked */
    if (!p->address) return PyErr_NoMemory() != NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyArrayObject *array = as_array("grads", PyList_GetItem(arrays, i));
        if (!array) return false;
        if (PyArray_SIZE(array) > 0) p->address[p->count++] = PyArray_DATA(array);
        drop(array);
    }
    return true;
}

/* The gradients to which backward of a layer may add, by name; those of an object that is no layer
 * of crnn are all of its gradients. */
static PyObject *gradients_of(PyObject *layer) {
    PyObject *grads = PyObject_GetAttrString(layer, "_trained_grads");
    if (grads || !PyErr_ExceptionMatches(PyExc_AttributeError)) return grads;
    PyErr_Clear();
    return PyObject_GetAttrString(layer, "grads");
}

/* The addresses of these gradients. */
static bool find_places(places *p, PyObject *layer) {
    PyObject *grads = gradients_of(layer);
    PyObject *arrays = grads ? PyMapping_Values(grads) : NULL;
    *p = (places){0};
    const bool found = arrays && list_places(p, arrays);
    if (!found) forget_places(p);
    drop(arrays);
    drop(grads);
    return found;
}

static bool overlap(const places *a, const places *b) {
    for (size_t i = 0; i < a->count; i++)
        for (size_t j = 0; j < b->count; j++)
            if (a->address[i] == b->address[j]) return true;
    return false;
}

/* Finds the places of a writer in the list. Code of Python's runs meanwhile, so the list may be
 * another one afterwards. */
static bool complete(module_state *module, const writer *which) {
    PyObject *layer = Py_NewRef(which->layer);
    places found;
    const bool fine = find_places(&found, layer);
    for (writer *w = module->writers; w && fine; w = w->next) {
        if (w != which || w->layer != layer || w->places.address) continue;
        w->places = found;
        found = (places){0};
    }
    if (fine) forget_places(&found);
    drop(layer);
    return fine;
}

static const writer *incomplete(const module_state *module) {
    const writer *w = module->writers;
    while (w && w->places.address) w = w->next;
    return w;
}

/* False with an exception where another thread writes what this one is going to. */
static bool may_write(module_state *module, writer *self) {
    const writer *unknown;
    if (!find_places(&self->places, self->layer)) return false;
    while ((unknown = incomplete(module)))
        if (!complete(module, unknown)) return false;
    for (const writer *w = module->writers; w; w = w->next) {
        if (!overlap(&self->places, &w->places)) continue;
        PyErr_SetString(
            PyExc_RuntimeError,
            "backward: another thread is adding to the same gradients; call backward in "
            "one thread at a time, or use a copy of the model in each thread");
        return false;
    }
    return true;
}

static void forget_writer(writer *w) {
    w->listed = false;
    Py_CLEAR(w->layer);
    forget_places(&w->places);
}

static bool enter(module_state *module, writer *w, PyObject *layer) {
    *w = (writer){.thread = PyThread_get_thread_ident()};
    if (!layer) return true;
    for (const writer *other = module->writers; other; other = other->next)
        if (other->thread == w->thread) return true;
    w->layer = Py_NewRef(layer);
    if (module->writers && !may_write(module, w)) {
        forget_writer(w);
        return false;
    }
    w->listed = true;
    w->next = module->writers;
    module->writers = w;
    return true;
}

bool writer_enter(module_state *module, writer *w, PyObject *layer) {
    bool entered;
    LOCK(module->self);
    entered = enter(module, w, layer);
    UNLOCK();
    return entered;
}

void writer_leave(module_state *module, writer *w) {
    if (!w->listed) return;
    LOCK(module->self);
    writer **at = &module->writers;
    while (*at != w) at = &(*at)->next;
    *at = w->next;
    UNLOCK();
    forget_writer(w);
}

/* The child of a fork has the list, but of the threads in it none other than the one that forked.
 */
PyObject *writers_after_fork(PyObject *self, PyObject *unused) {
    (void)unused;
    module_state *module = PyModule_GetState(self);
    const unsigned long own = PyThread_get_thread_ident();
    for (writer **at = &module->writers; *at;) {
        if ((*at)->thread == own)
            at = &(*at)->next;
        else
            *at = (*at)->next; /* what it owns is kept: it stands on the stack of a lost thread */
    }
    return Py_NewRef(Py_None);
}

bool writers_watch_forks(PyObject *module) {
    PyObject *os = PyImport_ImportModule("os"), *done = NULL;
    PyObject *enlist = os ? PyObject_GetAttrString(os, "register_at_fork") : NULL;
    if (os && !enlist) PyErr_Clear(); /* Windows does not fork */
    PyObject *forget = enlist ? PyObject_GetAttrString(module, "writers_after_fork") : NULL;
    PyObject *kwargs = forget ? Py_BuildValue("{sO}", "after_in_child", forget) : NULL;
    PyObject *args = kwargs ? PyTuple_New(0) : NULL;
    if (args) done = PyObject_Call(enlist, args, kwargs);
    const bool fine = done || (os && !enlist);
    drop(done);
    drop(args);
    drop(kwargs);
    drop(forget);
    drop(enlist);
    drop(os);
    return fine;
}

/* ---- the type: a context manager, for backwards in Python */

typedef struct Writing {
    PyObject_HEAD
    module_state *module;
    PyObject *layer; /* owned */
    writer writer;
    bool entered;
} Writing;

static PyObject *writing_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *layer;
    module_state *module = state_of_type(type);
    if (!module || (kwargs && PyDict_Size(kwargs) > 0)) {
        if (module) PyErr_SetString(PyExc_TypeError, "Writing() takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O:Writing", &layer)) return NULL;
    Writing *self = object_new(type);
    if (!self) return NULL;
    self->module = module;
    self->layer = Py_NewRef(layer);
    return (PyObject *)self;
}

static PyObject *writing_enter(Writing *self, PyObject *unused) {
    (void)unused;
    if (self->entered) {
        PyErr_SetString(PyExc_RuntimeError,
                        "Writing: expected one that has not been entered, got one in use");
        return NULL;
    }
    self->entered = true;
    if (writer_enter(self->module, &self->writer, self->layer)) return Py_NewRef(Py_None);
    self->entered = false;
    return NULL;
}

static PyObject *writing_exit(Writing *self, PyObject *unused) {
    (void)unused;
    writer_leave(self->module, &self->writer);
    self->entered = false;
    return Py_NewRef(Py_None);
}

static int writing_traverse(Writing *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->layer);
    return 0;
}

static int writing_clear(Writing *self) {
    Py_CLEAR(self->layer);
    return 0;
}

static void writing_dealloc(Writing *self) {
    PyObject_GC_UnTrack(self);
    writer_leave(self->module, &self->writer);
    writing_clear(self);
    object_free(self);
}

static PyMethodDef writing_methods[] = {
    {"__enter__", (PyCFunction)writing_enter, METH_NOARGS,
     PyDoc_STR("Begin to add to the gradients; RuntimeError while another thread does.")},
    {"__exit__", (PyCFunction)writing_exit, METH_VARARGS,
     PyDoc_STR("End the addition; exceptions are not suppressed.")},
    {0},
};

static PyType_Slot writing_slots[] = {
    {Py_tp_doc,
     (void *)PyDoc_STR("Writing(layer, /)\n--\n\n"
                       "Context manager for code that adds to the gradients of a layer.\n\n"
                       "Entering raises RuntimeError while another thread adds to the same "
                       "gradients. Within another Writing of this thread it does nothing.")},
    {Py_tp_new, writing_new},
    {Py_tp_dealloc, writing_dealloc},
    {Py_tp_traverse, writing_traverse},
    {Py_tp_clear, writing_clear},
    {Py_tp_methods, writing_methods},
    {0, NULL},
};
PyType_Spec writing_spec = {"crnn._core.Writing", sizeof(Writing), 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, writing_slots};
