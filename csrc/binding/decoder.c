/* The decoder of a Seq2Seq with input feeding: recurrent layers and attention as one plan of the
 * core. The arrays come from crnn's own Python code (crnn/seq2seq/), which has checked the
 * arguments of the user; the sizes on which memory depends are checked here all the same. */
#include "decoder_tape.h"

/* ---- arguments */

typedef struct decode_arguments {
    PyObject *levels, *target, *vectors, *lengths;
    attention_given attention;
    int training;
    unsigned long long call, first_row;
} decode_arguments;

/* The random numbers of a part of the model. */
static crnn_noise noise_of(const decode_arguments *given, uint64_t seed, unsigned int number) {
    return (crnn_noise){.on = given->training,
                        .seed = seed,
                        .call = given->call,
                        .first_row = given->first_row,
                        .layer = number};
}

/* Dropout before a level: (p, seed, number of the Dropout in its model, variational), or None. */
static bool dropout_parse(level *to, size_t l, PyObject *given, const decode_arguments *all) {
    unsigned long long seed;
    unsigned int number;
    int variational;
    double p;
    if (given == Py_None) return true;
    if (!PyTuple_Check(given)) return refuse_misfit("levels");
    if (!PyArg_ParseTuple(given, "dKIp", &p, &seed, &number, &variational)) return false;
    if (l == 0 || !(p >= 0 && p < 1)) return refuse_misfit("levels");
    if (p > 0 && all->training)
        to->drop = (crnn_rowwise){.kind = CRNN_ROWWISE_DROP,
                                  .inputs = 1,
                                  .features = {to->held.layer.inputs},
                                  .p = p,
                                  .noise = noise_of(all, seed, number),
                                  .variational = variational};
    return true;
}

/* One entry of levels: (layer, state or None, number of the layer in its model, dropout). */
static bool level_parse(DecoderTape *d, size_t l, module_state *module, PyObject *entry,
                        const decode_arguments *given) {
    PyObject *layer, *dropout;
    unsigned int number;
    level *to = &d->levels[l];
    if (!PyTuple_Check(entry)) return refuse_misfit("levels");
    if (!PyArg_ParseTuple(entry, "OOIO", &layer, &to->state, &number, &dropout)) return false;
    if (!PyObject_TypeCheck(layer, module->recurrent)) {
        PyErr_Format(PyExc_TypeError, "levels[%zu]: expected a recurrent layer, got %.100R", l,
                     layer);
        return false;
    }
    if (!layer_hold(&to->held, (Recurrent *)layer) || !dropout_parse(to, l, dropout, given) ||
        !(to->tape = tape_new(module, &to->held.layer)))
        return false;
    to->tape->call.noise = noise_of(given, to->held.seed, number);
    const crnn_layer *own = layer_at(d, l);
    if (!own->reverse && own->dtype == dtype_of_levels(d) &&
        (l == 0 || own->inputs == crnn_width(layer_at(d, l - 1))))
        return true;
    PyErr_Format(PyExc_ValueError,
                 "levels[%zu]: expected a layer with reverse=False, the dtype of levels[0] and the "
                 "output_size of the layer below as input_size, got %.200R",
                 l, layer);
    return false;
}

static bool levels_parse(DecoderTape *d, module_state *module, const decode_arguments *given) {
    if (!PyTuple_Check(given->levels) || PyTuple_Size(given->levels) < 1) {
        PyErr_SetString(PyExc_TypeError, "levels: expected a tuple of at least one layer");
        return false;
    }
    const size_t depth = (size_t)PyTuple_Size(given->levels);
    const size_t most = 4 + 2 * depth; /* nodes: target, query, context, both, levels, dropouts */
    d->levels = PyMem_Calloc(depth, sizeof *d->levels);
    d->nodes = PyMem_Calloc(most, sizeof *d->nodes);
    d->memory = PyMem_Calloc(most, sizeof *d->memory);
    if (!d->levels || !d->nodes || !d->memory) return PyErr_NoMemory() != NULL;
    d->depth = depth;
    for (size_t l = 0; l < depth; l++)
        if (!level_parse(d, l, module, PyTuple_GetItem(given->levels, (Py_ssize_t)l), given))
            return false;
    return true;
}

