/* Running a recurrent layer: forward and backward. Buffers, and the objects that are returned, are
 * made before the core is called, so that nothing has changed where one cannot be made; structs own
 * them, which are cleared at the end, whatever happened between. */
#include "binding.h"

/* ---- forward */

/* (B, T, features) of a call. */
static PyArrayObject *new_sequence(module_state *module, const call *c, crnn_dtype dtype,
                                   size_t features) {
    const crnn_steps *given = &c->rows.given;
    npy_intp shape[3] = {(npy_intp)given->batch, (npy_intp)given->steps, (npy_intp)features};
    return (PyArrayObject *)new_array(module, 3, shape, dtype);
}

/* y, and what forward writes besides; the tape is NULL where nothing is kept. */
typedef struct forward_result {
    PyArrayObject *y;
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
static bool forward_call(module_state *module, const held_layer *held, const call *c,
                         const state_arrays *initial, forward_result *out) {
    const crnn_layer *layer = &held->layer;
    crnn_forward_args args = {.layer = layer,
                              .kernels = crnn_kernels_now(layer->dtype),
                              .rows = &c->rows,
                              .params = held_params(held),
                              .in = c->in,
                              .kept = crnn_kept_share(layer, held_params(held)),
                              .noise = c->noise,
                              .initial = state_pointers(initial),
                              .tape = out->tape ? &out->tape->tape : NULL};
    size_t bytes;
    if (!check_status(crnn_forward_workspace(&args, &bytes), "x") || !tape_memory(&args))
        return false;
    out->y = new_sequence(module, c, layer->dtype, crnn_width(layer));
    if (!out->y || !state_new(&out->final, layer, c->rows.given.batch)) return false;
    args.workspace = alloc_aligned(bytes);
    if (!args.workspace) return false;
    args.y = seq_of(out->y);
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

/* Takes the number of a training call from the layer's count, unless it was given. */
static bool number_call(Recurrent *self, const held_layer *held, const call_arguments *given,
                        crnn_noise *noise) {
    if (given->call || !noise->on || !layer_draws(&held->layer)) return true;
    PyObject *number = next_call((PyObject *)self);
    const bool counted = number && parse_count("calls", number, &noise->call);
    drop(number);
    return counted;
}

static PyObject *run_forward(Recurrent *self, const call_arguments *given, bool keep) {
    forward_result out = {0};
    state_arrays initial = {0};
    held_layer held;
    call own = {0}, *c = &own;
    PyObject *result = NULL;
    if (!layer_hold(&held, self, false)) return NULL;
    if (keep && (out.tape = tape_new(self->module, &held))) c = &out.tape->call;
    if ((!keep || out.tape) && call_init(c, self->module, &held, given, keep) &&
        state_parse(&initial, "state", &held.layer, c->rows.given.batch, given->state) &&
        number_call(self, &held, given, &c->noise) &&
        forward_call(self->module, &held, c, &initial, &out))
        result = forward_tuple(&out);
    state_clear(&initial);
    forward_clear(&out);
    call_clear(&own);
    layer_release(&held);
    return result;
}

PyObject *recurrent_call(Recurrent *self, PyObject *args, PyObject *kwargs) {
    call_arguments given;
    return call_parse(&given, args, kwargs, false) ? run_forward(self, &given, false) : NULL;
}

PyObject *recurrent_call_method(Recurrent *self, PyObject *const *values, Py_ssize_t count,
                                PyObject *names) {
    call_arguments given;
    return call_parse_vector(&given, values, count, names) ? run_forward(self, &given, false)
                                                           : NULL;
}

PyObject *recurrent_forward(Recurrent *self, PyObject *args, PyObject *kwargs) {
    call_arguments given;
    return call_parse(&given, args, kwargs, true) ? run_forward(self, &given, true) : NULL;
}

/* ---- backward */

static Tape *check_tape(const module_state *module, const held_layer *held, PyObject *object) {
    const crnn_layer *layer = &held->layer;
    if (!PyObject_TypeCheck(object, module->tape)) {
        PyErr_Format(PyExc_TypeError, "tape: expected the Tape that forward returned, got %.200R",
                     object);
        return NULL;
    }
    Tape *tape = (Tape *)object;
    if (!tape->call.x) {
        PyErr_SetString(PyExc_ValueError,
                        "tape: expected the Tape that forward returned, got that of a layer which "
                        "read symbols inside the decoder of a Seq2Seq");
        return NULL;
    }
    if (tape_fits(tape, held)) return tape;
    PyErr_Format(
        PyExc_ValueError,
        "tape: expected one of a layer like this (cell %s, I=%zu, H=%zu), got one of a layer with "
        "cell %s, I=%zu, H=%zu, or with other options",
        crnn_cell_describe(layer->cell)->name, layer->inputs, layer->hidden,
        crnn_cell_describe(tape->layer.cell)->name, tape->layer.inputs, tape->layer.hidden);
    return NULL;
}

/* What backward reads and writes besides the tape. */
typedef struct backward_result {
    PyArrayObject *dy; /* NULL: None */
    crnn_seq dy_seq;   /* where it lies */
    PyArrayObject *dx; /* NULL where x was symbols */
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
    dims shape = {3,
                  {(npy_intp)given->batch, (npy_intp)given->steps, (npy_intp)crnn_width(layer)},
                  {"B", "T", layer->projected ? "P" : "H"}};
    if (dy != Py_None &&
        !(out->dy = sequence_array(NULL, "dy", dy, layer->dtype, &shape, &out->dy_seq)))
        return false;
    return state_parse(&out->dfinal, "dstate", layer, given->batch, dstate);
}

static bool backward_buffers(module_state *module, const Tape *tape, bool trace,
                             backward_result *out) {
    const call *c = &tape->call;
    const crnn_layer *layer = &tape->layer;
    return state_new(&out->dinitial, layer, c->rows.given.batch) &&
           (c->in.symbols || (out->dx = new_sequence(module, c, layer->dtype, layer->inputs))) &&
           (!trace || (out->trace = trace_new(tape)));
}

static bool backward_run(const held_layer *held, const Tape *tape, const backward_result *out) {
    const call *c = &tape->call;
    crnn_backward_args args = {
        .layer = &held->layer,
        .rows = &c->rows,
        .tape = &tape->tape,
        .params = held_params(held),
        .in = c->in,
        .kept = crnn_kept_share(&held->layer, held_params(held)),
        .noise = c->noise,
        .from_learned = c->from_learned,
        .dy = out->dy_seq,
        .dfinal = state_pointers(&out->dfinal),
        .dinitial = state_pointers(&out->dinitial),
        .grads = held_grads(held),
        .dx = out->dx ? seq_of(out->dx) : (crnn_seq){0},
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
    PyObject *dx = out->dx ? (PyObject *)out->dx : Py_None;
    PyObject *tuple = dstate ? PyTuple_Pack(2, dx, dstate) : NULL;
    drop(dstate);
    return tuple;
}

bool recurrent_check_backward(Recurrent *self, PyObject *tape_object, PyObject *dstate) {
    held_layer held;
    state_arrays parsed = {0};
    if (!layer_hold(&held, self, false)) return false;
    const Tape *tape = check_tape(self->module, &held, tape_object);
    const bool fine =
        tape && state_parse(&parsed, "dstate", &held.layer, tape->call.rows.given.batch, dstate);
    state_clear(&parsed);
    layer_release(&held);
    return fine;
}

/* For compositions: whether backward would take these, before any part of them has added to its
 * grads. */
PyObject *recurrent_check(Recurrent *self, PyObject *args) {
    PyObject *tape, *dstate;
    if (!PyArg_ParseTuple(args, "OO:check_backward", &tape, &dstate)) return NULL;
    return recurrent_check_backward(self, tape, dstate) ? Py_NewRef(Py_None) : NULL;
}

static PyObject *run_backward(Recurrent *self, const held_layer *held, Tape *tape, PyObject *dy,
                              PyObject *dstate, bool trace) {
    backward_result out = {0};
    writer writer;
    PyObject *result = NULL;
    bool done = false;
    if (backward_parse(tape, dy, dstate, &out) &&
        backward_buffers(self->module, tape, trace || tape->traced, &out) &&
        (result = backward_tuple(&out)) &&
        writer_enter(self->module, &writer, held->flat_grads ? (PyObject *)self : NULL)) {
        done = backward_run(held, tape, &out);
        if (done) tape_take_trace(tape, &out.trace);
        writer_leave(self->module, &writer);
    }
    if (!done) Py_CLEAR(result);
    backward_clear(&out);
    return result;
}

PyObject *recurrent_backward(Recurrent *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"tape", "dy", "dstate", "trace", NULL};
    PyObject *object, *dy, *dstate = Py_None, *result = NULL;
    held_layer held;
    int trace = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O$p:backward", names, &object, &dy, &dstate,
                                     &trace) ||
        !layer_hold(&held, self, !recurrent_is_frozen(self)))
        return NULL;
    Tape *tape = check_tape(self->module, &held, object);
    if (tape) result = run_backward(self, &held, tape, dy, dstate, trace);
    layer_release(&held);
    return result;
}
