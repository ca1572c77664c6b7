/* Running a recurrent layer: forward, backward, one step at a time. Buffers are made before the
 * core is called and owned by a struct that is cleared at the end, whatever happened between. */
#include "binding.h"

/* ---- forward */

static PyObject *new_sequence(const Recurrent *self, const call *c, size_t features) {
    npy_intp shape[3] = {PyArray_DIM(c->x, 0), PyArray_DIM(c->x, 1), (npy_intp)features};
    return new_array(self->module, 3, shape, self->layer.dtype);
}

/* y, and what forward writes besides; the tape is NULL where nothing is kept. */
typedef struct forward_result {
    PyObject *y;
    state_arrays final;
    Tape *tape;
} forward_result;

static void forward_clear(forward_result *out) {
    Py_CLEAR(out->y);
    state_clear(&out->final);
    Py_CLEAR(out->tape);
}

static bool tape_memory(const crnn_forward_args *args) {
    size_t bytes;
    if (!args->tape) return true;
    if (!check_status(crnn_tape_size(args->layer, args->kernels, args->rows, &bytes), "x"))
        return false;
    args->tape->memory = alloc_aligned(bytes);
    return args->tape->memory != NULL;
}

/* With a tape, the call is the tape's own. */
static bool forward_call(const Recurrent *self, call *c, const state_arrays *initial,
                         forward_result *out) {
    crnn_forward_args args = {.layer = &self->layer,
                              .kernels = crnn_kernels_now(self->layer.dtype),
                              .rows = &c->rows,
                              .params = PyArray_DATA((PyArrayObject *)self->flat_params),
                              .in = c->in,
                              .noise = c->noise,
                              .initial = state_pointers(initial),
                              .tape = out->tape ? &out->tape->tape : NULL};
    size_t bytes;
    if (!check_status(crnn_forward_workspace(&args, &bytes), "x") || !tape_memory(&args))
        return false;
    out->y = new_sequence(self, c, crnn_width(&self->layer));
    if (!out->y || !state_new(&out->final, &self->layer, c->rows.given.batch)) return false;
    args.workspace = alloc_aligned(bytes);
    if (!args.workspace) return false;
    args.y = seq_of((PyArrayObject *)out->y);
    args.final = state_pointers(&out->final);
    Py_BEGIN_ALLOW_THREADS crnn_forward(&args);
    Py_END_ALLOW_THREADS free_aligned(args.workspace);
    return true;
}

/* (y, state) or (y, state, tape). */
static PyObject *forward_tuple(const forward_result *out) {
    PyObject *state = state_object(&out->final), *tuple = NULL;
    if (state && out->tape)
        tuple = PyTuple_Pack(3, out->y, state, out->tape);
    else if (state)
        tuple = PyTuple_Pack(2, out->y, state);
    drop(state);
    return tuple;
}

static PyObject *run_forward(Recurrent *self, const call_arguments *given, bool keep) {
    forward_result out = {0};
    state_arrays initial = {0};
    call own = {0}, *c = &own;
    PyObject *result = NULL;
    if (!recurrent_ready(self)) return NULL;
    if (keep) {
        out.tape = tape_new(self->module, &self->layer);
        if (!out.tape) return NULL;
        c = &out.tape->call;
    }
    if (call_init(c, &self->layer, self->seed, given) &&
        state_parse(&initial, "state", &self->layer, c->rows.given.batch, given->state) &&
        forward_call(self, c, &initial, &out))
        result = forward_tuple(&out);
    state_clear(&initial);
    forward_clear(&out);
    call_clear(&own);
    return result;
}

PyObject *recurrent_call(Recurrent *self, PyObject *args, PyObject *kwargs) {
    call_arguments given;
    return call_parse(&given, args, kwargs, false) ? run_forward(self, &given, false) : NULL;
}

PyObject *recurrent_forward(Recurrent *self, PyObject *args, PyObject *kwargs) {
    call_arguments given;
    return call_parse(&given, args, kwargs, true) ? run_forward(self, &given, true) : NULL;
}

/* ---- backward */

static Tape *check_tape(const Recurrent *self, PyObject *object) {
    if (!PyObject_TypeCheck(object, self->module->tape)) {
        PyErr_Format(PyExc_TypeError, "tape: expected the Tape that forward returned, got %.200R",
                     object);
        return NULL;
    }
    Tape *tape = (Tape *)object;
    if (options_same(&tape->layer, &self->layer)) return tape;
    PyErr_Format(
        PyExc_ValueError,
        "tape: expected one of a layer like this (cell %s, I=%zu, H=%zu), got one of another "
        "(cell %s, I=%zu, H=%zu) or with other options",
        crnn_cell_describe(self->layer.cell)->name, self->layer.inputs, self->layer.hidden,
        crnn_cell_describe(tape->layer.cell)->name, tape->layer.inputs, tape->layer.hidden);
    return NULL;
}

