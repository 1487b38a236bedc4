/* SPDX-License-Identifier: BSD-3-Clause */
#include <cpuid.h>
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "machine/chains_body.h"

/* Halves in bf16, small numbers in bytes and words. */
static volatile int chain_bits_in = 0x3F003F00;

/* r = r·½ + ½ tends to 1: no overflow, no denormals. */
#define NEW(i) ADD(half, SPLAT((float)(i)))
#define STEP(r) r = FMA(r, half, half)
#define BEGIN const VECTOR half = SPLAT(chain_in)

#define VECTOR __m512
#define SPLAT _mm512_set1_ps
#define ADD _mm512_add_ps
#define FMA _mm512_fmadd_ps
#define FIRST _mm512_cvtss_f32
CHAIN_FUNCTION(run_avx512, __attribute__((target("avx512f"))), 32, 12)
#undef VECTOR
#undef SPLAT
#undef ADD
#undef FMA
#undef FIRST

#define VECTOR __m256
#define SPLAT _mm256_set1_ps
#define ADD _mm256_add_ps
#define FMA _mm256_fmadd_ps
#define FIRST _mm256_cvtss_f32
CHAIN_FUNCTION(run_avx2, __attribute__((target("avx2,fma"))), 16, 12)
#undef VECTOR
#undef SPLAT
#undef ADD
#undef FMA
#undef FIRST

typedef float lanes4 __attribute__((vector_size(16)));
static inline lanes4 splat4(float x) { return (lanes4){x, x, x, x}; }
#define VECTOR lanes4
#define SPLAT splat4
#define ADD(a, b) ((a) + (b))
#define FMA(a, b, c) ((a) * (b) + (c))
#define FIRST(v) ((v)[0])
CHAIN_FUNCTION(run_generic, , 8, 12)
#undef VECTOR
#undef SPLAT
#undef ADD
#undef FMA
#undef FIRST
#undef NEW
#undef STEP
#undef BEGIN

/* Words, as vpmaddubsw saturates. The product is the same each time, which the compiler must not know; sums are held in
 * their registers, which gcc would else spill. */
#define VECTOR __m256i
#define NEW(i) _mm256_set1_epi32(i)
#define ADD _mm256_add_epi32
#define FIRST(v) _mm_cvtsi128_si32(_mm256_castsi256_si128(v))
#define BEGIN __m256i words = _mm256_set1_epi32(chain_bits_in)
#define STEP(r)                                                                                                        \
    r = _mm256_add_epi32(r, _mm256_madd_epi16(words, words));                                                          \
    __asm__("" : "+x"(words), "+x"(r))
CHAIN_FUNCTION(run_avx2_words, __attribute__((target("avx2"))), 32, 12)
#undef VECTOR
#undef BEGIN
#undef NEW
#undef STEP
#undef ADD
#undef FIRST

/* Compilers that know all that follows. */
#if defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11
/* Sums of pairs of products grow by ½ up to 2^24, then stay. */
#define VECTOR __m512
#define BEGIN const __m512i pairs = _mm512_set1_epi32(chain_bits_in)
#define NEW(i) _mm512_set1_ps((float)(i))
#define STEP(r) r = _mm512_dpbf16_ps(r, (__m512bh)pairs, (__m512bh)pairs)
#define ADD _mm512_add_ps
#define FIRST _mm512_cvtss_f32
CHAIN_FUNCTION(run_avx512_bf16, __attribute__((target("avx512f,avx512bf16"))), 64, 12)
#undef VECTOR
#undef BEGIN
#undef NEW
#undef STEP
#undef ADD
#undef FIRST

/* Sums in integers may wrap around. */
#define VECTOR __m512i
#define BEGIN const __m512i quads = _mm512_set1_epi32(chain_bits_in)
#define NEW(i) _mm512_set1_epi32(i)
#define STEP(r)                                                                                                        \
    r = _mm512_dpbusd_epi32(r, quads, quads);                                                                          \
    __asm__("" : "+v"(r))
#define ADD _mm512_add_epi32
#define FIRST(v) _mm_cvtsi128_si32(_mm512_castsi512_si128(v))
CHAIN_FUNCTION(run_avx512_vnni, __attribute__((target("avx512f,avx512vnni"))), 128, 12)
#undef VECTOR
#undef BEGIN
#undef NEW
#undef STEP
#undef ADD
#undef FIRST

#define VECTOR __m256i
#define BEGIN const __m256i quads = _mm256_set1_epi32(chain_bits_in)
#define NEW(i) _mm256_set1_epi32(i)
#define STEP(r)                                                                                                        \
    r = _mm256_dpbusd_avx_epi32(r, quads, quads);                                                                      \
    __asm__("" : "+x"(r))
#define ADD _mm256_add_epi32
#define FIRST(v) _mm_cvtsi128_si32(_mm256_castsi256_si128(v))
CHAIN_FUNCTION(run_avx_vnni, __attribute__((target("avx2,avxvnni"))), 64, 12)

