/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdarg.h>
#include <stdio.h>

#include "context/context.h"

/* For failures that leave no context to ask, as errno does. */
static _Thread_local char thread_error[sizeof((attn_context *)0)->error];

/* Names of the caller's may have line breaks. */
static void make_one_line(char *text) {
    for (; *text; text++)
        if (*text == '\n' || *text == '\r')
            *text = ' ';
}

attn_status attni_fail(attn_context *context, attn_status status, const char *format, ...) {
    char *text = context ? context->error : thread_error;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof thread_error, format, args);
    va_end(args);
    make_one_line(text);
    return status;
}

const char *attni_thread_error(void) { return thread_error; }
