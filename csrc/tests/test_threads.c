/* The pool of threads: teams and their groups, jobs inside jobs and side by side, long waits,
 * forks, signals, how many wake. */
#include "children.h"

#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "kernels.h"

#if CHECK_HAS_PAGES
#include <pthread.h>
#include <signal.h>
#include <time.h>
#endif

#if defined(__linux__)
#include "tasks.h"
#endif

/* ---- teams */

enum { MOST_MEMBERS = 64, MEETINGS = 50 };
static const double MUCH_WORK = 1e9;

typedef struct tally {
    atomic_uint times[MOST_MEMBERS]; /* that each part ran */
    atomic_size_t team;
    atomic_uint arrivals[MEETINGS];
    atomic_bool early; /* somebody went on before all were there */
} tally;

static void count_member(void *context, const core_member *me) {
    tally *t = context;
    atomic_fetch_add(&t->times[me->part], 1);
    atomic_store(&t->team, me->parts);
    for (size_t i = 0; i < MEETINGS; i++) {
        atomic_fetch_add(&t->arrivals[i], 1);
        core_meet(me);
        if (atomic_load(&t->arrivals[i]) != me->parts) atomic_store(&t->early, true);
    }
}

/* Every part runs once, members wait for one another, and there are no more than were asked for. */
static bool team_is_right(double work, size_t at_most) {
    tally t = {.team = 0};
    core_in_team(work, at_most, count_member, &t);
    const size_t team = t.team, limit = at_most < crnn_threads() ? at_most : crnn_threads();
    bool right = team >= 1 && team <= (limit ? limit : 1) && !t.early;
    for (size_t i = 0; i < MOST_MEMBERS; i++) right = right && t.times[i] == (i < team);
    return right;
}

static void tell_size(void *context, const core_member *me) {
    if (me->part == 0) *(size_t *)context = me->parts;
}

static size_t team_size(double work, size_t at_most) {
    size_t size = 0;
    core_in_team(work, at_most, tell_size, &size);
    return size;
}

/* A team of two comes together sooner or later: workers may be asleep, or their core busy. */
static bool two_come(void) {
    for (int i = 0; i < 1000; i++)
        if (team_size(MUCH_WORK, 2) == 2) return true;
    return false;
}

static bool teams_are_right(void) {
    bool right = true;
    for (size_t at_most = 0; at_most < 40; at_most++)
        right = team_is_right(MUCH_WORK, at_most) && right;
    return right;
}

static void check_threads(void) {
    static const size_t counts[] = {1, 2, 3, 7, 2};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        crnn_set_threads(counts[i]);
        CHECK(crnn_threads() == counts[i], "%zu threads, not %zu", crnn_threads(), counts[i]);
        CHECK(teams_are_right(), "%zu threads", counts[i]);
        CHECK(team_is_right(INFINITY, MOST_MEMBERS), "endless work, %zu threads", counts[i]);
    }
    crnn_set_threads(0);
    CHECK(crnn_threads() == 1, "at least one");
    crnn_set_threads(SIZE_MAX);
    CHECK(crnn_threads() > 1 && crnn_threads() < 4096, "%zu threads", crnn_threads());
    crnn_set_threads(3);
    CHECK(two_come(), "never a team of two");
}

/* A team is no larger than the work is worth. */
static void check_worth(void) {
    crnn_set_threads(5);
    for (int i = 0; i < 100; i++)
        CHECK(team_size(0, 100) == 1 && team_size(1e5, 100) == 1 && team_size(MUCH_WORK, 0) == 1 &&
                  team_size(MUCH_WORK, 1) == 1 && team_size(2.5e6, 100) <= 2,
              "too large a team");
}

/* ---- groups of a team meet on their own */

typedef struct group_tally {
    atomic_uint arrivals[2]; /* of each group of two */
    atomic_bool first_done, early;
    bool whole; /* four members came */
} group_tally;

/* The second group begins when the first has done. */
static void meet_in_groups(void *context, const core_member *me) {
    group_tally *t = context;
    const core_member own = core_group_of(me, 2);
    const size_t group = me->part / 2;
    if (me->part == 0) t->whole = me->parts == 4;
    if (me->parts < 4) return;
    while (group == 1 && !atomic_load(&t->first_done)) usleep(10);
    for (size_t i = 1; i <= MEETINGS; i++) {
        atomic_fetch_add(&t->arrivals[group], 1);
        core_meet(&own);
        if (atomic_load(&t->arrivals[group]) != 2 * i) atomic_store(&t->early, true);
        core_meet(&own);
    }
    if (me->part == 0) atomic_store(&t->first_done, true);
    core_meet(me);
}

