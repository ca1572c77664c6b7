/* The options of the recurrent layers: one table says what each is called, which cells have it, how
 * it is read and how it is shown. */
#include "binding.h"

#include <float.h>
#include <math.h>
#include <stddef.h>

/* Traits of a cell, from its line in cells.def. A cell has an option whose traits include one of
 * its own. */
enum {
    ALL = 1,
    HAS_C = 2,
    ACTIVATED = 4,     /* its gates' activations can be chosen */
    OF_FIRST_TYPE = 8, /* and a bit for each type: */
};
#define OF(type) ((unsigned)OF_FIRST_TYPE << TYPE_##type)

static const layer_type type_of[CRNN_CELLS] = {
#define CRNN_CELL(id, cell, type, ...) [CRNN_##id] = TYPE_##type,
#include "../core/cells.def"
#undef CRNN_CELL
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
    PROBABILITY, /* 0 <= p < 1 */
    BOUND,       /* above 0, or None */
    SIZE,        /* at least 1, or None */
    ZONEOUT,     /* a probability, with a c also a pair */
    ACTIVATION,
    RNN_ACTIVATION, /* of a layer whose cell it may be */
    RESET,          /* the cell by a word, */
    COUPLED,        /* or by a bool */
} kind;

typedef struct option {
    const char *name;
    unsigned traits;
    kind kind;
    size_t at; /* of the field of crnn_layer */
} option;

#define AT(field) offsetof(crnn_layer, field)

static const option options[] = {
    {"bias", ALL, BOOL, AT(bias)},
    {"reverse", ALL, BOOL, AT(reverse)},
    {"dtype", ALL, DTYPE, AT(dtype)},
    {"beta", OF(JANET), NUMBER, AT(beta)},
    {"reset", OF(GRU), RESET, 0},
    {"recurrent_activation", ACTIVATED, ACTIVATION, AT(gate)},
    {"activation", ACTIVATED, ACTIVATION, AT(candidate)},
    {"activation", OF(RNN), RNN_ACTIVATION, AT(candidate)},
    {"output_activation", HAS_C, ACTIVATION, AT(output)},
    {"peepholes", HAS_C, BOOL, AT(peepholes)},
    {"coupled", OF(LSTM), COUPLED, 0},
    {"proj_size", HAS_C, SIZE, AT(projected)},
    {"layer_norm", ALL, BOOL, AT(layer_norm)},
    {"clip", ALL, BOUND, AT(clip)},
    {"learn_state", ALL, BOOL, AT(learns_state)},
    {"recurrent_dropout", ALL, PROBABILITY, AT(recurrent_dropout)},
    {"zoneout", ALL, ZONEOUT, 0},
    {"weight_drop", ALL, PROBABILITY, AT(weight_drop)},
};
enum { OPTIONS = sizeof options / sizeof *options };

static bool has_c(const crnn_layer *layer) { return crnn_cell_describe(layer->cell)->states == 2; }

const char *layer_type_name(const crnn_layer *layer) {
    static const char *const names[LAYER_TYPES] = {
#define CRNN_TYPE(NAME, cell, beta) [TYPE_##NAME] = #NAME,
#include "types.def"
#undef CRNN_TYPE
    };
    return names[type_of[layer->cell]];
}

void print_sizes(const crnn_layer *layer, char *to) {
    if (layer->projected)
        PyOS_snprintf(to, SIZES_TEXT, "H=%zu, P=%zu", layer->hidden, layer->projected);
    else
        PyOS_snprintf(to, SIZES_TEXT, "H=%zu", layer->hidden);
}

