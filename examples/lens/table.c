/* SPDX-License-Identifier: BSD-3-Clause */
/* The scores in a terminal: rows attend to columns, per cent, darker for more. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "scene.h"

#define CELL_MIN 7
#define CELL_MAX 12
#define LABEL_MAX 16
#define FILE_WIDTH 120

typedef struct table {
    const scene *scene;
    FILE *file;
    size_t label, cell; /* columns of the terminal */
    bool colour;
} table;

static void put_label(const table *t, const char *text, size_t width, bool right) {
    const size_t bytes = text_fitting(text, width);
    char part[256];
    snprintf(part, sizeof part, "%.*s", (int)bytes, text);
    const int space = (int)(width - text_width(part));
    fprintf(t->file, "%*s%s%*s", right ? space : 0, "", part, right ? 0 : space, "");
}

static void put_cell(const table *t, float score) {
    static const char *const shade[] = {" ", "░", "▒", "▓", "█"};
    const int level = score < 0.025F ? 0 : score < 0.1F ? 1 : score < 0.25F ? 2 : score < 0.5F ? 3 : 4;
    if (t->colour) /* the blue of the 256 colours, from the page's own to full; dark text on light, light on dark */
        fprintf(t->file, "%s",
                (const char *const[]){"", "\033[48;5;153;38;5;16m", "\033[48;5;75;38;5;16m", "\033[48;5;32;38;5;231m",
                                      "\033[48;5;24;38;5;231m"}[level]);
    fprintf(t->file, "%*s%s%3.0f%%%s", (int)t->cell - 6, "", t->colour ? " " : shade[level], 100 * (double)score,
            t->colour && level > 0 ? "\033[0m" : "");
    fputc(' ', t->file);
}

static void put_columns(const table *t, size_t first, size_t last) {
    const scene *s = t->scene;
    fprintf(t->file, "%*s", (int)t->label + 1, "");
    for (size_t j = first; j < last; j++) {
        put_label(t, s->words.label[j], t->cell - 1, true);
        fputc(' ', t->file);
    }
    fputc('\n', t->file);
    for (size_t i = s->first; i < s->last; i++) {
        put_label(t, s->words.label[i], t->label, false);
        fputc(' ', t->file);
        for (size_t j = first; j < last; j++)
            put_cell(t, scene_score(s, i, j));
        fputc('\n', t->file);
    }
}

static size_t terminal_width(FILE *file) {
    struct winsize size;
    if (isatty(fileno(file)) == 0 || ioctl(fileno(file), TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return FILE_WIDTH;
    return size.ws_col;
}

static size_t clamp(size_t value, size_t low, size_t high) { return value < low ? low : value > high ? high : value; }

static bool wants_colour(FILE *file) {
    const char *off = getenv("NO_COLOR"); /* no-color.org */
    return isatty(fileno(file)) != 0 && (off == NULL || *off == '\0');
}

void table_write(const void *data, FILE *file) {
    const scene *s = data;
    char about[200];
    size_t longest = 0;
    for (size_t i = s->first; i < s->last; i++)
        longest = text_width(s->words.label[i]) > longest ? text_width(s->words.label[i]) : longest;
    const table t = {.scene = s,
                     .file = file,
                     .label = clamp(longest, 1, LABEL_MAX),
                     .cell = clamp(longest + 1, CELL_MIN, CELL_MAX),
                     .colour = wants_colour(file)};
    const size_t room = terminal_width(file), columns = room > t.label + 1 + t.cell ? (room - t.label - 1) / t.cell : 1;
    scene_describe(s, about, sizeof about);
    fprintf(file, "What each word (row) attends to: %s\n", about);
    for (size_t j = s->first; j < s->last; j += columns) {
        fputc('\n', file);
        put_columns(&t, j, j + columns < s->last ? j + columns : s->last);
    }
}
