/* A pool of threads that work on jobs, as one team for each job.
 *
 * A job is a function that every member of its team runs at the same time; members may meet on the
 * way (core_meet). The caller opens a seat for each worker that it wants, waits a little for
 * workers to take them, and closes the rest: the workers that came and the caller are the team. The
 * number of members does not change the results. Several callers may have a team each; together
 * they want no more members than there are cores, or than crnn_set_threads allows, and a caller for
 * whom nothing is left works alone. So does a member of a team that begins another job.
 *
 * Workers spin a little before they sleep, because calls follow one another closely; a job wakes no
 * more sleepers than it has seats for. After fork() the child starts with no workers and makes its
 * own. The state of a job lies on the stack of its caller. */
#include "platform.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "cores.h"
#include "fpmode.h"
#include "kernels.h"

enum {
    MAX_THREADS = 256,
    SPINS = 4000,  /* turns of a wait before it yields its core: 20 to 120 microseconds */
    YIELDS = 2000, /* and before it sleeps: about a millisecond where no other thread wants it */
    LINE = 64      /* bytes of a cache line */
};
/* Multiply-adds worth handing to another thread: waking one costs about as much as this takes. */
static const double PART_WORK = 1e6;
/* Multiply-adds of a job for which its caller waits one turn longer for workers to come: a tenth of
 * their time, because a worker that sleeps may need as long as a short call takes, and a long call
 * without it takes twice as long. */
static const double WORK_PER_TURN = 8e3;

/* A number with a cache line of its own, so that those who change one do not disturb those who
 * watch another. */
typedef struct lone_number {
    atomic_size_t is;
    char apart[LINE - sizeof(atomic_size_t)];
} lone_number;

typedef struct barrier {
    lone_number waiting, meetings;
} barrier;

struct core_team {
    core_team *next; /* in the list of open teams; it and the next two change under the lock */
    size_t seats;    /* workers that may still join */
    size_t joined;   /* workers that have a part of the job */
    core_task *task;
    void *context;
    core_fpmode mode;                      /* of the caller */
    size_t wanted, parts;                  /* members; parts is set before `closed` */
    lone_number closed;                    /* 1: no worker may join any more */
    lone_number inside;                    /* workers that may touch the team */
    barrier barriers[1 + MAX_THREADS / 2]; /* of the team, then of its groups: see core_group_of */
};

static struct {
    lock_type lock;
    condition_type called, changed;
    bool watches_forks;
    size_t workers;        /* threads started; they, and what follows, change under the lock */
    size_t cores;          /* that this process may use */
    size_t asleep;         /* workers that sleep and have not been called */
    size_t calls;          /* of sleepers that have not woken yet */
    size_t busy;           /* workers in a team */
    size_t teams, members; /* at work, teams of one included; what they want together */
    core_team *open;       /* teams that workers may still join */
    atomic_size_t seats;   /* of open teams, together */
    atomic_size_t spins;   /* turns of a wait before it yields its core, or sleeps */
    atomic_size_t waits;   /* that sleep until a number changes */
} pool = {.lock = LOCK_INIT, .called = CONDITION_INIT, .changed = CONDITION_INIT, .spins = SPINS};

static THREAD_LOCAL bool in_team;  /* whether this thread is a member of a team */
static atomic_size_t thread_count; /* 0: not asked yet */

/* ---- waits: first the thread spins; then it yields its core, because the thread that it waits for
 * may have been descheduled; then it sleeps */

static void wait_turn(size_t turn, size_t spins) {
    if (turn < spins)
        spin_pause();
    else
        give_core();
}

/* Waits until a number of a team has a value. */
static void wait_for(lone_number *number, size_t value, size_t yields) {
    const size_t spins = atomic_load(&pool.spins);
    for (size_t turn = 0; turn < spins + yields; turn++) {
        if (atomic_load(&number->is) == value) return;
        wait_turn(turn, spins);
    }
    lock_take(&pool.lock);
    atomic_fetch_add(&pool.waits, 1);
    while (atomic_load(&number->is) != value) condition_wait(&pool.changed, &pool.lock);
    atomic_fetch_sub(&pool.waits, 1);
    lock_give(&pool.lock);
}

/* Whoever is about to sleep is counted before it looks at the number for the last time; so either
 * it sees the new value or it is seen here. The number's team may be gone once it is stored. */
