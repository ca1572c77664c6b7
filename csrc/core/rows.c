/* The rows of one call, sorted longest first, and where each step of them lies on a tape. */
#include "kernels.h"

crnn_status crnn_rows_size(size_t batch, size_t steps, size_t *words) {
    size_t cells, bytes;
    /* N <= B * T must fit as well: tape rows are counted with it. */
    if (!crnn_size_mul(batch, steps, &cells) || !crnn_size_add(batch, steps, words) ||
        !crnn_size_add(*words, 1, words) || !crnn_size_mul(*words, 2, words) ||
        !crnn_size_mul(*words, sizeof(size_t), &bytes))
        return CRNN_OVERFLOW;
    return CRNN_OK;
}

void crnn_rows_init(crnn_rows *rows, size_t *words, size_t batch, size_t steps,
                    const int64_t *lengths) {
    *rows = (crnn_rows){.batch = batch,
                        .steps = steps,
                        .order = words,
                        .length = words + batch,
                        .active = words + 2 * batch,
                        .first = words + 2 * batch + steps};
    /* A counting sort: active[t] = rows longer than t is at once the place where rows of length t
     * begin. */
    for (size_t t = 0; t < steps; t++) rows->active[t] = lengths ? 0 : batch;
    for (size_t b = 0; lengths && b < batch; b++)
        if (lengths[b] > 0) rows->active[lengths[b] - 1]++;
    for (size_t t = steps; lengths && t-- > 1;) rows->active[t - 1] += rows->active[t];

    size_t *next = rows->first; /* borrowed: place for the next row of each length */
    for (size_t t = 0; t < steps; t++) next[t] = rows->active[t];
    next[steps] = 0;
    for (size_t b = 0; b < batch; b++) {
        const size_t length = lengths ? (size_t)lengths[b] : steps, place = next[length]++;
        rows->order[place] = b;
        rows->length[place] = length;
    }
    rows->total = 0;
    for (size_t t = 0; t < steps; t++) {
        rows->first[t] = rows->total;
        rows->total += rows->active[t];
    }
    rows->first[steps] = rows->total;
}
