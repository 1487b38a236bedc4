/* SPDX-License-Identifier: BSD-3-Clause */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

bool example_fail(example_error *e, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(e->text, sizeof e->text, format, arguments);
    va_end(arguments);
    return false;
}

bool example_fail_memory(example_error *e) { return example_fail(e, "out of memory"); }
