/* SPDX-License-Identifier: BSD-3-Clause */
/* The tokenizer: pieces, ids beside those of the tokenizers package, and vocabularies that lie. */
#include <stdlib.h>
#include <string.h>

#include "bpe.h"
#include "pieces.h"
#include "support/support.h"
#include "tiny.h"

static bpe *open_file(const bytes *b, example_error *e) {
    gguf *g = tiny_open(b, e);
    bpe *made = g == NULL ? NULL : bpe_open(g, e);
    gguf_close(g);
    return made;
}

static bpe *open_tiny(void) {
    example_error e = {""};
    bytes b = tiny_make(GGUF_Q4_1, GGUF_Q6_K);
    bpe *made = open_file(&b, &e);
    free(b.data);
    if (made == NULL)
        fail_msg("%s", e.text);
    return made;
}

static slice of(const char *text) { return (slice){text, strlen(text)}; }

static void test_pieces(void **state) {
    static const struct {
        const char *text, *digits_alone, *gpt2;
    } table[] = {
        {"", "", ""},
        {"it's 12 o'clock", "it|'s| |1|2| o|'|clock|", "it|'s| 12| o|'|clock|"},
        {"a  b\n\nc \n", "a| | b|\n|\n|c| \n|", "a| | b|\n|\n|c| \n|"},
        {"  7", "  |7|", " | 7|"},
        {"x  7 ", "x|  |7| |", "x| | 7| |"},
        {" '' 's", " ''| '|s|", " ''| '|s|"},
        {"\xff\xfe ok\xc3", "\xff\xfe| ok|\xc3|", "\xff\xfe| ok|\xc3|"},
        {"\t word", "\t| word|", "\t| word|"},
        {"\tword", "\t|word|", "\t|word|"},
    };
    (void)state;
    for (size_t i = 0; i < 2 * COUNT(table); i++) {
        char got[64] = "";
        const char *text = table[i / 2].text, *want = i % 2 != 0 ? table[i / 2].digits_alone : table[i / 2].gpt2;
        pieces p = {text, text + strlen(text), i % 2 != 0};
        for (slice s = pieces_next(&p); s.size > 0; s = pieces_next(&p))
            snprintf(got + strlen(got), sizeof got - strlen(got), "%.*s|", (int)s.size, s.data);
        name_case("'%s'", text);
        assert_string_equal(got, want);
    }
}

static void assert_same(const char *got, slice want) {
    if (strlen(got) != want.size || memcmp(got, want.data, want.size) != 0)
        fail_msg("got '%s', expected '%.*s'", got, (int)want.size, want.data);
}

/* The ids of each line of golden/lines.txt, and the text that they make again. */
static void test_golden(void **state) {
    example_error e = {""};
    lines text, ids;
    (void)state;
    bpe *b = open_tiny();
    assert_true(lines_read(&text, GOLDEN "/lines.txt", &e) && lines_read(&ids, GOLDEN "/ids.txt", &e));
    assert_int_equal(ids.count, text.count);
    for (size_t i = 0; i < text.count; i++) {
        id_list list = {0};
        char got[1024] = "", again[1024] = "";
        name_case("line %zu", i + 1);
        assert_true(bpe_encode(b, text.line[i], true, &list, &e));
        for (size_t n = 0; n < list.count; n++) {
            const slice token = bpe_text(b, list.item[n]);
            snprintf(got + strlen(got), sizeof got - strlen(got), "%s%d", n == 0 ? "" : " ", (int)list.item[n]);
            snprintf(again + strlen(again), sizeof again - strlen(again), "%.*s", (int)token.size, token.data);
        }
        id_list_free(&list);
        assert_same(got, ids.line[i]);
        assert_same(again, text.line[i]);
    }
    assert_true(text.count > 10);
    lines_free(&text);
    lines_free(&ids);
    bpe_close(b);
}

static void test_special(void **state) {
    example_error e = {""};
    id_list list = {0};
    (void)state;
    bpe *b = open_tiny();
    assert_int_equal(bpe_find(b, "<|im_end|>"), 2);
    assert_int_equal(bpe_find(b, "<|im_en|>"), -1);
    assert_true(bpe_is_special(b, 2) && !bpe_is_special(b, 3));
    assert_true(bpe_encode(b, of("<|im_end|>"), false, &list, &e) && list.count == 10);
    assert_true(bpe_encode(b, of("<|im_end|>"), true, &list, &e) && list.count == 11 && list.item[10] == 2);
    list.count = 0; /* a byte without a token, and one that is no UTF-8 */
    assert_true(bpe_encode(b, of("\xff\xfe"), false, &list, &e) && list.count == 2 && list.item[0] == 0);
    list.count = 0; /* a piece of 2^19 letters takes no time that grows with its square */
    char *long_word = malloc(1 << 19);
    assert_non_null(long_word);
    memset(long_word, 'l', 1 << 19);
    assert_true(bpe_encode(b, (slice){long_word, 1 << 19}, false, &list, &e));
    assert_int_equal(list.count, 1 << 18);
    free(long_word);
    id_list_free(&list);
    bpe_close(b);
}

/* The tiny model with `from` made `to`, of the same length. */
static void refused(const char *from, const char *to, size_t size, const char *why) {
    example_error e = {""};
    bytes b = tiny_changed(from, to, size);
    bpe *made = open_file(&b, &e);
    free(b.data);
    if (made != NULL || strstr(e.text, why) == NULL)
        fail_msg("expected '%s', got '%s'", why, e.text);
}

static void test_refuses(void **state) {
    (void)state;
    refused("smollm", "smolll", 6, "tokenizer 'gpt2', 'smolll' is not known");
    refused("gpt2", "gpt3", 4, "tokenizer 'gpt3'");
    refused("h e", "h_e", 3, "merges[1] is no pair");
    refused("h e", "\x01 e", 3, "merges[1] is no pair");
    refused("h e", "h z", 3, "merges[1] is of no tokens");
    refused("ggml.tokens", "ggml.tokenz", 11, "there is no 'tokenizer.ggml.tokens'");
    refused("ggml.merges", "ggml.mergez", 11, "there is no 'tokenizer.ggml.merges'");
    refused("user", "us\xff\xff", 4, "is no text of bytes");
    refused("unknown_token_id\4\0\0\0\0\0", "unknown_token_id\4\0\0\0\0\x7f", 22, "there is no token 32512");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_pieces),
        TEST(test_golden),
        TEST(test_special),
        TEST(test_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
