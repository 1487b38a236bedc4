/* SPDX-License-Identifier: BSD-3-Clause */
#include "run/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

#define ERASE_LINE "\r\033[K"

progress progress_start(double total) {
    return (progress){.shown = isatty(STDERR_FILENO) != 0, .begin = clock_now(), .total = total};
}

void progress_show(const progress *p, size_t index, size_t count, const char *what) {
    if (!p->shown)
        return;
    fprintf(stderr, ERASE_LINE "[%zu/%zu] %.60s", index + 1, count, what);
    if (p->done > 0) {
        double left = (clock_now() - p->begin) * (p->total - p->done) / p->done;
        fprintf(stderr, "  about %d:%02d left", (int)left / 60, (int)left % 60);
    }
    fflush(stderr);
}

void progress_end(const progress *p) {
    if (p->shown)
        fputs(ERASE_LINE, stderr);
}