/* What backward reads and writes besides the tape. */
typedef struct backward_result {
    PyArrayObject *dy; /* NULL: None */
    PyObject *dx;      /* NULL where x was symbols */
    state_arrays dfinal, dinitial;
    void *trace; /* or NULL: not wanted */
} backward_result;

static void backward_clear(backward_result *out) {
    Py_CLEAR(out->dy);
    Py_CLEAR(out->dx);
    state_clear(&out->dfinal);
    state_clear(&out->dinitial);
    free_aligned(out->trace);
}

static bool backward_parse(const Tape *tape, PyObject *dy, PyObject *dstate, backward_result *out) {
    const crnn_layer *layer = &tape->layer;
    const crnn_steps *given = &tape->call.rows.given;
    const dims shape = {
        3,
        {(npy_intp)given->batch, (npy_intp)given->steps, (npy_intp)crnn_width(layer)},
        {"B", "T", layer->projected ? "P" : "H"}};
    if (dy != Py_None && !(out->dy = float_array("dy", dy, layer->dtype, &shape, false)))
        return false;
    return state_parse(&out->dfinal, "dstate", layer, given->batch, dstate);
}

static bool backward_run(const Recurrent *self, Tape *tape, bool trace, backward_result *out) {
    const call *c = &tape->call;
    if (!state_new(&out->dinitial, &self->layer, c->rows.given.batch)) return false;
    if (!c->in.symbols && !(out->dx = new_sequence(self, c, self->layer.inputs))) return false;
    if (trace && !(out->trace = trace_new(tape))) return false;
    crnn_backward_args args = {
        .layer = &self->layer,
        .rows = &c->rows,
        .tape = &tape->tape,
        .params = PyArray_DATA((PyArrayObject *)self->flat_params),
        .in = c->in,
        .noise = c->noise,
        .from_learned = c->from_learned,
        .dy = out->dy ? seq_of(out->dy) : (crnn_seq){0},
        .dfinal = state_pointers(&out->dfinal),
        .dinitial = state_pointers(&out->dinitial),
        .grads = PyArray_DATA((PyArrayObject *)self->flat_grads),
        .dx = out->dx ? seq_of((PyArrayObject *)out->dx) : (crnn_seq){0},
        .trace = out->trace,
    };
    size_t bytes;
    if (!check_status(crnn_backward_workspace(&args, &bytes), "tape")) return false;
    args.workspace = alloc_aligned(bytes);
    if (!args.workspace) return false;
    Py_BEGIN_ALLOW_THREADS crnn_backward(&args);
    Py_END_ALLOW_THREADS free_aligned(args.workspace);
    return true;
}

static PyObject *backward_tuple(const backward_result *out) {
    PyObject *dstate = state_object(&out->dinitial);
    PyObject *tuple = dstate ? PyTuple_Pack(2, out->dx ? out->dx : Py_None, dstate) : NULL;
    drop(dstate);
    return tuple;
}

bool recurrent_check_backward(const Recurrent *self, PyObject *tape_object, PyObject *dstate) {
    const Tape *tape = recurrent_ready(self) ? check_tape(self, tape_object) : NULL;
    state_arrays parsed = {0};
    if (!tape || !state_parse(&parsed, "dstate", &self->layer, tape->call.rows.given.batch, dstate))
        return false;
    state_clear(&parsed);
    return true;
}

/* For compositions: whether backward would take these, before any part of them has added to its
 * grads. */
PyObject *recurrent_check(Recurrent *self, PyObject *args) {
    PyObject *tape, *dstate;
    if (!PyArg_ParseTuple(args, "OO:check_backward", &tape, &dstate)) return NULL;
    return recurrent_check_backward(self, tape, dstate) ? Py_NewRef(Py_None) : NULL;
}

PyObject *recurrent_backward(Recurrent *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"tape", "dy", "dstate", "trace", NULL};
    PyObject *tape_object, *dy, *dstate = Py_None, *result = NULL;
    int trace = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O$p:backward", names, &tape_object, &dy,
                                     &dstate, &trace) ||
        !recurrent_ready(self))
        return NULL;
    Tape *tape = check_tape(self, tape_object);
    if (!tape) return NULL;
    backward_result out = {0};
    if (backward_parse(tape, dy, dstate, &out) &&
        backward_run(self, tape, trace || tape->traced, &out)) {
        tape_take_trace(tape, &out.trace);
        result = backward_tuple(&out);
    }
    backward_clear(&out);
    return result;
}
