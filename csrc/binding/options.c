/* The options of the recurrent layers: one table says what each is called, which cells have it, how
 * it is read and how it is shown. */
#include "binding.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

/* What cells.def says about the type of a cell. */
typedef struct cell_row {
    layer_type type;
    const char *option, *value; /* the option that selects the cell, "" for none */
} cell_row;

static const cell_row cells[CRNN_CELLS] = {
#define CRNN_CELL(id, cell, type, gates, states, phases, x0, h0, x1, h1, raw, apart, candidate, \
                  option, value) \
    [CRNN_##id] = {TYPE_##type, option, value},
#include "../core/cells.def"
#undef CRNN_CELL
};

static const bool has_beta[LAYER_TYPES] = {
#define CRNN_TYPE(NAME, cell, beta) [TYPE_##NAME] = (beta) != 0,
#include "types.def"
#undef CRNN_TYPE
};

/* The first cell of each type is one of its cells. */
enum {
#define CRNN_CELL(id, cell, type, ...) TYPE_OF_##id = TYPE_##type,
#include "../core/cells.def"
#undef CRNN_CELL
};
#define CRNN_TYPE(NAME, cell, beta) \
    _Static_assert((int)TYPE_OF_##cell == (int)TYPE_##NAME, \
                   #cell " is of another type than " #NAME);
#include "types.def"
#undef CRNN_TYPE

typedef enum kind {
    DTYPE,
    BOOL,
    NUMBER,      /* finite */
    AMOUNT,      /* at least 0, and a float32 */
    PROBABILITY, /* 0 <= p < 1 */
    BOUND,       /* above 0, or None */
    SIZE,        /* at least 1, or None */
    ZONEOUT,     /* a probability, with a c also a pair */
    ACTIVATION,  /* by its name, which may also select a cell */
    LEAK,        /* a number, or one for each unit, or None: leak.c */
    DELAYS,      /* a number of steps, or a tuple of different ones */
    CELL_BY_WORD,
    CELL_BY_BOOL,
} kind;

/* Which layers have an option: those with one of these traits. */
enum {
    NONE = 0,
    ALL = 1,
    HAS_C = 2,
    ACTIVATED = 4,
    HAS_BETA = 8,
    LEAKY = 16,
    SHAPED = 32, /* the activation of the candidate can be chosen */
    HAS_W_H = 64
};

typedef struct option {
    const char *name;
    unsigned traits;
    kind kind;
    size_t at; /* of the field of crnn_layer */
} option;

#define AT(field) offsetof(crnn_layer, field)

static const option options[] = {
#define CRNN_OPTION(name, of, kind, field) {#name, of, kind, AT(field)},
#include "../core/options.def"
};
enum { OPTIONS = sizeof options / sizeof *options };

static bool has_c(const crnn_layer *layer) { return crnn_cell_describe(layer->cell)->states == 2; }

const char *layer_type_name(const crnn_layer *layer) {
    static const char *const names[LAYER_TYPES] = {
#define CRNN_TYPE(NAME, cell, beta) [TYPE_##NAME] = #NAME,
#include "types.def"
#undef CRNN_TYPE
    };
    return names[cells[layer->cell].type];
}

const char *size_names(const crnn_layer *layer) {
    return layer->delays[0] ? "input_size, hidden_size, delays" : "input_size, hidden_size";
}

void print_sizes(const crnn_layer *layer, char *to) {
    if (layer->projected)
        PyOS_snprintf(to, SIZES_TEXT, "H=%zu, P=%zu", layer->hidden, layer->projected);
    else
        PyOS_snprintf(to, SIZES_TEXT, "H=%zu", layer->hidden);
}

static unsigned traits_of(const crnn_layer *layer) {
    const crnn_cell_facts *cell = crnn_cell_describe(layer->cell);
    return ALL | (has_c(layer) ? HAS_C : 0) | (cell->activated ? ACTIVATED : 0) |
           (cell->candidate ? SHAPED : 0) | (cell->multiplies_h ? HAS_W_H : 0) |
           (has_beta[cells[layer->cell].type] ? HAS_BETA : 0) |
           (crnn_cell_leaks(layer->cell) ? LEAKY : 0);
}

/* Whether an option selects `cell` for layers of this type. */
static bool selects(const option *o, const crnn_layer *layer, int cell) {
    return cells[cell].type == cells[layer->cell].type && strcmp(cells[cell].option, o->name) == 0;
}

static bool has_option(const crnn_layer *layer, const option *o) {
    bool has = o->traits & traits_of(layer);
    for (int cell = 0; cell < CRNN_CELLS; cell++) has = has || selects(o, layer, cell);
    return has;
}

static void *field(crnn_layer *layer, const option *o) { return (char *)layer + o->at; }

/* ---- reading: each returns false with an exception */

static bool refuse(const char *name, const char *expected, PyObject *given, PyObject *type) {
    PyErr_Format(type, "%s: expected %s, got %R", name, expected, given);
    return false;
}

static bool read_probability(const char *name, PyObject *given, double *p) {
    return parse_number(name, "a probability, 0 <= p < 1", given, 0, 1, p);
}

static bool read_zoneout(crnn_layer *layer, PyObject *given) {
    const bool is_pair = (PyTuple_Check(given) || PyList_Check(given)) &&
                         PySequence_Size(given) == 2 && has_c(layer);
    if (!is_pair) {
        if (!read_probability("zoneout", given, &layer->zoneout_h)) return false;
        layer->zoneout_c = has_c(layer) ? layer->zoneout_h : 0;
        return true;
    }
    PyObject *h = PySequence_GetItem(given, 0), *c = PySequence_GetItem(given, 1);
    const bool fine = h && c && read_probability("zoneout[0]", h, &layer->zoneout_h) &&
                      read_probability("zoneout[1]", c, &layer->zoneout_c);
    drop(h);
    drop(c);
    return fine;
}

const char *const activation_names[CRNN_ROWWISE_ACTIVATIONS] = {[CRNN_USUAL] = "",
                                                                [CRNN_TANH] = "tanh",
                                                                [CRNN_LOGISTIC] = "sigmoid",
                                                                [CRNN_HARD_SIGMOID] =
                                                                    "hard_sigmoid",
                                                                [CRNN_RELU] = "relu",
                                                                [CRNN_SOFTSIGN] = "softsign",
                                                                [CRNN_IDENTITY] = "identity",
                                                                [CRNN_GELU] = "gelu",
                                                                [CRNN_GELU_EXACT] = "gelu_exact",
                                                                [CRNN_SILU] = "silu"};

/* What an activation is where nothing else is said. */
static crnn_activation usual_at(const crnn_layer *layer, size_t at) {
    const crnn_activation candidate = crnn_cell_describe(layer->cell)->candidate;
    if (at == AT(gate)) return CRNN_LOGISTIC;
    return at == AT(candidate) && candidate ? candidate : CRNN_TANH;
}

static bool refuse_word(const char *name, size_t count, const char *const *words, PyObject *given) {
    char expected[120] = "";
    for (size_t i = 0, at = 0; i < count; i++)
        at += (size_t)PyOS_snprintf(expected + at, sizeof expected - at, "%s'%s'",
                                    i == 0 ? "" : (i + 1 < count ? ", " : " or "), words[i]);
    return refuse(name, expected, given, PyExc_ValueError);
}

static bool is_word(PyObject *given, const char *word) {
    return PyUnicode_Check(given) && PyUnicode_CompareWithASCIIString(given, word) == 0;
}

/* Selects the cell whose value is `given`; false, without an exception, if there is none. */
static bool select_cell(const option *o, PyObject *given, crnn_layer *layer) {
    int cell = 0;
    while (cell < CRNN_CELLS && !(selects(o, layer, cell) && is_word(given, cells[cell].value)))
        cell++;
    if (cell < CRNN_CELLS) layer->cell = (crnn_cell)cell;
    return cell < CRNN_CELLS;
}

static bool read_activation(const option *o, PyObject *given, crnn_layer *layer) {
    crnn_activation *to = field(layer, o);
    if (select_cell(o, given, layer)) return true;
    for (int i = CRNN_TANH; i < CRNN_ACTIVATIONS; i++) {
        if (!is_word(given, activation_names[i])) continue;
        *to = i == (int)usual_at(layer, o->at) ? CRNN_USUAL : (crnn_activation)i;
        return true;
    }
    return refuse_word(o->name, CRNN_ACTIVATIONS - CRNN_TANH, activation_names + CRNN_TANH, given);
}

static bool read_cell(const option *o, PyObject *given, crnn_layer *layer) {
    const char *words[CRNN_CELLS];
    size_t count = 0;
    if (select_cell(o, given, layer)) return true;
    for (int cell = 0; cell < CRNN_CELLS; cell++)
        if (selects(o, layer, cell)) words[count++] = cells[cell].value;
    return refuse_word(o->name, count, words, given);
}

static bool read_cell_by_bool(const option *o, bool flag, crnn_layer *layer) {
    PyObject *value = PyObject_Str(flag ? Py_True : Py_False);
    const bool selected = value && read_cell(o, value, layer);
    drop(value);
    return selected;
}

/* A flag is a bool, also of NumPy, or an integer that is 0 or 1. */
static bool read_flag(const char *name, PyObject *given, bool *flag) {
    long value = -1;
    if (PyArray_IsScalar(given, Bool)) {
        value = PyObject_IsTrue(given);
    } else if (PyLong_Check(given) || PyArray_IsScalar(given, Integer)) {
        PyObject *index = PyNumber_Index(given);
        value = index ? PyLong_AsLong(index) : -1;
        drop(index);
        PyErr_Clear(); /* of an integer above long */
    }
    *flag = value == 1;
    return value == 0 || value == 1 || refuse(name, "True or False", given, PyExc_TypeError);
}

/* One delay to *to; false where it is none, perhaps with an exception that tells of its type. */
static bool read_delay(PyObject *given, size_t *to) {
    PyObject *index = PyBool_Check(given) ? NULL : PyNumber_Index(given);
    if (PyBool_Check(given)) PyErr_SetNone(PyExc_TypeError);
    const Py_ssize_t delay = index ? PyLong_AsSsize_t(index) : -1;
    drop(index);
    *to = (size_t)delay;
    return !PyErr_Occurred() && delay >= 1 && delay <= CRNN_LONGEST_DELAY;
}

/* The delays of a tuple to `to`; false where one is none, or given twice. */
static bool read_delay_list(PyObject *given, size_t *to, Py_ssize_t count) {
    for (Py_ssize_t k = 0; k < count; k++) {
        PyObject *delay = PySequence_GetItem(given, k);
        const bool fine = delay && read_delay(delay, &to[k]);
        drop(delay);
        if (!fine) return false;
        for (Py_ssize_t i = 0; i < k; i++)
            if (to[i] == to[k]) return false;
    }
    return true;
}

/* Delays that are 1 alone are those of a layer without the option. A tuple that its code changes
 * meanwhile fails. */
static bool read_delays(const char *name, PyObject *given, crnn_layer *layer) {
    size_t delays[CRNN_DELAYS] = {0};
    const bool several = PyTuple_Check(given) || PyList_Check(given);
    const Py_ssize_t count = several ? PySequence_Size(given) : 1;
    const bool reads = crnn_cell_describe(layer->cell)->multiplies_h;
    const Py_ssize_t most = reads ? CRNN_DELAYS : 1;
    const bool fine = several ? count >= 1 && count <= CRNN_DELAYS &&
                                    read_delay_list(given, delays, count) && count <= most
                              : read_delay(given, &delays[0]);
    if (fine) {
        if (count == 1 && delays[0] == 1) delays[0] = 0;
        memcpy(layer->delays, delays, sizeof delays);
        return true;
    }
    const bool is_type = PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_OverflowError);
    PyErr_Clear();
    char expected[120];
    if (reads)
        PyOS_snprintf(
            expected, sizeof expected,
            "a number of steps, an int from 1 to %d, or a tuple of 1 to %d different ones",
            CRNN_LONGEST_DELAY, CRNN_DELAYS);
    else
        PyOS_snprintf(expected, sizeof expected,
                      "one number of steps, an int from 1 to %d, because %s has no W_h",
                      CRNN_LONGEST_DELAY, layer_type_name(layer));
    return refuse(name, expected, given, is_type ? PyExc_TypeError : PyExc_ValueError);
}

