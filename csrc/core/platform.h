/* What the pool of threads asks of the system: a lock, a condition, detached threads, a core given
 * away. Include it first: it asks for more than plain C11. */
#ifndef CRNN_PLATFORM_H
#define CRNN_PLATFORM_H

#if defined(_WIN32)
#include <process.h>
#include <windows.h>
typedef SRWLOCK lock_type;
typedef CONDITION_VARIABLE condition_type;
typedef unsigned thread_result;
#define THREAD_CALL __stdcall
#define LOCK_INIT SRWLOCK_INIT
#define CONDITION_INIT CONDITION_VARIABLE_INIT
#define lock_take(lock) AcquireSRWLockExclusive(lock)
#define lock_give(lock) ReleaseSRWLockExclusive(lock)
#define condition_wait(condition, lock) SleepConditionVariableSRW(condition, lock, INFINITE, 0)
#define condition_wake_one(condition) WakeConditionVariable(condition)
#define condition_wake_all(condition) WakeAllConditionVariable(condition)
#define give_core() SwitchToThread()
#else
#define _GNU_SOURCE 1 /* in C11, glibc and musl hide what POSIX adds */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
typedef pthread_mutex_t lock_type;
typedef pthread_cond_t condition_type;
typedef void *thread_result;
#define THREAD_CALL
#define LOCK_INIT PTHREAD_MUTEX_INITIALIZER
#define CONDITION_INIT PTHREAD_COND_INITIALIZER
#define lock_take(lock) pthread_mutex_lock(lock)
#define lock_give(lock) pthread_mutex_unlock(lock)
#define condition_wait(condition, lock) pthread_cond_wait(condition, lock)
#define condition_wake_one(condition) pthread_cond_signal(condition)
#define condition_wake_all(condition) pthread_cond_broadcast(condition)
#define give_core() sched_yield()
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(_MSC_VER)
#define THREAD_LOCAL __declspec(thread)
#else
#define THREAD_LOCAL _Thread_local
#endif

#if defined(_M_X64)
#define spin_pause() YieldProcessor()
#elif defined(__x86_64__)
#define spin_pause() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define spin_pause() __asm__ volatile("yield")
#else
#define spin_pause() ((void)0)
#endif

typedef thread_result(THREAD_CALL *thread_main)(void *unused);

#if defined(_WIN32)
static inline bool start_thread(thread_main main) {
    const uintptr_t handle = _beginthreadex(NULL, 0, main, NULL, 0, NULL);
    if (handle) CloseHandle((HANDLE)handle);
    return handle != 0;
}

static inline bool on_fork(void (*in_child)(void)) {
    (void)in_child;
    return true;
}
#else
/* The signals a new thread is to block: all that are sent to the process, which are the program's
 * to receive. A fault of the thread itself is not blocked, so that a handler can report it. */
static inline void block_signals(sigset_t *before) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    sigset_t blocked;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, before);
}

/* The new thread inherits the mask of signals: there is no moment at which it would take one. */
static inline bool start_thread(thread_main main) {
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t before;
    if (pthread_attr_init(&attributes) != 0) return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    block_signals(&before);
    const bool started = pthread_create(&thread, &attributes, main, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return started;
}

static inline bool on_fork(void (*in_child)(void)) {
    return pthread_atfork(NULL, NULL, in_child) == 0;
}
#endif

#endif
