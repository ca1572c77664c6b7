/* Symbols from logits, step by step: the one place where they are chosen. */
#include "binding.h"

#include <float.h>
#include <math.h>

static void search_dealloc(Search *self) {
    free_aligned(self->memory);
    free_aligned(self->search.history);
    free_aligned(self->symbols);
    free_aligned(self->parents);
    drop(self->forced);
    object_free(self);
}

/* ---- options: each function returns false with an exception */

static bool expect_none(const char *name, const char *where, PyObject *given) {
    if (given == Py_None) return true;
    PyErr_Format(PyExc_ValueError, "%s: expected None %s, got %R", name, where, given);
    return false;
}

/* From 0 on: so many groups or steps. */
static bool parse_many(const char *name, PyObject *object, size_t *size) {
    uint64_t count;
    if (!parse_count(name, object, &count)) return false;
    *size = count > PY_SSIZE_T_MAX ? PY_SSIZE_T_MAX : (size_t)count;
    return true;
}

static bool parse_stop(PyObject *object, size_t symbols, int64_t *stop) {
    *stop = -1;
    if (object == Py_None) return true;
    PyObject *index = PyNumber_Index(object);
    const bool wrong_type = !index;
    int overflow = 0;
    const long long value = index ? PyLong_AsLongLongAndOverflow(index, &overflow) : -1;
    drop(index);
    PyErr_Clear();
    *stop = value;
    if (wrong_type || overflow < 0 || (overflow == 0 && value < 0))
        PyErr_Format(wrong_type ? PyExc_TypeError : PyExc_ValueError,
                     "stop: expected None or a symbol, an integer of at least 0, got %R", object);
    else if (overflow || (unsigned long long)value >= symbols)
        PyErr_Format(PyExc_ValueError,
                     "stop: expected None or a symbol, an integer below K=%zu, got %R", symbols,
                     object);
    return !PyErr_Occurred();
}

/* The arguments that say how symbols are drawn. */
typedef struct drawing {
    PyObject *temperature, *top_k, *top_p, *forced;
} drawing;

static bool parse_drawing(crnn_search_options *o, const drawing *given) {
    const char *const without = "without a temperature";
    if (given->temperature == Py_None)
        return expect_none("top_k", without, given->top_k) &&
               expect_none("top_p", without, given->top_p);
    if (o->beam) return expect_none("temperature", "in a beam search", given->temperature);
    if (!parse_number("temperature", "a positive number, or None to take the most probable symbol",
                      given->temperature, DBL_TRUE_MIN, HUGE_VAL, &o->temperature))
        return false;
    if (given->top_k != Py_None && !parse_size("top_k", given->top_k, &o->top_k)) return false;
    if (given->top_p == Py_None) return true;
    if (!parse_number("top_p", "a positive number", given->top_p, DBL_TRUE_MIN, HUGE_VAL,
                      &o->top_p))
        return false;
    if (o->top_p <= 1) return true;
    PyErr_Format(PyExc_ValueError, "top_p: expected a probability, 0 < p <= 1, got %R",
                 given->top_p);
    return false;
}

static bool parse_forced(Search *self, crnn_search_options *o, PyObject *given) {
    if (given == Py_None) return true;
    if (o->beam) return expect_none("forced", "in a beam search", given);
    const dims shape = {2, {(npy_intp)(o->groups * o->width), -1}, {"rows", "T"}};
    self->forced = integer_array("forced", given, &shape);
    if (!self->forced || !integers_within("forced", self->forced, -1, (npy_int64)o->symbols - 1))
        return false;
    o->forced = PyArray_DATA(self->forced);
    o->forced_steps = (size_t)PyArray_DIM(self->forced, 1);
    return true;
}

static bool check_width(const crnn_search_options *o, const drawing *given) {
    if (o->width == 1 || o->beam || given->temperature != Py_None) return true;
    PyErr_Format(PyExc_ValueError, "width: expected 1 without a beam or a temperature, got %zu",
                 o->width);
    return false;
}

/* ---- memory */

/* A search may end long before it has done max_steps, so the history grows as it goes on. */
size_t search_room(Search *self) {
    const crnn_search *s = &self->search;
    size_t bytes, used;
    if (s->steps < self->room) return self->room - s->steps;
    size_t room = self->room ? 2 * self->room : 16;
    if (room > self->max_steps) room = self->max_steps;
    if (!check_status(crnn_search_history_size(&s->options, room, &bytes), "max_steps") ||
        !check_status(crnn_search_history_size(&s->options, self->room, &used), "max_steps"))
        return 0;
    crnn_link *history = alloc_aligned(bytes);
    if (!history) return 0;
    if (used) memcpy(history, s->history, used);
    free_aligned(s->history);
    self->search.history = history;
    self->room = room;
    return room - s->steps;
}

static bool search_buffers(Search *self, const crnn_search_options *o) {
    size_t bytes;
    if (!check_status(crnn_search_size(o, &bytes), "groups, width, symbols")) return false;
    const size_t rows = o->groups * o->width; /* less than the bytes */
    self->memory = alloc_aligned(bytes);
    self->symbols = self->memory ? alloc_aligned(rows * sizeof(int64_t)) : NULL;
    self->parents = self->symbols ? alloc_aligned(rows * sizeof(size_t)) : NULL;
    if (self->parents) crnn_search_begin(&self->search, o, self->memory);
    return self->parents != NULL;
}

