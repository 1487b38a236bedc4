/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/parse.h"

#include <string.h>

#define DEPTH_MAX 32

typedef struct parser {
    char *at;
    parse_event event;
    void *data;
    const char *array; /* key of the outermost array */
    size_t depth;      /* objects that are open */
    size_t nested;     /* these and arrays */
} parser;

static void skip(parser *p) { p->at += strspn(p->at, " \t\r\n"); }

static bool take(parser *p, char c) {
    skip(p);
    if (*p->at != c)
        return false;
    p->at++;
    return true;
}

/* A string, ended in place; escapes shrink it. What is beyond ASCII in \u becomes '?': names of ours have none. */
static char *take_string(parser *p) {
    if (!take(p, '"'))
        return NULL;
    char *begin = p->at, *to = begin;
    for (; *p->at != '"'; p->at++) {
        if (*p->at == '\0')
            return NULL;
        if (*p->at != '\\') {
            *to++ = *p->at;
            continue;
        }
        static const char from[] = "nrtbf", into[] = "\n\r\t\b\f";
        const char *known = *++p->at != '\0' ? strchr(from, *p->at) : NULL;
        if (*p->at == '\0' || (*p->at == 'u' && strlen(p->at) < 5))
            return NULL;
        *to = *p->at;
        if (known != NULL)
            *to = into[known - from];
        if (*p->at == 'u') {
            *to = '?';
            p->at += 4;
        }
        to++;
    }
    p->at++;
    *to = '\0';
    return begin;
}

static void tell(parser *p, const char *key, const char *text) {
    const parse_value value = {.key = key, .array = p->array, .depth = p->depth, .text = text};
    p->event(p->data, &value);
}

/* A number or a word. */
static bool take_word(parser *p, const char *key) {
    const size_t length = strcspn(p->at, ",]} \t\r\n");
    const char end = p->at[length];
    if (length == 0)
        return false;
    p->at[length] = '\0';
    tell(p, key, p->at);
    p->at[length] = end;
    p->at += length;
    return true;
}

static bool take_value(parser *p, const char *key);

/* NOLINTNEXTLINE(misc-no-recursion): as deep as DEPTH_MAX */
static bool take_array(parser *p, const char *key) {
    const bool outermost = p->depth == 1 && *p->array == '\0';
    if (outermost)
        p->array = key;
    if (!take(p, ']')) {
        do
            if (!take_value(p, ""))
                return false;
        while (take(p, ','));
        if (!take(p, ']'))
            return false;
    }
    if (outermost)
        p->array = "";
    return true;
}

/* NOLINTNEXTLINE(misc-no-recursion) */
static bool take_object(parser *p) {
    if (!take(p, '}')) {
        do {
            const char *key = take_string(p);
            if (key == NULL || !take(p, ':') || !take_value(p, key))
                return false;
        } while (take(p, ','));
        if (!take(p, '}'))
            return false;
    }
    tell(p, "", NULL);
    return true;
}

/* NOLINTNEXTLINE(misc-no-recursion) */
static bool take_value(parser *p, const char *key) {
    skip(p);
    if (*p->at == '"') {
        const char *text = take_string(p);
        if (text != NULL)
            tell(p, key, text);
        return text != NULL;
    }
    if (*p->at != '{' && *p->at != '[')
        return take_word(p, key);
    if (p->nested == DEPTH_MAX)
        return false;
    const bool array = *p->at++ == '[';
    p->nested++;
    p->depth += array ? 0 : 1;
    const bool good = array ? take_array(p, key) : take_object(p);
    p->depth -= array ? 0 : 1;
    p->nested--;
    return good;
}

const char *parse_json(char *text, parse_event event, void *data) {
    parser p = {.at = text, .event = event, .data = data, .array = ""};
    const bool good = take_value(&p, "");
    skip(&p);
    return good && *p.at == '\0' ? NULL : p.at;
}
