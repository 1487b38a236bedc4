/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables of faults. Each line is X(name, status, field, statements): the statements spoil the valid call `c`, which
 * then must fail with the status and a message that mentions the field, and write nothing. */
#ifndef ATTN_TESTS_FAULT_H
#define ATTN_TESTS_FAULT_H

#include "support/support.h"

/* In front of it: typedef struct … call. */
#define FAULT_FUNCTION(name, status, field, ...)                                                                       \
    static void name(call *c) { __VA_ARGS__; }
#define FAULT_ENTRY(name, status, field, ...) {#name, status, field, name},

/* struct fault faults[] = {…} out of a table. */
#define DEFINE_FAULTS(array, table)                                                                                    \
    table(FAULT_FUNCTION) static const struct {                                                                        \
        const char *name;                                                                                              \
        attn_status status;                                                                                            \
        const char *field;                                                                                             \
        void (*spoil)(call * c);                                                                                       \
    } array[] = {table(FAULT_ENTRY)}

/* A parameter struct and what a newer library's would have behind it. */
#define WITH_TAIL(type)                                                                                                \
    struct {                                                                                                           \
        type known;                                                                                                    \
        char tail[16];                                                                                                 \
    }

#endif