static void check_groups(void) {
    bool whole = false;
    crnn_set_threads(4);
    for (int i = 0; i < 1000 && !whole; i++) {
        group_tally t = {.whole = false};
        core_in_team(MUCH_WORK, 4, meet_in_groups, &t);
        CHECK(!t.early, "a group went on before its members were there");
        whole = t.whole;
    }
    CHECK(whole, "never a team of four");
}

static void job_inside(void *context, const core_member *me) {
    bool *right = context;
    size_t inner = 0;
    core_in_team(MUCH_WORK, 8, tell_size, &inner);
    right[me->part] = inner == 1 && team_is_right(MUCH_WORK, 1);
    core_meet(me);
}

/* A job from inside a job is done by the member alone, whose team meets again afterwards. */
static void check_nested(void) {
    crnn_set_threads(3);
    for (int i = 0; i < 20; i++) {
        bool right[3] = {true, true, true};
        core_in_team(MUCH_WORK, 3, job_inside, right);
        CHECK(right[0] && right[1] && right[2], "a job inside a job");
    }
}

/* More members than cores: each of them yields its core while it waits. */
static void check_crowd(void) {
    crnn_set_threads(MOST_MEMBERS);
    for (int i = 0; i < 10; i++) CHECK(team_is_right(MUCH_WORK, MOST_MEMBERS), "a crowd");
    crnn_set_threads(2);
    CHECK(two_come() && teams_are_right(), "a small team after a crowd");
}

#if CHECK_HAS_PAGES
static void *many_jobs(void *done) {
    for (int i = 0; i < 20; i++) *(bool *)done = teams_are_right() && *(bool *)done;
    return NULL;
}

/* Jobs that arrive from several threads of the caller's, and forks while they run. */
static void check_callers(void) {
    enum { CALLERS = 4 };
    pthread_t callers[CALLERS];
    bool done[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        done[i] = true;
        CHECK(pthread_create(&callers[i], NULL, many_jobs, &done[i]) == 0, "caller %d", i);
    }
    for (int i = 0; i < 5; i++)
        CHECK(in_child(teams_are_right) && in_child(two_come), "in a child, busy parent");
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(callers[i], NULL);
        CHECK(done[i], "jobs of caller %d", i);
    }
}

/* ---- two callers at a time */

typedef struct two_teams {
    atomic_size_t teams; /* of two members, at work */
    atomic_bool met;     /* both at a time */
} two_teams;

static void wait_for_other_team(void *context, const core_member *me) {
    two_teams *t = context;
    if (me->parts < 2) return;
    if (me->part == 0) atomic_fetch_add(&t->teams, 1);
    for (int i = 0; i < 1000 && !atomic_load(&t->met); i++) {
        if (atomic_load(&t->teams) == 2) atomic_store(&t->met, true);
        usleep(10);
    }
    core_meet(me);
    if (me->part == 0) atomic_fetch_sub(&t->teams, 1);
}

static void *call_until_met(void *context) {
    two_teams *t = context;
    for (int i = 0; i < 1000 && !atomic_load(&t->met); i++)
        core_in_team(MUCH_WORK, 2, wait_for_other_team, t);
    return NULL;
}

static void check_two_teams(void) {
    two_teams t = {.teams = 0};
    pthread_t other;
    crnn_set_threads(4);
    CHECK(pthread_create(&other, NULL, call_until_met, &t) == 0, "a caller");
    call_until_met(&t);
    pthread_join(other, NULL);
    CHECK(t.met, "two callers never had a team each");
}

/* ---- a long wait sleeps */

enum { LATE = 200 /* milliseconds */ };

static double thread_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void come_late(void *context, const core_member *me) {
    double *spent = context;
    if (me->parts < 2) return;
    const double before = thread_seconds();
    if (me->part == 1) usleep(LATE * 1000);
    core_meet(me);
    if (me->part == 0) *spent = thread_seconds() - before;
}

static void check_long_wait(void) {
    double spent = -1;
    crnn_set_threads(2);
    for (int i = 0; i < 1000 && spent < 0; i++) core_in_team(MUCH_WORK, 2, come_late, &spent);
    CHECK(spent >= 0 && spent < 0.25e-3 * LATE, "%.3f s of a wait of %d ms", spent, LATE);
}

static bool child_of_child(void) { return two_come() && in_child(two_come); }

static void fork_in_part(void *forks, const core_member *me) {
    ((bool *)forks)[me->part] = in_child(two_come);
    core_meet(me);
}

static void check_forks(void) {
    bool forks[2] = {true, true};
    core_in_team(MUCH_WORK, 2, fork_in_part, forks);
    CHECK(forks[0] && forks[1], "in a child of one part of a job");
    CHECK(in_child(teams_are_right), "in a child");
    CHECK(in_child(child_of_child), "in the child of a child");
    CHECK(two_come() && teams_are_right(), "in the parent afterwards");
}

