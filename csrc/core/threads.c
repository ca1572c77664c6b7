/* A small pool of threads that work on one job at a time, as a team.
 *
 * A job is a function that every member of the team runs, told which part of how many it is;
 * members may meet on the way (core_meet), so all of them must be there at once. The caller opens a
 * seat for each worker it wants, waits a little for workers to take them, and closes the rest:
 * those that came and the caller are the team. How many came changes nothing in what is computed. A
 * second job that arrives while one runs (from another thread of the caller's, or from inside a
 * job) is done by its caller alone. Workers spin a little before they sleep, because calls follow
 * one another closely; a job calls no more sleepers than it has seats for. After fork() the child
 * starts with no workers and makes its own. */
#include "platform.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "cores.h"
#include "fpmode.h"
#include "kernels.h"

enum { MAX_THREADS = 256, SPINS = 4000 /* some 20 to 120 microseconds, by processor */ };
/* Multiply-adds worth handing to another thread: waking one costs about as much as this takes. */
static const double PART_WORK = 1e6;
/* Multiply-adds of a job for which its caller waits one turn longer for workers to come: a tenth of
 * their time, because a worker that sleeps may need as long as a short call takes, and a long call
 * without it takes twice as long. */
static const double WORK_PER_TURN = 8e3;

static struct {
    lock_type lock;
    condition_type called, worker_left;
    bool watches_forks;
    size_t workers;       /* threads started; they, and what follows, change under the lock */
    size_t cores;         /* that this process may use */
    size_t asleep;        /* workers that sleep and have not been called */
    size_t calls;         /* of sleepers that have not woken yet */
    atomic_size_t seats;  /* workers that may still join the job */
    atomic_size_t inside; /* workers that may touch the job */
    atomic_size_t joined; /* workers that have a part of it */
    atomic_size_t team;   /* members, once none may join any more; 0 before */
    atomic_size_t spins;  /* turns of a wait before it yields its core, or sleeps */
    void (*task)(void *, size_t, size_t);
    void *context;
    atomic_size_t waiting, meetings; /* of the running team: see core_meet */
} pool = {
    .lock = LOCK_INIT, .called = CONDITION_INIT, .worker_left = CONDITION_INIT, .spins = SPINS};

static atomic_bool busy;
static atomic_size_t thread_count; /* 0: not asked yet */

/* One turn of a wait that must not end before its time: the other side may have lost its core. */
static void wait_turn(size_t turn, size_t spins) {
    if (turn < spins)
        spin_pause();
    else
        give_core();
}

/* ---- workers */

/* Under the lock. */
static void sleep_until_called(void) {
    pool.asleep++;
    while (pool.calls == 0) condition_wait(&pool.called, &pool.lock);
    pool.calls--;
}

/* Under the lock: the part of the job that goes with a seat; 0: no seat is left. */
static size_t take_seat(void) {
    if (atomic_load(&pool.seats) == 0) return 0;
    atomic_fetch_sub(&pool.seats, 1);
    atomic_fetch_add(&pool.inside, 1);
    return atomic_fetch_add(&pool.joined, 1) + 1;
}

/* Spins, then sleeps. A seat that is open but lost to another worker does not begin the spinning
 * anew, or jobs that want few workers would keep all of them awake. */
static size_t wait_for_part(void) {
    size_t part = 0;
    for (size_t turn = 0; part == 0; turn++) {
        const bool tired = turn >= atomic_load(&pool.spins);
        if (!tired && atomic_load(&pool.seats) == 0) {
            spin_pause();
            continue;
        }
        lock_take(&pool.lock);
        part = take_seat();
        if (part == 0 && tired) {
            sleep_until_called();
            part = take_seat();
            turn = 0;
        }
        lock_give(&pool.lock);
    }
    return part;
}

/* In the kernels' mode: a worker's own is that of whoever happened to start it. */
static void run_in_mode(void (*task)(void *, size_t, size_t), void *context, size_t part,
                        size_t parts) {
    const core_fpmode caller = core_fpmode_enter();
    task(context, part, parts);
    core_fpmode_leave(caller);
}

static void work_in_team(size_t part) {
    const size_t spins = atomic_load(&pool.spins);
    size_t team;
    for (size_t turn = 0; (team = atomic_load(&pool.team)) == 0; turn++) wait_turn(turn, spins);
    run_in_mode(pool.task, pool.context, part, team);
}

static thread_result THREAD_CALL worker(void *unused) {
    (void)unused;
    for (;;) {
        work_in_team(wait_for_part());
        lock_take(&pool.lock);
        if (atomic_fetch_sub(&pool.inside, 1) == 1) condition_wake_one(&pool.worker_left);
        lock_give(&pool.lock);
    }
    return (thread_result)0; /* never, but not all compilers see that */
}