/* Node 0: symbols (B, T) where there are vectors (K, E), else floats (B, T, E). */
static bool target_parse(DecoderTape *d, module_state *module, const decode_arguments *given) {
    const crnn_dtype dtype = dtype_of_levels(d);
    dims shape = {3, {-1, -1, -1}, {"B", "T", "E"}}, table = {2, {-1, -1}, {"K", "E"}};
    crnn_node *node = &d->nodes[d->plan.count++];
    *node = (crnn_node){.op = CRNN_OP_INPUT};
    if (!floats_read(NULL, "vectors", given->vectors, dtype, &table, &d->vectors)) return false;
    if (d->vectors) {
        shape.count = 2;
        d->target = integer_array("target_in", given->target, &shape);
        if (!d->target || !integers_within("target_in", d->target, 0, table.size[0] - 1))
            return false;
        node->symbols = PyArray_DATA(d->target);
        d->symbols = (size_t)table.size[0];
        d->features = (size_t)table.size[1];
    } else {
        d->target = sequence_array(module, "target_in", given->target, dtype, &shape, &node->value);
        if (!d->target) return false;
        d->features = node->features = (size_t)shape.size[2];
    }
    d->batch = (size_t)PyArray_DIM(d->target, 0);
    d->steps = (size_t)PyArray_DIM(d->target, 1);
    return d->features > 0 || refuse_misfit("target_in");
}

/* ---- the plan */

/* The next node, with a new array for its value; NULL with an exception. */
static crnn_node *add_node(module_state *module, DecoderTape *d, crnn_op op, size_t features) {
    node_memory *memory = &d->memory[d->plan.count];
    crnn_node *node = &d->nodes[d->plan.count];
    memory->value = new_steps(module, d, features);
    if (!memory->value) return NULL;
    *node = (crnn_node){
        .op = op, .from = memory->from, .features = features, .value = seq_of(memory->value)};
    d->plan.count++;
    return node;
}

/* The last node reads another. */
static void add_edge(DecoderTape *d, size_t node, size_t delay) {
    const size_t last = d->plan.count - 1;
    d->memory[last].from[d->nodes[last].edges++] = (crnn_edge){node, delay};
}

/* Query and attention; their first edge is set when the top layer has its number. */
static bool add_attention(module_state *module, DecoderTape *d, const crnn_attention *attention) {
    crnn_node *node;
    if (!(d->weights = new_steps(module, d, attention->steps))) return false;
    if (d->arrays.w_query) {
        if (!(node = add_node(module, d, CRNN_OP_SUM, attention->key_size))) return false;
        node->as.sum.w = PyArray_DATA(d->arrays.w_query);
        add_edge(d, 0, 1);
    }
    if (!(node = add_node(module, d, CRNN_OP_ATTEND, attention->value_size))) return false;
    node->as.attend = (crnn_attend){.attention = *attention, .weights = PyArray_DATA(d->weights)};
    d->context = d->plan.count - 1;
    add_edge(d, d->arrays.w_query ? d->context - 1 : 0, !d->arrays.w_query);
    return true;
}

static bool add_rowwise(module_state *module, DecoderTape *d, const crnn_rowwise *operation) {
    crnn_node *node = add_node(module, d, CRNN_OP_ROWWISE, crnn_rowwise_features(operation));
    if (!node) return false;
    node->as.rowwise = *operation;
    node->as.rowwise.kernels = d->plan.kernels;
    return true;
}

/* The floats of the target, with the context behind them. */
static bool add_joined(module_state *module, DecoderTape *d) {
    const crnn_rowwise join = {.kind = CRNN_ROWWISE_CONCAT,
                               .inputs = 2,
                               .features = {d->nodes[0].features, d->nodes[d->context].features}};
    if (!d->nodes[0].features) return true;
    if (!add_rowwise(module, d, &join)) return false;
    add_edge(d, 0, 0);
    add_edge(d, d->context, 0);
    return true;
}

