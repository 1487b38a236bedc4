/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "work/worker.h"

static void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_all(child *c) {
    close_fd(&c->to);
    close_fd(&c->from);
    close_fd(&c->log);
}

/* A file without a name, closed in workers other than its own. */
static int unnamed_file(void) {
    FILE *file = tmpfile();
    int fd = file == NULL ? -1 : fcntl(fileno(file), F_DUPFD_CLOEXEC, 3);
    if (file != NULL)
        fclose(file);
    return fd;
}

static bool make_pipe(int ends[2]) {
    return pipe(ends) == 0 && fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0 && fcntl(ends[1], F_SETFD, FD_CLOEXEC) == 0;
}

/* In the new process. Ctrl-C reaches all processes of a terminal: the driver will tell the workers. */
static void become_worker(const child *c, const char *self, const child_wish *wish, int in, int out) {
    char *arguments[] = {(char *)"attn-bench", (char *)WORKER_OPTION, (char *)wish->blas,
                         (char *)(wish->pin ? "1" : "0"), NULL};
    signal(SIGINT, SIG_IGN);
#if defined(__linux__)
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* or a worker that hangs would outlive a driver that is killed */
#endif
    if (wish->core != NULL)
        setenv("OPENBLAS_CORETYPE", wish->core, 1);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(c->log, STDERR_FILENO);
    execv("/proc/self/exe", arguments);
    execvp(self, arguments);
    _exit(127);
}

static bool start(child *c, const char *self, const child_wish *wish, int in[2], int out[2]) {
    c->log = unnamed_file();
    if (c->log < 0 || !make_pipe(in) || !make_pipe(out))
        return false;
    c->pid = fork();
    if (c->pid == 0)
        become_worker(c, self, wish, in[0], out[1]);
    return c->pid > 0;
}

bool child_start(child *c, const char *self, const child_wish *wish) {
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    *c = (child){.to = -1, .from = -1, .log = -1};
    bool started = start(c, self, wish, in, out);
    if (!started) {
        text_print(c->reason, sizeof c->reason, "could not be started: %s", strerror(errno));
        c->pid = 0;
    }
    close_fd(&in[0]);
    close_fd(&out[1]);
    c->to = in[1];
    c->from = out[0];
    if (!started)
        close_all(c);
    return started;
}

/* The last line that the worker printed on stderr, which often tells what went wrong. */
static void last_words(const child *c, char *text, size_t size) {
    off_t end = lseek(c->log, 0, SEEK_END);
    off_t begin = end > (off_t)size ? end - (off_t)size + 1 : 0;
    ssize_t n = pread(c->log, text, size - 1, begin);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
        n--;
    text[n > 0 ? n : 0] = '\0';
    char *line = strrchr(text, '\n');
    if (line != NULL)
        memmove(text, line + 1, strlen(line));
    text_flatten(text);
}

/* Waits a second for the worker to end, then makes it end. Returns its wait status. */
static int reap(child *c) {
    int status = 0;
    for (int i = 0; c->pid > 0 && i < 100; i++) {
        if (waitpid(c->pid, &status, WNOHANG) != 0)
            c->pid = 0;
        else
            clock_sleep(0.01);
    }
    if (c->pid > 0) {
        kill(c->pid, SIGKILL);
        waitpid(c->pid, &status, 0);
    }
    c->pid = 0;
    return status;
}

/* Takes leave of a worker that has closed its end of a pipe. */
static bool bury(child *c) {
    char words[200], how[100] = "ended without an answer";
    int status = reap(c);
    if (WIFSIGNALED(status))
        text_print(how, sizeof how, "crashed (%s)", strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0)
        text_print(how, sizeof how, "ended with status %d", WEXITSTATUS(status));
    last_words(c, words, sizeof words);
    text_print(c->reason, sizeof c->reason, "%s%s%s", how, *words == '\0' ? "" : ": ", words);
    return false;
}

/* Ends a worker that cannot be talked to. */
static bool give_up(child *c, const char *why) {
    kill(c->pid, SIGKILL);
    reap(c);
    text_print(c->reason, sizeof c->reason, "%s", why);
    return false;
}

static bool give_up_waiting(child *c, double timeout) {
    char why[100];
    text_print(why, sizeof why, "no answer within %g s (--timeout)", timeout);
    return give_up(c, why);
}

/* Every answer is one line and follows one request, so that a read never meets a second line. */
static bool read_line(child *c, double deadline, double timeout, char *answer, size_t size) {
    for (size_t n = 0; n + 1 < size;) {
        struct pollfd ready = {.fd = c->from, .events = POLLIN};
        double left = deadline - clock_now();
        int state = poll(&ready, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
        if (interrupt_seen())
            return give_up(c, "interrupted");
        if (state < 0 && errno == EINTR)
            continue;
        if (state <= 0)
            return give_up_waiting(c, timeout);
        ssize_t got = read(c->from, answer + n, size - 1 - n);
        if (got <= 0)
            return bury(c);
        n += (size_t)got;
        answer[n] = '\0';
        if (answer[n - 1] == '\n') {
            answer[n - 1] = '\0';
            return true;
        }
    }
    return give_up(c, "its answer was too long");
}

bool child_read(child *c, double timeout, char *answer, size_t size) {
    if (!read_line(c, clock_now() + timeout, timeout, answer, size))
        return false;
    if (strncmp(answer, "error\t", 6) != 0)
        return true;
    text_print(c->reason, sizeof c->reason, "%s", answer + 6);
    return false;
}

bool child_ask(child *c, double timeout, char *answer, size_t size, const char *format, ...) {
    char line[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (write(c->to, line, strlen(line)) < 0)
        return bury(c);
    if (!child_read(c, timeout, answer, size))
        return false;
    if (strncmp(answer, "ok ", 3) != 0)
        return give_up(c, "its answer was not understood");
    memmove(answer, answer + 3, strlen(answer) - 2);
    return true;
}

/* A worker with nothing to do ends as soon as its input does: only a broken one has to be killed. */
void child_stop(child *c) {
    close_fd(&c->to);
    if (c->pid > 0)
        reap(c);
    close_all(c);
}
