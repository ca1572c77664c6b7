/* Sizes that cannot wrap. */
#include "kernels.h"

/* Numbers below this have a product that fits, without a division. */
#define SMALL ((size_t)1 << (4 * sizeof(size_t) - 1))

bool crnn_size_mul(size_t a, size_t b, size_t *out) {
    /* half: differences of pointers fit too */
    if ((a | b) >= SMALL && b != 0 && a > SIZE_MAX / 2 / b) return false;
    *out = a * b;
    return true;
}

bool crnn_size_add(size_t a, size_t b, size_t *out) {
    if (a > SIZE_MAX / 2 || b > SIZE_MAX / 2 - a) return false;
    *out = a + b;
    return true;
}

void core_measure_add(core_measure *m, size_t a, size_t b, size_t c) {
    size_t bytes;
    m->fits = m->fits && crnn_size_mul(a, b, &bytes) && crnn_size_mul(bytes, c, &bytes) &&
              crnn_size_add(bytes, CRNN_ALIGN - 1, &bytes) &&
              crnn_size_add(m->bytes, bytes / CRNN_ALIGN * CRNN_ALIGN, &m->bytes);
}
