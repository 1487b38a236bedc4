/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernels/kernels.h"

#include "attn/context.h"

#if defined(__x86_64__)
#include <cpuid.h>

static bool has_f16c(void) { /* __builtin_cpu_supports of older clangs does not know the name */
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static uint32_t cpu_isa(void) {
    uint32_t isa = ATTN_ISA_GENERIC;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        isa |= ATTN_ISA_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        isa |= ATTN_ISA_AVX512;
    return isa;
}

static const attni_kernels *const tables[] = {&attni_kernels_avx512, &attni_kernels_avx2, &attni_kernels_generic};
#elif defined(__aarch64__)
static uint32_t cpu_isa(void) { return ATTN_ISA_GENERIC | ATTN_ISA_NEON; }

static const attni_kernels *const tables[] = {&attni_kernels_neon, &attni_kernels_generic};
#else
static uint32_t cpu_isa(void) { return ATTN_ISA_GENERIC; }

static const attni_kernels *const tables[] = {&attni_kernels_generic};
#endif

const attni_kernels *attni_kernels_select(uint32_t mask) {
    const uint32_t usable = cpu_isa() & (mask ? mask : UINT32_MAX);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (tables[i]->isa & usable)
            return tables[i];
    return NULL;
}