/* The tape of layer l, which reads the last node. Symbols with vectors are no input that the layer
 * could read alone: its own backward refuses such a tape. */
static bool level_tape(const DecoderTape *d, size_t l, const int64_t *lengths) {
    const size_t below = d->plan.count - 1;
    const level *own = &d->levels[l];
    call *c = &own->tape->call;
    size_t bytes;
    if (l > 0 || !d->vectors) {
        c->x = (PyArrayObject *)Py_NewRef((PyObject *)d->memory[below].value);
        c->in.x = d->nodes[below].value;
    }
    c->lengths = (PyArrayObject *)Py_XNewRef((PyObject *)d->lengths);
    c->from_learned = own->tape->layer.learns_state && !own->initial.h;
    const crnn_steps steps = {.batch = d->batch, .steps = d->steps, .lengths = lengths};
    return call_rows(c, &steps) &&
           check_status(crnn_tape_size(&own->tape->layer, d->plan.kernels, &c->rows, &bytes),
                        "target_in") &&
           (own->tape->tape.memory = alloc_aligned(bytes));
}

static crnn_recurrent recurrent_of(const DecoderTape *d, size_t l) {
    const level *own = &d->levels[l];
    crnn_recurrent r = {.layer = &own->tape->layer,
                        .rows = &own->tape->call.rows,
                        .params = held_params(&own->held),
                        .noise = own->tape->call.noise,
                        .initial = state_pointers(&own->initial),
                        .final = state_pointers(&own->final),
                        .tape = &own->tape->tape,
                        .from_learned = own->tape->call.from_learned};
    if (l == 0 && d->vectors) {
        r.vectors = PyArray_DATA(d->vectors);
        r.symbols = d->symbols;
        r.table = d->features;
    }
    return r;
}

/* Dropout and a layer, which reads the node before it. */
static bool add_level(module_state *module, DecoderTape *d, size_t l, const int64_t *lengths) {
    level *own = &d->levels[l];
    const crnn_layer *layer = layer_at(d, l);
    if (own->drop.inputs) {
        if (!add_rowwise(module, d, &own->drop)) return false;
        add_edge(d, d->plan.count - 2, 0);
    }
    if (!state_parse(&own->initial, "state", layer, d->batch, own->state) ||
        !state_new(&own->final, layer, d->batch) || !level_tape(d, l, lengths))
        return false;
    crnn_node *node = add_node(module, d, CRNN_OP_RECURRENT, crnn_width(layer));
    if (!node) return false;
    node->as.recurrent = recurrent_of(d, l);
    own->node = d->plan.count - 1;
    add_edge(d, own->node - 1, 0);
    if (l == 0 && d->vectors) add_edge(d, 0, 0);
    return true;
}

static bool plan_build(DecoderTape *d, module_state *module, const decode_arguments *given) {
    const int64_t *lengths = NULL;
    if (!levels_parse(d, module, given) || !target_parse(d, module, given) ||
        !lengths_read("target_lengths", given->lengths, d->batch, d->steps, &d->lengths, &lengths))
        return false;
    crnn_attention attention = {.dtype = dtype_of_levels(d), .batch = d->batch};
    if (!attention_read(&attention, &d->arrays, module, &given->attention,
                        crnn_width(layer_at(d, d->depth - 1))))
        return false;
    if (d->features + attention.value_size != layer_at(d, 0)->inputs) {
        PyErr_Format(PyExc_ValueError, "target_in: expected %zu features with the context, got %zu",
                     layer_at(d, 0)->inputs, d->features + attention.value_size);
        return false;
    }
    d->plan.kernels = crnn_kernels_now(dtype_of_levels(d));
    if (!add_attention(module, d, &attention) || !add_joined(module, d)) return false;
    for (size_t l = 0; l < d->depth; l++)
        if (!add_level(module, d, l, lengths)) return false;
    d->memory[1].from[0].node = d->plan.count - 1;
    d->plan.rows = &d->levels[0].tape->call.rows;
    d->plan.node = d->nodes;
    return true;
}

