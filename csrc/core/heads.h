/* What op_heads.c and op_cross.c share: blocks of queries, scratch, pairs of a piece and a head. */
#ifndef CORE_HEADS_H
#define CORE_HEADS_H

#include "plan.h"

typedef void core_heads_pair(const core_heads_run *run, size_t place, size_t head,
                             const core_heads_scratch *s);

static inline size_t core_round_up(size_t count, size_t to) {
    return count > SIZE_MAX - to ? count : (count + to - 1) / to * to;
}

static inline size_t core_clamp(size_t n, size_t least, size_t most) {
    return n < least ? least : n > most ? most : n;
}

/* Lays out the scratch of all members, for n->as.heads.run, whose sizes, `cached`, `keys` and
 * `slots` are there, with at most so many steps in a piece. work: multiply-adds of all pairs. */
void core_heads_lay(core_node *n, bool back, size_t steps, double work, core_arena *a);
/* Runs all pairs in a team: those of long pieces come first. */
void core_heads_run_pairs(core_node *n, bool back, double work, core_heads_pair *pair);
/* Multiply-adds of n steps that see so many keys. */
double core_heads_work(const crnn_heads *given, size_t features, double steps, double seen);

/* Memory of a stream for so many rows, of [slots] steps of each head: everything but `ring->size`.
 */
void core_heads_take_ring(const core_node *n, size_t heads, size_t batch, size_t slots,
                          core_heads_ring *ring, core_arena *a);
char *core_heads_pair_at(const core_heads_ring *ring, size_t place, size_t heads, size_t head);
/* Copies k and v of one step of a place between a slot of the ring and [H]. */
void core_heads_copy_step(const core_node *n, const core_heads_ring *ring, size_t heads,
                          size_t place, size_t slot, char *k, char *v, bool in);

#endif