static unsigned traits_of(const crnn_layer *layer) {
    const bool activated = crnn_cell_describe(layer->cell)->activated;
    return ALL | (has_c(layer) ? HAS_C : 0) | (activated ? ACTIVATED : 0) |
           (unsigned)OF_FIRST_TYPE << type_of[layer->cell];
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

static bool read_activation(const char *name, PyObject *given, crnn_activation usual,
                            crnn_activation *activation) {
    for (int i = CRNN_TANH; i < CRNN_ACTIVATIONS && PyUnicode_Check(given); i++) {
        if (PyUnicode_CompareWithASCIIString(given, activation_names[i]) != 0) continue;
        *activation = i == (int)usual ? CRNN_USUAL : (crnn_activation)i;
        return true;
    }
    return refuse(name, "'tanh', 'sigmoid', 'hard_sigmoid', 'relu', 'softsign' or 'identity'",
                  given, PyExc_ValueError);
}

/* What an activation is where nothing else is said. */
static crnn_activation usual_at(size_t at) { return at == AT(gate) ? CRNN_LOGISTIC : CRNN_TANH; }

static bool read_reset(PyObject *given, crnn_cell *cell) {
    static const char *const words[] = {"after", "before"};
    static const crnn_cell cells[] = {CRNN_GRU_AFTER, CRNN_GRU_BEFORE};
    for (int i = 0; i < 2 && PyUnicode_Check(given); i++) {
        *cell = cells[i];
        if (PyUnicode_CompareWithASCIIString(given, words[i]) == 0) return true;
    }
    return refuse("reset", "'after' or 'before'", given, PyExc_ValueError);
}

static bool read_rnn_activation(PyObject *given, crnn_layer *layer) {
    if (!read_activation("activation", given, CRNN_TANH, &layer->candidate)) return false;
    if (layer->candidate == CRNN_RELU) {
        layer->cell = CRNN_RNN_RELU;
        layer->candidate = CRNN_USUAL;
    }
    return true;
}

static bool read_truth(PyObject *given, bool *truth) {
    const int value = PyObject_IsTrue(given);
    *truth = value > 0;
    return value >= 0;
}

static bool read_option(const option *o, PyObject *given, crnn_layer *layer) {
    void *to = field(layer, o);
    bool coupled;
    switch (o->kind) {
    case DTYPE:
        return parse_dtype(given, to);
    case BOOL:
        return read_truth(given, to);
    case NUMBER:
        return parse_number(o->name, "a finite number", given, -HUGE_VAL, HUGE_VAL, to);
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
        return read_activation(o->name, given, usual_at(o->at), to);
    case RNN_ACTIVATION:
        return read_rnn_activation(given, layer);
    case RESET:
        return read_reset(given, &layer->cell);
    default:
        if (!read_truth(given, &coupled)) return false;
        if (coupled) layer->cell = CRNN_LSTM_COUPLED;
        return true;
    }
}

static const option *find_option(unsigned traits, PyObject *name) {
    for (size_t i = 0; i < OPTIONS; i++)
        if (options[i].traits & traits &&
            PyUnicode_CompareWithASCIIString(name, options[i].name) == 0)
            return &options[i];
    return NULL;
}

bool options_read(crnn_layer *layer, const char *type_name, PyObject *given) {
    PyObject *name, *value;
    Py_ssize_t at = 0;
    const unsigned traits = traits_of(layer);
    while (given && PyDict_Next(given, &at, &name, &value)) {
        const option *o = find_option(traits, name);
        if (!o) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", type_name,
                         name);
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

/* ---- showing */

static PyObject *show_activation(const crnn_layer *layer, const option *o) {
    const crnn_activation *given = (const crnn_activation *)((const char *)layer + o->at);
    return PyUnicode_FromString(activation_names[*given ? *given : usual_at(o->at)]);
}

static PyObject *show_zoneout(const crnn_layer *layer) {
    if (!has_c(layer) || layer->zoneout_h == layer->zoneout_c)
        return PyFloat_FromDouble(layer->zoneout_h);
    return Py_BuildValue("(dd)", layer->zoneout_h, layer->zoneout_c);
}

static PyObject *show_option(const crnn_layer *layer, const option *o) {
    const void *from = (const char *)layer + o->at;
    const double *number = from;
    switch (o->kind) {
    case DTYPE:
        return PyUnicode_FromString(layer->dtype == CRNN_F64 ? "float64" : "float32");
    case BOOL:
        return PyBool_FromLong(*(const bool *)from);
    case NUMBER:
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
    case RNN_ACTIVATION:
        return layer->cell == CRNN_RNN_RELU ? PyUnicode_FromString("relu")
                                            : show_activation(layer, o);
    case RESET:
        return PyUnicode_FromString(layer->cell == CRNN_GRU_BEFORE ? "before" : "after");
    default:
        return PyBool_FromLong(layer->cell == CRNN_LSTM_COUPLED);
    }
}

PyObject *options_show(const crnn_layer *layer) {
    PyObject *dict = PyDict_New();
    const unsigned traits = traits_of(layer);
    for (size_t i = 0; dict && i < OPTIONS; i++) {
        if (!(options[i].traits & traits)) continue;
        PyObject *value = show_option(layer, &options[i]);
        if (!value || PyDict_SetItemString(dict, options[i].name, value) < 0) Py_CLEAR(dict);
        drop(value);
    }
    return dict;
}

bool options_same(const crnn_layer *a, const crnn_layer *b) {
    return a->cell == b->cell && a->dtype == b->dtype && a->inputs == b->inputs &&
           a->hidden == b->hidden && a->projected == b->projected && a->bias == b->bias &&
           a->reverse == b->reverse && a->learns_state == b->learns_state &&
           a->layer_norm == b->layer_norm && a->peepholes == b->peepholes && a->gate == b->gate &&
           a->candidate == b->candidate && a->output == b->output && a->beta == b->beta &&
           a->clip == b->clip && a->recurrent_dropout == b->recurrent_dropout &&
           a->weight_drop == b->weight_drop && a->zoneout_h == b->zoneout_h &&
           a->zoneout_c == b->zoneout_c;
}