/* ---- forward */

static bool plan_forward(const DecoderTape *d) {
    crnn_plan plan = d->plan;
    size_t bytes;
    if (!check_status(crnn_plan_workspace(&plan, &bytes), "target_in")) return false;
    plan.workspace = alloc_aligned(bytes);
    if (!plan.workspace) return false;
    Py_BEGIN_ALLOW_THREADS crnn_plan_forward(&plan);
    Py_END_ALLOW_THREADS free_aligned(plan.workspace);
    return true;
}

static PyObject *seq2seq_decode(PyObject *self, PyObject *args) {
    decode_arguments given;
    module_state *state = state_of_type(Py_TYPE(self));
    PyObject *states = NULL, *result = NULL;
    if (!state || !PyArg_ParseTuple(args, "OOOOOOOOOpKK:_decode", &given.levels, &given.target,
                                    &given.vectors, &given.lengths, &given.attention.keys,
                                    &given.attention.values, &given.attention.lengths,
                                    &given.attention.w_query, &given.attention.v, &given.training,
                                    &given.call, &given.first_row))
        return NULL;
    DecoderTape *tape = object_new(state->decoder_tape);
    if (!tape) return NULL;
    if (plan_build(tape, state, &given) && plan_forward(tape) &&
        (states = states_of_levels(tape, &tape->levels[0].final, sizeof(level))))
        result = PyTuple_Pack(3, tape->memory[tape->plan.count - 1].value, states, tape);
    for (size_t l = 0; l < tape->depth; l++) layer_release(&tape->levels[l].held);
    Py_CLEAR(tape->vectors);
    drop(states);
    drop(tape);
    return result;
}

/* ---- the type */

static PyMethodDef seq2seq_methods[] = {
    {"_decode", seq2seq_decode, METH_VARARGS,
     PyDoc_STR("_decode($self, levels, target_in, vectors, target_lengths, keys, values, "
               "source_lengths, W_query_t, v, training, call, first_row, /)\n--\n\n"
               "Return (y, states, tape) of a decoder with input feeding.\n\n"
               "`levels` has a tuple (layer, state, number of the layer, dropout) for each layer. "
               "target_in is floats (B, T, E), or symbols (B, T) whose vectors (K, E) are given. "
               "y (B, T, P) is the output of the top layer, `states` the list of the last "
               "states.")},
    {"_decode_back", seq2seq_decode_back, METH_VARARGS,
     PyDoc_STR("_decode_back($self, tape, layers, vectors, dy, dcontext, dvectors, dW_query_t, dv, "
               "/)\n--\n\n"
               "Return (dx, dkeys, dvalues, dstates) of a decoder with input feeding.\n\n"
               "Adds to dvectors, dW_query_t, dv and to the gradients of `layers`: the layers that "
               "made the tape, or layers with the same options. dx is None for symbols.")},
    {"_generate", seq2seq_generate, METH_VARARGS,
     PyDoc_STR("_generate($self, levels, embedding, feeds, keys, values, source_lengths, "
               "W_query_t, v, W_out_t, b_out, start, searches, /)\n--\n\n"
               "Run every search to its end.\n\n"
               "`levels` has a pair (layer, state) for each layer. Each search reads the source "
               "rows that follow those of the search before it.")},
    {0},
};

static PyType_Slot seq2seq_slots[] = {
    {Py_tp_doc,
     (void *)PyDoc_STR("Base class of sequence-to-sequence models: runs their decoder.")},
    {Py_tp_methods, seq2seq_methods},
    {0, NULL},
};
PyType_Spec seq2seq_spec = {"crnn._core.Seq2Seq", 0, 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                            seq2seq_slots};
