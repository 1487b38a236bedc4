/* SPDX-License-Identifier: BSD-3-Clause */
/* every_fault, the test of two tables of fault.h: `faults`, which a call and the question for its scratch refuse alike,
 * and `data_faults`, which only the call sees. To be included behind them and behind what the file has of its own:
 *     make_valid(context, c)   a call that is right
 *     copies_of(valid)         copies of what it reads, by
 *     assert_nothing_written(valid, copies)
 *     run(c), ask_size(c, &bytes) */

static void check_fault(attn_context *context, void (*spoil)(call *c), attn_status status, const char *field,
                        bool in_size_too) {
    call c;
    size_t bytes = 4321;
    make_valid(context, &c);
    const call valid = c, copies = copies_of(&valid);
    spoil(&c);
    assert_status(context, run(&c), status);
    assert_mentions(attn_context_last_error(context), field);
    assert_nothing_written(&valid, &copies);
    if (in_size_too) {
        assert_status(context, ask_size(&c, &bytes), status);
        assert_mentions(attn_context_last_error(context), field);
        assert_int_equal(bytes, 4321);
    }
    end_case();
}

static void every_fault(void **state) {
    (void)state;
    attn_context *context = new_context_of(2, 0);
    for (size_t i = 0; i < COUNT(faults); i++) {
        name_case("%s", faults[i].name);
        check_fault(context, faults[i].spoil, faults[i].status, faults[i].field, true);
    }
    for (size_t i = 0; i < COUNT(data_faults); i++) {
        name_case("%s", data_faults[i].name);
        check_fault(context, data_faults[i].spoil, data_faults[i].status, data_faults[i].field, false);
    }
}

/* A call that is right may be asked for its scratch with all data NULL; without a place for the answer, or a context,
 * it is wrong. */
static inline void check_asking(call *c) {
    size_t bytes = 0;
    assert_ok(c->context, ask_size(c, &bytes));
    assert_true(bytes > 0);
    assert_status(c->context, ask_size(c, NULL), ATTN_ERROR_NULL);
    assert_mentions(attn_context_last_error(c->context), "bytes");
    c->context = NULL;
    assert_int_equal(run(c), ATTN_ERROR_NULL);
    assert_int_equal(ask_size(c, &bytes), ATTN_ERROR_NULL);
}
