/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE /* syscall */
#include "kernels/kernels.h"

#include "attn/context.h"

#include "kernels/int4.h"
#include "kernels/narrow.h"

#if defined(__x86_64__)
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

static bool has_f16c(void) { /* __builtin_cpu_supports of older clangs does not know the name */
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

/* Whether two bits of leaf 7 of cpuid are set, of which compilers may know the features for too short: a register of a
 * subleaf. */
static bool leaf_7_has(unsigned subleaf, int reg, unsigned bits) {
    unsigned r[4];
    return __get_cpuid_count(7, subleaf, &r[0], &r[1], &r[2], &r[3]) && (r[reg] & bits) == bits;
}

enum { EAX, EBX, ECX, EDX };

/* Linux keeps the tiles' 8 KB for threads of processes that have asked. */
static bool tiles_permitted(void) {
#ifdef __linux__
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0;
#else
    return false;
#endif
}

/* Those of `mask` that extend AVX-512. */
static uint32_t extensions(uint32_t mask) {
    const unsigned tile = 1U << 24, tile_bf16 = 1U << 22, tile_int8 = 1U << 25;
    uint32_t isa = 0;
    isa |= leaf_7_has(1, EAX, 1U << 5) ? ATTN_ISA_AVX512_BF16 : 0U;
    isa |= leaf_7_has(0, ECX, 1U << 11) ? ATTN_ISA_AVX512_VNNI : 0U;
    isa |= leaf_7_has(0, EDX, tile | tile_bf16) ? ATTN_ISA_AMX_BF16 : 0U;
    isa |= leaf_7_has(0, EDX, tile | tile_int8) ? ATTN_ISA_AMX_INT8 : 0U;
    isa &= mask;
    const uint32_t tiles = ATTN_ISA_AMX_BF16 | ATTN_ISA_AMX_INT8;
    return (isa & tiles) && !tiles_permitted() ? isa & ~tiles : isa;
}

static uint32_t cpu_isa(uint32_t mask) {
    uint32_t isa = ATTN_ISA_GENERIC;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        isa |= leaf_7_has(1, EAX, 1U << 4) ? ATTN_ISA_AVX2 | ATTN_ISA_AVX_VNNI : ATTN_ISA_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        isa |= ATTN_ISA_AVX512 | extensions(mask);
    return isa & mask;
}

static const attni_kernels *const tables[] = {&attni_kernels_avx512, &attni_kernels_avx2, &attni_kernels_generic};
static const attni_bf16 *const bf16_tables[] = {
#ifdef ATTN_HAS_BF16_AMX
    &attni_bf16_amx,
#endif
#ifdef ATTN_HAS_BF16_AVX512
    &attni_bf16_avx512_bf16,
#endif
    &attni_bf16_avx512, &attni_bf16_avx2, &attni_bf16_generic};
static const attni_int8 *const int8_tables[] = {
#ifdef ATTN_HAS_INT8_AMX
    &attni_int8_amx,
#endif
#ifdef ATTN_HAS_INT8_AVX512
    &attni_int8_avx512,
#endif
#ifdef ATTN_HAS_INT8_AVXVNNI
    &attni_int8_avxvnni,
#endif
    &attni_int8_avx2, &attni_int8_generic};
static const attni_int4 *const int4_f32_tables[] = {&attni_int4_f32_avx512, &attni_int4_f32_avx2,
                                                    &attni_int4_f32_generic};
static const attni_int4 *const int4_int8_tables[] = {
#ifdef ATTN_HAS_INT4_INT8_AVX512
    &attni_int4_int8_avx512,
#endif
#ifdef ATTN_HAS_INT4_INT8_AVXVNNI
    &attni_int4_int8_avxvnni,
#endif
    &attni_int4_int8_avx2, &attni_int4_int8_generic};
#elif defined(__aarch64__)
#include <sys/auxv.h>

static uint32_t cpu_isa(uint32_t mask) {
    enum { DOT = 1 << 20, I8MM = 1 << 13, BF16 = 1 << 14 }; /* HWCAP_ASIMDDP, HWCAP2_I8MM, HWCAP2_BF16 */
    uint32_t isa = ATTN_ISA_GENERIC | ATTN_ISA_NEON;
    isa |= getauxval(AT_HWCAP) & DOT ? ATTN_ISA_NEON_DOT : 0U;
    isa |= getauxval(AT_HWCAP2) & I8MM ? ATTN_ISA_NEON_I8MM : 0U;
    isa |= getauxval(AT_HWCAP2) & BF16 ? ATTN_ISA_NEON_BF16 : 0U;
    return isa & mask;
}

static const attni_kernels *const tables[] = {&attni_kernels_neon, &attni_kernels_generic};
static const attni_bf16 *const bf16_tables[] = {
#ifdef ATTN_HAS_BF16_NEON_MMLA
    &attni_bf16_neon_mmla,
#endif
    &attni_bf16_neon, &attni_bf16_generic};
static const attni_int8 *const int8_tables[] = {
#ifdef ATTN_HAS_INT8_NEON_I8MM
    &attni_int8_neon_i8mm,
#endif
#ifdef ATTN_HAS_INT8_NEON_DOT
    &attni_int8_neon_dot,
#endif
    &attni_int8_neon, &attni_int8_generic};
static const attni_int4 *const int4_f32_tables[] = {&attni_int4_f32_neon, &attni_int4_f32_generic};
static const attni_int4 *const int4_int8_tables[] = {
#ifdef ATTN_HAS_INT4_INT8_NEON_DOT
    &attni_int4_int8_neon_dot,
#endif
    &attni_int4_int8_neon, &attni_int4_int8_generic};
#else
static uint32_t cpu_isa(uint32_t mask) { return mask & ATTN_ISA_GENERIC; }

static const attni_kernels *const tables[] = {&attni_kernels_generic};
static const attni_bf16 *const bf16_tables[] = {&attni_bf16_generic};
static const attni_int8 *const int8_tables[] = {&attni_int8_generic};
static const attni_int4 *const int4_f32_tables[] = {&attni_int4_f32_generic};
static const attni_int4 *const int4_int8_tables[] = {&attni_int4_int8_generic};
#endif

/* The first of a list of tables all of whose instruction sets are usable, or else `otherwise`. */
#define FIRST_USABLE(list, mask, otherwise)                                                                            \
    const uint32_t usable = cpu_isa((mask) ? (mask) : UINT32_MAX);                                                     \
    for (size_t i = 0; i < sizeof(list) / sizeof *(list); i++)                                                         \
        if (((list)[i]->isa & usable) == (list)[i]->isa)                                                               \
            return (list)[i];                                                                                          \
    return otherwise

const attni_kernels *attni_kernels_select(uint32_t mask) { FIRST_USABLE(tables, mask, NULL); }

const attni_bf16 *attni_bf16_select(uint32_t mask) { FIRST_USABLE(bf16_tables, mask, &attni_bf16_generic); }

const attni_int8 *attni_int8_select(uint32_t mask) { FIRST_USABLE(int8_tables, mask, &attni_int8_generic); }

static const attni_int4 *select_int4_f32(uint32_t mask) {
    FIRST_USABLE(int4_f32_tables, mask, &attni_int4_f32_generic);
}

static const attni_int4 *select_int4_int8(uint32_t mask) {
    FIRST_USABLE(int4_int8_tables, mask, &attni_int4_int8_generic);
}

const attni_int4 *attni_int4_select(uint32_t mask, bool quantised) {
    return quantised ? select_int4_int8(mask) : select_int4_f32(mask);
}
