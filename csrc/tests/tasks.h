/* The threads of this process as Linux shows them in /proc/self/task. */
#ifndef CRNN_TESTS_TASKS_H
#define CRNN_TESTS_TASKS_H

#include "check.h"

#include <dirent.h>
#include <string.h>

enum { MOST_TASKS = 256 };

typedef struct tasks {
    size_t count;
    long id[MOST_TASKS];
} tasks;

static inline tasks tasks_now(void) {
    tasks found = {0};
    DIR *folder = opendir("/proc/self/task");
    for (struct dirent *entry; folder && (entry = readdir(folder)) && found.count < MOST_TASKS;)
        if (entry->d_name[0] != '.') found.id[found.count++] = atol(entry->d_name);
    if (folder) closedir(folder);
    return found;
}

static inline bool tasks_have(const tasks *t, long id) {
    for (size_t i = 0; i < t->count; i++)
        if (t->id[i] == id) return true;
    return false;
}

/* Those that are there now and were not before. */
static inline tasks tasks_since(const tasks *before) {
    const tasks all = tasks_now();
    tasks started = {0};
    for (size_t i = 0; i < all.count; i++)
        if (!tasks_have(before, all.id[i])) started.id[started.count++] = all.id[i];
    return started;
}

/* What follows `name` at the begin of a line of the task's status; good until the next call. */
static inline const char *task_field(long id, const char *name) {
    static char line[256];
    char path[64];
    bool found = false;
    snprintf(path, sizeof path, "/proc/self/task/%ld/status", id);
    FILE *file = fopen(path, "r");
    while (file && !found && fgets(line, sizeof line, file))
        found = strncmp(line, name, strlen(name)) == 0;
    if (file) fclose(file);
    CHECK(found, "%s of task %ld", name, id);
    return found ? line + strlen(name) : "";
}

/* Waits until all of them sleep, which they do soon after their last job. */
static inline void wait_until_asleep(const tasks *t) {
    for (size_t i = 0; i < t->count;) {
        const bool asleep = strchr(task_field(t->id[i], "State:"), 'S') != NULL;
        i = asleep ? i + 1 : 0;
        if (!asleep) usleep(200);
    }
}

#endif