static bool read_option(const option *o, PyObject *given, crnn_layer *layer) {
    void *to = field(layer, o);
    bool flag;
    switch (o->kind) {
    case DTYPE:
        return parse_dtype(given, to);
    case BOOL:
        return read_flag(o->name, given, to);
    case NUMBER:
        return parse_number(o->name, "a finite number", given, -HUGE_VAL, HUGE_VAL, to);
    case AMOUNT:
        return parse_number(o->name, "a finite float32 of at least 0", given, 0,
                            nextafter(FLT_MAX, HUGE_VAL), to);
    case PROBABILITY:
        return read_probability(o->name, given, to);
    case BOUND:
        return given == Py_None || parse_number(o->name, "None or a positive number", given,
                                                DBL_TRUE_MIN, HUGE_VAL, to);
    case SIZE:
        return given == Py_None || parse_size(o->name, given, to);
    case ZONEOUT:
        return read_zoneout(layer, given);
    case ACTIVATION:
        return read_activation(o, given, layer);
    case LEAK: /* last of all: see options_read */
        return true;
    case DELAYS:
        return read_delays(o->name, given, layer);
    case CELL_BY_WORD:
        return read_cell(o, given, layer);
    default:
        return read_flag(o->name, given, &flag) && read_cell_by_bool(o, flag, layer);
    }
}

