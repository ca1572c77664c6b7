/* A model one step at a time: its weights are packed once, and its states are kept here. */
#include "plan.h"

static void stream_dealloc(Stream *self) {
    PyObject_GC_UnTrack(self);
    const size_t count = self->plan ? self->plan->count : 0;
    for (size_t i = 0; self->states && i < count; i++) {
        state_clear(&self->states[i].state);
        state_clear(&self->states[i].start);
        running_clear(&self->states[i].running);
        drop(self->states[i].projected);
    }
    for (size_t i = 0; self->copies && i < 2 * count; i++) drop(self->copies[i]);
    PyMem_Free(self->copies);
    PyMem_Free(self->states);
    PyMem_Free(self->nodes);
    attention_clear(&self->memory);
    free_aligned(self->words);
    free_aligned(self->values);
    free_aligned(self->packed);
    free_aligned(self->workspace);
    drop(self->plan);
    object_free(self);
}

static int stream_traverse(Stream *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->plan);
    return 0;
}

/* ---- states */

static void reset_part(PyArrayObject *state, PyArrayObject *start, npy_intp row) {
    if (state)
        memcpy(PyArray_GETPTR1(state, row), PyArray_DATA(start), (size_t)PyArray_NBYTES(start));
}

/* The state of one row, of one node and of all. */
static void reset_node(Stream *self, size_t i, npy_intp row) {
    node_state *n = &self->states[i];
    if (n->running.memory) crnn_node_clear(&self->core, i, (size_t)row);
    reset_part(n->state.h, n->start.h, row);
    reset_part(n->state.c, n->start.c, row);
}

static void reset_row(Stream *self, npy_intp row) {
    for (size_t i = 0; i < self->plan->count; i++) reset_node(self, i, row);
}

/* The learned state, or zeros. */
static bool start_init(node_state *n, const held_layer *layer) {
    const size_t item = crnn_dtype_size(layer->layer.dtype);
    if (!state_new(&n->start, &layer->layer, 1)) return false;
    PyArrayObject *const parts[] = {n->start.h, n->start.c};
    for (int i = 0; i < 2 && parts[i]; i++) {
        const size_t extra = i == 0 ? CRNN_H0 : CRNN_C0, bytes = (size_t)PyArray_NBYTES(parts[i]);
        memset(PyArray_DATA(parts[i]), 0, bytes);
        if (layer->at.extra_size[extra])
            memcpy(PyArray_DATA(parts[i]),
                   (const char *)held_params(layer) + layer->at.extra[extra] * item, bytes);
    }
    return true;
}

/* Memory for the states of nodes that are no recurrent layers; false: an exception. */
static bool prepare_states(Stream *self, node_call *calls, state_arrays *(*of)(node_call *call),
                           running_room *rooms) {
    for (size_t i = 0; i < self->plan->count; i++)
        if (node_runs_on(&self->plan->nodes[i]) && of(&calls[i])->h &&
            !running_prepare(&self->states[i].running, self->plan, &self->core, &self->nodes[i],
                             of(&calls[i]), &rooms[i]))
            return false;
    return true;
}

void stream_drop_workspace(Stream *self) {
    free_aligned(self->workspace);
    self->workspace = NULL;
    self->laid = false;
}

static void take_state(Stream *self, size_t i, const state_arrays *state, running_room *room) {
    node_state *n = &self->states[i];
    if (!state->h) {
        for (size_t row = 0; row < self->batch; row++) reset_node(self, i, (npy_intp)row);
        running_cleared(&n->running);
    } else if (!n->running.memory) {
        state_copy(&n->state, state);
    } else if (running_take(&n->running, self->plan, &self->core, &self->nodes[i], state, 0,
                            room)) {
        stream_drop_workspace(self);
    }
}