static PyObject *search_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"groups", "symbols",        "max_steps",   "width", "beam",
                            "stop",   "length_penalty", "temperature", "top_k", "top_p",
                            "seed",   "first_group",    "forced",      NULL};
    PyObject *groups, *symbols, *max_steps, *width = NULL, *stop = Py_None, *penalty = NULL;
    PyObject *seed = NULL, *first_group = NULL;
    drawing given = {Py_None, Py_None, Py_None, Py_None};
    crnn_search_options o = {.width = 1, .top_p = 1};
    int beam = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|$OpOOOOOOOO:Search", names, &groups,
                                     &symbols, &max_steps, &width, &beam, &stop, &penalty,
                                     &given.temperature, &given.top_k, &given.top_p, &seed,
                                     &first_group, &given.forced))
        return NULL;
    Search *self = object_new(type);
    if (!self) return NULL;
    o.beam = beam;
    if (!parse_many("groups", groups, &o.groups) || !parse_size("symbols", symbols, &o.symbols) ||
        !parse_many("max_steps", max_steps, &self->max_steps) ||
        (width && !parse_size("width", width, &o.width)) || !parse_stop(stop, o.symbols, &o.stop) ||
        (penalty && !parse_number("length_penalty", "a finite number of at least 0", penalty, 0,
                                  HUGE_VAL, &o.length_penalty)) ||
        !parse_drawing(&o, &given) || !check_width(&o, &given) ||
        (seed && !parse_count("seed", seed, &o.seed)) ||
        (first_group && !parse_count("first_group", first_group, &o.first_group)) ||
        !search_buffers(self, &o) || !parse_forced(self, &self->search.options, given.forced))
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* ---- steps and results */

bool search_is_done(const Search *self) {
    return self->search.live == 0 || self->search.steps == self->max_steps;
}

/* A new array with a copy of n elements, or NULL. */
static PyObject *copied_array(int type, size_t n, const void *from) {
    npy_intp shape[1] = {(npy_intp)n};
    PyArrayObject *array = (PyArrayObject *)new_plain_array(1, shape, type);
    if (array && n) memcpy(PyArray_DATA(array), from, (size_t)PyArray_NBYTES(array));
    return (PyObject *)array;
}

/* Takes the references. */
static PyObject *pair_of(PyObject *first, PyObject *second) {
    PyObject *pair = first && second ? PyTuple_Pack(2, first, second) : NULL;
    drop(first);
    drop(second);
    return pair;
}

void search_refuse_nan(const Search *self) {
    PyErr_Format(PyExc_FloatingPointError, "logits: expected numbers at step %zu, got NaN",
                 self->search.steps);
}

bool search_claim(Search *self) {
    if (!atomic_exchange(&self->busy, true)) return true;
    PyErr_SetString(
        PyExc_RuntimeError,
        "search: expected one that is not in use, got one that another call is running");
    return false;
}

/* logits (live, K), as float32 where they are that, else as float64. */
static PyArrayObject *logits_array(const Search *self, PyArrayObject *given, crnn_dtype *dtype) {
    const crnn_search *s = &self->search;
    const dims shape = {2, {(npy_intp)s->live, (npy_intp)s->options.symbols}, {"live", "K"}};
    *dtype = PyArray_TYPE(given) == NPY_FLOAT32 ? CRNN_F32 : CRNN_F64;
    if (!search_is_done(self))
        return float_array("logits", (PyObject *)given, *dtype, &shape, true);
    PyErr_SetString(PyExc_ValueError,
                    "logits: expected no further step, because the search has ended");
    return NULL;
}

static PyObject *claimed_step(Search *self, PyArrayObject *given) {
    crnn_search *s = &self->search;
    crnn_dtype dtype;
    PyArrayObject *logits = logits_array(self, given, &dtype);
    if (!logits) return NULL;
    const bool ready = search_room(self) > 0;
    const bool fine =
        ready && crnn_search_step(s, dtype, PyArray_DATA(logits), self->symbols, self->parents);
    drop(logits);
    if (fine)
        return pair_of(copied_array(NPY_INT64, s->live, self->symbols),
                       copied_array(NPY_INTP, s->live, self->parents));
    if (ready) search_refuse_nan(self);
    return NULL;
}

/* Claimed when no code of the caller's runs any more. */
static PyObject *search_step(Search *self, PyObject *object) {
    PyArrayObject *given = as_array("logits", object);
    PyObject *result = NULL;
    if (given && search_claim(self)) {
        result = claimed_step(self, given);
        self->busy = false;
    }
    drop(given);
    return result;
}

