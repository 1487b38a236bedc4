/* SPDX-License-Identifier: BSD-3-Clause */
/* The tokenizer against what the `tokenizers` package made of the same lines: golden/, written by peers/golden.py. */
#include <stdlib.h>
#include <string.h>

#include "folder.h"
#include "support/support.h"
#include "tiny.h"
#include "tokenizer.h"

static vocab golden;

static int open_golden(void **state) {
    example_error e = {""};
    (void)state;
    if (vocab_open(&golden, GOLDEN, &e))
        return 0;
    print_error("%s\n", e.text);
    return 1;
}

static int close_golden(void **state) {
    (void)state;
    vocab_free(&golden);
    return 0;
}

/* "1 2 3" */
static void print_ids(const tokens *t, char *text, size_t size) {
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < t->count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%u", i > 0 ? " " : "", t->item[i].id);
}

static void test_golden(void **state) {
    lines texts, ids;
    example_error e = {""};
    (void)state;
    assert_true(lines_read(&texts, GOLDEN "/lines.txt", &e));
    assert_true(lines_read(&ids, GOLDEN "/ids.txt", &e));
    assert_int_equal(texts.count, ids.count);
    assert_true(texts.count >= 50);
    for (size_t i = 0; i < texts.count; i++) {
        static char got[65536];
        tokens t;
        if (!tokenize(&golden, texts.line[i], SIZE_MAX, &t, &e))
            fail_msg("line %zu: %s", i + 1, e.text);
        print_ids(&t, got, sizeof got);
        if (strlen(got) != ids.line[i].size || memcmp(got, ids.line[i].data, ids.line[i].size) != 0)
            fail_msg("line %zu: got %s, expected %.*s", i + 1, got, (int)ids.line[i].size, ids.line[i].data);
        tokens_free(&t);
    }
    lines_free(&texts);
    lines_free(&ids);
}

#define TEXT(literal) ((slice){literal, sizeof literal - 1})

static void test_invalid_utf8(void **state) {
    static const struct {
        slice text;
        const char *why;
    } cases[] = {
        {TEXT("ab\x80"), "invalid UTF-8 at byte 2 (0x80)"}, /* continuation alone */
        {TEXT("\xc3"), "at byte 0"},                        /* cut off */
        {TEXT("x\xe2\x82"), "at byte 1"},                   /* cut off */
        {TEXT("\xc0\xaf"), "at byte 0"},                    /* overlong */
        {TEXT("\xed\xa0\x80"), "at byte 0"},                /* surrogate */
        {TEXT("\xf4\x90\x80\x80"), "at byte 0"},            /* beyond U+10FFFF */
        {TEXT("[MASK]\xff"), "invalid UTF-8 at byte 6 (0xFF)"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        example_error e = {""};
        tokens t;
        if (tokenize(&golden, cases[i].text, SIZE_MAX, &t, &e) || strstr(e.text, cases[i].why) == NULL)
            fail_msg("case %zu: '%s'", i, e.text);
    }
}

/* A NUL is dropped like any control character; a text too long is cut before [SEP]. */
static void test_limits(void **state) {
    example_error e = {""};
    tokens a, b;
    (void)state;
    assert_true(tokenize(&golden, TEXT("c\0at"), SIZE_MAX, &a, &e));
    assert_true(tokenize(&golden, TEXT("cat cat cat"), 3, &b, &e));
    assert_int_equal(a.count, 3);
    assert_int_equal(b.count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(a.item[i].id, b.item[i].id);
    tokens_free(&a);
    tokens_free(&b);
    for (size_t limit = 2; limit < 8; limit++) { /* "[CLS] cat cat cat [SEP]" are 5 */
        assert_true(tokenize(&golden, TEXT("cat cat cat"), limit, &a, &e));
        assert_int_equal(a.count, limit < 5 ? limit : 5);
        assert_int_equal(a.item[a.count - 1].id, golden.sep);
        tokens_free(&a);
    }
}

static void test_words_have_places(void **state) {
    example_error e = {""};
    tokens t;
    (void)state;
    const slice text = TEXT(" Caf\xc3\xa9\xe6\x9d\xb1!");
    assert_true(tokenize(&golden, text, SIZE_MAX, &t, &e));
    assert_int_equal(t.item[1].begin, 1);
    assert_int_equal(t.item[t.count - 4].end, 6);
    assert_int_equal(t.item[t.count - 3].begin, 6);
    assert_int_equal(t.item[t.count - 3].end, 9);
    assert_int_equal(t.item[t.count - 2].begin, 9);
    assert_false(t.item[t.count - 2].inside);
    tokens_free(&t);
}

static char folder[64];

static void refused(const char *name, const char *text, const char *why) {
    example_error e = {""};
    vocab v;
    assert_true(tiny_put(folder, name, text, strlen(text)));
    if (vocab_open(&v, folder, &e) || strstr(e.text, why) == NULL)
        fail_msg("expected '%s' for %s, got '%s'", why, text, e.text);
}

#define SPECIAL "\"[CLS]\": 0, \"[SEP]\": 1, \"[UNK]\": 2"

static void test_json(void **state) {
    example_error e = {""};
    vocab v;
    tokens t;
    (void)state;
    folder_make(folder);
    assert_false(vocab_open(&v, folder, &e));
    refused("vocab.txt", "[CLS]\n[SEP]\n", "there is no token [UNK]");
    refused("tokenizer.json", "", "line 1");
    refused("tokenizer.json", "[]", "not WordPiece");
    refused("tokenizer.json", "{\"model\": {\"type\": \"BPE\", \"vocab\": {}}}", "not WordPiece");
    refused("tokenizer.json", "{\"model\": {\"vocab\": {}}}", "there is no token [CLS]");
    refused("tokenizer.json", "{\"model\": {\"vocab\": {\"a\": -1}}}", "id of the token 'a'");
    refused("tokenizer.json", "{\"model\": {\"vocab\": {\"a\": 99999999999}}}", "id of the token 'a'");
    refused("tokenizer.json", "{\"model\": {\"vocab\": {\"a\": 1, \"b\": 1}}}", "two tokens have the id 1");
    refused("tokenizer.json", "{\"model\": {\"vocab\": {}, \"max_input_chars_per_word\": 0}}", "max_input_chars");
    refused("tokenizer.json", "{\"model\": {\"vocab\": {" SPECIAL "}}, \"added_tokens\": [{}]}", "has no content");
    const char *cased =
        "{\"normalizer\": {\"lowercase\": false, \"strip_accents\": null}, \"model\": {\"vocab\": {" SPECIAL
        ", \"A\": 7, \"\xc3\x89\": 4, \"<x>\": 5}}, \"added_tokens\": [{\"content\": \"<x>\", \"id\": 5}]}";
    assert_true(tiny_put(folder, "tokenizer.json", cased, strlen(cased)));
    assert_true(vocab_open(&v, folder, &e));
    assert_true(tokenize(&v, TEXT("A a <x>\xc3\x89"), SIZE_MAX, &t, &e));
    char got[64];
    print_ids(&t, got, sizeof got);
    assert_string_equal(got, "0 7 2 5 4 1");
    tokens_free(&t);
    vocab_free(&v);
    folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden), cmocka_unit_test(test_invalid_utf8),      cmocka_unit_test(test_limits),
        cmocka_unit_test(test_json),   cmocka_unit_test(test_words_have_places),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