bool stream_take_states(Stream *self, node_call *calls, state_arrays *(*of)(node_call *call)) {
    const Plan *plan = self->plan;
    running_room *rooms = PyMem_Calloc(plan->count, sizeof *rooms);
    const bool fine = rooms ? prepare_states(self, calls, of, rooms) : PyErr_NoMemory() != NULL;
    for (size_t i = 0; fine && i < plan->count; i++)
        if (node_has_state(&plan->nodes[i])) take_state(self, i, of(&calls[i]), &rooms[i]);
    for (size_t i = 0; rooms && i < plan->count; i++) free_aligned(rooms[i].memory);
    PyMem_Free(rooms);
    return fine;
}

/* The states become copies of what the user gave, those of a reset where that is None. Nothing has
 * changed where one does not fit. */
static bool set_states(Stream *self, PyObject *given) {
    const Plan *plan = self->plan;
    node_call *calls = PyMem_Calloc(plan->count, sizeof *calls);
    bool fine = calls || PyErr_NoMemory() != NULL;
    for (size_t i = 0; fine && i < plan->count; i++) calls[i].held.layer = self->states[i].layer;
    fine = fine && plan_read_states(plan, calls, "state", self->batch, given, initial_of);
    if (!fine && !PyErr_Occurred())
        PyErr_Format(
            PyExc_ValueError,
            "state: expected None or a state like the one that forward returns, got %.200R", given);
    const bool resets = given == Py_None && self->begun; /* memories remain */
    fine = fine && (resets || memories_are_given(plan, calls));
    LOCK(self);
    stream_memories made = {0};
    fine = fine && stream_make_memories(self, calls, &made) &&
           stream_take_states(self, calls, initial_of);
    stream_take_memories(self, calls, &made, fine);
    self->begun |= fine;
    UNLOCK();
    plan_release(plan, calls);
    return fine;
}

/* ---- making one */

size_t *step_rows(crnn_rows *rows, size_t batch) {
    size_t count;
    const crnn_steps step = {.batch = batch, .steps = 1};
    if (!check_status(crnn_rows_size(&step, &count), "batch_size")) return NULL;
    size_t *words = alloc_aligned(count * sizeof *words);
    if (words) crnn_rows_init(rows, words, &step);
    return words;
}

void *step_values(const Plan *plan, crnn_node *nodes, size_t batch) {
    crnn_attend *attend = plan->attend ? &nodes[plan->attend].as.attend : NULL;
    size_t total = attend ? attend->attention.steps : 0, bytes;
    const size_t item = crnn_dtype_size(plan->dtype);
    for (size_t i = 1; i < plan->count; i++)
        if (!crnn_size_add(total, plan->nodes[i].features, &total)) return PyErr_NoMemory();
    if (!crnn_size_mul(total, batch, &total) || !crnn_size_mul(total, item, &bytes))
        return PyErr_NoMemory();
    char *block = alloc_aligned(bytes), *next = block;
    for (size_t i = 1; block && i < plan->count; i++) {
        const size_t wide = plan->nodes[i].features;
        nodes[i].value = (crnn_seq){next, (ptrdiff_t)wide, 0};
        next += batch * wide * item;
    }
    if (attend) attend->weights = next;
    return block;
}

void *step_workspace(const crnn_plan *core) {
    size_t bytes;
    return check_status(crnn_plan_workspace(core, &bytes), "batch_size") ? alloc_aligned(bytes)
                                                                         : NULL;
}

static bool new_states(Stream *self, node_call *calls) {
    for (size_t i = 0; i < self->plan->count; i++) {
        node_state *n = &self->states[i];
        if (!self->plan->nodes[i].layer) continue; /* see new_memories */
        n->layer = calls[i].held.layer;
        if (!state_new(&n->state, &n->layer, self->batch) || !start_init(n, &calls[i].held))
            return false;
    }
    return true;
}

