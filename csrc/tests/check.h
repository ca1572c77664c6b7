/* What the C tests share: a check that counts, a last line with the counts, a deadline, memory
 * with an edge. Include it first: it asks the system for more than plain C11. */
#ifndef CRNN_TESTS_CHECK_H
#define CRNN_TESTS_CHECK_H

#if defined(__unix__) || defined(__APPLE__)
#define _DEFAULT_SOURCE 1 /* MAP_ANONYMOUS, in glibc */
#include <sys/mman.h>
#include <unistd.h>
#define CHECK_HAS_PAGES 1
#else
#define CHECK_HAS_PAGES 0
#endif

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static size_t checks_passed, checks_failed;

/* CHECK(condition, format, ...): counts, and says where and what when it does not hold. */
#define CHECK(condition, ...) check_report((condition), __FILE__, __LINE__, #condition, __VA_ARGS__)

/* Of many failures with one cause the first few tell enough. */
enum { CHECK_MESSAGES = 20 };

static inline void check_report(bool holds, const char *file, int line, const char *condition,
                                const char *format, ...) {
    if (holds) {
        checks_passed++;
        return;
    }
    if (++checks_failed > CHECK_MESSAGES) return;
    printf("%s:%d: %s: ", file, line, condition);
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout); /* what follows may stop the program */
}

/* The last line; use as `return check_done();` in main. */
static inline int check_done(void) {
    printf("%zu passed, %zu failed\n", checks_passed, checks_failed);
    return checks_failed != 0;
}

/* Stops the program when it has not ended after so many seconds: it must wait for something that
 * does not come. */
static inline void check_deadline(unsigned seconds) {
#if CHECK_HAS_PAGES
    alarm(seconds);
#else
    (void)seconds;
#endif
}

/* `bytes` of memory that end where a page begins that cannot be touched, so that reading past the
 * end stops the test. Plain malloc where there is no such system call. Never freed: tests are
 * short. */
static inline void *check_memory(size_t bytes) {
#if CHECK_HAS_PAGES
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t usable = (bytes + page - 1) / page * page;
    char *start =
        mmap(NULL, usable + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start != MAP_FAILED && mprotect(start + usable, page, PROT_NONE) == 0)
        return start + usable - bytes;
#else
    void *memory = malloc(bytes ? bytes : 1);
    if (memory) return memory;
#endif
    fputs("out of memory\n", stderr);
    exit(2);
}

#endif
