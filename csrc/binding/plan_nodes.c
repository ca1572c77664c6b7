/* The nodes of a plan, as crnn's Python code describes them: they are read and checked. */
#include "plan.h"

/* ---- reading: a node is a tuple (operation, edges, filled, rest). filled: 1 for a node that runs
 * at masked steps that are answered, 2 for one that answers them; 3 for one that answers them and
 * reads rows from their end, 4 for one that only does the latter */

static bool read_edges(Plan *plan, size_t index, PyObject *given) {
    plan_node *node = &plan->nodes[index];
    if (!PyTuple_Check(given)) return refuse_misfit("edges");
    const size_t count = (size_t)PyTuple_Size(given);
    node->from = PyMem_Calloc(count ? count : 1, sizeof *node->from);
    if (!node->from) return PyErr_NoMemory() != NULL;
    node->edges = count;
    for (size_t k = 0; k < count; k++) {
        PyObject *edge = PyTuple_GetItem(given, (Py_ssize_t)k);
        Py_ssize_t from, delay;
        if (!PyTuple_Check(edge)) return refuse_misfit("edges");
        if (!PyArg_ParseTuple(edge, "nn", &from, &delay)) return false;
        if (from < 0 || delay < 0 || (size_t)from >= (delay ? plan->count : index))
            return refuse_misfit("edges");
        node->from[k] = (crnn_edge){(size_t)from, (size_t)delay};
    }
    return true;
}

/* An array of parameters, or None. */
static bool read_parameter(const Plan *plan, const char *name, PyObject *given, int axes,
                           PyArrayObject **to) {
    if (given == Py_None) return true;
    PyArrayObject *array = buffer_array(name, given);
    if (!array) return false;
    if (PyArray_NDIM(array) != axes || !PyArray_IS_C_CONTIGUOUS(array) ||
        PyArray_TYPE(array) != typenum_of(plan->dtype))
        return refuse_misfit(name);
    *to = (PyArrayObject *)Py_NewRef(given);
    return true;
}

/* Parameters and their gradients, which are None where the layer is frozen. */
static bool read_pair(const Plan *plan, PyObject *given, PyObject *gradient, int axes,
                      PyArrayObject **to, PyArrayObject **d) {
    if (!read_parameter(plan, "W", given, axes, to) ||
        !read_parameter(plan, "dW", gradient, axes, d))
        return false;
    return !*d || (*to && PyArray_SAMESHAPE(*to, *d)) || refuse_misfit("dW");
}

/* (I, K): floats of so many features, or symbols; 0: none. */
static bool read_input(Plan *plan, plan_node *node, PyObject *rest) {
    Py_ssize_t features, symbols;
    (void)plan;
    if (!PyArg_ParseTuple(rest, "nn", &features, &symbols)) return false;
    if (features < 0 || symbols < 0 || (features == 0 && symbols == 0))
        return refuse_misfit("input");
    node->features = (size_t)features;
    node->symbols = (size_t)symbols;
    return true;
}

/* (layer, number, vectors, dvectors): the last two are those of an embedding in front, or None. */
static bool read_recurrent(Plan *plan, plan_node *node, PyObject *rest) {
    PyObject *layer, *w, *dw;
    if (!PyArg_ParseTuple(rest, "OIOO", &layer, &node->number, &w, &dw) ||
        !read_pair(plan, w, dw, 2, &node->w, &node->dw))
        return false;
    if (!PyObject_TypeCheck(layer, plan->module->recurrent)) return refuse_misfit("layer");
    node->layer = Py_NewRef(layer);
    node->frozen = recurrent_is_frozen((Recurrent *)layer);
    if (!recurrent_ready((Recurrent *)layer)) return false;
    const crnn_layer *own = &((Recurrent *)layer)->layer;
    node->features = crnn_width(own);
    node->inputs = own->inputs;
    if (node->w) node->symbols = (size_t)PyArray_DIM(node->w, 0);
    return own->dtype == plan->dtype || refuse_misfit("layer");
}

/* (W, b, dW, db): W (inputs, features); the others, in the shape of W and (features,), or None. */
static bool read_sum(Plan *plan, plan_node *node, PyObject *rest) {
    PyObject *w, *b, *dw, *db;
    if (!PyArg_ParseTuple(rest, "OOOO", &w, &b, &dw, &db) ||
        !read_pair(plan, w, dw, 2, &node->w, &node->dw) ||
        !read_pair(plan, b, db, 1, &node->b, &node->db))
        return false;
    if (!node->w || (node->b && PyArray_SIZE(node->b) != PyArray_DIM(node->w, 1)))
        return refuse_misfit("W");
    node->features = (size_t)PyArray_DIM(node->w, 1);
    return true;
}