/* Packs the weights; of parameters nothing else is read afterwards. */
static bool pack(Stream *self) {
    size_t bytes;
    if (!check_status(crnn_plan_packed_size(&self->core, &bytes), "params")) return false;
    self->packed = alloc_aligned(bytes);
    if (!self->packed) return false;
    crnn_plan_pack(&self->core, self->packed);
    self->core.packed = self->packed;
    return true;
}

/* Whether the plan's input is read as symbols or as floats changes from step to step; workspace for
 * either. */
static bool new_workspace(Stream *self) {
    const plan_node *input = &self->plan->nodes[0];
    int64_t some = 0;
    size_t most = 0, bytes;
    for (int symbols = 0; symbols < 2; symbols++) {
        if (!(symbols ? input->symbols : input->features)) continue;
        self->nodes[0].features = symbols ? 0 : input->features;
        self->nodes[0].symbols = symbols ? &some : NULL; /* that there are some counts alone */
        if (!check_status(crnn_plan_workspace(&self->core, &bytes), "batch_size")) return false;
        if (bytes > most) most = bytes;
    }
    self->workspace = self->core.workspace = alloc_aligned(most);
    return self->workspace != NULL;
}

/* A copy of parameters that the core reads at every step; NULL for none. False: an exception. */
static bool copy_parameters(Stream *self, size_t at, PyArrayObject *from, const void **to) {
    if (!from) return true;
    self->copies[at] = array_copy(self->module, from);
    if (!self->copies[at]) return false;
    *to = PyArray_DATA(self->copies[at]);
    return true;
}

/* Later changes of the parameters do not reach the stream. */
static bool new_copies(Stream *self) {
    const Plan *plan = self->plan;
    for (size_t i = 0; i < plan->count; i++) {
        const plan_node *from = &plan->nodes[i];
        crnn_node *to = &self->nodes[i];
        bool fine = true;
        if (from->op == CRNN_OP_RECURRENT)
            fine = copy_parameters(self, 2 * i, from->w, &to->as.recurrent.vectors);
        else if (from->op == CRNN_OP_ROWWISE)
            fine = copy_parameters(self, 2 * i, from->w, &to->as.rowwise.params);
        else if (from->op == CRNN_OP_ATTEND)
            fine = copy_parameters(self, 2 * i, from->w, &to->as.attend.attention.v);
        else if (from->op == CRNN_OP_CONV) /* weights are packed, the norm's with them */
            fine = copy_parameters(self, 2 * i, from->b, &to->as.conv.b);
        else if (from->op == CRNN_OP_CROSS)
            fine = copy_parameters(self, 2 * i, from->w, &to->as.cross.w) &&
                   copy_parameters(self, 2 * i + 1, from->b, &to->as.cross.b);
        else if (from->op == CRNN_OP_POSITIONS)
            fine = copy_parameters(self, 2 * i, from->w, &to->as.positions.table);
        else if (from->op == CRNN_OP_SUM)
            fine = copy_parameters(self, 2 * i, from->w, &to->as.sum.w) &&
                   copy_parameters(self, 2 * i + 1, from->b, &to->as.sum.b);
        if (!fine) return false;
    }
    return true;
}

/* A tape without steps lends its form to the nodes of the core. */
static bool describe_nodes(Stream *self, node_call *calls, PyObject *memory) {
    const Plan *plan = self->plan;
    const crnn_kernels *kernels = crnn_kernels_now(plan->dtype);
    PlanTape *none = plan_tape_new(self->plan);
    const bool fine =
        none && plan_read_memory(plan, self->batch, memory, false, &none->attention, &self->memory);
    if (!fine && !PyErr_Occurred()) refuse_misfit("memory");
    for (size_t i = 0; fine && i < plan->count; i++) {
        self->nodes[i] = plan_core_node(plan, none, i, &calls[i], kernels, &self->rows);
        if (!plan->nodes[i].layer) continue;
        crnn_recurrent *r = &self->nodes[i].as.recurrent;
        r->layer = &self->states[i].layer;
        r->initial = r->final = state_pointers(&self->states[i].state);
    }
    drop(none);
    self->core = (crnn_plan){
        .kernels = kernels, .rows = &self->rows, .count = plan->count, .node = self->nodes};
    return fine;
}

