/* SPDX-License-Identifier: BSD-3-Clause */
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool example_fail(example_error *e, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(e->text, sizeof e->text, format, arguments);
    va_end(arguments);
    return false;
}

bool example_fail_memory(example_error *e) { return example_fail(e, "out of memory"); }

int example_end(const char *program, bool good, const example_error *e) {
    const bool written = fflush(stdout) == 0 && !ferror(stdout);
    if (good && written)
        return EXIT_SUCCESS;
    if (good)
        fprintf(stderr, "%s: the output could not be written: %s\n", program, strerror(errno));
    else
        fprintf(stderr, "%s: %s\n", program, e->text);
    return EXIT_FAILURE;
}
