/* The binding: it checks arguments, converts arrays, calls libcrnn with the GIL released, and turns
 * a status into an exception. No mathematics here.
 *
 * Limited API of CPython 3.11; NumPy's C API is imported once, in module.c. */
#ifndef CRNN_BINDING_H
#define CRNN_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PY_ARRAY_UNIQUE_SYMBOL crnn_array_api
#ifndef CRNN_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include "../core/crnn.h"

/* Gives up a reference to any object, or none: Py_XDECREF of the limited API takes PyObject *
 * alone. */
static inline void drop(void *object) { Py_XDECREF((PyObject *)object); }

/* Around code that the GIL protects: other threads that LOCK the same object wait until UNLOCK, or
 * until this one waits for something else. Without the GIL these are critical sections of the
 * object. */
#if defined(Py_GIL_DISABLED)
#define LOCK(object) Py_BEGIN_CRITICAL_SECTION(object)
#define UNLOCK() Py_END_CRITICAL_SECTION()
#else
#define LOCK(object) \
    { \
        (void)(object)
#define UNLOCK() }
#endif

/* ---- module.c */

struct writer;

typedef struct module_state {
    PyTypeObject *recurrent, *tape, *stream, *pair_state, *buffer, *search, *plan_tape;
    PyObject *self;         /* the module, borrowed */
    struct writer *writers; /* of writers.c, under LOCK(self) */
} module_state;

/* The module's state, from one of its types or a subclass of one; NULL with an exception otherwise.
 */
module_state *state_of_type(PyTypeObject *type);

/* A zeroed object of a heap type, and its end: what tp_alloc and tp_free do, and the type's
 * reference. */
void *object_new(PyTypeObject *type);
void object_free(void *self);

/* ---- arrays.c: arguments. Each returns false with an exception set, and owns nothing then. */

/* "name: expected <expected>, got float64 of shape (2, 3)"; type: TypeError, else ValueError. */
void set_array_error(PyObject *type, const char *name, const char *expected, PyArrayObject *got);

/* Any object as an array (a new reference), or NULL. */
PyArrayObject *as_array(const char *name, PyObject *object);
/* The memory of an array; NULL for none. */
static inline void *data_of(PyArrayObject *array) { return array ? PyArray_DATA(array) : NULL; }
int typenum_of(crnn_dtype dtype);
bool parse_dtype(PyObject *object, crnn_dtype *dtype);

typedef struct dims {
    int count;
    npy_intp size[3];       /* -1: any */
    const char *letters[3]; /* as the contract names them */
} dims;

/* Floats of a shape, as an array of `dtype` whose last axis is contiguous; the other strides
 * are whole elements. `dense` asks for C order. Casts from other floats. The array may be the
 * caller's own, whose shape can change while code of the caller runs (the conversion of another
 * argument, another thread): read what is needed of it at once. */
PyArrayObject *float_array(const char *name, PyObject *object, crnn_dtype dtype, const dims *shape,
                           bool dense);
/* The same, dense; NULL for None. False: an exception. */
bool optional_floats(const char *name, PyObject *object, crnn_dtype dtype, const dims *shape,
                     PyArrayObject **array);
/* Floats (B, T, features), where they lie, and in shape the sizes that were -1. With `keep`, as
 * kept_array has them. */
PyArrayObject *sequence_array(module_state *keep, const char *name, PyObject *object,
                              crnn_dtype dtype, dims *shape, crnn_seq *seq);
/* The array itself where nothing can write to its memory, else a copy, which is sealed. Takes the
 * reference to `array`; returns a new one, or NULL with an exception. */
PyArrayObject *kept_array(module_state *module, PyArrayObject *array);
/* A copy, dense: of floats of either type on memory of alloc_aligned, of other types on NumPy's. A
 * new reference, or NULL with an exception. */
PyArrayObject *array_copy(module_state *module, PyArrayObject *array);
/* NumPy's conversion of an array; a new reference, or NULL with an exception. Numbers too small for
 * a narrower type become 0, also where underflow raises. */
PyArrayObject *converted(PyArrayObject *array, int type, int flags);
/* A new array in C order, not filled, on memory of NumPy's. */
PyObject *new_plain_array(int ndim, const npy_intp *shape, int type);
PyObject *new_zeros(int ndim, const npy_intp *shape, int type);

/* Integers of a shape, as dense int64. */
PyArrayObject *integer_array(const char *name, PyObject *object, const dims *shape);
/* False where one lies outside low..high. */
bool integers_within(const char *name, PyArrayObject *array, npy_int64 low, npy_int64 high);

/* A view of part of an array, which it keeps alive. */
PyObject *array_view(PyArrayObject *base, int ndim, npy_intp *shape, npy_intp *strides,
                     npy_intp offset, int flags);

crnn_seq seq_of(PyArrayObject *array); /* of an array of three dimensions that nothing edits */

/* Booleans (B, T), dense, from booleans or from integers 0 and 1: bytes of 0 and 1. */
PyArrayObject *bool_array(const char *name, PyObject *object, const dims *shape);

/* A positive size, such as hidden_size. */
bool parse_size(const char *name, PyObject *object, size_t *size);
/* An integer from 0 to 2**64 - 1. */
bool parse_count(const char *name, PyObject *object, uint64_t *count);
/* A finite number, low <= number < below, which `expected` says in words. */
bool parse_number(const char *name, const char *expected, PyObject *object, double low,
                  double below, double *number);

/* False, with ValueError unless there is an exception: for what crnn's own Python code gives. */
bool refuse_misfit(const char *name);
/* False, with ValueError, unless OK. */
bool check_status(crnn_status status, const char *what);

/* ---- memory.c */

/* Memory aligned to CRNN_ALIGN; NULL with MemoryError. free_aligned(NULL) does nothing. */
void *alloc_aligned(size_t bytes);
void free_aligned(void *memory);

/* A new array in C order, not filled; a large one on memory of alloc_aligned. */
PyObject *new_array(module_state *module, int ndim, const npy_intp *shape, crnn_dtype dtype);

/* Gives memory kept for later calls back to the operating system; returns how many bytes. */
size_t memory_release(void);
/* Whether an operation that failed should be tried once more: where the exception set is a
 * MemoryError and there was memory to give back. The exception is cleared then. */
bool memory_retry(void);

/* Makes an array read-only for ever, where its memory is that of a Buffer, which is sealed then.
 * For arrays that nothing else refers to. */
void seal(const module_state *module, PyArrayObject *array);
bool buffer_is_sealed(const module_state *module, PyObject *owner);

extern PyType_Spec buffer_spec;

/* ---- writers.c: which threads are in a backward, and which gradients they add to */

/* Where gradients lie. */
typedef struct places {
    size_t count;
    void **address; /* owned [count]; NULL: not asked yet */
} places;

/* A thread inside a backward of `layer`. */
typedef struct writer {
    struct writer *next;
    unsigned long thread;
    PyObject *layer; /* owned */
    places places;   /* of the layer's gradients */
    bool listed;
} writer;

/* False, with RuntimeError, where another thread is adding to gradients of `layer`. Within a
 * backward of the same thread it does nothing: the outermost one speaks for its parts. It does
 * nothing, too, for NULL, a layer whose gradients stay as they are. After true, writer_leave must
 * follow. Code of Python's may run. */
bool writer_enter(module_state *module, writer *w, PyObject *layer);
void writer_leave(module_state *module, writer *w);
/* A function of the module, and what has it called in the child of every fork. */
PyObject *writers_after_fork(PyObject *self, PyObject *unused);
bool writers_watch_forks(PyObject *module);

extern PyType_Spec writing_spec;

/* ---- recurrent.c: the object behind every recurrent layer */

typedef struct Recurrent {
    PyObject_HEAD
    module_state *module;
    crnn_layer layer;
    crnn_layout at;
    uint64_t seed;            /* of noise */
    PyObject *flat_params;    /* array of the parameters; NULL before __init__. A fixed leak lies
                                 behind them in the same memory. */
    PyObject *flat_grads;     /* array of the gradients; NULL until something reads it */
    PyObject *params, *grads; /* dicts of views of them; NULL where there is no array */
    bool frozen;              /* backward adds to no gradients */
    PyObject *leak;           /* the option leak, as options_read gives it */
} Recurrent;

/* A layer as it is when a call begins. While a call runs, other code may run __init__ on the layer
 * object: another thread, or what an argument does when it is converted. So every call works with
 * these copies and references, and never reads the object twice. */
typedef struct held_layer {
    crnn_layer layer;
    crnn_layout at;
    uint64_t seed;
    PyObject *flat_params; /* owned */
    PyObject *flat_grads;  /* owned, or NULL: not asked for */
    PyObject *leak;        /* owned */
} held_layer;

/* False, with an exception, where __init__ was never called. With `grads`, the gradients are held,
 * too; they are made where nothing has read them before. */
bool layer_hold(held_layer *held, Recurrent *self, bool grads);
void layer_release(held_layer *held);
/* Of the layer's dtype. The gradients are NULL where they are not held. */
void *held_params(const held_layer *held);
void *held_grads(const held_layer *held);
/* Makes the gradients, zeros, unless there are some. Under LOCK(self), of a layer that is ready;
 * false with an exception. */
bool recurrent_own_grads(Recurrent *self);
bool recurrent_is_frozen(Recurrent *self);

/* A new layer in place of what the object held: its parameters are zero. leak: as options_read
 * gives it, borrowed. -1 with an exception, and the object unchanged, where it cannot be made. */
int recurrent_setup(Recurrent *self, const crnn_layer *layer, PyObject *leak);

/* False, with an exception, where __init__ was never called. */
bool recurrent_ready(const Recurrent *self);
int recurrent_clear(Recurrent *self); /* tp_clear */

/* Whether a layer draws random numbers in training: dropout of h, zoneout, weight drop, noise. */
bool layer_draws(const crnn_layer *layer);

/* ---- call.c: the arguments of one call of a recurrent layer, checked and converted */

typedef struct call {
    PyArrayObject *x; /* owned: what `in` points into; NULL on a tape of symbols with vectors */
    PyArrayObject *lengths, *mask, *resets; /* owned, or NULL: what rows.given points into */
    crnn_input in;
    size_t *words; /* owned: what `rows` points into */
    crnn_rows rows;
    crnn_noise noise;
    bool from_learned; /* no state was given, and the layer has one to begin with */
} call;

/* The arguments of forward and of a call, as they were given; NULL: not at all. */
typedef struct call_arguments {
    PyObject *x, *state, *lengths, *mask, *resets, *training, *call, *first_row, *first_step,
        *layer;
    bool floats_only; /* x may not be symbols */
} call_arguments;

bool call_parse(call_arguments *given, PyObject *args, PyObject *kwargs, bool forward);
/* The arguments of a call as METH_FASTCALL | METH_KEYWORDS passes them: no tuple and no dict are
 * made for them. */
bool call_parse_vector(call_arguments *given, PyObject *const *values, Py_ssize_t count,
                       PyObject *names);
/* Counts a training call that was given no `call`: its number, a new reference, or NULL. */
PyObject *next_call(PyObject *layer);
/* With `keep`, for a tape: x is private to the call. */
bool call_init(call *c, module_state *module, const held_layer *held, const call_arguments *given,
               bool keep);
void call_clear(call *c);
/* "x: expected ..., got ..."; of integers it says that they are read as symbols. */
void set_input_error(const char *expected, PyArrayObject *x);
/* Whether an integer is a symbol of the layer; else sets an error that says where it stands. */
bool symbol_within(const crnn_layer *layer, int64_t symbol, size_t row, size_t step);
/* Sets c->rows, for steps that point into what c owns. */
bool call_rows(call *c, const crnn_steps *steps);

/* A state given by the user: arrays (B, P) and (B, H), of a layer with delays (B, D, P) and
 * (B, D, H), owned, or NULL for what a layer begins with. Of other nodes of plans, see
 * plan_states.c: h is the past of a convolution; of self-attention h is k, c is v; of positions h
 * is int64 (B,), the steps that were read. */
typedef struct state_arrays {
    PyArrayObject *h, *c;
    PyArrayObject *steps;            /* int64 (B,), of self-attention */
    PyArrayObject *memory, *lengths; /* of self-attention with a memory behind it: floats
                                        (B, T_s, C) and int64 (B,) */
} state_arrays;

/* How many arrays a state has: h, or h and c. */
size_t state_count(const crnn_layer *layer);
bool state_parse(state_arrays *s, const char *name, const crnn_layer *layer, size_t batch,
                 PyObject *object);
/* New arrays for a state to be written. */
bool state_new(state_arrays *s, const crnn_layer *layer, size_t batch);
/* Makes new arrays of those of a gradient, with zeros where there are none. */
bool state_own(state_arrays *s, const crnn_layer *layer, size_t batch);
/* Copies an array of a state to one of its shape, `to` (NULL: none); zeros where `from` is NULL. */
void state_part_copy(PyArrayObject *to, PyArrayObject *from);
crnn_state state_pointers(const state_arrays *s);
/* The arrays as the user sees them: h, or (h, c). A new reference; s keeps its own. */
PyObject *state_object(const state_arrays *s);
void state_clear(state_arrays *s);

/* ---- run.c: the methods of a recurrent layer */

/* The slot tp_call, and the method __call__. Subclasses written in Python use the method: a class
 * of Python's inherits the slot only where __call__ is the wrapper that Python makes of it. */
PyObject *recurrent_call(Recurrent *self, PyObject *args, PyObject *kwargs);
PyObject *recurrent_call_method(Recurrent *self, PyObject *const *values, Py_ssize_t count,
                                PyObject *names);
PyObject *recurrent_forward(Recurrent *self, PyObject *args, PyObject *kwargs);
PyObject *recurrent_backward(Recurrent *self, PyObject *args, PyObject *kwargs);
PyObject *recurrent_check(Recurrent *self, PyObject *args);

/* Whether backward would take these; an exception otherwise. */
bool recurrent_check_backward(Recurrent *self, PyObject *tape, PyObject *dstate);

/* ---- tape.c, plan_stream.c, search.c */

typedef struct Tape {
    PyObject_HEAD
    crnn_layer layer;
    PyObject *leak;     /* owned: the option of the layer */
    call call;          /* owned */
    crnn_tape tape;     /* memory owned */
    atomic_bool traced; /* the next walk back is to leave a trace: */
    void *trace;        /* owned, of the last such walk; or NULL. Under LOCK(tape) */
} Tape;

Tape *tape_new(module_state *module, const held_layer *held);
/* Whether a layer has the sizes and the options of the one that made the tape. */
bool tape_fits(const Tape *tape, const held_layer *held);
/* Memory for a trace of the tape, or NULL with an exception. */
void *trace_new(const Tape *tape);
/* After a walk back: the tape keeps its trace, where there is one, and gives that of an earlier
 * walk. */
void tape_take_trace(Tape *tape, void **trace);

extern PyType_Spec tape_spec, stream_spec, search_spec, plan_spec, plan_tape_spec;
extern PyStructSequence_Desc pair_state_desc;

typedef struct Search {
    PyObject_HEAD
    crnn_search search;
    size_t max_steps, room; /* steps that there may be, and that the history has room for */
    void *memory;           /* owned, like what follows */
    int64_t *symbols;
    size_t *parents;
    PyArrayObject *forced; /* or NULL: what the options point into */
    atomic_bool busy;      /* a call is using it, maybe in another thread */
} Search;

/* False, with RuntimeError, where another call is using it; else this one has it until `busy` is
 * false again. */
bool search_claim(Search *self);

/* Steps that the history has room for: at least one more, or 0 with an exception. */
size_t search_room(Search *self);
bool search_is_done(const Search *self);
void search_refuse_nan(const Search *self); /* sets the exception */

/* The method layer.stream. */
PyObject *recurrent_stream(Recurrent *self, PyObject *args, PyObject *kwargs);

/* ---- options.c */

/* The name of each activation. */
extern const char *const activation_names[CRNN_ROWWISE_ACTIVATIONS];

/* "LSTM": the name of the type that a layer's cell belongs to. */
const char *layer_type_name(const crnn_layer *layer);
/* The arguments that set the sizes of a layer, for an error. */
const char *size_names(const crnn_layer *layer);
/* "H=5", or "H=5, P=3" with a projection. */
enum { SIZES_TEXT = 60 };
void print_sizes(const crnn_layer *layer, char *to);

/* Sets what the keyword arguments say, in a layer of some cell whose sizes are set. *leak: a new
 * reference to the option leak, None, a float or a tuple of H floats; NULL with an exception. */
bool options_read(crnn_layer *layer, PyObject **leak, const char *type_name, PyObject *given);
/* dict of name -> value, of all that the cell has. */
PyObject *options_show(const crnn_layer *layer, PyObject *leak);

/* ---- leak.c */

/* The option leak as options_read gives it, of what the user gave. Sets whether the layer leaks;
 * `learns_leak` and the sizes are set before. */
PyObject *leak_read(crnn_layer *layer, PyObject *given);
/* Whether two layers that are the same by crnn_layer_same have the same fixed leak, if any. */
bool leak_same(const crnn_layer *layer, PyObject *a, PyObject *b);
/* Writes a fixed leak where the layout has its place; `leak` is what leak_read gave. */
void leak_write(const crnn_layer *layer, const crnn_layout *at, PyObject *leak, void *params);

/* ---- types.c */

typedef enum layer_type {
#define CRNN_TYPE(NAME, cell, beta) TYPE_##NAME,
#include "types.def"
#undef CRNN_TYPE
    LAYER_TYPES
} layer_type;

extern PyType_Spec recurrent_spec;
extern PyType_Spec layer_specs[LAYER_TYPES]; /* each inherits from the recurrent one */
extern const char *const layer_type_names;   /* all of them, with commas between them */

/* ---- plan.c: a function of the module */

PyObject *unchanged(PyObject *module, PyObject *args);

/* ---- rowwise.c */

/* An operation on each step alone, from the tuple that crnn's own Python code gives. */
bool rowwise_parse(crnn_rowwise *o, PyObject *given);
/* How to pool, from its name; false with an exception. */
bool pool_how_parse(crnn_pool_how *how, const char *name);

/* ---- functions.c */

extern PyMethodDef module_functions[];

/* A writeable array of floats that lies in memory without gaps, in C or in Fortran order; not a new
 * reference. */
PyArrayObject *buffer_array(const char *name, PyObject *object);
/* The memory of a writeable float64 array in C order with these axes; NULL with an exception. */
double *double_buffer(const char *name, PyObject *object, const dims *shape);
/* Floats of either type, C order; other types as float64. A new reference. */
PyArrayObject *dense_floats(const char *name, PyObject *object);
crnn_dtype dtype_of(PyArrayObject *array); /* of one of these */

/* ---- rowwise.c: functions of the module */

PyObject *rowwise_forward(PyObject *module, PyObject *args);
PyObject *rowwise_backward(PyObject *module, PyObject *args);
PyObject *pool_forward(PyObject *module, PyObject *args);
PyObject *pool_backward(PyObject *module, PyObject *args);

/* ---- spectral.c: functions of the module */

PyObject *ordered_sum(PyObject *module, PyObject *args);
PyObject *hessenberg_radius(PyObject *module, PyObject *a);

/* ---- likelihood.c: functions of the module */

PyObject *negative_log_likelihood(PyObject *module, PyObject *args);
PyObject *draw_observed(PyObject *module, PyObject *args);

/* ---- windows.c: functions of the module */

PyObject *gather_windows(PyObject *module, PyObject *args);
PyObject *sum_ranges(PyObject *module, PyObject *args);

/* ---- ridge.c: functions of the module */

PyObject *ridge_sizes(PyObject *module, PyObject *args);
PyObject *ridge_add(PyObject *module, PyObject *args);
PyObject *ridge_solve(PyObject *module, PyObject *args);
PyObject *rls_begin(PyObject *module, PyObject *args);
PyObject *rls_gains(PyObject *module, PyObject *args);

#endif