/* Of nodes whose state is not that of a recurrent layer. */
static bool new_memories(Stream *self) {
    for (size_t i = 0; i < self->plan->count; i++) {
        const plan_node *node = &self->plan->nodes[i];
        if (node_runs_on(node) && !running_load(&self->states[i].running, self->plan, &self->core,
                                                &self->nodes[i], self->batch, NULL, 0))
            return false;
    }
    return true;
}

static bool stream_init(Stream *self, node_call *calls, PyObject *state, PyObject *memory) {
    self->states = PyMem_Calloc(self->plan->count, sizeof *self->states);
    self->nodes = PyMem_Calloc(self->plan->count, sizeof *self->nodes);
    self->copies = PyMem_Calloc(2 * self->plan->count, sizeof *self->copies);
    if (!self->states || !self->nodes || !self->copies) return PyErr_NoMemory() != NULL;
    return (self->words = step_rows(&self->rows, self->batch)) && new_states(self, calls) &&
           describe_nodes(self, calls, memory) && new_memories(self) && new_copies(self) &&
           (self->values = step_values(self->plan, self->nodes, self->batch)) && pack(self) &&
           new_workspace(self) && set_states(self, state);
}

static PyObject *stream_new(Plan *plan, size_t batch, PyObject *state, PyObject *memory) {
    node_call *calls = plan_hold(plan, false);
    Stream *stream = calls ? object_new(plan->module->stream) : NULL;
    if (stream) {
        stream->module = plan->module;
        stream->plan = (Plan *)Py_NewRef((PyObject *)plan);
        stream->batch = batch;
        if (!stream_init(stream, calls, state, memory)) Py_CLEAR(stream);
    }
    plan_release(plan, calls);
    return (PyObject *)stream;
}

/* Whether a step of each node reads no other step, but for the state of the step before. */
static bool runs_by_steps(const Plan *plan) {
    for (size_t i = 0; i < plan->count; i++) {
        const Recurrent *layer = (const Recurrent *)plan->nodes[i].layer;
        if (plan->nodes[i].once || plan->nodes[i].reverse || plan->nodes[i].backwards ||
            plan->nodes[i].whole || (layer && layer->layer.reverse))
            return false;
    }
    return !plan->late;
}

PyObject *plan_stream(Plan *self, PyObject *args) {
    PyObject *given, *state, *memory = Py_None;
    size_t batch;
    if (!PyArg_ParseTuple(args, "OO|O:stream", &given, &state, &memory)) return NULL;
    if (!runs_by_steps(self)) return Py_NewRef(Py_None);
    if (!parse_size("batch_size", given, &batch)) return NULL;
    return stream_new(self, batch, state, memory == Py_None ? NULL : memory);
}

/* The plan of a single layer. */
static Plan *layer_plan(Recurrent *layer) {
    const crnn_layer *own = &layer->layer;
    const char *dtype = own->dtype == CRNN_F64 ? "float64" : "float32";
    const Py_ssize_t inputs = (Py_ssize_t)own->inputs;
    PyObject *type = PyObject_GetAttrString(layer->module->self, "Plan");
    PyObject *plan =
        type ? PyObject_CallFunction(type, "s((s()O(nn))(s((nn))O(OiOO)))i", dtype, "input",
                                     Py_False, inputs, inputs, "recurrent", (Py_ssize_t)0,
                                     (Py_ssize_t)0, Py_False, layer, 0, Py_None, Py_None, 1)
             : NULL;
    drop(type);
    return (Plan *)plan;
}

