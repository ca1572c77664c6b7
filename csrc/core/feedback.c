/* Vectors that are fed back: a plan of one step, run again and again on its own output. */
#include <string.h>

#include "plan.h"

static size_t outputs_of(const crnn_feedback *part) {
    return part->node[part->plan->count - 1].features;
}

/* The first features of the input are those of x at a step. */
static void read_given(const crnn_feedback *part, size_t step, size_t item) {
    const size_t batch = part->plan->rows->given.batch;
    for (size_t b = 0; b < batch && part->given > 0; b++)
        memcpy(crnn_seq_at(&part->node[0].value, b, 0, item), crnn_seq_at(&part->x, b, step, item),
               part->given * item);
}

/* The other features of the input are the output of a step. */
static void feed(const crnn_feedback *part, size_t step, size_t item) {
    const size_t batch = part->plan->rows->given.batch, outputs = outputs_of(part);
    for (size_t b = 0; b < batch; b++) {
        char *x = crnn_seq_at(&part->node[0].value, b, 0, item);
        const void *y = crnn_seq_at(&part->y, b, step, item);
        for (size_t i = part->given; i < part->node[0].features; i += outputs)
            memcpy(x + i * item, y, outputs * item);
    }
}

static void run_part(void *of_part, size_t steps) {
    crnn_feedback *part = of_part;
    const size_t item = crnn_dtype_size(part->plan->kernels->dtype), first = part->step;
    crnn_plan_lay(part->plan);
    for (; part->step < first + steps; part->step++) {
        read_given(part, part->step, item);
        part->node[part->plan->count - 1].value =
            (crnn_seq){crnn_seq_at(&part->y, 0, part->step, item), part->y.row, part->y.step};
        crnn_plan_run(part->plan);
        feed(part, part->step, item);
    }
}

void crnn_feed_back(crnn_feedback *parts, size_t count, size_t steps) {
    double work = 0;
    for (size_t i = 0; i < count; i++)
        work += (double)parts[i].plan->rows->given.batch * core_work_of_step(parts[i].plan);
    core_run_parts(parts, sizeof *parts, count, steps, work, run_part);
}
