/* A small pool of threads that shares out the parts of one job at a time.
 *
 * Parts are handed out in order, to whichever thread asks next; what a part computes does not
 * depend on which thread that is. A second job that arrives while one runs (from another thread of
 * the caller's, or from inside a part) is run by its caller alone. Workers spin a little before
 * they sleep, because the regions of a backward pass follow one another closely. After fork() the
 * child starts with no workers and makes its own. */
#if !defined(_WIN32)
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include <stdatomic.h>
#include <stdlib.h>

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
#endif

enum { MAX_THREADS = 256, SPINS = 4000 /* some 20 to 120 microseconds, by processor */ };
/* Multiply-adds worth handing to another thread: waking one costs about as much as this takes. */
static const double PART_WORK = 400e3;

static struct {
    lock_type lock;
    signal_type job_arrived, worker_left;
    size_t workers;         /* threads started */
    atomic_size_t arrivals; /* jobs so far, written under the lock */
    atomic_size_t inside;   /* workers that may touch the job, written under the lock */
    size_t seats;           /* workers that may still join the job; under the lock */
    void (*task)(void *, size_t);
    void *context;
    size_t parts;
    atomic_size_t next; /* the part to hand out */
} pool = {.lock = LOCK_INIT, .job_arrived = SIGNAL_INIT, .worker_left = SIGNAL_INIT};

static atomic_bool busy;
static atomic_size_t thread_count; /* 0: not asked yet */

#if defined(_M_X64)
#define spin_pause() YieldProcessor()
#elif defined(__x86_64__)
#define spin_pause() __builtin_ia32_pause()
#else
#define spin_pause() ((void)0)
#endif

static void work_on_job(void) {
    for (size_t part; (part = atomic_fetch_add(&pool.next, 1)) < pool.parts;)
        pool.task(pool.context, part);
}

/* Returns with the lock held, once a job after `seen` has arrived. */
static void wait_for_job(size_t seen) {
    for (int i = 0; i < SPINS && atomic_load(&pool.arrivals) == seen; i++) spin_pause();
    lock_take(&pool.lock);
    while (atomic_load(&pool.arrivals) == seen) signal_wait(&pool.job_arrived, &pool.lock);
}

static void worker_loop(void) {
    for (size_t seen = 0;;) {
        wait_for_job(seen);
        seen = atomic_load(&pool.arrivals);
        const bool join = pool.seats > 0;
        if (join) {
            pool.seats--;
            atomic_fetch_add(&pool.inside, 1);
        }
        lock_give(&pool.lock);
        if (!join) continue;
        work_on_job();
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

size_t crnn_parts(double multiply_adds, size_t at_most) {
    const double worth = multiply_adds / PART_WORK;
    size_t parts = crnn_threads();
    if (worth < (double)parts) parts = (size_t)worth;
    if (parts > at_most) parts = at_most;
    return parts < 1 ? 1 : parts;
}

/* Under the lock: fewer workers than asked for is slower, never wrong. */
static void start_workers(size_t wanted) {
    while (pool.workers < wanted && start_worker()) pool.workers++;
}

static void close_job(void) {
    for (int i = 0; i < SPINS && atomic_load(&pool.inside) > 0; i++) spin_pause();
    lock_take(&pool.lock);
    pool.seats = 0;
    while (atomic_load(&pool.inside) > 0) signal_wait(&pool.worker_left, &pool.lock);
    lock_give(&pool.lock);
}

void crnn_parallel(size_t parts, void (*task)(void *, size_t), void *context) {
    const size_t threads = crnn_threads() < parts ? crnn_threads() : parts;
    if (threads <= 1 || atomic_exchange(&busy, true)) {
        for (size_t part = 0; part < parts; part++) task(context, part);
        return;
    }
    lock_take(&pool.lock);
    start_workers(threads - 1);
    pool.task = task;
    pool.context = context;
    pool.parts = parts;
    atomic_store(&pool.next, 0);
    pool.seats = threads - 1;
    atomic_fetch_add(&pool.arrivals, 1);
    signal_all(&pool.job_arrived);
    lock_give(&pool.lock);
    work_on_job();
    close_job();
    atomic_store(&busy, false);
}
