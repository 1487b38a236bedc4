/* SPDX-License-Identifier: BSD-3-Clause */
#include "pieces.h"

#include <string.h>
#include <utf8proc.h>

typedef enum kind { END, LETTER, NUMBER, SPACE, OTHER } kind;

static bool is_space(int32_t code) {
    return (code >= 9 && code <= 13) || code == ' ' || code == 0x85 || code == 0xa0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f ||
           code == 0x3000;
}

static kind kind_of(int32_t code) {
    if (is_space(code))
        return SPACE;
    switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return NUMBER;
    default:
        return OTHER;
    }
}

/* The kind of the character at `at`, and its end. */
static kind look(const pieces *p, const char *at, const char **next) {
    utf8proc_int32_t code;
    *next = at;
    if (at == p->end)
        return END;
    const utf8proc_ssize_t size = utf8proc_iterate((const utf8proc_uint8_t *)at, p->end - at, &code);
    *next = at + (size > 0 ? size : 1);
    return size > 0 ? kind_of(code) : OTHER;
}

/* Where digits are alone, the text ends at each. */
static kind look_within(const pieces *p, const char *at, const char **next) {
    const kind k = look(p, at, next);
    return p->digits && k == NUMBER ? END : k;
}

static const char *run_end(const pieces *p, const char *at, kind k) {
    const char *next;
    while (look_within(p, at, &next) == k)
        at = next;
    return at;
}

/* 's and the like; NULL: none is here. */
static const char *contraction_end(const pieces *p) {
    static const char *const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const size_t size = strlen(endings[i]);
        if (size <= (size_t)(p->end - p->at) && memcmp(p->at, endings[i], size) == 0)
            return p->at + size;
    }
    return NULL;
}

/* All of a run of white space but its last character, if something follows that may take it. */
static const char *space_end(const pieces *p) {
    const char *last = p->at, *at = p->at, *next;
    for (; look_within(p, at, &next) == SPACE; at = next)
        last = at;
    return look_within(p, at, &next) == END || last == p->at ? at : last;
}

static const char *piece_end(const pieces *p) {
    const char *next, *end = contraction_end(p);
    if (end != NULL)
        return end;
    const kind first = look(p, p->at, &next);
    if (p->digits && first == NUMBER)
        return next;
    if (first != SPACE)
        return run_end(p, p->at, first);
    const char *after = next;
    const kind second = look_within(p, after, &next);
    return *p->at == ' ' && second != SPACE && second != END ? run_end(p, after, second) : space_end(p);
}

slice pieces_next(pieces *p) {
    const char *begin = p->at;
    if (begin == p->end)
        return (slice){begin, 0};
    p->at = piece_end(p);
    return (slice){begin, (size_t)(p->at - begin)};
}
