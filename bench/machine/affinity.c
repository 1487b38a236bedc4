/* SPDX-License-Identifier: BSD-3-Clause */
#include "machine/affinity.h"

#if defined(__linux__)
#include <sched.h>

static bool at_start(cpu_set_t *allowed) {
    static cpu_set_t kept;
    static bool known;
    if (!known)
        known = sched_getaffinity(0, sizeof kept, &kept) == 0 && CPU_COUNT(&kept) > 0;
    *allowed = kept;
    return known;
}

static size_t nth(const cpu_set_t *allowed, size_t n) {
    size_t cpu = 0;
    for (n %= (size_t)CPU_COUNT(allowed); !CPU_ISSET(cpu, allowed) || n-- > 0;)
        cpu++;
    return cpu;
}

bool affinity_take(size_t first, size_t count) {
    cpu_set_t allowed, wanted;
    if (!at_start(&allowed))
        return false;
    CPU_ZERO(&wanted);
    for (size_t i = 0; i < count && i < (size_t)CPU_COUNT(&allowed); i++)
        CPU_SET(nth(&allowed, first + i), &wanted);
    return sched_setaffinity(0, sizeof wanted, &wanted) == 0;
}
#else
bool affinity_take(size_t first, size_t count) {
    (void)first, (void)count;
    return false;
}
#endif
