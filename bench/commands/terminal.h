/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ATTN_BENCH_TERMINAL_H
#define ATTN_BENCH_TERMINAL_H

#include <stddef.h>

/* Characters in a line of stdout: what the terminal says, or a number that suits files. */
size_t terminal_width(void);

#endif
