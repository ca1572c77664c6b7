/* The default number of threads: each rule on its own, so that tests can ask it. */
#ifndef CRNN_CORES_H
#define CRNN_CORES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRNN_NO_LIMIT SIZE_MAX

/* Cores' worth of time, rounded up, that a quota allows: "quota period", as in the file cpu.max of
 * version 2, or as the files cpu.cfs_quota_us and cpu.cfs_period_us of version 1 one behind the
 * other. "max" and -1 are no limit. */
size_t core_quota_cores(const char *text);
/* The least of the quotas of this process's control groups and of all above them. All files are
 * looked for below `root`: "" but in tests. */
size_t core_cgroup_cores(const char *root);
/* Of the processors cpus [count], ascending, those that are not a further hyperthread of a core
 * counted before; all of them where the files below `root` do not tell. */
size_t core_distinct_cores(const char *root, const size_t *cpus, size_t count);
/* Processors that this process may use at a time: its affinity, its quota. */
size_t core_usable_cores(void);
/* The same with hyperthreads of one core counted once, where that is known (Linux). */
size_t core_physical_cores(void);
/* omp and wish: OMP_NUM_THREADS, whose first number counts, and CRNN_NUM_THREADS, which wins; NULL
 * or nonsense counts as not set. */
size_t core_default_threads(size_t cores, const char *omp, const char *wish);

#endif
