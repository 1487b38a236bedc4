/* SPDX-License-Identifier: BSD-3-Clause */
/* How a thread's floating-point unit works: rounding, and whether it takes subnormal numbers for 0. fegetenv and
 * fesetenv do it too, in 0.7 µs. */
#ifndef ATTNI_MODE_H
#define ATTNI_MODE_H

#if defined(__x86_64__) || defined(__SSE__)
typedef unsigned attni_mode;
static inline attni_mode attni_mode_get(void) { return __builtin_ia32_stmxcsr(); }
static inline void attni_mode_set(attni_mode mode) { __builtin_ia32_ldmxcsr(mode); }
#elif defined(__aarch64__)
#include <stdint.h>
typedef uint64_t attni_mode;
static inline attni_mode attni_mode_get(void) {
    attni_mode mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
static inline void attni_mode_set(attni_mode mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
#include <fenv.h>
typedef int attni_mode;
static inline attni_mode attni_mode_get(void) { return fegetround(); }
static inline void attni_mode_set(attni_mode mode) { fesetround(mode); }
#endif

#endif
