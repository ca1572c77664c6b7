/* Memory for tapes, workspaces and large arrays: aligned, and kept for the next call.
 *
 * A training step frees some large blocks and asks for blocks of the same sizes at once. Given back
 * to the operating system in between, their pages are taken away, found again one by one and
 * cleared: that took a quarter of the time of a step. So freed blocks go to a small shelf first.
 * The shelf holds at most SHELF_BYTES; the oldest blocks leave first. Beside it lies one larger
 * block, such as a tape, until the next large one is asked for, whether that can use it or not.
 * Both are given back before a MemoryError is raised, and by release_memory.
 * New large blocks are asked for in huge pages, which are found and cleared five times as fast. */
#if defined(__linux__)
#define _DEFAULT_SOURCE /* madvise */
#include <sys/mman.h>
#endif
#if defined(__linux__)
#include <malloc.h> /* malloc_trim, of glibc */
#endif

#include "binding.h"

enum {
    SHELF_BLOCKS = 16,
    BLOCK_UNIT = 1 << 16, /* sizes are multiples of it, so that they meet again */
    HUGE_BYTES = 1 << 22
};
static const size_t SHELF_BYTES = (size_t)64 << 20, LARGE_BYTES = (size_t)512 << 20;

/* Stands right before the memory that is given out. */
typedef struct header {
    void *block;  /* what malloc gave */
    size_t bytes; /* usable, from the aligned address on */
} header;

static struct {
    atomic_flag taken; /* whoever finds it taken does without the shelf */
    size_t count, bytes;
    void *memory[SHELF_BLOCKS]; /* oldest first */
    void *large;                /* one of more than SHELF_BYTES, or NULL */
} shelf = {.taken = ATOMIC_FLAG_INIT};

static header *header_of(void *memory) { return (header *)memory - 1; }

static void *remove_from_shelf(size_t i) {
    void *memory = shelf.memory[i];
    shelf.bytes -= header_of(memory)->bytes;
    shelf.count--;
    memmove(shelf.memory + i, shelf.memory + i + 1, (shelf.count - i) * sizeof(void *));
    return memory;
}

static void give_back(void *memory) {
    if (memory) PyMem_Free(header_of(memory)->block);
}

/* At least `bytes` and at most a quarter more. */
static bool fits(void *memory, size_t bytes) {
    const size_t there = header_of(memory)->bytes;
    return there >= bytes && there - bytes <= bytes / 4;
}

/* A block that fits, or NULL. */
static void *find_on_shelf(size_t bytes) {
    void *found = NULL, *large = NULL;
    if (atomic_flag_test_and_set(&shelf.taken)) return NULL;
    for (size_t i = shelf.count; i-- > 0 && !found;)
        if (fits(shelf.memory[i], bytes)) found = remove_from_shelf(i);
    if (bytes > SHELF_BYTES) {
        large = shelf.large;
        shelf.large = NULL;
    }
    atomic_flag_clear(&shelf.taken);
    if (!large) return found;
    if (!found && fits(large, bytes)) return large;
    give_back(large);
    return found;
}

/* False where the block is too large. */
static bool put_on_shelf(void *memory) {
    const size_t bytes = header_of(memory)->bytes;
    void *replaced = NULL;
    if (bytes > LARGE_BYTES || atomic_flag_test_and_set(&shelf.taken)) return false;
    if (bytes > SHELF_BYTES) {
        replaced = shelf.large;
        shelf.large = memory;
    } else {
        while (shelf.count == SHELF_BLOCKS || shelf.bytes + bytes > SHELF_BYTES)
            give_back(remove_from_shelf(0));
        shelf.memory[shelf.count++] = memory;
        shelf.bytes += bytes;
    }
    atomic_flag_clear(&shelf.taken);
    give_back(replaced);
    return true;
}

/* Advice, as NumPy gives it for its own arrays: nothing is wrong where it cannot be taken. */
static void ask_for_huge_pages(char *block, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    enum { PAGE = 4096 };
    const size_t skip = (PAGE - (uintptr_t)block % PAGE) % PAGE;
    if (bytes >= HUGE_BYTES)
        (void)madvise(block + skip, (bytes - skip) / PAGE * PAGE, MADV_HUGEPAGE);
#else
    (void)block;
    (void)bytes;
#endif
}

