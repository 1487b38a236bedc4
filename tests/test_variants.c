/* SPDX-License-Identifier: BSD-3-Clause */
/* Each option of attn_sdpa alone: against the reference, on any number of threads, in every instruction set; and what
 * does nothing. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "meter.h"
#include "variants.h"

/* ---- against the reference ---- */

static struct levels only(enum option option, unsigned level) {
    struct levels levels = {{0}};
    levels.of[option] = level;
    if (option == AVERAGED || option == WEIGHTS_TYPE)
        levels.of[WEIGHTS] = 1;
    if (option == POLARITY || option == PAD_MASKS)
        levels.of[MASK] = levels.of[BIAS] = 1;
    return levels;
}

/* The same bits on one thread and on three; and near the reference. */
static void check_variant(attn_context *one, attn_context *three, const struct sdpa_case *c) {
    const struct sdpa_result want = run_sdpa(one, c), got = run_sdpa(three, c);
    assert_same_result(&got, &want);
    assert_sdpa_near(c, &want);
}

static void each_option_alone(void **state) {
    (void)state;
    attn_context *one[ISAS], *three[ISAS];
    const size_t n = new_isa_contexts(1, one);
    size_t i = 0;
    new_isa_contexts(3, three);
    seed(1);
    for (size_t o = 0; o < OPTIONS; o++)
        for (unsigned level = 0; level < OPTION_LEVELS[o]; level++)
            for (size_t s = 0; s < SHAPES; s++, i++) {
                const struct levels levels = only((enum option)o, level);
                const struct sdpa_case c = variant_of("alone", &levels, &VARIANT_SHAPES[s]);
                check_variant(one[i % n], three[i % n], &c);
                end_case();
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(each_option_alone)};
    return cmocka_run_group_tests_name("variants", tests, NULL, NULL);
}