static const option *find_option(const crnn_layer *layer, PyObject *name) {
    for (size_t i = 0; i < OPTIONS; i++)
        if (is_word(name, options[i].name) && has_option(layer, &options[i])) return &options[i];
    return NULL;
}

/* Raises the error for a name that is no option of the type. */
static void refuse_name(const crnn_layer *layer, const char *type_name, PyObject *name) {
    for (size_t i = 0; i < OPTIONS; i++) {
        if (!is_word(name, options[i].name) || !(options[i].traits & HAS_W_H)) continue;
        if (crnn_cell_describe(layer->cell)->multiplies_h) continue;
        PyErr_Format(PyExc_TypeError, "%s: not an option of %s, which has no W_h", options[i].name,
                     type_name);
        return;
    }
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", type_name, name);
}

static bool read_all(crnn_layer *layer, const char *type_name, PyObject *given) {
    PyObject *name, *value;
    Py_ssize_t at = 0;
    while (given && PyDict_Next(given, &at, &name, &value)) {
        const option *o = find_option(layer, name);
        if (!o) {
            refuse_name(layer, type_name, name);
            return false;
        }
        if (!read_option(o, value, layer)) return false;
    }
    if (!layer->projected || layer->zoneout_h == 0) return true;
    PyErr_SetString(PyExc_ValueError,
                    "zoneout: expected 0 for h with proj_size, because a projected "
                    "h has no units to keep; zoneout=(0, p) applies to c alone");
    return false;
}