/* (W, b, g, dW, db, dg, dilation, activation, reverse): W (J, H, I); g of a weight norm, or None.
 */
static bool read_conv(Plan *plan, plan_node *node, PyObject *rest) {
    PyObject *w, *b, *g, *dw, *db, *dg;
    const char *activation;
    int reverse, which = CRNN_TANH;
    if (!PyArg_ParseTuple(rest, "OOOOOOnsp", &w, &b, &g, &dw, &db, &dg, &node->dilation,
                          &activation, &reverse) ||
        !read_pair(plan, w, dw, 3, &node->w, &node->dw) ||
        !read_pair(plan, b, db, 1, &node->b, &node->db) ||
        !read_pair(plan, g, dg, 1, &node->g, &node->dg))
        return false;
    if (!node->w || node->edges != 1 || node->dilation < 1) return refuse_misfit("W");
    while (which < CRNN_ACTIVATIONS && strcmp(activation_names[which], activation) != 0) which++;
    if (which == CRNN_ACTIVATIONS) return refuse_misfit("activation");
    node->activation = (crnn_activation)which;
    node->reverse = reverse;
    node->taps = (size_t)PyArray_DIM(node->w, 0);
    node->features = (size_t)PyArray_DIM(node->w, 1);
    const npy_intp H = PyArray_DIM(node->w, 1);
    const bool fits = (!node->b || PyArray_SIZE(node->b) == H) &&
                      (!node->g || PyArray_SIZE(node->g) == H) && node->taps > 0 &&
                      node->taps - 1 <= CRNN_LONGEST_DELAY / node->dilation;
    return fits || refuse_misfit("W");
}

/* (heads, window, whole, rotary, p, seed, number, reverse): window 0 sees all earlier steps. */
static bool read_heads(Plan *plan, plan_node *node, PyObject *rest) {
    int whole, reverse;
    unsigned long long seed;
    if (!PyArg_ParseTuple(rest, "nnpddKIp", &node->heads, &node->window, &whole, &node->rotary,
                          &node->p, &seed, &node->number, &reverse))
        return false;
    if (node->edges != 1 || node->heads < 1) return refuse_misfit("heads");
    const size_t width = plan->nodes[node->from[0].node].features;
    node->whole = whole;
    node->reverse = reverse;
    node->seed = seed;
    node->features = width / 3;
    const bool turns = node->rotary == 0 || node->features / node->heads % 2 == 0;
    return (width % 3 == 0 && node->features % node->heads == 0 && turns && node->p >= 0 &&
            node->p < 1 && !(node->whole && node->window > 0)) ||
           refuse_misfit("heads");
}

/* (heads, p, seed, number, owner, W, b, dW, db): W (C, 2 H) and b (2 H,) of keys and values; the
 * owner is the self-attention whose state has the memory. */
static bool read_cross(Plan *plan, plan_node *node, PyObject *rest) {
    PyObject *w, *b, *dw, *db;
    unsigned long long seed;
    if (!PyArg_ParseTuple(rest, "ndKInOOOO", &node->heads, &node->p, &seed, &node->number,
                          &node->owner, &w, &b, &dw, &db) ||
        !read_pair(plan, w, dw, 2, &node->w, &node->dw) ||
        !read_pair(plan, b, db, 1, &node->b, &node->db))
        return false;
    const size_t index = (size_t)(node - plan->nodes);
    if (node->edges != 1 || node->heads < 1 || node->owner >= index) return refuse_misfit("heads");
    plan_node *owner = &plan->nodes[node->owner];
    node->features = plan->nodes[node->from[0].node].features;
    node->seed = seed;
    if (owner->op != CRNN_OP_HEADS || owner->cross || owner->whole) return refuse_misfit("owner");
    owner->cross = index;
    const npy_intp wide = (npy_intp)(2 * node->features);
    return (node->w && PyArray_DIM(node->w, 0) > 0 && PyArray_DIM(node->w, 1) == wide &&
            (!node->b || PyArray_SIZE(node->b) == wide) && node->features % node->heads == 0 &&
            node->p >= 0 && node->p < 1) ||
           refuse_misfit("heads");
}

/* (P, dP, most, reverse): P (steps, features), or None for sines and cosines; no row reads more
 * than `most` steps, 0 stands for any number. */
