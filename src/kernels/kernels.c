/* SPDX-License-Identifier: BSD-3-Clause */
#include "kernels/kernels.h"

#include "attn/context.h"

#include "kernels/narrow.h"

#if defined(__x86_64__)
#include <cpuid.h>

static bool has_f16c(void) { /* __builtin_cpu_supports of older clangs does not know the name */
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

/* AVX-VNNI, which compilers have known for shorter than AVX2. */
static bool has_avx_vnni(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1U << 4);
}

static uint32_t cpu_isa(void) {
    uint32_t isa = ATTN_ISA_GENERIC;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        isa |= has_avx_vnni() ? ATTN_ISA_AVX2 | ATTN_ISA_AVX_VNNI : ATTN_ISA_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        isa |= ATTN_ISA_AVX512;
    return isa;
}

static const attni_kernels *const tables[] = {&attni_kernels_avx512, &attni_kernels_avx2, &attni_kernels_generic};
static const attni_bf16 *const bf16_tables[] = {&attni_bf16_avx512, &attni_bf16_avx2, &attni_bf16_generic};
static const attni_int8 *const int8_tables[] = {&attni_int8_avxvnni, &attni_int8_avx2, &attni_int8_generic};
#elif defined(__aarch64__)
#include <sys/auxv.h>

static uint32_t cpu_isa(void) {
    enum { DOT = 1 << 20 }; /* HWCAP_ASIMDDP */
    return ATTN_ISA_GENERIC | ATTN_ISA_NEON | (getauxval(AT_HWCAP) & DOT ? ATTN_ISA_NEON_DOT : 0U);
}

static const attni_kernels *const tables[] = {&attni_kernels_neon, &attni_kernels_generic};
static const attni_bf16 *const bf16_tables[] = {&attni_bf16_neon, &attni_bf16_generic};
static const attni_int8 *const int8_tables[] = {&attni_int8_neon_dot, &attni_int8_neon, &attni_int8_generic};
#else
static uint32_t cpu_isa(void) { return ATTN_ISA_GENERIC; }

static const attni_kernels *const tables[] = {&attni_kernels_generic};
static const attni_bf16 *const bf16_tables[] = {&attni_bf16_generic};
static const attni_int8 *const int8_tables[] = {&attni_int8_generic};
#endif

/* The first of a list of tables all of whose instruction sets are usable, or else `otherwise`. */
#define FIRST_USABLE(list, mask, otherwise)                                                                            \
    const uint32_t usable = cpu_isa() & ((mask) ? (mask) : UINT32_MAX);                                                \
    for (size_t i = 0; i < sizeof(list) / sizeof *(list); i++)                                                         \
        if (((list)[i]->isa & usable) == (list)[i]->isa)                                                               \
            return (list)[i];                                                                                          \
    return otherwise

const attni_kernels *attni_kernels_select(uint32_t mask) { FIRST_USABLE(tables, mask, NULL); }

const attni_bf16 *attni_bf16_select(uint32_t mask) { FIRST_USABLE(bf16_tables, mask, &attni_bf16_generic); }

const attni_int8 *attni_int8_select(uint32_t mask) { FIRST_USABLE(int8_tables, mask, &attni_int8_generic); }