PyObject *recurrent_stream(Recurrent *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"batch_size", "state", NULL};
    PyObject *given = NULL, *state = Py_None;
    size_t batch = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:stream", names, &given, &state) ||
        (given && !parse_size("batch_size", given, &batch)) || !recurrent_ready(self))
        return NULL;
    Plan *plan = layer_plan(self);
    PyObject *stream = plan ? stream_new(plan, batch, state, NULL) : NULL;
    drop(plan);
    return stream;
}

/* ---- a step */

/* Symbols of an embedding are from 0 to K-1, those of a recurrent layer from 0 to I-1. */
static bool check_symbol(const Stream *self, int64_t symbol, size_t row) {
    const plan_node *first = &self->plan->nodes[1];
    const size_t K = self->plan->nodes[0].symbols;
    if (first->layer && !first->w) return symbol_within(&self->states[1].layer, symbol, row, 0);
    if (symbol >= 0 && (uint64_t)symbol < K) return true;
    PyErr_Format(PyExc_ValueError, "x: expected integers from 0 to K-1=%zu, got %lld in row %zu",
                 K - 1, (long long)symbol, row);
    return false;
}

/* x of one step: (B, I) floats or (B,) integers. A new reference to what the input of the core then
 * points into, or NULL with an exception. */
static PyArrayObject *step_input(const Stream *self, PyObject *object, crnn_node *input) {
    const plan_node *own = &self->plan->nodes[0];
    const npy_intp rows = (npy_intp)self->batch;
    PyArrayObject *given = as_array("x", object), *x = NULL;
    if (!given) return NULL;
    if (PyArray_ISINTEGER(given) && PyArray_NDIM(given) == 1 && PyArray_DIM(given, 0) == rows &&
        own->symbols) {
        const dims symbols = {1, {rows}, {"B"}};
        x = integer_array("x", (PyObject *)given, &symbols);
        const int64_t *symbol = x ? PyArray_DATA(x) : NULL;
        for (npy_intp row = 0; x && row < rows; row++)
            if (!check_symbol(self, symbol[row], (size_t)row)) Py_CLEAR(x);
        input->features = 0;
        input->symbols = x ? PyArray_DATA(x) : NULL;
    } else if (PyArray_ISINTEGER(given) || !own->features) {
        char expected[60];
        PyOS_snprintf(expected, sizeof expected,
                      own->symbols ? "integers of shape (B=%lld,)" : "floats of shape (B=%lld, I)",
                      (long long)rows);
        if (own->features)
            set_input_error(expected, given);
        else
            set_array_error(PyArray_ISINTEGER(given) ? PyExc_ValueError : PyExc_TypeError, "x",
                            expected, given);
    } else {
        const dims floats = {2, {rows, (npy_intp)own->features}, {"B", "I"}};
        x = float_array("x", (PyObject *)given, self->plan->dtype, &floats, false);
        input->features = own->features;
        input->symbols = NULL;
        if (x)
            input->value =
                (crnn_seq){PyArray_DATA(x), PyArray_STRIDE(x, 0) / PyArray_ITEMSIZE(x), 0};
    }
    drop(given);
    return x;
}

/* The workspace is laid out again where symbols follow floats, or floats symbols. */
static void run_step(Stream *self) {
    const bool symbols = self->nodes[0].symbols != NULL;
    if (!self->laid || self->symbols != symbols) crnn_plan_lay(&self->core);
    self->laid = true;
    self->symbols = symbols;
    crnn_plan_run(&self->core);
}

/* Makes room for one more step. */
static bool reserve(Stream *self) {
    bool fine = true, grown = false;
    LOCK(self);
    for (size_t i = 0; fine && i < self->plan->count; i++)
        if (self->states[i].running.memory)
            fine = running_reserve(&self->states[i].running, self->plan, &self->core,
                                   &self->nodes[i], 1, &grown);
    if (grown) stream_drop_workspace(self);
    if (fine && !self->workspace) fine = new_workspace(self);
    UNLOCK();
    return fine;
}

