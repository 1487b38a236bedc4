/* SPDX-License-Identifier: BSD-3-Clause */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

bool lens_fail(lens_error *e, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(e->text, sizeof e->text, format, arguments);
    va_end(arguments);
    return false;
}

bool lens_fail_memory(lens_error *e) { return lens_fail(e, "out of memory"); }