/* The child of a fork has the memory of the pool but not its threads. */
static void forget_workers(void) {
    pool.lock = (lock_type)LOCK_INIT;
    pool.called = pool.worker_left = (condition_type)CONDITION_INIT;
    pool.workers = pool.asleep = pool.calls = 0;
    atomic_store(&pool.seats, 0);
    atomic_store(&pool.inside, 0);
    atomic_store(&pool.waiting, 0);
    atomic_store(&busy, false);
}

/* Under the lock: fewer workers than asked for is slower, never wrong. New ones inherit the
 * affinity that their starter has now. */
static void start_workers(size_t wanted) {
    const size_t before = pool.workers;
    if (before >= wanted) return;
    if (!pool.watches_forks) pool.watches_forks = on_fork(forget_workers);
    while (pool.watches_forks && pool.workers < wanted && start_thread(worker)) pool.workers++;
    if (pool.workers > before) pool.cores = core_usable_cores();
}

/* ---- how many work */

static size_t clamp_threads(size_t count) {
    return count < 1 ? 1 : count > MAX_THREADS ? MAX_THREADS : count;
}

size_t crnn_threads(void) {
    size_t count = atomic_load(&thread_count);
    if (count) return count;
    const size_t first = clamp_threads(core_default_threads(
        core_usable_cores(), getenv("OMP_NUM_THREADS"), getenv("CRNN_NUM_THREADS")));
    return atomic_compare_exchange_strong(&thread_count, &count, first) ? first : count;
}

void crnn_set_threads(size_t count) { atomic_store(&thread_count, clamp_threads(count)); }

/* How many a job is worth. */
static size_t worth(double multiply_adds, size_t at_most) {
    const double parts = multiply_adds / PART_WORK;
    size_t threads = crnn_threads();
    if (parts < (double)threads) threads = (size_t)parts;
    return threads < at_most ? threads : at_most;
}

/* ---- jobs */

/* Under the lock: how many sleepers are to be called for the open seats. All other workers look
 * for a seat before they sleep. */
static size_t count_calls(void) {
    const size_t seats = atomic_load(&pool.seats), awake = pool.workers - pool.asleep;
    const size_t missing = seats > awake ? seats - awake : 0;
    return missing < pool.asleep ? missing : pool.asleep;
}

static void open_job(size_t wanted, void (*task)(void *, size_t, size_t), void *context) {
    lock_take(&pool.lock);
    start_workers(wanted - 1);
    pool.task = task;
    pool.context = context;
    atomic_store(&pool.team, 0);
    atomic_store(&pool.joined, 0);
    /* A thread that spins on a core that others need makes them wait for the end of its slice. */
    atomic_store(&pool.spins, wanted > pool.cores ? 0 : SPINS);
    atomic_store(&pool.seats, wanted - 1);
    const size_t calls = count_calls();
    const bool all = calls == pool.asleep;
    pool.asleep -= calls;
    pool.calls += calls;
    lock_give(&pool.lock);
    if (all && calls > 0) condition_wake_all(&pool.called);
    for (size_t i = 0; i < calls && !all; i++) condition_wake_one(&pool.called);
}

/* Waits for those who are to join, though not for long; then nobody may. Returns the members. */
static size_t close_team(size_t wanted, double multiply_adds) {
    const double patience = multiply_adds / WORK_PER_TURN;
    const size_t spins = atomic_load(&pool.spins);
    for (size_t turn = 0; (double)turn < patience && atomic_load(&pool.joined) + 1 < wanted; turn++)
        wait_turn(turn, spins);
    lock_take(&pool.lock);
    atomic_store(&pool.seats, 0);
    const size_t team = atomic_load(&pool.joined) + 1;
    atomic_store(&pool.team, team);
    lock_give(&pool.lock);
    return team;
}

static void close_job(void) {
    const size_t spins = atomic_load(&pool.spins);
    for (size_t turn = 0; turn < spins && atomic_load(&pool.inside) > 0; turn++) spin_pause();
    lock_take(&pool.lock);
    while (atomic_load(&pool.inside) > 0) condition_wait(&pool.worker_left, &pool.lock);
    lock_give(&pool.lock);
}

void core_team(double multiply_adds, size_t at_most, void (*task)(void *, size_t, size_t),
               void *context) {
    const size_t wanted = worth(multiply_adds, at_most);
    if (wanted <= 1 || atomic_exchange(&busy, true)) {
        run_in_mode(task, context, 0, 1);
        return;
    }
    open_job(wanted, task, context);
    run_in_mode(task, context, 0, close_team(wanted, multiply_adds));
    close_job();
    atomic_store(&busy, false);
}

/* The last to come opens the next meeting, which is what the others wait for. */
void core_meet(size_t parts) {
    if (parts <= 1) return;
    const size_t spins = atomic_load(&pool.spins);
    const size_t meeting = atomic_load(&pool.meetings);
    if (atomic_fetch_add(&pool.waiting, 1) + 1 == parts) {
        atomic_store(&pool.waiting, 0);
        atomic_store(&pool.meetings, meeting + 1);
    } else {
        for (size_t turn = 0; atomic_load(&pool.meetings) == meeting; turn++)
            wait_turn(turn, spins);
    }
}
