/* SPDX-License-Identifier: BSD-3-Clause */
#include "report/svg.h"

#include <attn/attn.h>
#include <math.h>
#include <string.h>

#include "base/text.h"
#include "machine/peak.h"
#include "report/lines.h"
#include "report/panel.h"
#include "report/picture.h"
#include "report/roofline.h"
#include "report/winner.h"

#define COLUMNS_MAX 4
#define COLUMNS_LEAST 2
#define TITLE_HEIGHT 56
#define NOTE_HEIGHT 24
#define SECTION_HEIGHT 30

/* Colours: Okabe and Ito, "Color Universal Design", 2008, with a grey and a purple that read on white and on black:
 * a backend has one colour on both. Dashes and markers tell the lines apart where colours do not. */
static const char style[] =
    "<style>\n"
    "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;fill:#1f2328}\n"
    ".page{fill:#ffffff}\n"
    ".title{font-size:20px;font-weight:600}\n"
    ".note,.tick{font-size:12px;fill:#59636e}\n"
    ".key{font-size:12px}\n"
    ".section{font-size:15px;font-weight:600}\n"
    ".panel{font-size:13px;font-weight:600}\n"
    ".grid{stroke:#d8dee4;stroke-width:1}\n"
    ".halo{stroke:#ffffff;stroke-width:4;paint-order:stroke;stroke-linejoin:round}\n"
    ".axis{stroke:#59636e;stroke-width:1}\n"
    ".peak{stroke:#59636e;stroke-width:1.5;stroke-dasharray:1 3;stroke-linecap:round}\n"
    ".line{stroke-width:2;stroke-linejoin:round}\n"
    ".bar{stroke-width:1.5;stroke-opacity:.6}\n"
    ".mark.mark{stroke:#ffffff;stroke-width:1;stroke-dasharray:none}\n"
    ".bar.bar{stroke-dasharray:none}\n"
    ".line.line{fill:none}\n"
    ".s0{stroke:#0072b2;fill:#0072b2}\n"
    ".s1{stroke:#d55e00;fill:#d55e00;stroke-dasharray:9 5}\n"
    ".s2{stroke:#009e73;fill:#009e73;stroke-dasharray:3 3}\n"
    ".s3{stroke:#cc79a7;fill:#cc79a7;stroke-dasharray:12 4 3 4}\n"
    ".s4{stroke:#e69f00;fill:#e69f00;stroke-dasharray:6 3}\n"
    ".s5{stroke:#56b4e9;fill:#56b4e9;stroke-dasharray:2 5}\n"
    ".s6{stroke:#808080;fill:#808080;stroke-dasharray:10 3 2 3 2 3}\n"
    ".s7{stroke:#aa3377;fill:#aa3377;stroke-dasharray:1 4}\n"
    ".tile.tile{fill-opacity:.28;stroke-width:1;stroke-dasharray:none}\n"
    ".even.even{fill-opacity:.1;stroke-dasharray:3 3}\n"
    ".value{font-size:12px;text-anchor:middle}\n"
    ".roof{fill:none;stroke:#59636e;stroke-width:1.5}\n"
    "@media (prefers-color-scheme:dark){\n"
    "text{fill:#e6edf3}\n"
    ".page{fill:#0d1117}\n"
    ".note,.tick{fill:#9da7b1}\n"
    ".grid{stroke:#2b323b}\n"
    ".axis,.peak{stroke:#9da7b1}\n"
    ".mark.mark,.halo{stroke:#0d1117}\n"
    ".roof{stroke:#9da7b1}\n"
    "}\n"
    "</style>\n";

static size_t key_text(const sweep *s, size_t b, char *to, size_t size) {
    char about[200];
    backend_describe(&s->backends.item[b], about, sizeof about);
    text_print(to, size, "%s (%s)", s->backends.item[b].label, about);
    return strlen(to);
}

/* How wide an entry of the key is: all the same, so that they stand in columns. */
static double key_width(const sweep *s) {
    char text[300];
    size_t longest = 0;
    for (size_t b = 0; b < s->backends.running; b++) {
        size_t length = key_text(s, b, text, sizeof text);
        longest = length > longest ? length : longest;
    }
    return 44 + CHARACTER * (double)longest + 20;
}

static size_t key_columns(const picture *p) {
    double columns = floor((p->width - 2 * MARGIN) / key_width(p->sweep));
    return columns >= 1 ? (size_t)columns : 1;
}

static size_t key_rows(const picture *p) { return (p->sweep->backends.running + key_columns(p) - 1) / key_columns(p); }

static void put_key(picture *p) {
    char text[300];
    const size_t columns = key_columns(p);
    for (size_t b = 0; b < p->sweep->backends.running; b++) {
        const size_t row = b / columns;
        double x = MARGIN + (double)(b % columns) * key_width(p->sweep);
        double y = p->y + (double)row * LINE_HEIGHT;
        key_text(p->sweep, b, text, sizeof text);
        fprintf(p->file, "<path class=\"line s%zu\" d=\"M%.1f %.1fh36\"/>\n", b % PANEL_STYLES, x, y);
        panel_marker(p->file, b, x + 18, y);
        fputs("</path>\n", p->file);
        picture_text(p, "key", x + 44, y + 4, text);
    }
    p->y += (double)key_rows(p) * LINE_HEIGHT + 10;
}

