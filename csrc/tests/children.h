/* Questions asked in a process of its own: after a change of the environment or of a mask of
 * signals, or after a fork while others work. Include it first. */
#ifndef CRNN_TESTS_CHILDREN_H
#define CRNN_TESTS_CHILDREN_H

#include "check.h"

#if CHECK_HAS_PAGES
#include <sys/wait.h>

static inline bool in_child(bool (*question)(void)) {
    int status = 0;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        check_deadline(30);
        _exit(question() ? 0 : 1);
    }
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}
#endif

#endif
