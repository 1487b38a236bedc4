/* SPDX-License-Identifier: BSD-3-Clause */
#include "report/picture.h"

#include <string.h>

#include "base/text.h"

void picture_text(const picture *p, const char *class, double x, double y, const char *text) {
    fprintf(p->file, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", class, x, y);
    text_xml(p->file, text);
    fputs("</text>\n", p->file);
}

/* How much of the text fits a line: up to a space if there is one. */
static size_t fitting(const char *text, size_t limit) {
    size_t length = strlen(text);
    if (length <= limit)
        return length;
    for (size_t n = limit; n > limit / 2; n--)
        if (text[n] == ' ')
            return n;
    return limit;
}

void picture_note(picture *p, const char *text) {
    char line[300];
    size_t limit = (size_t)((p->width - 2 * MARGIN) / CHARACTER);
    limit = limit < sizeof line ? limit : sizeof line - 1;
    while (*text != '\0') {
        size_t n = fitting(text, limit);
        text_print(line, sizeof line, "%.*s", (int)n, text);
        picture_text(p, "note", MARGIN, p->y, line);
        p->y += LINE_HEIGHT - 2;
        text += n + strspn(text + n, " ");
    }
}
