/* The default number of threads: as many as the process has cores, hyperthreads of one core counted
 * once. A container usually limits a process by a quota of time instead of by cores it may run on;
 * threads beyond the quota make the process pause until the next period. */
#if defined(_WIN32)
#define _CRT_SECURE_NO_WARNINGS 1 /* of fopen and sscanf */
#else
#define _GNU_SOURCE 1 /* sched_getaffinity */
#endif
#include "cores.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crnn.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <sched.h>
#include <unistd.h>
#endif

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* ---- numbers as texts */

/* The number that the text begins with, and what is behind it; 0: none of at least 1. */
static size_t read_number(const char *text, const char **behind) {
    char *end;
    const long long number = strtoll(text, &end, 10);
    *behind = end;
    if (number < 1) return 0;
    return (unsigned long long)number < SIZE_MAX ? (size_t)number : SIZE_MAX;
}

size_t crnn_parse_threads(const char *text) {
    const char *behind;
    const size_t count = read_number(text, &behind);
    return *behind == 0 ? count : 0;
}

/* The first of a list of numbers, one for each level of nested parallel regions. */
static size_t parse_omp(const char *text) {
    const char *behind;
    const size_t count = read_number(text, &behind);
    while (isspace((unsigned char)*behind)) behind++;
    return *behind == 0 || *behind == ',' ? count : 0;
}

size_t core_default_threads(size_t cores, const char *omp, const char *wish) {
    const size_t wanted = wish ? crnn_parse_threads(wish) : 0;
    const size_t allowed = omp ? parse_omp(omp) : 0;
    return wanted ? wanted : allowed ? least(cores, allowed) : cores;
}

size_t core_quota_cores(const char *text) {
    const size_t quota = read_number(text, &text), period = quota ? read_number(text, &text) : 0;
    return period ? (quota - 1) / period + 1 : CRNN_NO_LIMIT;
}

/* ---- control groups: /proc/self/mountinfo tells where their hierarchies are mounted, and
 * /proc/self/cgroup where this process is in each */

enum { LONGEST_LINE = 4096 };

/* The next line without its end; one that is too long is left out. */
static bool next_line(FILE *file, char line[LONGEST_LINE]) {
    while (fgets(line, LONGEST_LINE, file)) {
        char *end = strchr(line, '\n');
        if (end) *end = 0;
        if (end || feof(file)) return true;
        for (int c = 0; c != '\n' && c != EOF;) c = fgetc(file);
    }
    return false;
}

static FILE *open_below(const char *root, const char *path, const char *name) {
    char whole[LONGEST_LINE];
    const int length = snprintf(whole, sizeof whole, "%s%s%s", root, path, name);
    return length > 0 && length < (int)sizeof whole ? fopen(whole, "r") : NULL;
}

/* Whether `word` is in a list of words with commas between them. */
static bool has_word(const char *list, const char *word) {
    const size_t length = strlen(word);
    for (; list; list = strchr(list, ','), list += list != NULL)
        if (strncmp(list, word, length) == 0 && (list[length] == ',' || list[length] == 0))
            return true;
    return false;
}

/* A hierarchy where it is mounted: the group `top` of it is the directory `directory`. */
typedef struct hierarchy {
    bool unified; /* version 2 */
    char top[LONGEST_LINE], directory[LONGEST_LINE];
} hierarchy;

/* Blanks and backslashes are written as \ooo. */
static void decode(char *path) {
    char *to = path;
    for (const char *from = path; *from; from++) {
        unsigned value = 0;
        if (*from == '\\' && sscanf(from + 1, "%3o", &value) == 1) from += 3;
        *to++ = value ? (char)value : *from;
    }
    *to = 0;
}

/* From a line of mountinfo: id, parent, device, top, directory, options, ..., "-", type, source,
 * more options. False: not a hierarchy that limits time. */
static bool read_mount(const char *line, hierarchy *h) {
    char type[16];
    const char *rest = strstr(line, " - "), *options = strrchr(line, ' ');
    if (!rest || sscanf(rest, " - %15s", type) != 1) return false;
    h->unified = strcmp(type, "cgroup2") == 0;
    if (!h->unified && !(strcmp(type, "cgroup") == 0 && has_word(options + 1, "cpu"))) return false;
    if (sscanf(line, "%*s %*s %*s %4095s %4095s", h->top, h->directory) != 2) return false;
    decode(h->top);
    decode(h->directory);
    return true;
}

/* The group of this process, from a line "number:controllers:group"; version 2 has no
 * controllers there. */
static bool find_group(const char *root, bool unified, char group[LONGEST_LINE]) {
    FILE *file = open_below(root, "/proc/self/cgroup", "");
    char line[LONGEST_LINE];
    bool found = false;
    while (file && !found && next_line(file, line)) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *path++ = 0;
        controllers++;
        found = unified ? *controllers == 0 : has_word(controllers, "cpu");
        if (found) memcpy(group, path, strlen(path) + 1);
    }
    if (file) fclose(file);
    return found;
}

