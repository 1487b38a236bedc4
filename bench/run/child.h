/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver's end of a worker process: starting it, asking it, and finding out how it died. */
#ifndef ATTN_BENCH_CHILD_H
#define ATTN_BENCH_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct child {
    pid_t pid;        /* 0: none, or ended */
    int to, from;     /* pipes to its stdin and from its stdout */
    int log;          /* unnamed file: its stderr */
    char reason[400]; /* why it cannot go on, or why it could not do the latest request */
} child;

/* What a worker is to be. */
typedef struct child_wish {
    const char *blas; /* name or path; "": what libattn chooses */
    const char *core; /* of OpenBLAS; NULL: as it likes */
    bool pin;
} child_wish;

/* Starts a worker from the program file of this process (`self` where the system does not tell). False: it could not be
 * started, c->reason tells why. */
bool child_start(child *c, const char *self, const child_wish *wish);

/* Waits at most `timeout` seconds for the next line. False: c->reason tells why; c->pid is 0 if the worker is gone. */
bool child_read(child *c, double timeout, char *answer, size_t size);

/* Sends a line, and waits as child_read for the answer, whose first word must be "ok": `answer` gets what follows. */
bool child_ask(child *c, double timeout, char *answer, size_t size, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Ends the worker and closes everything. */
void child_stop(child *c);

#endif