/* A leak depends on other options, whatever their order. */
bool options_read(crnn_layer *layer, PyObject **leak, const char *type_name, PyObject *given) {
    *leak = NULL;
    if (!read_all(layer, type_name, given)) return false;
    PyObject *value =
        given && crnn_cell_leaks(layer->cell) ? PyDict_GetItemString(given, "leak") : NULL;
    if (value && PyUnicode_Check(value)) /* an array of it would not show the text */
        return refuse("leak", "None, a real number, or real numbers (H,)", value, PyExc_TypeError);
    *leak = leak_read(layer, value ? value : Py_None);
    return *leak != NULL;
}

/* ---- showing */

static PyObject *show_activation(const crnn_layer *layer, const option *o) {
    const crnn_activation *given = (const crnn_activation *)((const char *)layer + o->at);
    if (!*given && selects(o, layer, layer->cell))
        return PyUnicode_FromString(cells[layer->cell].value);
    return PyUnicode_FromString(activation_names[*given ? *given : usual_at(layer, o->at)]);
}

static PyObject *show_zoneout(const crnn_layer *layer) {
    if (!has_c(layer) || layer->zoneout_h == layer->zoneout_c)
        return PyFloat_FromDouble(layer->zoneout_h);
    return Py_BuildValue("(dd)", layer->zoneout_h, layer->zoneout_c);
}

/* An int, or a tuple of several. */
static PyObject *show_delays(const crnn_layer *layer) {
    const size_t count = crnn_delay_count(layer);
    if (count == 1) return PyLong_FromSize_t(crnn_delay(layer, 0));
    PyObject *tuple = PyTuple_New((Py_ssize_t)count);
    for (size_t k = 0; tuple && k < count; k++) {
        PyObject *delay = PyLong_FromSize_t(layer->delays[k]);
        if (!delay || PyTuple_SetItem(tuple, (Py_ssize_t)k, delay) < 0) Py_CLEAR(tuple);
    }
    return tuple;
}

static PyObject *show_option(const crnn_layer *layer, const option *o, PyObject *leak) {
    const void *from = (const char *)layer + o->at;
    const double *number = from;
    switch (o->kind) {
    case DTYPE:
        return PyUnicode_FromString(layer->dtype == CRNN_F64 ? "float64" : "float32");
    case BOOL:
        return PyBool_FromLong(*(const bool *)from);
    case NUMBER:
    case AMOUNT:
    case PROBABILITY:
        return PyFloat_FromDouble(*number);
    case BOUND:
        return *number == 0 ? Py_NewRef(Py_None) : PyFloat_FromDouble(*number);
    case SIZE:
        return layer->projected ? PyLong_FromSize_t(layer->projected) : Py_NewRef(Py_None);
    case ZONEOUT:
        return show_zoneout(layer);
    case ACTIVATION:
        return show_activation(layer, o);
    case LEAK:
        return Py_NewRef(leak);
    case DELAYS:
        return show_delays(layer);
    case CELL_BY_WORD:
        return PyUnicode_FromString(cells[layer->cell].value);
    default:
        return PyBool_FromLong(strcmp(cells[layer->cell].value, "True") == 0);
    }
}

PyObject *options_show(const crnn_layer *layer, PyObject *leak) {
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict && i < OPTIONS; i++) {
        if (!has_option(layer, &options[i])) continue;
        PyObject *value = show_option(layer, &options[i], leak);
        if (!value || PyDict_SetItemString(dict, options[i].name, value) < 0) Py_CLEAR(dict);
        drop(value);
    }
    return dict;
}