static void change(lone_number *number, size_t value) {
    atomic_store(&number->is, value);
    if (atomic_load(&pool.waits) == 0) return;
    lock_take(&pool.lock);
    condition_wake_all(&pool.changed);
    lock_give(&pool.lock);
}

/* ---- workers */

/* Under the lock. */
static void sleep_until_called(void) {
    pool.asleep++;
    while (pool.calls == 0) condition_wait(&pool.called, &pool.lock);
    pool.calls--;
}

static void remove_team(core_team *team) {
    core_team **at = &pool.open;
    while (*at != team) at = &(*at)->next;
    *at = team->next;
}

/* Under the lock: a part of the job of an open team; team NULL: no seat is left. */
static core_member take_seat(void) {
    core_team *team = pool.open;
    if (!team) return (core_member){0};
    team->joined++;
    pool.busy++;
    atomic_fetch_add(&team->inside.is, 1);
    atomic_fetch_sub(&pool.seats, 1);
    if (--team->seats == 0) remove_team(team);
    return (core_member){.team = team, .part = team->joined};
}

/* Spins, then sleeps. A seat that is open but lost to another worker does not begin the spinning
 * anew, or jobs that want few workers would keep all of them awake. */
static core_member wait_for_part(void) {
    core_member me = {0};
    for (size_t turn = 0; !me.team; turn++) {
        const bool tired = turn >= atomic_load(&pool.spins);
        if (!tired && atomic_load(&pool.seats) == 0) {
            spin_pause();
            continue;
        }
        lock_take(&pool.lock);
        me = take_seat();
        if (!me.team && tired) {
            sleep_until_called();
            me = take_seat();
            turn = 0;
        }
        lock_give(&pool.lock);
    }
    return me;
}

static void work_in_team(core_member me) {
    core_team *team = me.team;
    wait_for(&team->closed, 1, YIELDS);
    me.parts = team->parts;
    core_fpmode_set(team->mode);
    team->task(team->context, &me);
}

/* Under the lock the caller cannot wake before the worker has done with the team. */
static void leave_team(core_team *team) {
    lock_take(&pool.lock);
    pool.busy--;
    if (atomic_fetch_sub(&team->inside.is, 1) == 1 && atomic_load(&pool.waits) > 0)
        condition_wake_all(&pool.changed);
    lock_give(&pool.lock);
}

static thread_result THREAD_CALL worker(void *unused) {
    (void)unused;
    in_team = true;
    for (;;) {
        const core_member me = wait_for_part();
        work_in_team(me);
        leave_team(me.team);
    }
    return (thread_result)0; /* never, but not all compilers see that */
}

/* The child of a fork has the memory of the pool but not its threads. */
static void forget_workers(void) {
    pool.lock = (lock_type)LOCK_INIT;
    pool.called = pool.changed = (condition_type)CONDITION_INIT;
    pool.workers = pool.asleep = pool.calls = pool.busy = pool.teams = pool.members = 0;
    pool.open = NULL;
    atomic_store(&pool.seats, 0);
    atomic_store(&pool.waits, 0);
    in_team = false;
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
        core_physical_cores(), getenv("OMP_NUM_THREADS"), getenv("CRNN_NUM_THREADS")));
    return atomic_compare_exchange_strong(&thread_count, &count, first) ? first : count;
}

void crnn_set_threads(size_t count) { atomic_store(&thread_count, clamp_threads(count)); }

size_t core_most_worth(double multiply_adds) {
    const double parts = multiply_adds / PART_WORK;
    if (parts < 2) return 1;
    return parts < MAX_THREADS ? (size_t)parts : MAX_THREADS;
}

size_t core_worth(double multiply_adds) {
    const size_t parts = core_most_worth(multiply_adds);
    if (parts < 2) return 1;
    const size_t threads = crnn_threads();
    return parts < threads ? parts : threads;
}

/* ---- jobs */

/* Under the lock: how many sleepers are to be called for the open seats. All other workers that
 * have no team look for a seat before they sleep. */
static size_t count_calls(void) {
    const size_t seats = atomic_load(&pool.seats), idle = pool.workers - pool.asleep - pool.busy;
    const size_t missing = seats > idle ? seats - idle : 0;
    return missing < pool.asleep ? missing : pool.asleep;
}