static void put_section(picture *p, size_t first, size_t count) {
    char title[200], text[240];
    case_title(&p->sweep->cases[first], title, sizeof title);
    text_print(text, sizeof text, "%s (%s)", title, case_unit(&p->sweep->cases[first]));
    picture_text(p, "section", MARGIN, p->y + 20, text);
    p->y += SECTION_HEIGHT;
    if (p->kind == CHART_WINNER)
        winner_draw(p, first, count);
    else
        lines_draw(p, first, count);
}

static const struct {
    const char *title, *note;
} chart_table[] = {
    [CHART_LENGTH] = {"Attention speed by sequence length",
                      "Median of the rounds; the bar behind a point spans the quartiles. The dotted line is the "
                      "peak of what is multiplied, measured in the same run."},
    [CHART_HEADS] = {"Attention speed by heads", "Median of the rounds; the bar behind a point spans the quartiles."},
    [CHART_WINNER] =
        {"Fastest backend by sequence length and heads",
         "The mark is the winner's, the number its speed. = is a tie, in a lighter tint: others are as fast within the "
         "noise, and the first of them in the key stands for all."},
    [CHART_ROOFLINE] = {"Roofline",
                        "Both axes are logarithmic. The roof is the peak and the read bandwidth, measured in the "
                        "same run; a point above its slope ran from the caches."},
};

static void put_remarks(picture *p) {
    char text[800];
    const backends *set = &p->sweep->backends;
    text_print(text, sizeof text, "Default: %s", set->choice);
    picture_note(p, text);
    backends_note(set, text, sizeof text);
    picture_note(p, text);
    sweep_noise(p->sweep, text, sizeof text);
    picture_note(p, text);
    for (size_t b = set->running; b < set->count; b++) {
        text_print(text, sizeof text, "Not run: %s: %s", set->item[b].label, set->item[b].child.reason);
        picture_note(p, text);
    }
}

static void put_machine(picture *p) {
    char text[400];
    const machine *m = &p->sweep->machine;
    text_print(text, sizeof text, "libattn %s on %s, %zu CPU%s, %s, %.10s", attn_version(), m->cpu, m->cpus,
               m->cpus == 1 ? "" : "s", peak_isa(PEAK_F32), m->date);
    picture_text(p, "note", MARGIN, p->y, text);
    p->y += NOTE_HEIGHT;
}

static void put_head(picture *p) {
    picture_text(p, "title", MARGIN, 34, chart_table[p->kind].title);
    p->y = TITLE_HEIGHT;
    if (p->alone)
        put_machine(p);
    put_key(p);
}

/* Draws into a file that is thrown away or kept: the height is known only when all is drawn. */
static void put_body(picture *p) {
    const sweep *s = p->sweep;
    put_head(p);
    for (size_t first = 0, n; p->kind != CHART_ROOFLINE && first < s->count; first += n) {
        n = sweep_section(s, first);
        put_section(p, first, n);
    }
    if (p->kind == CHART_ROOFLINE)
        roofline_draw(p);
    p->y += LINE_HEIGHT - 4;
    picture_note(p, chart_table[p->kind].note);
    if (p->alone)
        put_remarks(p);
}

static double body_height(const picture *p) {
    picture trial = *p;
    trial.file = tmpfile();
    if (trial.file == NULL)
        return 0;
    put_body(&trial);
    fclose(trial.file);
    return trial.y + MARGIN - LINE_HEIGHT / 2.0;
}

/* As many panels side by side as the widest section has. A report has two, so that all its charts are as wide as a
 * page, none is scaled, and their texts are of one size. */
static size_t columns_of(const picture *p) {
    const sweep *s = p->sweep;
    size_t most = COLUMNS_LEAST;
    for (size_t first = 0, n; p->alone && first < s->count; first += n) {
        n = sweep_section(s, first);
        const size_t line = sweep_line(s, first), panels = p->kind == CHART_HEADS ? line : n / line;
        most = panels > most && p->kind != CHART_WINNER && p->kind != CHART_ROOFLINE ? panels : most;
    }
    return most < COLUMNS_MAX ? most : COLUMNS_MAX;
}

static void draw(picture *p) {
    p->columns = columns_of(p);
    p->width = 2 * MARGIN + (double)p->columns * PANEL_WIDTH;
    if (p->kind == CHART_WINNER)
        p->width = fmax(p->width, winner_width(p->sweep));
    const double height = body_height(p);
    fprintf(p->file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"%.0f\" height=\"%.0f\" "
            "viewBox=\"0 0 %.0f %.0f\">\n<title>%s</title>\n",
            p->width, height, p->width, height, chart_table[p->kind].title);
    if (p->alone)
        svg_style(p->file);
    fprintf(p->file, "<rect class=\"page\" width=\"%.0f\" height=\"%.0f\"/>\n", p->width, height);
    put_body(p);
    fputs("</svg>\n", p->file);
}

void svg_style(FILE *file) { fputs(style, file); }

void svg_write(const sweep *s, chart_kind kind, FILE *file) {
    picture p = {.sweep = s, .file = file, .kind = kind, .alone = true};
    draw(&p);
}

void svg_embed(const sweep *s, chart_kind kind, FILE *file) {
    picture p = {.sweep = s, .file = file, .kind = kind};
    draw(&p);
}