/* Tiles of 16 rows of 64 bytes: six sums, of which each takes as long as it takes the others to begin. */
enum { TILE_ROWS = 16, TILE_BYTES = 64, TILE_SUMS = 6, TILES = 8 };
typedef struct tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} tile_shapes;

static tile_shapes all_full(void) {
    tile_shapes s = {.palette = 1};
    for (int i = 0; i < TILES; i++) {
        s.bytes[i] = TILE_BYTES;
        s.rows[i] = TILE_ROWS;
    }
    return s;
}

#define TILES_6(X) X(0) X(1) X(2) X(3) X(4) X(5)
#define TILE_ZERO(i) _tile_zero(i);
#define TILE_BF16(i) _tile_dpbf16ps(i, 6, 7);
#define TILE_INT8(i) _tile_dpbusd(i, 6, 7);
#define TILE_FUNCTION(name, attributes, work, multiply)                                                                \
    attributes static double name(double operations) {                                                                 \
        const double pass = (double)(work)*TILE_SUMS;                                                                  \
        const size_t passes = (size_t)(operations / pass) + 1;                                                         \
        const tile_shapes shapes = all_full();                                                                         \
        int factor[TILE_ROWS * TILE_BYTES / sizeof(int)];                                                              \
        for (size_t i = 0; i < sizeof factor / sizeof *factor; i++)                                                    \
            factor[i] = chain_bits_in;                                                                                 \
        _tile_loadconfig(&shapes);                                                                                     \
        _tile_loadd(6, factor, 64);                                                                                    \
        _tile_loadd(7, factor, 64);                                                                                    \
        TILES_6(TILE_ZERO)                                                                                             \
        for (size_t n = 0; n < passes; n++) {                                                                          \
            TILES_6(multiply)                                                                                          \
        }                                                                                                              \
        _tile_release();                                                                                               \
        return pass * (double)passes;                                                                                  \
    }
TILE_FUNCTION(run_amx_bf16, __attribute__((target("amx-tile,amx-bf16"))), 2 * 16 * 16 * 32, TILE_BF16)
TILE_FUNCTION(run_amx_int8, __attribute__((target("amx-tile,amx-int8"))), 2 * 16 * 16 * 64, TILE_INT8)

typedef struct narrow_isa {
    bool avx512_bf16, avx512_vnni, avx_vnni, amx_bf16, amx_int8;
} narrow_isa;

/* Linux gives tiles to processes that ask. */
static bool may_use_tiles(void) {
    enum { REQUEST = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}

static narrow_isa find_narrow(void) {
    narrow_isa has = {0};
    unsigned a, b, c, d;
    const bool avx512 = __builtin_cpu_supports("avx512f");
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return has;
    has.avx512_vnni = avx512 && (c & 1U << 11) != 0;
    if ((d & 1U << 24) != 0 && may_use_tiles()) {
        has.amx_bf16 = (d & 1U << 22) != 0;
        has.amx_int8 = (d & 1U << 25) != 0;
    }
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d))
        return has;
    has.avx_vnni = __builtin_cpu_supports("avx2") && (a & 1U << 4) != 0;
    has.avx512_bf16 = avx512 && (a & 1U << 5) != 0;
    return has;
}

/* The fastest of these that this CPU has; none where run is NULL. */
static chain narrow_chain(peak_type type) {
    const narrow_isa has = find_narrow();
    if (type == PEAK_BF16 && has.amx_bf16)
        return (chain){run_amx_bf16, "AMX-BF16", 5e7};
    if (type == PEAK_BF16 && has.avx512_bf16)
        return (chain){run_avx512_bf16, "AVX512_BF16", 8e6};
    if (type == PEAK_INT8 && has.amx_int8)
        return (chain){run_amx_int8, "AMX-INT8", 1e8};
    if (type == PEAK_INT8 && has.avx512_vnni)
        return (chain){run_avx512_vnni, "AVX512_VNNI", 2e7};
    if (type == PEAK_INT8 && has.avx_vnni)
        return (chain){run_avx_vnni, "AVX-VNNI", 1e7};
    return (chain){0};
}
#else
static chain narrow_chain(peak_type type) {
    (void)type;
    return (chain){0};
}
#endif

static chain chain_of_f32(void) {
    if (__builtin_cpu_supports("avx512f"))
        return (chain){run_avx512, "AVX-512", 4e6};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return (chain){run_avx2, "AVX2", 4e6};
    return (chain){run_generic, "generic", 2e6};
}

chain chain_of(peak_type type) {
    const chain narrow = type != PEAK_F32 ? narrow_chain(type) : (chain){0};
    if (narrow.run != NULL)
        return narrow;
    if (type == PEAK_INT8 && __builtin_cpu_supports("avx2"))
        return (chain){run_avx2_words, "AVX2", 8e6};
    return chain_of_f32();
}