/* Under the lock: what the jobs at work leave of the members that are allowed together. */
static size_t members_left(void) {
    const size_t threads = crnn_threads(), most = pool.cores > threads ? pool.cores : threads;
    return most > pool.members + 1 ? most - pool.members : 1;
}

/* Under the lock. Returns how many sleepers are to be called. */
static size_t open_team(core_team *team) {
    if (team->wanted == 1) return 0;
    start_workers(pool.members - pool.teams);
    team->seats = team->wanted - 1;
    team->next = pool.open;
    pool.open = team;
    atomic_fetch_add(&pool.seats, team->seats);
    const size_t calls = count_calls();
    pool.asleep -= calls;
    pool.calls += calls;
    return calls;
}

static void init_team(core_team *team, size_t wanted, core_task *task, void *context) {
    team->wanted = wanted;
    team->joined = team->seats = 0;
    team->task = task;
    team->context = context;
    team->mode = core_fpmode_now();
    atomic_init(&team->closed.is, 0);
    atomic_init(&team->inside.is, 0);
    for (size_t i = 0; i <= wanted / 2; i++) {
        atomic_init(&team->barriers[i].waiting.is, 0);
        atomic_init(&team->barriers[i].meetings.is, 0);
    }
}

/* A caller for whom no worker is left is a team of its own. */
static void open_job(core_team *team, size_t wanted, core_task *task, void *context) {
    lock_take(&pool.lock);
    const size_t left = members_left();
    init_team(team, wanted < left ? wanted : left, task, context);
    pool.teams++;
    pool.members += team->wanted;
    const size_t calls = open_team(team);
    /* A thread that spins on a core that others need makes them wait for the end of its slice. */
    atomic_store(&pool.spins, pool.members > pool.cores ? 0 : SPINS);
    const bool all = pool.asleep == 0;
    lock_give(&pool.lock);
    if (all && calls > 0) condition_wake_all(&pool.called);
    for (size_t i = 0; i < calls && !all; i++) condition_wake_one(&pool.called);
}

/* Waits for those who are to join, though not for long; then nobody may. */
static void close_team(core_team *team, double multiply_adds) {
    const double patience = multiply_adds / WORK_PER_TURN;
    const size_t spins = atomic_load(&pool.spins), seats = team->wanted - 1;
    for (size_t turn = 0; (double)turn < patience && atomic_load(&team->inside.is) < seats; turn++)
        wait_turn(turn, spins);
    lock_take(&pool.lock);
    if (team->seats > 0) remove_team(team);
    atomic_fetch_sub(&pool.seats, team->seats);
    team->parts = team->joined + 1;
    lock_give(&pool.lock);
    change(&team->closed, 1);
}

static void end_job(core_team *team) {
    wait_for(&team->inside, 0, 0);
    lock_take(&pool.lock);
    pool.teams--;
    pool.members -= team->wanted;
    lock_give(&pool.lock);
}

void core_in_same_mode(double multiply_adds, size_t at_most, core_task *task, void *context) {
    core_team team;
    const size_t worth = in_team ? 1 : core_worth(multiply_adds);
    const size_t wanted = worth < at_most ? worth : at_most;
    if (wanted <= 1) {
        task(context, &(core_member){.parts = 1});
        return;
    }
    open_job(&team, wanted, task, context);
    close_team(&team, multiply_adds);
    in_team = true;
    task(context, &(core_member){.team = &team, .parts = team.parts});
    in_team = false;
    end_job(&team);
}

void core_in_team(double multiply_adds, size_t at_most, core_task *task, void *context) {
    const core_fpmode caller = core_fpmode_enter(CORE_FLUSHING);
    core_in_same_mode(multiply_adds, at_most, task, context);
    core_fpmode_set(caller);
}

const core_member core_alone = {.parts = 1};

core_member core_group_of(const core_member *me, size_t size) {
    return (core_member){me->team, me->part % size, size, 1 + me->part / size};
}

/* The last to come opens the next meeting, which is what the others wait for. */
void core_meet(const core_member *me) {
    if (me->parts <= 1) return;
    barrier *at = &me->team->barriers[me->group];
    const size_t meeting = atomic_load(&at->meetings.is);
    if (atomic_fetch_add(&at->waiting.is, 1) + 1 == me->parts) {
        atomic_store(&at->waiting.is, 0);
        change(&at->meetings, meeting + 1);
    } else {
        wait_for(&at->meetings, meeting + 1, YIELDS);
    }
}
