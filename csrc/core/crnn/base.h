/* Version, status, types of numbers, sizes, instruction sets, threads and random numbers. */
#ifndef CRNN_BASE_H
#define CRNN_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The version of this header. Versions follow Semantic Versioning. */
#define CRNN_VERSION_MAJOR 0
#define CRNN_VERSION_MINOR 1
#define CRNN_VERSION_PATCH 0

#define CRNN_JOIN_VERSION_(major, minor, patch) #major "." #minor "." #patch
#define CRNN_JOIN_VERSION(major, minor, patch) CRNN_JOIN_VERSION_(major, minor, patch)
/* The version as a string literal, for example "0.1.0". */
#define CRNN_VERSION CRNN_JOIN_VERSION(CRNN_VERSION_MAJOR, CRNN_VERSION_MINOR, CRNN_VERSION_PATCH)

/* CRNN_API marks each function that a shared library exports. CRNN_EXPORTS is defined while that
 * library is compiled. On Windows, a program that uses the DLL defines CRNN_DLL. */
#if defined(_WIN32) && defined(CRNN_EXPORTS)
#define CRNN_API __declspec(dllexport)
#elif defined(_WIN32) && defined(CRNN_DLL)
#define CRNN_API __declspec(dllimport)
#elif defined(__GNUC__) && defined(CRNN_EXPORTS)
#define CRNN_API __attribute__((visibility("default")))
#else
#define CRNN_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Returns the version of the library that runs, as CRNN_VERSION is written. The string is static.
 */
CRNN_API const char *crnn_version(void);

/* The result of a function that computes a size. */
typedef enum crnn_status {
    CRNN_OK = 0,
    CRNN_OVERFLOW = 1 /* A size does not fit size_t; no result was written. */
} crnn_status;

/* The type of the numbers in a buffer. */
typedef enum crnn_dtype {
    CRNN_F32 = 0,   /* float */
    CRNN_F64 = 1,   /* double */
    CRNN_DTYPES = 2 /* How many types there are. */
} crnn_dtype;

/* Returns the size of one number, in bytes. */
static inline size_t crnn_dtype_size(crnn_dtype dtype) {
    return dtype == CRNN_F64 ? sizeof(double) : sizeof(float);
}

/* The alignment, in bytes, of every buffer that is documented as aligned. */
enum { CRNN_ALIGN = 64 };

/* ---- sizes ---------------------------------------------------------------------------------- */

/* Writes a * b to *out. Returns false, and writes nothing, if the product is too large. */
CRNN_API bool crnn_size_mul(size_t a, size_t b, size_t *out);
/* Writes a + b to *out. Returns false, and writes nothing, if the sum is too large. */
CRNN_API bool crnn_size_add(size_t a, size_t b, size_t *out);

/* ---- instruction sets ----------------------------------------------------------------------- */

/* Returns the name of the instruction set number i that this processor supports, from the best (0)
 * to the last, and NULL beyond the last. The string is static. */
CRNN_API const char *crnn_isa_available(size_t i);
/* Returns the name of the instruction set in use. The first call chooses it: the environment
 * variable CRNN_ISA if it is set, otherwise the best. The string is static. */
CRNN_API const char *crnn_isa_name(void);
/* Selects the instruction set of later calls. Returns false, and changes nothing, if this build or
 * this processor does not support `name`. */
CRNN_API bool crnn_isa_select(const char *name);

/* The functions for one type of numbers on one instruction set. A buffer that was packed, written
 * or measured with one table can be used with this table only, so a caller asks for a table once
 * and passes it on. */
typedef struct crnn_kernels crnn_kernels;

/* Returns the table of the instruction set in use. It is static. */
CRNN_API const crnn_kernels *crnn_kernels_now(crnn_dtype dtype);

/* ---- threads -------------------------------------------------------------------------------- */

/* Returns the largest number of threads that work on one call. Unless crnn_set_threads was called
 * before, the first call chooses it: CRNN_NUM_THREADS of the environment if it is set, otherwise
 * the minimum of the cores that this process may use, the CPU quota of its control groups, rounded
 * up, and OMP_NUM_THREADS. */
CRNN_API size_t crnn_threads(void);
/* Sets the largest number of threads, at least 1. Results do not depend on it. */
CRNN_API void crnn_set_threads(size_t count);
/* Returns the number in a text such as the value of CRNN_NUM_THREADS, or 0 unless the text is an
 * integer of at least 1. */
CRNN_API size_t crnn_parse_threads(const char *text);

/* ---- random numbers ------------------------------------------------------------------------- */

/* Writes the numbers first ... first + n - 1 of the sequence (seed, stream) to out [n]. They are
 * uniform in [0, 1), with 53 bits each. */
CRNN_API void crnn_random_uniform(uint64_t seed, uint64_t stream, uint64_t first, size_t n,
                                  double *out);
/* Writes the four words of a counter to out. The generator is Philox4x32-10 of Salmon, Moraes, Dror
 * and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). */
CRNN_API void crnn_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);

/* The numbers from which a call draws its random masks (dropout, zoneout, weight drop), and the
 * noise that it adds to sums. A mask is a function of these numbers and of row, step and unit, so
 * the same numbers give the same mask in forward and in backward, alone and in a batch. */
typedef struct crnn_noise {
    bool on;             /* True in training. If false, nothing is drawn and nothing is dropped. */
    uint64_t seed;       /* Of the layer. */
    uint64_t call;       /* The number of the call; each call should have its own. */
    uint64_t first_row;  /* The number that row 0 of this call has. */
    uint32_t first_step; /* The number that step 0 of this call has. */
    uint32_t layer;      /* The number of the layer, where several layers share a seed. */
} crnn_noise;

/* Which mask is drawn: each kind has a key of its own. */
typedef enum crnn_noise_kind {
    CRNN_NOISE_INPUT = 0,     /* The mask of crnn_dropout. */
    CRNN_NOISE_RECURRENT = 1, /* Of h, where a product reads it. */
    CRNN_NOISE_ZONEOUT_H = 2, /* Of h, which keeps its value. */
    CRNN_NOISE_ZONEOUT_C = 3, /* Of c, which keeps its value. */
    CRNN_NOISE_WEIGHTS = 4,   /* Of the elements of W_h. */
    CRNN_NOISE_SUMS = 5,      /* Added to the sums: no mask, but uniform numbers. */
    CRNN_NOISE_HEADS = 6,     /* Of the weights of self-attention (crnn_heads). */
    CRNN_NOISE_DRAWS = 7      /* Of observed numbers (crnn_draw). */
} crnn_noise_kind;

/* Writes the key of a mask. The number of (row, step, unit) is word unit % 4 of crnn_philox with
 * this key and the counter (unit / 4, step, low word of row, high word of row). */
CRNN_API void crnn_noise_key(const crnn_noise *noise, crnn_noise_kind kind, uint32_t key[2]);
/* Returns the bound of a probability p: an event of probability p happens where a number of
 * crnn_philox is below crnn_below(p). */
CRNN_API uint32_t crnn_below(double p);

#ifdef __cplusplus
}
#endif

#endif
