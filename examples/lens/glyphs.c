/* SPDX-License-Identifier: BSD-3-Clause */
#include "glyphs.h"

#include <stdlib.h>
#include <utf8proc.h>

static bool is_white(int32_t code) {
    const utf8proc_category_t kind = utf8proc_category(code);
    return code == '\t' || code == '\n' || code == '\r' || kind == UTF8PROC_CATEGORY_ZS ||
           kind == UTF8PROC_CATEGORY_ZL || kind == UTF8PROC_CATEGORY_ZP;
}

static bool is_dropped(int32_t code) {
    const utf8proc_category_t kind = utf8proc_category(code);
    return code == 0 || code == 0xFFFD || kind == UTF8PROC_CATEGORY_CC || kind == UTF8PROC_CATEGORY_CF ||
           kind == UTF8PROC_CATEGORY_CO;
}

/* The ideographs of Chinese, not the alphabets of Japanese and Korean, which are written with spaces. */
static bool is_cjk(int32_t code) {
    static const int32_t range[][2] = {{0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F},
                                       {0x2B740, 0x2B81F}, {0x2B820, 0x2CEAF}, {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
    for (size_t i = 0; i < sizeof range / sizeof *range; i++)
        if (code >= range[i][0] && code <= range[i][1])
            return true;
    return false;
}

bool glyph_is_punctuation(int32_t code) {
    if (code < 128)
        return (code >= 33 && code <= 47) || (code >= 58 && code <= 64) || (code >= 91 && code <= 96) ||
               (code >= 123 && code <= 126);
    const utf8proc_category_t kind = utf8proc_category(code);
    return kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO;
}

static int combining_class(int32_t code) { return (int)utf8proc_get_property(code)->combining_class; }

/* In canonical order: combining marks by their class. */
static void push(glyphs *g, glyph added) {
    const int class = combining_class(added.code);
    size_t place = g->count++;
    for (; class > 0 && place > 0 && combining_class(g->item[place - 1].code) > class; place--)
        g->item[place] = g->item[place - 1];
    g->item[place] = added;
}

static void push_letter(glyphs *g, const glyph_rules *rules, glyph letter) {
    if (rules->strip_accents && utf8proc_category(letter.code) == UTF8PROC_CATEGORY_MN)
        return;
    if (rules->lower)
        letter.code = utf8proc_tolower(letter.code);
    push(g, letter);
}

static void push_decomposed(glyphs *g, const glyph_rules *rules, glyph source) {
    int32_t part[8]; /* a canonical decomposition has at most 4 */
    int boundary = 0;
    const long count = (long)utf8proc_decompose_char(source.code, part, 8, UTF8PROC_DECOMPOSE, &boundary);
    for (long i = 0; i < count && i < 8; i++)
        push_letter(g, rules, (glyph){part[i], source.begin, source.end});
}

static void push_source(glyphs *g, const glyph_rules *rules, glyph source) {
    const glyph space = {' ', source.begin, source.begin};
    const bool apart = rules->split_cjk && is_cjk(source.code);
    if (apart)
        push(g, space);
    if (rules->strip_accents)
        push_decomposed(g, rules, source);
    else
        push_letter(g, rules, source);
    if (apart)
        push(g, space);
}

bool glyphs_append(glyphs *g, const glyph_rules *rules, slice text, size_t begin, size_t end, example_error *e) {
    while (begin < end) {
        int32_t code;
        const long length =
            (long)utf8proc_iterate((const utf8proc_uint8_t *)text.data + begin, (long)(end - begin), &code);
        if (length <= 0)
            return example_fail(e, "invalid UTF-8 at byte %zu (0x%02X)", begin,
                                (unsigned)(unsigned char)text.data[begin]);
        if (!reserve((void *)&g->item, &g->capacity, g->count + 10, sizeof *g->item, e))
            return false;
        const size_t next = begin + (size_t)length;
        if (is_dropped(code) && code != '\t' && code != '\n' && code != '\r')
            code = -1;
        if (code >= 0 && is_white(code))
            push(g, (glyph){' ', begin, next});
        else if (code >= 0)
            push_source(g, rules, (glyph){code, begin, next});
        begin = next;
    }
    return true;
}

void glyphs_free(glyphs *g) {
    free(g->item);
    *g = (glyphs){0};
}
