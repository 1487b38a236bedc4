/* SPDX-License-Identifier: BSD-3-Clause */
#include "report/winner.h"

#include "base/text.h"
#include "report/panel.h"

#define FIELD_WIDTH 84
#define FIELD_HEIGHT 30
#define FIELDS_LEFT 90
#define WORD_WIDTH 50

static void put_field(const picture *p, size_t index, double x, double y) {
    char text[200];
    bool tie;
    const sweep *s = p->sweep;
    const size_t best = sweep_winner(s, index, &tie);
    if (best == s->backends.running)
        return;
    fprintf(p->file, "<rect class=\"tile %s%zu\" x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%d\"><title>",
            tie ? "even s" : "s", best % PANEL_STYLES, x, y, FIELD_WIDTH - 3, FIELD_HEIGHT - 3);
    case_name(&s->cases[index], text, sizeof text);
    fprintf(p->file, "%s: ", text);
    text_xml(p->file, s->backends.item[best].label);
    fprintf(p->file, ", %.1f %s%s</title></rect>\n", sweep_speed(s, index, best), case_unit(&s->cases[index]),
            tie ? ", and others as fast" : "");
    panel_marker(p->file, best, x + 14, y + FIELD_HEIGHT / 2.0 - 1.5);
    fputs("</path>\n", p->file);
    text_print(text, sizeof text, "%.0f%s%s", sweep_speed(s, index, best), tie ? " =" : "",
               sweep_fell(s, index) ? " !" : "");
    picture_text(p, "value", x + 48, y + FIELD_HEIGHT / 2.0 + 3, text);
}

static void put_lengths(const picture *p, size_t first, size_t line) {
    char text[40];
    picture_text(p, "note", MARGIN, p->y + 14, "heads");
    for (size_t i = 0; i < line; i++) {
        text_print(text, sizeof text, "%zu", p->sweep->cases[first + i].T);
        picture_text(p, "value", FIELDS_LEFT + ((double)i + 0.5) * FIELD_WIDTH, p->y + 14, text);
    }
    picture_text(p, "note", FIELDS_LEFT + (double)line * FIELD_WIDTH + 8, p->y + 14, "tokens");
}

double winner_width(const sweep *s) {
    size_t most = 0;
    for (size_t first = 0; first < s->count; first += sweep_section(s, first))
        most = sweep_line(s, first) > most ? sweep_line(s, first) : most;
    return FIELDS_LEFT + (double)most * FIELD_WIDTH + WORD_WIDTH + MARGIN;
}

void winner_draw(picture *p, size_t first, size_t count) {
    char text[40];
    const size_t line = sweep_line(p->sweep, first);
    put_lengths(p, first, line);
    p->y += 22;
    for (size_t i = 0; i < count; i++) {
        const double x = FIELDS_LEFT + (double)(i % line) * FIELD_WIDTH;
        const size_t row = i / line;
        const double y = p->y + (double)row * FIELD_HEIGHT;
        if (i % line == 0) {
            text_print(text, sizeof text, "%zu", p->sweep->cases[first + i].H);
            picture_text(p, "key", MARGIN, y + FIELD_HEIGHT / 2.0 + 3, text);
        }
        put_field(p, first + i, x, y);
    }
    const size_t rows = count / line;
    p->y += (double)rows * FIELD_HEIGHT + 16;
}