size_t memory_release(void) {
    size_t bytes = 0;
    if (atomic_flag_test_and_set(&shelf.taken)) return 0;
    if (shelf.large) bytes += header_of(shelf.large)->bytes;
    give_back(shelf.large);
    shelf.large = NULL;
    bytes += shelf.bytes;
    while (shelf.count > 0) give_back(remove_from_shelf(shelf.count - 1));
    atomic_flag_clear(&shelf.taken);
#if defined(__GLIBC__)
    malloc_trim(0); /* blocks below malloc's own threshold for mmap */
#endif
    return bytes;
}

bool memory_retry(void) {
    if (!PyErr_ExceptionMatches(PyExc_MemoryError) || memory_release() == 0) return false;
    PyErr_Clear();
    return true;
}

static void *new_block(size_t bytes) {
    const size_t extra = CRNN_ALIGN + sizeof(header);
    char *block = NULL;
    if (bytes <= PY_SSIZE_T_MAX - extra) {
        do block = PyMem_Malloc(bytes + extra);
        while (!block && memory_release() > 0);
    }
    if (!block) return PyErr_NoMemory();
    ask_for_huge_pages(block, bytes + extra);
    char *memory = block + extra - ((uintptr_t)block + extra) % CRNN_ALIGN;
    *header_of(memory) = (header){block, bytes};
    return memory;
}

/* Where crnn is built to be tested, memory holds NaN at first: whoever reads before writing shows
 * it. */
static void *poisoned(void *memory, size_t bytes) {
#ifdef CRNN_POISON
    if (memory) memset(memory, 0xFF, bytes);
#else
    (void)bytes;
#endif
    return memory;
}

void *alloc_aligned(size_t bytes) {
    if (bytes < BLOCK_UNIT || bytes > PY_SSIZE_T_MAX - BLOCK_UNIT)
        return poisoned(new_block(bytes), bytes);
    bytes = (bytes + BLOCK_UNIT - 1) / BLOCK_UNIT * BLOCK_UNIT;
    void *memory = find_on_shelf(bytes);
    return poisoned(memory ? memory : new_block(bytes), bytes);
}

void free_aligned(void *memory) {
    if (!memory) return;
    if (header_of(memory)->bytes < BLOCK_UNIT || !put_on_shelf(memory)) give_back(memory);
}

/* ---- arrays on such memory: a Buffer owns it and is the base of the array */

typedef struct Buffer {
    PyObject_HEAD
    void *memory;
    atomic_bool sealed; /* no array can write to the memory any more */
} Buffer;

static void buffer_dealloc(Buffer *self) {
    free_aligned(self->memory);
    object_free(self);
}

static PyType_Slot buffer_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Memory of an array.")},
    {Py_tp_dealloc, buffer_dealloc},
    {0, NULL},
};
PyType_Spec buffer_spec = {"crnn._core.Buffer", sizeof(Buffer), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, buffer_slots};

bool buffer_is_sealed(const module_state *module, PyObject *owner) {
    return Py_TYPE(owner) == module->buffer && ((const Buffer *)owner)->sealed;
}

void seal(const module_state *module, PyArrayObject *array) {
    PyObject *owner = PyArray_BASE(array);
    PyArray_CLEARFLAGS(array, NPY_ARRAY_WRITEABLE);
    if (owner && Py_TYPE(owner) == module->buffer) ((Buffer *)owner)->sealed = true;
}

PyObject *new_array(module_state *module, int ndim, const npy_intp *shape, crnn_dtype dtype) {
    const int type = typenum_of(dtype);
    size_t bytes = crnn_dtype_size(dtype);
    for (int i = 0; i < ndim; i++)
        if (!crnn_size_mul(bytes, (size_t)shape[i], &bytes)) return PyErr_NoMemory();
    if (bytes < BLOCK_UNIT) return new_plain_array(ndim, shape, type);
    Buffer *buffer = object_new(module->buffer);
    if (!buffer) return NULL;
    buffer->memory = alloc_aligned(bytes);
    PyObject *array =
        buffer->memory ? PyArray_SimpleNewFromData(ndim, shape, type, buffer->memory) : NULL;
    if (!array) {
        drop(buffer);
        return NULL;
    }
    if (PyArray_SetBaseObject((PyArrayObject *)array, (PyObject *)buffer) < 0) Py_CLEAR(array);
    return array;
}
