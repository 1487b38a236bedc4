/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether OpenBLAS has taken kernels made for this CPU. It chooses them by the CPU's model, and takes old ones for a
 * model that it does not know. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "blas/blas.h"

/* OpenBLAS's names of its kernels for x86-64, with the instruction set that they are written for; below AVX2, what
 * libattn's own kernels call generic. Its kernels for AArch64 are all NEON at the least. */
static const struct {
    const char *core;
    uint32_t isa; /* ATTN_ISA_* */
} made_for[] = {
    {"Katmai", ATTN_ISA_GENERIC},       {"Coppermine", ATTN_ISA_GENERIC}, {"Northwood", ATTN_ISA_GENERIC},
    {"Prescott", ATTN_ISA_GENERIC},     {"Banias", ATTN_ISA_GENERIC},     {"Atom", ATTN_ISA_GENERIC},
    {"Core2", ATTN_ISA_GENERIC},        {"Penryn", ATTN_ISA_GENERIC},     {"Dunnington", ATTN_ISA_GENERIC},
    {"Nehalem", ATTN_ISA_GENERIC},      {"Athlon", ATTN_ISA_GENERIC},     {"Opteron", ATTN_ISA_GENERIC},
    {"Opteron_SSE3", ATTN_ISA_GENERIC}, {"Barcelona", ATTN_ISA_GENERIC},  {"Bobcat", ATTN_ISA_GENERIC},
    {"Nano", ATTN_ISA_GENERIC},         {"Generic", ATTN_ISA_GENERIC},    {"Sandybridge", ATTN_ISA_GENERIC},
    {"Bulldozer", ATTN_ISA_GENERIC},    {"Piledriver", ATTN_ISA_GENERIC}, {"Steamroller", ATTN_ISA_GENERIC},
    {"Haswell", ATTN_ISA_AVX2},         {"Excavator", ATTN_ISA_AVX2},     {"Zen", ATTN_ISA_AVX2},
    {"SkylakeX", ATTN_ISA_AVX512},      {"Cooperlake", ATTN_ISA_AVX512},  {"SapphireRapids", ATTN_ISA_AVX512},
};

/* ATTN_ISA_*, or 0: nobody knows. A build for one CPU only has its name in capitals. */
static uint32_t isa_of(const char *core) {
    for (size_t i = 0; i < sizeof made_for / sizeof *made_for; i++)
        if (strcasecmp(made_for[i].core, core) == 0)
            return made_for[i].isa;
    return 0;
}

bool attni_blas_fits(const attni_blas *blas, uint32_t isa) {
    const uint32_t has = isa_of(blas->core);
    return has == 0 || has >= isa;
}

bool attni_blas_is_wanted(const attni_blas *blas) {
    const char *core = getenv("OPENBLAS_CORETYPE");
    return core && isa_of(core) != 0 && isa_of(core) == isa_of(blas->core);
}

bool attni_blas_has_small_kernels(const attni_blas *blas) {
    int major = 0, minor = 0, patch = 0;
    if (sscanf(blas->version, "%d.%d.%d", &major, &minor, &patch) < 3) /* NOLINT(cert-err34-c): zero is right then */
        return false;
    return isa_of(blas->core) == ATTN_ISA_AVX512 && (major > 0 || minor > 3 || (minor == 3 && patch >= 18));
}