static PyObject *claimed_result(const Search *self, size_t n_best) {
    const crnn_search *s = &self->search;
    npy_intp shape[3] = {(npy_intp)s->options.groups, (npy_intp)n_best, (npy_intp)s->steps};
    PyObject *tokens = new_plain_array(3, shape, NPY_INT64);
    PyObject *scores = tokens ? new_plain_array(2, shape, NPY_FLOAT64) : NULL;
    if (scores)
        crnn_search_result(s, n_best, s->steps, PyArray_DATA((PyArrayObject *)tokens),
                           PyArray_DATA((PyArrayObject *)scores));
    return pair_of(tokens, scores);
}

static PyObject *search_result(Search *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"n_best", NULL};
    const size_t width = self->search.options.width;
    PyObject *given = NULL, *result = NULL;
    size_t n_best = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:result", names, &given) ||
        (given && !parse_size("n_best", given, &n_best)) || !search_claim(self))
        return NULL;
    if (n_best > width)
        PyErr_Format(PyExc_ValueError, "n_best: expected at most width=%zu, got %zu", width,
                     n_best);
    else
        result = claimed_result(self, n_best);
    self->busy = false;
    return result;
}

static PyObject *search_done(Search *self, void *unused) {
    (void)unused;
    return PyBool_FromLong(search_is_done(self));
}

/* <Search: groups=2, width=3, K=10, step 4 of 20, done> */
static PyObject *search_repr(Search *self) {
    const crnn_search *s = &self->search;
    const crnn_search_options *o = &s->options;
    if (self->busy) /* another thread may be writing the rest */
        return PyUnicode_FromFormat("<Search: groups=%zu, width=%zu, K=%zu, in use>", o->groups,
                                    o->width, o->symbols);
    return PyUnicode_FromFormat("<Search: groups=%zu, width=%zu, K=%zu, step %zu of %zu%s>",
                                o->groups, o->width, o->symbols, s->steps, self->max_steps,
                                search_is_done(self) ? ", done" : "");
}

static PyMethodDef search_methods[] = {
    {"step", (PyCFunction)search_step, METH_O,
     PyDoc_STR("step($self, logits, /)\n--\n\n"
               "Choose the symbols of one step.\n\n"
               "Parameters\n"
               "----------\n"
               "logits : floats (live, K)\n"
               "    Of the rows that have not ended; at the first step one row for each group.\n\n"
               "Returns\n"
               "-------\n"
               "symbols : integers (live,)\n"
               "    Symbols to read next; `live` may be another number than before.\n"
               "parents : integers (live,)\n"
               "    Row of `logits` that each of these symbols follows.\n")},
    {"result", (PyCFunction)(void (*)(void))search_result, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("result($self, /, n_best=1)\n--\n\n"
               "Return the best rows of each group.\n\n"
               "Parameters\n"
               "----------\n"
               "n_best : int, default 1\n"
               "    Rows per group, at most `width`.\n\n"
               "Returns\n"
               "-------\n"
               "tokens : integers (groups, n_best, N)\n"
               "    Symbols of the N steps; after the end of a row `stop`, or -1 without one.\n"
               "scores : float64 (groups, n_best)\n"
               "    From the best to the worst.\n")},
    {0},
};

static PyGetSetDef search_attributes[] = {
    {"done", (getter)search_done, NULL,
     PyDoc_STR("Whether all rows have ended, or max_steps steps were run."), NULL},
    {0},
};

static PyType_Slot search_slots[] = {
    {Py_tp_doc,
     (void *)PyDoc_STR(
         "Search(groups, symbols, max_steps, *, width=1, beam=False, stop=None, "
         "length_penalty=0.0, temperature=None, top_k=None, top_p=None, seed=0, first_group=0, "
         "forced=None)\n--\n\n"
         "Choice of symbols step by step: the most probable, a random one, or a beam search.\n\n"
         "Parameters\n"
         "----------\n"
         "groups : int\n"
         "    Number of sequences to continue.\n"
         "symbols : int\n"
         "    K, the number of classes.\n"
         "max_steps : int\n"
         "    Number of steps after which the search ends.\n"
         "width : int, default 1\n"
         "    Rows per group: samples, or the width of the beam.\n"
         "beam : bool, default False\n"
         "    Whether the rows of a group are those of a beam search.\n"
         "stop : int, optional\n"
         "    Symbol that ends a row.\n"
         "length_penalty : float, default 0\n"
         "    Scores are divided by the length to this power.\n"
         "temperature : float, optional\n"
         "    Symbols are drawn from softmax(logits / temperature). None: the most probable one.\n"
         "top_k : int, optional\n"
         "    Draw from the k most probable symbols alone.\n"
         "top_p : float, optional\n"
         "    Draw from the fewest symbols whose probabilities add up to p.\n"
         "seed, first_group : int, default 0\n"
         "    Seed of the random numbers, and the number of the first group for them.\n"
         "forced : integers (groups * width, T), optional\n"
         "    Symbols to use in the first T steps in place of the chosen ones; -1: the chosen "
         "one.\n")},
    {Py_tp_repr, search_repr},
    {Py_tp_new, search_new},
    {Py_tp_dealloc, search_dealloc},
    {Py_tp_methods, search_methods},
    {Py_tp_getset, search_attributes},
    {0, NULL},
};
PyType_Spec search_spec = {"crnn._core.Search", sizeof(Search), 0, Py_TPFLAGS_DEFAULT,
                           search_slots};
