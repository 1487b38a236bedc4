/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether OpenBLAS's kernels are made for a CPU, and pack nothing, by their name: only the static library shows it. */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "blas/blas.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { G = ATTN_ISA_GENERIC, A2 = ATTN_ISA_AVX2, A512 = ATTN_ISA_AVX512, NEON = ATTN_ISA_NEON };

static attni_blas with_core(const char *core) {
    attni_blas blas = {.name = "openblas"};
    snprintf(blas.core, sizeof blas.core, "%s", core);
    return blas;
}

/* The best instruction set of a CPU that the kernels fit; NEON: any. */
static const struct {
    const char *core;
    uint32_t best;
} CORES[] = {{"Prescott", G},         {"Core2", G},         {"Penryn", G},      {"Dunnington", G},
             {"Nehalem", G},          {"Athlon", G},        {"Opteron", G},     {"Barcelona", G},
             {"Bobcat", G},           {"Atom", G},          {"Sandybridge", G}, {"Bulldozer", G},
             {"Piledriver", G},       {"Steamroller", G},   {"Katmai", G},      {"Excavator", A2},
             {"Haswell", A2},         {"HASWELL", A2},      {"Zen", A2},        {"SkylakeX", A512},
             {"SKYLAKEX", A512},      {"Cooperlake", A512}, {"armv8", NEON},    {"cortexa53", NEON},
             {"neoversen1", NEON},    {"Unknown", NEON},    {"", NEON},         {"Zen9", NEON},
             {"SapphireRapids", A512}};

static void by_name(void **state) {
    (void)state;
    static const uint32_t isas[] = {G, A2, A512};
    for (size_t i = 0; i < COUNT(CORES); i++)
        for (size_t j = 0; j < COUNT(isas); j++) {
            const attni_blas blas = with_core(CORES[i].core);
            if (attni_blas_fits(&blas, isas[j]) != (isas[j] <= CORES[i].best))
                fail_msg("core \"%s\" on a CPU with 0x%x", CORES[i].core, isas[j]);
        }
}

static void by_wish(void **state) {
    (void)state;
    static const struct {
        const char *variable, *core;
        bool wanted;
    } cases[] = {{NULL, "Prescott", false},
                 {"", "Prescott", false},
                 {"Prescott", "Prescott", true},
                 {"prescott", "Prescott", true},
                 {"HASWELL", "Haswell", true},
                 {"Zen", "Haswell", true},
                 {"SapphireRapids", "Prescott", false},
                 {"Cooperlake", "SkylakeX", true},
                 {"nonsense", "Prescott", false},
                 {"nonsense", "Unknown", false}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        const attni_blas blas = with_core(cases[i].core);
        if (cases[i].variable)
            setenv("OPENBLAS_CORETYPE", cases[i].variable, 1);
        else
            unsetenv("OPENBLAS_CORETYPE");
        if (attni_blas_is_wanted(&blas) != cases[i].wanted)
            fail_msg("OPENBLAS_CORETYPE %s, core %s", cases[i].variable ? cases[i].variable : "unset", cases[i].core);
    }
}

static void small_kernels(void **state) {
    (void)state;
    static const struct {
        const char *core, *version;
        bool small;
    } cases[] = {{"SkylakeX", "0.3.18", true},       {"SKYLAKEX", "0.3.18", true},
                 {"Cooperlake", "0.3.21.dev", true}, {"COOPERLAKE", "0.4.0", true},
                 {"SkylakeX", "0.3.17", false},      {"SkylakeX", "0.2.20", false},
                 {"SapphireRapids", "1.0.0", true},  {"Haswell", "0.3.21", false},
                 {"Unknown", "0.3.30", false},       {"SkylakeX", "", false}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        attni_blas blas = with_core(cases[i].core);
        snprintf(blas.version, sizeof blas.version, "%s", cases[i].version);
        if (attni_blas_has_small_kernels(&blas) != cases[i].small)
            fail_msg("core %s of %s", cases[i].core, cases[i].version);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_name), cmocka_unit_test(by_wish),
                                       cmocka_unit_test(small_kernels)};
    return cmocka_run_group_tests_name("fit", tests, NULL, NULL);
}
