/* A small pool of threads that work on one job at a time, as a team.
 *
 * A job is a function that every member of the team runs, told which part of how many it is;
 * members may meet on the way (crnn_meet). So all of them must be there at once: the caller waits a
 * little for workers to come, and whoever has come by then is the team. How many came changes
 * nothing in what is computed, only who computes it. A second job that arrives while one runs (from
 * another thread of the caller's) is done by its caller alone. Workers spin a little before they
 * sleep, because calls follow one another closely. After fork() the child starts with no workers
 * and makes its own. */
#if !defined(_WIN32)
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include <stdatomic.h>
#include <stdlib.h>

#include "fpmode.h"
#include "kernels.h"

#if defined(_WIN32)
#include <process.h>
#include <windows.h>
typedef SRWLOCK lock_type;
typedef CONDITION_VARIABLE signal_type;
#define LOCK_INIT SRWLOCK_INIT
#define SIGNAL_INIT CONDITION_VARIABLE_INIT
#define lock_take(lock) AcquireSRWLockExclusive(lock)
#define lock_give(lock) ReleaseSRWLockExclusive(lock)
#define signal_wait(signal, lock) SleepConditionVariableSRW(signal, lock, INFINITE, 0)
#define signal_all(signal) WakeAllConditionVariable(signal)
#define give_core() SwitchToThread()
#else
#include <pthread.h>
#include <sched.h>
#include <unistd.h>
typedef pthread_mutex_t lock_type;
typedef pthread_cond_t signal_type;
#define LOCK_INIT PTHREAD_MUTEX_INITIALIZER
#define SIGNAL_INIT PTHREAD_COND_INITIALIZER
#define lock_take(lock) pthread_mutex_lock(lock)
#define lock_give(lock) pthread_mutex_unlock(lock)
#define signal_wait(signal, lock) pthread_cond_wait(signal, lock)
#define signal_all(signal) pthread_cond_broadcast(signal)
#define give_core() sched_yield()
#endif

enum { MAX_THREADS = 256, SPINS = 4000 /* some 20 to 120 microseconds, by processor */ };
/* Multiply-adds worth handing to another thread: waking one costs about as much as this takes. */
static const double PART_WORK = 1e6;
/* Multiply-adds of a job for which its caller waits one turn longer for workers to come: a tenth of
 * their time, because a worker that sleeps may need as long as a short call takes, and a long call
 * without it takes twice as long. */
static const double WORK_PER_TURN = 8e3;

static struct {
    lock_type lock;
    signal_type job_arrived, worker_left;
    size_t workers;         /* threads started */
    atomic_size_t arrivals; /* jobs so far, written under the lock */
    atomic_size_t inside;   /* workers that may touch the job, written under the lock */
    atomic_size_t joined;   /* workers that have a part of it, written under the lock */
    size_t seats;           /* workers that may still join; under the lock */
    atomic_size_t team;     /* members, once nobody may join any more; 0 before */
    void (*task)(void *, size_t, size_t);
    void *context;
    atomic_size_t waiting, meetings; /* of the running team: see crnn_meet */
} pool = {.lock = LOCK_INIT, .job_arrived = SIGNAL_INIT, .worker_left = SIGNAL_INIT};

static atomic_bool busy;
static atomic_size_t thread_count; /* 0: not asked yet */

#if defined(_M_X64)
#define spin_pause() YieldProcessor()
#elif defined(__x86_64__)
#define spin_pause() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define spin_pause() __asm__ volatile("yield")
#else
#define spin_pause() ((void)0)
#endif

/* One turn of a wait that must not end before its time: the other side may have lost its core. */
static void wait_turn(size_t turn) {
    if (turn < SPINS)
        spin_pause();
    else
        give_core();
}

/* Returns with the lock held, once a job after `seen` has arrived. */
static void wait_for_job(size_t seen) {
    for (int i = 0; i < SPINS && atomic_load(&pool.arrivals) == seen; i++) spin_pause();
    lock_take(&pool.lock);
    while (atomic_load(&pool.arrivals) == seen) signal_wait(&pool.job_arrived, &pool.lock);
}

/* In the kernels' mode: a worker's own is that of whoever happened to start it. */
static void run_in_mode(void (*task)(void *, size_t, size_t), void *context, size_t part,
                        size_t parts) {
    const crnn_fpmode caller = crnn_fpmode_enter();
    task(context, part, parts);
    crnn_fpmode_leave(caller);
}

static void work_in_team(size_t part) {
    size_t team;
    for (size_t turn = 0; (team = atomic_load(&pool.team)) == 0; turn++) wait_turn(turn);
    run_in_mode(pool.task, pool.context, part, team);
}

static void worker_loop(void) {
    for (size_t seen = 0;;) {
        wait_for_job(seen);
        seen = atomic_load(&pool.arrivals);
        size_t part = 0;
        if (pool.seats > 0) {
            pool.seats--;
            atomic_fetch_add(&pool.inside, 1);
            part = atomic_fetch_add(&pool.joined, 1) + 1;
        }
        lock_give(&pool.lock);
        if (part == 0) continue;
        work_in_team(part);
        lock_take(&pool.lock);
        if (atomic_fetch_sub(&pool.inside, 1) == 1) signal_all(&pool.worker_left);
        lock_give(&pool.lock);
    }
}

