/* The default number of threads: numbers as texts, and control groups in a copy of the
 * files in which Linux shows them. */
#include "children.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "cores.h"
#include "crnn.h"

#if CHECK_HAS_PAGES
#include <sys/stat.h>
#endif

static void check_parse(void) {
    static const struct {
        const char *text;
        size_t count;
    } known[] = {
        {"1", 1},   {"12", 12}, {" 7", 7},   {"+3", 3},  {"0", 0},   {"-2", 0},
        {"", 0},    {" ", 0},   {"2 ", 0},   {"2x", 0},  {"two", 0}, {"2.5", 0},
        {"4,2", 0}, {"-", 0},   {"0x10", 0}, {"max", 0}, {"1e3", 0}, {"2147483648", 2147483648u},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        CHECK(crnn_parse_threads(known[i].text) == known[i].count, "\"%s\" is %zu", known[i].text,
              crnn_parse_threads(known[i].text));
    CHECK(crnn_parse_threads("99999999999999999999999") >= 1u << 30, "more than fits");
}

static void check_default(void) {
    static const struct {
        size_t cores;
        const char *omp, *wish;
        size_t threads;
    } known[] = {
        {8, NULL, NULL, 8},  {8, "3", NULL, 3},   {8, "64", NULL, 8},
        {1, "4", NULL, 1},   {8, "4,2", NULL, 4}, {8, "2 , 4", NULL, 2},
        {8, " 2 ", NULL, 2}, {8, "9,1", NULL, 8}, {8, "0", NULL, 8},
        {8, "-1", NULL, 8},  {8, "", NULL, 8},    {8, "two", NULL, 8},
        {8, ",2", NULL, 8},  {8, "2x", NULL, 8},  {8, "2.5", NULL, 8},
        {8, "0,2", NULL, 8}, {8, NULL, "3", 3},   {8, NULL, "64", 64},
        {2, "1", "32", 32},  {8, "2", "4", 4},    {8, "2", "", 2},
        {8, "2", "0", 2},    {8, "2", "-2", 2},   {8, "2", "4,2", 2},
        {8, "2", "2x", 2},   {8, NULL, "two", 8}, {8, "99999999999999999999999", NULL, 8},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const size_t got = core_default_threads(known[i].cores, known[i].omp, known[i].wish);
        CHECK(got == known[i].threads, "%zu cores, OMP_NUM_THREADS=%s, CRNN_NUM_THREADS=%s: %zu",
              known[i].cores, known[i].omp ? known[i].omp : "(unset)",
              known[i].wish ? known[i].wish : "(unset)", got);
    }
}

static void check_quota(void) {
    static const struct {
        const char *text;
        size_t cores;
    } known[] = {
        {"100000 100000\n", 1},
        {"100001 100000\n", 2},
        {"150000 100000\n", 2},
        {"200000 100000\n", 2},
        {"1000 100000\n", 1},
        {"1 1000000\n", 1},
        {"6400000 100000\n", 64},
        {"25000 10000\n", 3},
        {"200000\n100000\n", 2},
        {"max 100000\n", SIZE_MAX},
        {"-1\n100000\n", SIZE_MAX},
        {"0 100000\n", SIZE_MAX},
        {"", SIZE_MAX},
        {"max", SIZE_MAX},
        {"100000\n", SIZE_MAX},
        {"100000 0\n", SIZE_MAX},
        {"100000 -1\n", SIZE_MAX},
        {"nonsense\n", SIZE_MAX},
        {"9223372036854775807 1", (size_t)9223372036854775807},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        CHECK(core_quota_cores(known[i].text) == known[i].cores, "\"%s\": %zu", known[i].text,
              core_quota_cores(known[i].text));
    const size_t usable = core_usable_cores();
    CHECK(usable >= 1 && usable <= 1 << 14, "%zu cores", usable);
}

#if CHECK_HAS_PAGES
/* ---- control groups. Files lie below a folder of their own, which goes away at the end. */

enum { MOST_MADE = 64, LONGEST_PATH = 512 };
static char root[] = "/tmp/crnn-cores-XXXXXX";
static char made[MOST_MADE][LONGEST_PATH];
static size_t made_count;

static void remember(const char *path) {
    if (made_count == MOST_MADE) {
        fputs("too many files\n", stderr);
        exit(2);
    }
    snprintf(made[made_count++], LONGEST_PATH, "%s", path);
}

/* The file and the folders above it. */
static void place(const char *name, const char *text) {
    char path[LONGEST_PATH];
    snprintf(path, sizeof path, "%s%s", root, name);
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); *at++ = '/') {
        *at = 0;
        if (mkdir(path, 0700) == 0) remember(path);
    }
    FILE *file = fopen(path, "w");
    CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0, "%s", path);
    remember(path);
}

static void forget_files(void) {
    while (made_count > 0) remove(made[--made_count]);
}

/* What a call that has seen `count` files says; then they are gone. */
static void check_groups(const char *what, size_t expected) {
    const size_t cores = core_cgroup_cores(root);
    CHECK(cores == expected, "%s: %zu", what, cores);
    forget_files();
}