/* ---- signals: those sent to the process are the program's to receive */

static const int sent[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGCHLD};
enum { SENT = sizeof sent / sizeof *sent };

/* With workers that were started before the caller blocked anything. */
static bool waits_for_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    crnn_set_threads(4);
    if (!two_come()) return false;
    for (size_t i = 0; i < SENT; i++) sigaddset(&set, sent[i]);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (size_t i = 0; i < SENT; i++) {
        int got = 0;
        if (kill(getpid(), sent[i]) != 0 || sigwait(&set, &got) != 0 || got != sent[i])
            return false;
    }
    return true;
}

/* To start a worker changes nothing in what its caller blocks. */
static bool keeps_its_mask(void) {
    sigset_t before, after;
    sigemptyset(&before);
    sigaddset(&before, SIGUSR1);
    sigaddset(&before, SIGSEGV);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    crnn_set_threads(4);
    if (!two_come()) return false;
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int number = 1; number < 32; number++)
        if (sigismember(&after, number) != (number == SIGUSR1 || number == SIGSEGV)) return false;
    return true;
}
#endif

#if defined(__linux__)
/* Whether a worker is to block a signal. SIGKILL and SIGSTOP cannot be blocked; 32 and 33 are the C
 * library's own. */
static bool is_blocked(int number) {
    static const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGKILL, SIGSTOP, 32, 33};
    for (size_t i = 0; i < sizeof open / sizeof *open; i++)
        if (number == open[i]) return false;
    return true;
}

static void check_masks(const tasks *before) {
    crnn_set_threads(5);
    team_size(MUCH_WORK, 5);
    const tasks workers = tasks_since(before);
    CHECK(workers.count == 4, "%zu workers", workers.count);
    for (size_t i = 0; i < workers.count; i++) {
        const unsigned long long mask = strtoull(task_field(workers.id[i], "SigBlk:"), NULL, 16);
        for (int number = 1; number <= 64; number++)
            CHECK((mask >> (number - 1) & 1) == is_blocked(number), "signal %d of a worker",
                  number);
    }
}

static void *no_work(void *unused) { return unused; }

static bool runs_a_thread(void) {
    pthread_t thread;
    return pthread_create(&thread, NULL, no_work, NULL) == 0 && pthread_join(thread, NULL) == 0;
}

/* How many workers have been awake since `switches` was noted; notes it anew. */
static size_t count_woken(const tasks *workers, unsigned long long *switches) {
    size_t woken = 0;
    wait_until_asleep(workers);
    for (size_t i = 0; i < workers->count; i++) {
        const unsigned long long now =
            strtoull(task_field(workers->id[i], "voluntary_ctxt_switches:"), NULL, 10);
        woken += now != switches[i];
        switches[i] = now;
    }
    return woken;
}

/* A job wakes as many workers as it has seats for, however many there are. */
static void check_wakes(const tasks *before) {
    enum { WORKERS = 32, JOBS = 20 };
    unsigned long long switches[MOST_TASKS] = {0};
    crnn_set_threads(WORKERS + 1);
    team_size(MUCH_WORK, WORKERS + 1);
    const tasks workers = tasks_since(before);
    CHECK(workers.count == WORKERS, "%zu workers", workers.count);
    for (size_t seats = 1; seats < WORKERS; seats = 3 * seats + 1) {
        size_t woken = 0;
        count_woken(&workers, switches);
        for (int i = 0; i < JOBS; i++) {
            team_size(MUCH_WORK, seats + 1);
            woken += count_woken(&workers, switches);
        }
        CHECK(woken >= 1 && woken <= JOBS * seats + 2, "%zu seats, %d jobs: %zu woken", seats, JOBS,
              woken);
    }
}
#endif

int main(void) {
    check_deadline(120);
#if CHECK_HAS_PAGES
    const bool forks = !getenv("CRNN_NO_FORKS"); /* an emulator cannot fork a threaded process */
#endif
#if defined(__linux__)
    if (forks) { /* and shows its own tasks; first, while there are no workers */
        CHECK(in_child(waits_for_signals), "signals of the process");
        CHECK(in_child(keeps_its_mask), "the caller's mask");
        CHECK(runs_a_thread(), "a thread"); /* with the first a sanitizer starts one of its own */
        const tasks before = tasks_now();
        check_masks(&before);
        check_wakes(&before);
    }
#endif
    check_threads();
    check_worth();
    check_groups();
    check_nested();
    check_crowd();
#if CHECK_HAS_PAGES
    check_two_teams();
    check_long_wait();
    if (forks) {
        check_forks();
        check_callers();
    }
#endif
    return check_done();
}
