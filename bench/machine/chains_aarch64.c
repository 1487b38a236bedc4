/* SPDX-License-Identifier: BSD-3-Clause */
/* Compiled for CPUs that have all of these; which of them are run is chosen by what this CPU has. */
#include <arm_neon.h>
#include <sys/auxv.h>

#include "machine/chains_body.h"

/* Halves in bf16, small numbers in bytes and words. */
static volatile int chain_bits_in = 0x3F003F00;

/* r = r·½ + ½ tends to 1: no overflow, no denormals. */
#define VECTOR float32x4_t
#define BEGIN const float32x4_t half = vdupq_n_f32(chain_in)
#define NEW(i) vaddq_f32(half, vdupq_n_f32((float)(i)))
#define STEP(r) r = vfmaq_f32(half, r, half)
#define ADD vaddq_f32
#define FIRST(v) vgetq_lane_f32(v, 0)
CHAIN_FUNCTION(run_neon, , 8, 16)
#undef BEGIN
#undef NEW
#undef STEP

/* 2×2 sums of four products each: they grow up to 2^24, then stay. */
#define BEGIN const bfloat16x8_t quads = vreinterpretq_bf16_s32(vdupq_n_s32(chain_bits_in))
#define NEW(i) vdupq_n_f32((float)(i))
#define STEP(r) r = vbfmmlaq_f32(r, quads, quads)
CHAIN_FUNCTION(run_bfmmla, , 32, 16)
#undef VECTOR
#undef BEGIN
#undef NEW
#undef STEP
#undef ADD
#undef FIRST

/* Sums in integers may wrap around: four of four products each, or 2×2 of eight. */
#define VECTOR int32x4_t
#define BEGIN const int8x16_t bytes = vreinterpretq_s8_s32(vdupq_n_s32(chain_bits_in))
#define NEW(i) vdupq_n_s32(i)
#define STEP(r) r = vdotq_s32(r, bytes, bytes)
#define ADD vaddq_s32
#define FIRST(v) vgetq_lane_s32(v, 0)
CHAIN_FUNCTION(run_sdot, , 32, 16)
#undef STEP
#define STEP(r) r = vmmlaq_s32(r, bytes, bytes)
CHAIN_FUNCTION(run_smmla, , 64, 16)

/* Of AT_HWCAP and AT_HWCAP2. */
enum { HAS_DOT = 1 << 20, HAS_I8MM = 1 << 13, HAS_BF16 = 1 << 14 };

chain chain_of(peak_type type) {
    const unsigned long has = getauxval(AT_HWCAP), has2 = getauxval(AT_HWCAP2);
    if (type == PEAK_BF16 && (has2 & HAS_BF16) != 0)
        return (chain){run_bfmmla, "BFMMLA", 1e7};
    if (type == PEAK_INT8 && (has2 & HAS_I8MM) != 0)
        return (chain){run_smmla, "SMMLA", 2e7};
    if (type == PEAK_INT8 && (has & HAS_DOT) != 0)
        return (chain){run_sdot, "SDOT", 1e7};
    return (chain){run_neon, "NEON", 4e6};
}
