/* SPDX-License-Identifier: BSD-3-Clause */
/* Ctrl-C ends the measuring, not the program: what was measured until then is still told. */
#ifndef ATTN_BENCH_INTERRUPT_H
#define ATTN_BENCH_INTERRUPT_H

#include <stdbool.h>

/* From now on SIGINT and SIGTERM are noted, and end a wait for a worker; a second one ends the program. */
void interrupt_watch(void);

bool interrupt_seen(void);

#endif