static PyObject *stream_step(Stream *self, PyObject *object) {
    const Plan *plan = self->plan;
    const size_t last = plan->count - 1;
    npy_intp shape[2] = {(npy_intp)self->batch, (npy_intp)plan->nodes[last].features};
    crnn_node input = self->nodes[0];
    PyArrayObject *x = step_input(self, object, &input);
    PyArrayObject *y =
        x ? (PyArrayObject *)new_plain_array(2, shape, typenum_of(plan->dtype)) : NULL;
    if (y && !reserve(self)) Py_CLEAR(y);
    if (y) {
        LOCK(self); /* and with the GIL: a step is short, and the state is written in place */
        self->nodes[0] = input;
        self->nodes[last].value = (crnn_seq){PyArray_DATA(y), (ptrdiff_t)shape[1], 0};
        run_step(self);
        UNLOCK();
    }
    drop(x);
    return (PyObject *)y;
}

/* ---- attributes */

node_call *stream_states(Stream *self) {
    const Plan *plan = self->plan;
    node_call *calls = PyMem_Calloc(plan->count, sizeof *calls);
    bool fine = calls || PyErr_NoMemory() != NULL;
    LOCK(self); /* a step may change how many slots there are */
    for (size_t i = 0; fine && i < plan->count; i++) {
        const node_state *n = &self->states[i];
        if (!node_has_state(&plan->nodes[i])) continue;
        fine = node_state_new(plan, i, &n->layer, self->batch,
                              running_slots(&n->running, &plan->nodes[i]), false, &calls[i].final);
        if (!fine) continue;
        if (n->running.memory)
            running_save(&n->running, &self->core, &self->nodes[i], &calls[i].final, 0);
        else
            state_copy(&calls[i].final, &n->state);
        memory_share(&n->state, &calls[i].final);
    }
    UNLOCK();
    if (fine) return calls;
    plan_release(plan, calls);
    return NULL;
}

static PyObject *stream_get_state(Stream *self, void *unused) {
    (void)unused;
    node_call *calls = stream_states(self);
    PyObject *result = calls ? plan_show_states(self->plan, calls, final_of) : NULL;
    plan_release(self->plan, calls);
    return result;
}

static int stream_set_state(Stream *self, PyObject *value, void *unused) {
    (void)unused;
    if (!value) {
        PyErr_SetString(PyExc_AttributeError, "state: cannot be deleted; assign None to reset it");
        return -1;
    }
    return set_states(self, value) ? 0 : -1;
}

static PyObject *stream_reset(Stream *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"rows", NULL};
    PyObject *given = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:reset", names, &given)) return NULL;
    if (given == Py_None) return set_states(self, Py_None) ? Py_NewRef(Py_None) : NULL;
    const dims any = {1, {-1}, {"rows"}};
    PyArrayObject *rows = integer_array("rows", given, &any);
    if (!rows) return NULL;
    const bool within = integers_within("rows", rows, 0, (npy_int64)self->batch - 1);
    LOCK(self);
    for (npy_intp i = 0; within && i < PyArray_SIZE(rows); i++)
        reset_row(self, ((const npy_int64 *)PyArray_DATA(rows))[i]);
    UNLOCK();
    drop(rows);
    return within ? Py_NewRef(Py_None) : NULL;
}

/* <Stream of GRU: B=1, H=4>; of several layers <Stream of GRU, LSTM: B=1> */
static PyObject *stream_repr(Stream *self) {
    PyObject *names = PyUnicode_FromString("");
    char sizes[SIZES_TEXT] = "";
    size_t layers = 0;
    for (size_t i = 0; names && i < self->plan->count; i++) {
        const plan_node *node = &self->plan->nodes[i];
        if (!node_has_state(node)) continue;
        names = plan_add_name(names, node, &self->states[i].layer);
        if (layers++ > 0) continue;
        if (node->layer)
            print_sizes(&self->states[i].layer, sizes);
        else
            PyOS_snprintf(sizes, sizeof sizes, "H=%zu", node->features);
    }
    if (!names) return NULL;
    const bool is_layer = PyLong_Check(self->plan->states);
    PyObject *text =
        is_layer ? PyUnicode_FromFormat("<Stream of %U: B=%zu, %s>", names, self->batch, sizes)
                 : PyUnicode_FromFormat("<Stream of %U: B=%zu>", names, self->batch);
    drop(names);
    return text;
}