static bool read_positions(Plan *plan, plan_node *node, PyObject *rest) {
    PyObject *w, *dw;
    int reverse;
    if (!PyArg_ParseTuple(rest, "OOnp", &w, &dw, &node->most, &reverse) ||
        !read_pair(plan, w, dw, 2, &node->w, &node->dw))
        return false;
    if (node->edges != 1) return refuse_misfit("edges");
    node->reverse = reverse;
    node->features = plan->nodes[node->from[0].node].features;
    const bool fits = !node->w || ((size_t)PyArray_DIM(node->w, 0) == node->most &&
                                   (size_t)PyArray_DIM(node->w, 1) == node->features);
    return fits || refuse_misfit("P");
}

/* The widths of what a function of steps reads. */
static bool read_inputs(const Plan *plan, plan_node *node) {
    crnn_rowwise *o = &node->rowwise;
    if (node->edges != o->inputs) return refuse_misfit("edges");
    for (size_t k = 0; k < node->edges; k++)
        o->features[k] = plan->nodes[node->from[k].node].features;
    node->features = crnn_rowwise_features(o);
    return o->inputs == 1 || o->kind == CRNN_ROWWISE_CONCAT || o->features[0] == o->features[1] ||
           refuse_misfit("edges");
}

/* (C, v, dv): the width of the values of the memory, and v (A,), or None. */
static bool read_attend(Plan *plan, plan_node *node, PyObject *rest) {
    PyObject *v, *dv;
    Py_ssize_t width;
    if (!PyArg_ParseTuple(rest, "nOO", &width, &v, &dv) ||
        !read_pair(plan, v, dv, 1, &node->w, &node->dw))
        return false;
    if (width < 1 || plan->attend) return refuse_misfit("attend");
    node->features = (size_t)width;
    plan->attend = (size_t)(node - plan->nodes);
    return true;
}

/* (operation, params, dparams): as rowwise_parse reads it; gain and bias in one array, or None. */
static bool read_rowwise(Plan *plan, plan_node *node, PyObject *rest) {
    PyObject *operation, *w, *dw;
    if (!PyArg_ParseTuple(rest, "OOO", &operation, &w, &dw) || !PyTuple_Check(operation) ||
        !rowwise_parse(&node->rowwise, operation) ||
        !read_pair(plan, w, dw, 1, &node->w, &node->dw))
        return refuse_misfit("operation");
    if (!read_inputs(plan, node)) return false;
    const bool is_norm = node->rowwise.kind == CRNN_ROWWISE_NORM;
    const bool fits = !is_norm || (node->w && (size_t)PyArray_SIZE(node->w) == 2 * node->features);
    return (fits && !is_norm == !node->w) || refuse_misfit("operation");
}

/* (): the sum of a layer's output and its input, which is left out at steps that do not run. */
static bool read_residual(Plan *plan, plan_node *node, PyObject *rest) {
    node->rowwise = (crnn_rowwise){.kind = CRNN_ROWWISE_SUM, .inputs = 2};
    node->rest = true;
    return PyArg_ParseTuple(rest, "") && read_inputs(plan, node);
}

/* (how,) */
static bool read_pool(Plan *plan, plan_node *node, PyObject *rest) {
    const char *how;
    if (!PyArg_ParseTuple(rest, "s", &how) || !pool_how_parse(&node->how, how)) return false;
    if (node->edges != 1) return refuse_misfit("edges");
    node->features = plan->nodes[node->from[0].node].features;
    return true;
}

/* (cell,): c, or h, of the recurrent node that the edge names. */
static bool read_state(Plan *plan, plan_node *node, PyObject *rest) {
    int cell;
    if (!PyArg_ParseTuple(rest, "p", &cell)) return false;
    const plan_node *from = node->edges == 1 ? &plan->nodes[node->from[0].node] : NULL;
    if (!from || !from->layer) return refuse_misfit("edges");
    node->cell = cell;
    node->features = plan_state_width(&((const Recurrent *)from->layer)->layer, cell);
    return node->features > 0 || refuse_misfit("state");
}

static const struct {
    const char *name;
    crnn_op op;
    bool (*read)(Plan *plan, plan_node *node, PyObject *rest);
} readers[] = {{"input", CRNN_OP_INPUT, read_input},
               {"recurrent", CRNN_OP_RECURRENT, read_recurrent},
               {"sum", CRNN_OP_SUM, read_sum},
               {"attend", CRNN_OP_ATTEND, read_attend},
               {"rowwise", CRNN_OP_ROWWISE, read_rowwise},
               {"residual", CRNN_OP_ROWWISE, read_residual},
               {"conv", CRNN_OP_CONV, read_conv},
               {"heads", CRNN_OP_HEADS, read_heads},
               {"cross", CRNN_OP_CROSS, read_cross},
               {"positions", CRNN_OP_POSITIONS, read_positions},
               {"pool", CRNN_OP_POOL, read_pool},
               {"state", CRNN_OP_STATE, read_state}};
