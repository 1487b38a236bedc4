/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads that wait for work: awake for some 20 ms after the last, so that the next begins at once, and then asleep. */
#ifndef ATTNI_CREW_H
#define ATTNI_CREW_H

#include <stddef.h>

#include "attn/context.h"

typedef struct attni_crew attni_crew;

/* A crew for up to `workers`, the caller among them, none of which is started yet. NULL: no memory. */
attni_crew *attni_crew_new(const attn_allocator *allocator, size_t workers);

/* Starts what is missing of so many workers. Returns how many of them there are: fewer, at the least the caller, once
 * the system has refused a thread. A forked child has none of its parent's threads and starts its own. */
size_t attni_crew_start(attni_crew *crew, size_t workers);

/* The most workers that there can be, as far as is known. */
size_t attni_crew_size(const attni_crew *crew);

/* Runs task(arg, worker) in the caller, as worker 0, and in up to workers − 1 others at the same time: in each that
 * comes before the caller has ended. `workers` is what attni_crew_start returned, or fewer. */
void attni_crew_run(attni_crew *crew, size_t workers, void (*task)(void *arg, size_t worker), void *arg);

/* Ends the threads. NULL is allowed. */
void attni_crew_delete(attni_crew *crew, const attn_allocator *allocator);

#endif
