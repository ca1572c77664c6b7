/* The choice of symbols as a node of a plan, and generation: a plan that ends with a choice, run
 * again and again. */
#include "plan.h"

static crnn_search *search_of(const core_node *n) { return n->given->as.choose.search; }

static double work(const core_node *n) { return (double)search_of(n)->options.symbols; }

static void lay(core_node *n, core_arena *a) {
    const crnn_search_options *o = &search_of(n)->options;
    n->as.choose.parents = core_take(a, o->groups, o->width, sizeof *n->as.choose.parents);
}

static void alone(core_node *n) {
    const bool finite =
        crnn_search_step(search_of(n), n->plan->given->kernels->dtype, core_read(n, 0)->value.data,
                         n->given->symbols, n->as.choose.parents);
    n->as.choose.count = finite ? search_of(n)->live : 0;
}

const core_op core_op_choose = {.work = work, .lay = lay, .alone = alone};

/* ---- generation */

static crnn_search *search_of_plan(const crnn_plan *plan) {
    return plan->node[plan->count - 1].as.choose.search;
}

/* The plan is laid out again where other rows live. */
static void generate_part(void *of_part, size_t steps) {
    crnn_generation *part = of_part;
    const crnn_search *search = search_of_plan(part->plan);
    for (size_t t = 0, rows = 0; t < steps && part->finite && search->live > 0; t++) {
        const size_t before = search->steps;
        if (rows != search->live) {
            rows = search->live;
            crnn_rows_init(part->rows, part->words, &(crnn_steps){.batch = rows, .steps = 1});
            crnn_plan_lay(part->plan);
        }
        crnn_plan_run(part->plan);
        part->finite = search->steps > before;
    }
}

void crnn_generate(crnn_generation *parts, size_t count, size_t steps) {
    double work = 0;
    for (size_t i = 0; i < count; i++)
        work += (double)search_of_plan(parts[i].plan)->live * core_work_of_step(parts[i].plan);
    core_run_parts(parts, sizeof *parts, count, steps, work, generate_part);
}