enum { READERS = sizeof readers / sizeof *readers };

/* ---- what nodes may read, as crnn/plan.h says */

static size_t width_of(const plan_node *node) {
    return node->features ? node->features : node->symbols;
}

/* An input may be read as floats or as symbols where it takes both. */
static bool may_be_symbols(const plan_node *node) {
    return node->op == CRNN_OP_INPUT && node->symbols > 0;
}

size_t plan_floats_beside_symbols(const Plan *plan, const plan_node *node) {
    return node->edges == 2 ? plan->nodes[node->from[0].node].features : 0;
}

/* Whether a layer may read floats, symbols or, with two edges, floats and symbols. */
static bool recurrent_fits(const Plan *plan, const plan_node *node) {
    const size_t floats = plan_floats_beside_symbols(plan, node);
    if (node->edges < 1 || node->edges > 2 || (node->edges == 2 && floats == 0)) return false;
    const plan_node *last = &plan->nodes[node->from[node->edges - 1].node];
    const bool looks_up = node->w || node->edges == 2;
    if (looks_up && !(may_be_symbols(last) && last->features == 0)) return false;
    const size_t table = node->w ? (size_t)PyArray_DIM(node->w, 1) : width_of(last);
    return node->inputs >= floats && node->inputs - floats == table &&
           (!node->w || node->symbols == last->symbols);
}

/* Whether a value has one step for each row: that of a pool or of a final state, and of nodes
 * behind them. */
static bool makes_steps_one(const plan_node *node) {
    return node->op == CRNN_OP_POOL || node->op == CRNN_OP_STATE;
}

static void find_once(const Plan *plan, plan_node *node) {
    node->once = makes_steps_one(node);
    for (size_t k = 0; k < node->edges; k++)
        if (node->from[k].delay == 0) node->once |= plan->nodes[node->from[k].node].once;
}

/* Such values are read by nodes that run once for each row, and these read no others. */
static bool steps_fit(const plan_node *node, const plan_node *from, size_t delay) {
    const bool may_read = node->op == CRNN_OP_SUM || node->op == CRNN_OP_ROWWISE;
    if (from->once) return may_read && delay == 0;
    return !node->once || makes_steps_one(node);
}

static bool edge_fits(const Plan *plan, const plan_node *node, const crnn_edge *edge) {
    const plan_node *from = &plan->nodes[edge->node];
    if (!steps_fit(node, from, edge->delay)) return false;
    const bool may_delay =
        node->op == CRNN_OP_SUM || (node->op == CRNN_OP_ATTEND && from->op == CRNN_OP_RECURRENT);
    if (edge->delay > 0 && (!may_delay || may_be_symbols(from))) return false;
    return !may_be_symbols(from) || from->features == 0 || from->features == from->symbols;
}

static bool edges_fit(const Plan *plan, const plan_node *node) {
    size_t width = 0, symbols = 0;
    for (size_t k = 0; k < node->edges; k++) {
        const plan_node *from = &plan->nodes[node->from[k].node];
        if (!edge_fits(plan, node, &node->from[k])) return false;
        if (!crnn_size_add(width, width_of(from), &width)) return false;
        symbols += may_be_symbols(from);
    }
    if (node->op == CRNN_OP_INPUT) return node->edges == 0;
    if (node->op == CRNN_OP_RECURRENT) return recurrent_fits(plan, node);
    if (node->op == CRNN_OP_ROWWISE || makes_steps_one(node)) return symbols == 0;
    if (node->op == CRNN_OP_SUM && symbols > 1) return false;
    if (node->op == CRNN_OP_HEADS || node->op == CRNN_OP_CROSS || node->op == CRNN_OP_POSITIONS)
        return symbols == 0 && !node->once;
    if (node->op == CRNN_OP_CONV)
        return symbols == 0 && !node->once && (size_t)PyArray_DIM(node->w, 2) == width;
    if (node->op == CRNN_OP_ATTEND && (node->edges != 1 || symbols > 0)) return false;
    return node->edges > 0 && (!node->w || (size_t)PyArray_DIM(node->w, 0) == width);
}

/* The end of the cycle that begins with a node; the next node where it is in none. */
static size_t cycle_end(const Plan *plan, size_t begin) {
    size_t end = begin + 1;
    for (size_t i = begin; i < end; i++)
        for (size_t k = 0; k < plan->nodes[i].edges; k++)
            if (plan->nodes[i].from[k].node >= end) end = plan->nodes[i].from[k].node + 1;
    return end;
}

