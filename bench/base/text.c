/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void text_print(char *to, size_t size, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(to, size, format, arguments);
    va_end(arguments);
}

void text_quantity(char *to, size_t size, double value, const char *unit) {
    static const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};
    size_t i = 0;
    for (; value >= 999.5 && i + 1 < sizeof prefixes / sizeof *prefixes; i++)
        value /= 1000;
    text_print(to, size, "%.*f %s%s", value >= 99.95 || i == 0 ? 0 : value >= 9.995 ? 1 : 2, value, prefixes[i], unit);
}

char *text_next(char **rest, char separator) {
    char *field = *rest;
    char *end = field == NULL ? NULL : strchr(field, separator);
    if (end != NULL)
        *end++ = '\0';
    *rest = end;
    return field;
}

bool text_numbers(const char *text, double *to, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char *end;
        to[i] = strtod(text, &end);
        if (end == text)
            return false;
        text = end;
    }
    return true;
}

void text_flatten(char *text) {
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ')
            *text = ' ';
}

void text_json(FILE *file, const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            fprintf(file, "\\%c", *text);
        else if ((unsigned char)*text < ' ')
            fprintf(file, "\\u%04x", (unsigned)*text);
        else
            fputc(*text, file);
    }
}

/* Control characters are not allowed in XML in any form. */
void text_xml(FILE *file, const char *text) {
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            fputs("&amp;", file);
            break;
        case '<':
            fputs("&lt;", file);
            break;
        case '>':
            fputs("&gt;", file);
            break;
        case '"':
            fputs("&quot;", file);
            break;
        default:
            fputc((unsigned char)*text < ' ' ? ' ' : *text, file);
        }
    }
}