static PyMethodDef stream_methods[] = {
    {"step", (PyCFunction)stream_step, METH_O,
     PyDoc_STR("step($self, x, /)\n--\n\n"
               "Return the output of one step, and update the state.\n\n"
               "Parameters\n"
               "----------\n"
               "x : floats (B, I), or integers (B,)\n"
               "    Input of the step. Integers are symbols from 0 to I - 1.\n\n"
               "Returns\n"
               "-------\n"
               "y : array (B, P)\n"
               "    Output h.\n")},
    {"reset", (PyCFunction)(void (*)(void))stream_reset, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("reset($self, /, rows=None)\n--\n\n"
               "Set the state of some rows to zeros, or to h0 and c0 with learn_state=True.\n\n"
               "Parameters\n"
               "----------\n"
               "rows : integers (N,), optional\n"
               "    Numbers of the rows, from 0 to B - 1. None: all rows.\n")},
    {"_generate", (PyCFunction)stream_generate, METH_VARARGS,
     PyDoc_STR("_generate($self, start, searches, /)\n--\n\n"
               "Run every search to its end, from the state and the symbols `start` (B,).\n\n"
               "Each search reads the rows that follow those of the search before it. The state of "
               "the stream does not change.")},
    {"_feed", (PyCFunction)stream_feed, METH_VARARGS,
     PyDoc_STR("_feed($self, start, steps, x, /)\n--\n\n"
               "Return the outputs (B, T, O) of `steps` steps, and update the state.\n\n"
               "The input of a step is x (B, T, E) at that step, or nothing if x is None, and the "
               "output of the step before, repeated to the features of the model; at first it is "
               "`start` (B, O).")},
    {"_sample_paths", (PyCFunction)stream_sample_paths, METH_VARARGS,
     PyDoc_STR("_sample_paths($self, likelihood, x, scales, series, lags, indicators, samples, "
               "gap, seed, /)\n--\n\n"
               "Return sample paths (B, S, T - gap), and (row, step) of a number that is not "
               "finite, or None.\n\n"
               "The last inputs x (B, T, F) of a step are the numbers of `lags` steps before, in "
               "descending order, divided by the scales (B,); with `indicators`, those before them "
               "tell whether they are there. The first `gap` steps are left out. The state of the "
               "stream does not change.")},
    {0},
};

static PyGetSetDef stream_attributes[] = {
    {"state", (getter)stream_get_state, (setter)stream_set_state,
     PyDoc_STR("Copy of the state: array (B, P), or the pair (h, c) of (B, P) and (B, H).\n\n"
               "May be assigned; None sets it as `reset()` does."),
     NULL},
    {"_symbols", (getter)stream_get_symbols, NULL,
     PyDoc_STR("K where the model reads K symbols and has K outputs, else 0."), NULL},
    {0},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_doc,
     (void *)PyDoc_STR("A layer, or a model, that runs one step at a time.\n\n"
                       "It has its own copy of the parameters, and a state that `step` updates.")},
    {Py_tp_repr, stream_repr},
    {Py_tp_dealloc, stream_dealloc},
    {Py_tp_traverse, stream_traverse},
    {Py_tp_methods, stream_methods},
    {Py_tp_getset, stream_attributes},
    {0, NULL},
};
PyType_Spec stream_spec = {
    "crnn._core.Stream", sizeof(Stream), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, stream_slots};