/* A node of a cycle runs until the end of the cycle, and reads what it reads until then. */
static void find_cycles(Plan *plan) {
    for (size_t begin = 0, end; begin < plan->count; begin = end) {
        end = cycle_end(plan, begin);
        for (size_t i = begin; i < end; i++) {
            plan_node *node = &plan->nodes[i];
            node->cyclic = end > begin + 1;
            if (node->last < end - 1) node->last = end - 1;
            for (size_t k = 0; k < node->edges; k++) {
                plan->nodes[node->from[k].node].last = end - 1;
                node->cyclic |= node->from[k].node == i;
            }
        }
    }
}

/* Whether the gradient of a value is wanted: for parameters, of floats of the input, of a state, of
 * a memory, or for another node. True if that is news. */
static bool find_wanted(const Plan *plan, plan_node *node) {
    bool trains =
        node->dw || node->db || node->dg || (node->op == CRNN_OP_RECURRENT && !node->frozen);
    const bool counts = node->op == CRNN_OP_POSITIONS; /* a state without a gradient */
    bool wants = trains || (node_has_state(node) && !counts) || node->op == CRNN_OP_ATTEND ||
                 node->op == CRNN_OP_CROSS || (node->op == CRNN_OP_INPUT && node->features > 0);
    for (size_t k = 0; k < node->edges; k++) {
        wants |= plan->nodes[node->from[k].node].wants;
        trains |= plan->nodes[node->from[k].node].trains;
    }
    const bool is_news = wants > node->wants || trains > node->trains;
    node->wants |= wants;
    node->trains |= trains;
    return is_news;
}

static void find_gradients(const Plan *plan) {
    for (bool news = true; news;) {
        news = false;
        for (size_t i = 0; i < plan->count; i++) news |= find_wanted(plan, &plan->nodes[i]);
    }
    for (size_t i = 0; i < plan->count; i++)
        for (size_t k = 0; plan->nodes[i].trains && k < plan->nodes[i].edges; k++)
            plan->nodes[plan->nodes[i].from[k].node].is_read = true;
}

static bool read_node(Plan *plan, size_t index, PyObject *given) {
    plan_node *node = &plan->nodes[index];
    const char *name;
    PyObject *edges, *rest;
    int filled;
    size_t i = 0;
    if (!PyTuple_Check(given)) return refuse_misfit("nodes");
    if (!PyArg_ParseTuple(given, "sOiO", &name, &edges, &filled, &rest)) return false;
    if (!PyTuple_Check(rest) || !read_edges(plan, index, edges)) return refuse_misfit("nodes");
    while (i < READERS && strcmp(readers[i].name, name) != 0) i++;
    if (i == READERS || (i == 0) != (index == 0)) return refuse_misfit("operation");
    node->op = readers[i].op;
    node->filled = filled == 1;
    node->repeats = filled == 2 || filled == 3;
    node->backwards = filled >= 3;
    if (!readers[i].read(plan, node, rest)) return false;
    return node->features > 0 || index == 0 || refuse_misfit("nodes");
}

bool plan_read_nodes(Plan *plan, PyObject *given) {
    for (size_t i = 0; i < plan->count; i++)
        if (!read_node(plan, i, PyTuple_GetItem(given, (Py_ssize_t)i))) return false;
    find_cycles(plan);
    for (size_t i = 0; i < plan->count; i++) find_once(plan, &plan->nodes[i]);
    for (size_t i = 0; i < plan->count; i++) {
        const plan_node *node = &plan->nodes[i];
        const bool reverse = node->layer && ((Recurrent *)node->layer)->layer.reverse;
        const bool alone = reverse || node->once || node->rest || node->repeats ||
                           node->op == CRNN_OP_CONV || node->op == CRNN_OP_HEADS ||
                           node->op == CRNN_OP_CROSS || node->op == CRNN_OP_POSITIONS;
        if (!edges_fit(plan, node) || (node->cyclic && alone)) /* these are outside of cycles */
            return refuse_misfit("nodes");
        for (size_t k = 0; k < node->edges; k++) {
            const crnn_edge *edge = &node->from[k];
            const bool is_state = plan->nodes[edge->node].op == CRNN_OP_RECURRENT;
            plan->delays |= edge->delay > 0;
            plan->late |= edge->delay > (is_state ? 1 : 0);
        }
    }
    find_gradients(plan);
    return true;
}
