/* SPDX-License-Identifier: BSD-3-Clause */
/* Waiting for another thread, awake. */
#ifndef ATTNI_AWAIT_H
#define ATTNI_AWAIT_H

#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>

static inline void attni_look_away(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

/* Until the count is n, which another worker sees to that began before: so some worker always goes on. Threads may be
 * more than cores, hence who waits long gives way. */
static inline void attni_await(atomic_size_t *count, size_t n) {
    enum { LOOKS_AWAKE = 256 };
    for (size_t i = 1; atomic_load_explicit(count, memory_order_acquire) != n; i++, attni_look_away())
        if (i % LOOKS_AWAKE == 0)
            sched_yield();
}

#endif