/* The part of `group` below `top`, both as this process's namespace shows them: "/.." leads out of
 * it. "" where top lies above the namespace: its own limit alone can be looked up. NULL: `group` is
 * not below it. */
static const char *group_below(const char *top, const char *group) {
    const size_t length = strcmp(top, "/") == 0 ? 0 : strlen(top);
    const char *rest = strncmp(top, group, length) == 0 ? group + length : NULL;
    if (rest && (*rest == '/' || *rest == 0) && !strstr(rest, "/..")) return rest;
    return length > 0 && strspn(top, "/.") == length ? "" : NULL;
}

static void append(FILE *file, char text[], size_t size) {
    const size_t used = strlen(text);
    if (!file) return;
    text[used + fread(text + used, 1, size - used - 1, file)] = 0;
    fclose(file);
}

static size_t group_cores(const char *root, const char *directory, bool unified) {
    char text[128] = "";
    if (unified) {
        append(open_below(root, directory, "/cpu.max"), text, sizeof text);
    } else {
        append(open_below(root, directory, "/cpu.cfs_quota_us"), text, sizeof text);
        append(open_below(root, directory, "/cpu.cfs_period_us"), text, sizeof text);
    }
    return core_quota_cores(text);
}

/* From the group of this process up to the top of what is mounted. */
static size_t hierarchy_cores(const char *root, hierarchy *h) {
    char group[LONGEST_LINE];
    const char *below = find_group(root, h->unified, group) ? group_below(h->top, group) : NULL;
    const size_t length = strlen(h->directory);
    if (!below || length + strlen(below) >= sizeof h->directory) return CRNN_NO_LIMIT;
    memcpy(h->directory + length, below, strlen(below) + 1);
    size_t cores = group_cores(root, h->directory, h->unified);
    for (char *end; (end = strrchr(h->directory + length, '/'));) {
        *end = 0;
        cores = least(cores, group_cores(root, h->directory, h->unified));
    }
    return cores;
}

size_t core_cgroup_cores(const char *root) {
    FILE *file = open_below(root, "/proc/self/mountinfo", "");
    char line[LONGEST_LINE];
    hierarchy h;
    size_t cores = CRNN_NO_LIMIT;
    while (file && next_line(file, line))
        if (read_mount(line, &h)) cores = least(cores, hierarchy_cores(root, &h));
    if (file) fclose(file);
    return cores;
}

/* ---- hyperthreads: those of one core share its arithmetic units */

/* Whether a list of numbers and ranges, such as "0,8-9", has a number below `cpu` that is also in
 * cpus [count]. */
static bool has_earlier(const char *list, size_t cpu, const size_t *cpus, size_t count) {
    while (isdigit((unsigned char)*list)) {
        char *behind;
        const size_t first = strtoul(list, &behind, 10);
        const size_t last = *behind == '-' ? strtoul(behind + 1, &behind, 10) : first;
        for (size_t i = 0; i < count; i++)
            if (cpus[i] >= first && cpus[i] <= last && cpus[i] < cpu) return true;
        list = behind + (*behind == ',');
    }
    return false;
}

size_t core_distinct_cores(const char *root, const size_t *cpus, size_t count) {
    size_t cores = 0;
    for (size_t i = 0; i < count; i++) {
        char path[128], siblings[256] = "";
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%zu/topology/thread_siblings_list",
                 cpus[i]);
        append(open_below(root, path, ""), siblings, sizeof siblings);
        cores += !has_earlier(siblings, cpus[i], cpus, count);
    }
    return cores;
}

/* ---- affinity */

#if defined(_WIN32)
static size_t affinity_cores(void) {
    DWORD_PTR mine = 0, all = 0;
    size_t count = 0;
    if (GetProcessAffinityMask(GetCurrentProcess(), &mine, &all))
        for (; mine; mine &= mine - 1) count++;
    return count;
}
#else
static size_t affinity_cores(void) {
#if defined(__linux__)
    cpu_set_t mine[16]; /* one has room for 1024 */
    if (sched_getaffinity(0, sizeof mine, mine) == 0) return (size_t)CPU_COUNT_S(sizeof mine, mine);
#endif
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (size_t)online : 0;
}
#endif

static size_t physical_cores(void) {
#if defined(__linux__)
    enum { MOST_CPUS = 1024 }; /* more than there can be threads on half of them */
    size_t cpus[MOST_CPUS], count = 0;
    cpu_set_t mine[16];
    if (sched_getaffinity(0, sizeof mine, mine) == 0) {
        for (size_t cpu = 0; cpu < 8 * sizeof mine && count < MOST_CPUS; cpu++)
            if (CPU_ISSET_S(cpu, sizeof mine, mine)) cpus[count++] = cpu;
        return core_distinct_cores("", cpus, count);
    }
#endif
    return affinity_cores();
}

static size_t within_quota(size_t cores) {
    cores = least(cores, core_cgroup_cores(""));
    return cores ? cores : 1;
}

size_t core_usable_cores(void) { return within_quota(affinity_cores()); }

size_t core_physical_cores(void) { return within_quota(physical_cores()); }