#define HIERARCHY_2 \
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define HIERARCHY_1 \
    "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
#define OTHERS \
    "23 1 8:1 / / rw,relatime - ext4 /dev/root rw\n" \
    "40 23 0:40 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n" \
    "41 23 0:41 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n" \
    "42 23 0:42 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,name=cpu\n" \
    "nonsense\n\n - cgroup2\n - cgroup2 cgroup2 rw\n"

static void place_group(const char *mounts, const char *groups) {
    place("/proc/self/mountinfo", mounts);
    place("/proc/self/cgroup", groups);
}

static void check_version_2(void) {
    place_group(OTHERS HIERARCHY_2, "0::/\n");
    place("/sys/fs/cgroup/cpu.max", "150000 100000\n");
    check_groups("a container's own namespace", 2);

    place_group(OTHERS HIERARCHY_2, "0::/a/b/c\n");
    place("/sys/fs/cgroup/a/cpu.max", "400000 100000\n");
    place("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    place("/sys/fs/cgroup/a/b/c/cpu.max", "600000 100000\n");
    check_groups("less further up", 4);

    place_group(HIERARCHY_2, "0::/a/b/c\n");
    place("/sys/fs/cgroup/a/cpu.max", "400000 100000\n");
    place("/sys/fs/cgroup/a/b/c/cpu.max", "100000 50000\n");
    place("/sys/fs/cgroup/a/b/c/d/cpu.max", "100000 100000\n");
    check_groups("less further down, and a folder without the file", 2);

    place_group(HIERARCHY_2, "0::/a\n");
    place("/sys/fs/cgroup/a/cpu.max", "max 100000\n");
    check_groups("no limit", CRNN_NO_LIMIT);

    place_group(HIERARCHY_2, "0::/gone (deleted)\n");
    place("/sys/fs/cgroup/cpu.max", "300000 100000\n");
    check_groups("a group that is gone", 3);
}

static void check_version_1(void) {
    place_group(OTHERS HIERARCHY_1,
                "5:cpuset:/\n4:cpuacct,cpu:/docker/x\n1:name=systemd:/y\n0::/\n");
    place("/sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us", "250000\n");
    place("/sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n");
    check_groups("as the host sees it", 3);

    place_group("33 31 0:30 /docker/x /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
                "4:cpu:/docker/x\n");
    place("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n");
    place("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    check_groups("as a container sees it that has no namespace of its own", 1);

    place_group(HIERARCHY_1, "4:cpu,cpuacct:/a/b\n");
    place("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "400000\n");
    place("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "200000\n");
    place("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1\n");
    place("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n");
    check_groups("a limit further up alone", 2);

    place_group(OTHERS, "4:cpu,cpuacct:/\n5:cpuset:/\n");
    place("/sys/fs/cgroup/cpuset/cpu.cfs_quota_us", "100000\n");
    place("/sys/fs/cgroup/cpuset/cpu.cfs_period_us", "100000\n");
    place("/sys/fs/cgroup/systemd/cpu.cfs_quota_us", "100000\n");
    place("/sys/fs/cgroup/systemd/cpu.cfs_period_us", "100000\n");
    check_groups("hierarchies that limit no time", CRNN_NO_LIMIT);
}

static void check_both_versions(void) {
    const char *mounts =
        HIERARCHY_1 "31 23 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    place_group(mounts, "4:cpu,cpuacct:/a\n0::/b\n");
    place("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "400000\n");
    place("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
    place("/sys/fs/cgroup/unified/a/cpu.max", "100000 100000\n");
    check_groups("version 1 limits", 4);
    place_group(mounts, "4:cpu,cpuacct:/a\n0::/b\n");
    place("/sys/fs/cgroup/unified/b/cpu.max", "500000 100000\n");
    check_groups("version 2 limits", 5);
}

static void check_places(void) {
    place_group("30 23 0:26 /other /mnt/other rw - cgroup2 cgroup2 rw\n" HIERARCHY_2,
                "0::/otherwise\n");
    place("/mnt/other/cpu.max", "100000 100000\n");
    place("/mnt/other/otherwise/cpu.max", "100000 100000\n");
    place("/sys/fs/cgroup/otherwise/cpu.max", "200000 100000\n");
    check_groups("a group of another's", 2);

    place_group(HIERARCHY_2, "0::/../beside\n");
    place("/sys/fs/cgroup/cpu.max", "100000 100000\n");
    check_groups("outside of the namespace", CRNN_NO_LIMIT);

    place_group("30 23 0:26 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/a\n");
    place("/sys/fs/cgroup/cpu.max", "300000 100000\n");
    place("/sys/fs/cgroup/a/cpu.max", "100000 100000\n");
    check_groups("mounted from above the namespace", 3);

    place_group("30 23 0:26 /my\\040own /a\\134b\\040c rw - cgroup2 cgroup2 rw\n",
                "0::/my own/d\n");
    place("/a\\b c/d/cpu.max", "200000 100000\n");
    check_groups("blanks and backslashes", 2);
}

static void check_broken(void) {
    static char text[20000];
    memset(text, 'x', sizeof text - 1);
    memcpy(text + sizeof text - 1 - sizeof HIERARCHY_2, "\n" HIERARCHY_2, sizeof HIERARCHY_2);
    check_groups("no files", CRNN_NO_LIMIT);
    place_group(text, "0::/");
    place("/sys/fs/cgroup/cpu.max", "200000 100000");
    check_groups("a long line first, no end of line last", 2);
    text[sizeof text - 1 - sizeof HIERARCHY_2] = '/';
    place_group(HIERARCHY_2, text);
    check_groups("no group", CRNN_NO_LIMIT);
    place_group("", "");
    check_groups("empty files", CRNN_NO_LIMIT);
    place_group(HIERARCHY_2 HIERARCHY_1, "0::\n:\n::\n4:cpu,cpuacct\n4:cpu,cpuacct:\n");
    place("/sys/fs/cgroup/cpu.max", "\n");
    check_groups("nonsense", CRNN_NO_LIMIT);
}

/* ---- hyperthreads */

static void place_siblings(size_t cpu, const char *list) {
    char path[LONGEST_PATH];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%zu/topology/thread_siblings_list",
             cpu);
    place(path, list);
}

/* Eight processors, of which those in `mine` are the process's, share cores as `lists` tell. */
static void check_distinct(const char *what, const char *const *lists, const size_t *mine,
                           size_t count, size_t expected) {
    for (size_t cpu = 0; cpu < 8; cpu++)
        if (lists[cpu]) place_siblings(cpu, lists[cpu]);
    const size_t cores = core_distinct_cores(root, mine, count);
    CHECK(cores == expected, "%s: %zu", what, cores);
    forget_files();
}

static void check_siblings(void) {
    static const size_t all[] = {0, 1, 2, 3, 4, 5, 6, 7};
    static const char *const apart[] = {"0,4\n", "1,5\n", "2,6\n", "3,7\n",
                                        "0,4\n", "1,5\n", "2,6\n", "3,7\n"};
    static const char *const beside[] = {"0-1\n", "0-1\n", "2-3\n", "2-3\n",
                                         "4-5\n", "4-5\n", "6-7\n", "6-7\n"};
    static const char *const uneven[] = {"0-1\n", "0-1\n", "2\n", "3", "4-7", "4-7", "4-7", "4-7"};
    static const char *const unknown[] = {"0-1\n",      "0-1\n", NULL, "\n",
                                          "nonsense\n", "",      "6-", "-"};
    check_distinct("siblings apart", apart, all, 8, 4);
    check_distinct("side by side", beside, all, 8, 4);
    check_distinct("cores of one, two and four", uneven, all, 8, 4);
    check_distinct("not told", unknown, all, 8, 7);
    check_distinct("within the affinity", apart, (const size_t[]){1, 2, 5}, 3, 2);
    check_distinct("without the first sibling", beside, (const size_t[]){1, 3, 5}, 3, 3);
    check_distinct("none", apart, all, 0, 0);
    const size_t cores = core_physical_cores();
    CHECK(cores >= 1 && cores <= core_usable_cores(), "%zu physical cores", cores);
}

/* ---- in the environment, which is looked at once */

static bool wish_for_three(void) {
    setenv("CRNN_NUM_THREADS", "3", 1);
    setenv("OMP_NUM_THREADS", "1", 1);
    return crnn_threads() == 3;
}

static bool wish_for_none(void) {
    setenv("CRNN_NUM_THREADS", "-2", 1);
    return crnn_threads() == core_default_threads(core_physical_cores(), NULL, NULL);
}

static bool one_for_openmp(void) {
    setenv("OMP_NUM_THREADS", "1,8", 1);
    return crnn_threads() == 1;
}

static bool more_for_openmp(void) {
    setenv("OMP_NUM_THREADS", "200", 1);
    return crnn_threads() == core_physical_cores();
}

static void check_environment(void) {
    unsetenv("OMP_NUM_THREADS");
    unsetenv("CRNN_NUM_THREADS");
    CHECK(in_child(wish_for_three), "CRNN_NUM_THREADS=3 OMP_NUM_THREADS=1");
    CHECK(in_child(wish_for_none), "CRNN_NUM_THREADS=-2");
    CHECK(in_child(one_for_openmp), "OMP_NUM_THREADS=1,8");
    CHECK(in_child(more_for_openmp), "OMP_NUM_THREADS=200");
}
#endif

int main(void) {
    check_deadline(60);
    check_parse();
    check_default();
    check_quota();
#if CHECK_HAS_PAGES
    CHECK(mkdtemp(root) != NULL, "%s", root);
    check_version_2();
    check_version_1();
    check_both_versions();
    check_places();
    check_broken();
    check_siblings();
    rmdir(root);
    check_environment();
#endif
    return check_done();
}