#if defined(_WIN32)
static unsigned __stdcall worker_main(void *unused) {
    (void)unused;
    worker_loop();
    return 0;
}

static bool start_worker(void) {
    const uintptr_t handle = _beginthreadex(NULL, 0, worker_main, NULL, 0, NULL);
    if (handle) CloseHandle((HANDLE)handle);
    return handle != 0;
}

static size_t usable_cores(void) {
    DWORD_PTR mine = 0, all = 0;
    size_t count = 0;
    if (GetProcessAffinityMask(GetCurrentProcess(), &mine, &all))
        for (; mine; mine &= mine - 1) count++;
    return count ? count : 1;
}
#else
static void *worker_main(void *unused) {
    (void)unused;
    worker_loop();
    return NULL;
}

/* The child of a fork has the memory of the pool but not its threads. */
static void forget_workers(void) {
    pool.lock = (lock_type)LOCK_INIT;
    pool.job_arrived = pool.worker_left = (signal_type)SIGNAL_INIT;
    pool.workers = pool.seats = 0;
    atomic_store(&pool.inside, 0);
    atomic_store(&pool.waiting, 0);
    atomic_store(&busy, false);
}

static void watch_forks(void) { pthread_atfork(NULL, NULL, forget_workers); }

static bool start_worker(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_once(&once, watch_forks);
    if (pthread_attr_init(&attributes) != 0) return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    const bool started = pthread_create(&thread, &attributes, worker_main, NULL) == 0;
    pthread_attr_destroy(&attributes);
    return started;
}

static size_t usable_cores(void) {
#if defined(__linux__)
    cpu_set_t mine;
    if (sched_getaffinity(0, sizeof mine, &mine) == 0) return (size_t)CPU_COUNT(&mine);
#endif
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (size_t)online : 1;
}
#endif

static size_t clamp_threads(size_t count) {
    return count < 1 ? 1 : count > MAX_THREADS ? MAX_THREADS : count;
}

size_t crnn_threads(void) {
    size_t count = atomic_load(&thread_count);
    if (count) return count;
    const char *wish = getenv("CRNN_NUM_THREADS");
    const long number = wish ? strtol(wish, NULL, 10) : 0;
    count = clamp_threads(number > 0 ? (size_t)number : usable_cores());
    atomic_store(&thread_count, count);
    return count;
}

void crnn_set_threads(size_t count) { atomic_store(&thread_count, clamp_threads(count)); }

/* How many a job is worth. */
static size_t worth(double multiply_adds, size_t at_most) {
    const double parts = multiply_adds / PART_WORK;
    size_t threads = crnn_threads();
    if (parts < (double)threads) threads = (size_t)parts;
    return threads < at_most ? threads : at_most;
}

/* Under the lock: fewer workers than asked for is slower, never wrong. */
static void start_workers(size_t wanted) {
    while (pool.workers < wanted && start_worker()) pool.workers++;
}

/* Waits for those who are to join, though not for long; then nobody may. Returns the members. */
static size_t close_team(size_t wanted, double multiply_adds) {
    const double patience = multiply_adds / WORK_PER_TURN;
    for (size_t turn = 0; (double)turn < patience && atomic_load(&pool.joined) + 1 < wanted; turn++)
        wait_turn(turn);
    lock_take(&pool.lock);
    pool.seats = 0;
    const size_t team = atomic_load(&pool.joined) + 1;
    atomic_store(&pool.team, team);
    lock_give(&pool.lock);
    return team;
}

static void close_job(void) {
    for (int i = 0; i < SPINS && atomic_load(&pool.inside) > 0; i++) spin_pause();
    lock_take(&pool.lock);
    while (atomic_load(&pool.inside) > 0) signal_wait(&pool.worker_left, &pool.lock);
    lock_give(&pool.lock);
}

void crnn_team(double multiply_adds, size_t at_most, void (*task)(void *, size_t, size_t),
               void *context) {
    const size_t wanted = worth(multiply_adds, at_most);
    if (wanted <= 1 || atomic_exchange(&busy, true)) {
        run_in_mode(task, context, 0, 1);
        return;
    }
    lock_take(&pool.lock);
    start_workers(wanted - 1);
    pool.task = task;
    pool.context = context;
    atomic_store(&pool.team, 0);
    atomic_store(&pool.joined, 0);
    pool.seats = wanted - 1;
    atomic_fetch_add(&pool.arrivals, 1);
    signal_all(&pool.job_arrived);
    lock_give(&pool.lock);
    run_in_mode(task, context, 0, close_team(wanted, multiply_adds));
    close_job();
    atomic_store(&busy, false);
}

/* The last to come opens the next meeting, which is what the others wait for. */
void crnn_meet(size_t parts) {
    if (parts <= 1) return;
    const size_t meeting = atomic_load(&pool.meetings);
    if (atomic_fetch_add(&pool.waiting, 1) + 1 == parts) {
        atomic_store(&pool.waiting, 0);
        atomic_store(&pool.meetings, meeting + 1);
    } else {
        for (size_t turn = 0; atomic_load(&pool.meetings) == meeting; turn++) wait_turn(turn);
    }
}
