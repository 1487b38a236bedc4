/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef EXAMPLE_CLOCK_H
#define EXAMPLE_CLOCK_H

/* Seconds, from some time on. */
double now(void);

#endif
