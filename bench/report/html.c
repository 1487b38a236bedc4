/* SPDX-License-Identifier: BSD-3-Clause */
#include "report/html.h"

#include <attn/attn.h>

#include "base/text.h"
#include "report/svg.h"

static const char head[] = "<!DOCTYPE html>\n"
                           "<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\"><head><meta charset=\"utf-8\"/>\n"
                           "<meta name=\"viewport\" content=\"width=device-width\"/>\n"
                           "<meta name=\"color-scheme\" content=\"light dark\"/><title>attn-bench</title>\n";

/* A chart is never scaled, as its text would be: where it is wider than the page, it scrolls. On a phone the cells of
 * the table of backends lie below one another. */
static const char style[] =
    "<style>\n"
    "body{font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;max-width:1100px;"
    "margin:0 auto;padding:16px;background:#ffffff;color:#1f2328;overflow-wrap:anywhere}\n"
    "section{margin:24px 0;overflow-x:auto;overflow-wrap:normal}\n"
    "dt{font-weight:600}\n"
    "svg{display:block}\n"
    ".backends td:first-child{white-space:nowrap}\n"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}\n"
    "th,td{padding:3px 10px;border-bottom:1px solid #d8dee4;text-align:right;vertical-align:top}\n"
    "th{font-weight:600}\n"
    ".name{text-align:left}\n"
    ".best{font-weight:700}\n"
    ".tied{font-style:italic}\n"
    ".bad{color:#a40000}\n"
    "@media (max-width:700px){.backends th{display:none}.backends td{display:block;text-align:left;border:0;padding:0;"
    "overflow-wrap:anywhere}.backends td:first-child{font-weight:600;padding-top:10px}"
    ".backends td[title]::after{content:' ' attr(title)}}\n"
    "@media (prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}th,td{border-color:#2b323b}"
    ".bad{color:#ff9d8a}}\n"
    "</style>\n";

static void put_line(FILE *file, const char *what, const char *text) {
    if (*text == '\0')
        return;
    fprintf(file, "<dt>%s</dt><dd>", what);
    text_xml(file, text);
    fputs("</dd>\n", file);
}

static void put_machine(const sweep *s, FILE *file) {
    char text[600];
    const machine *m = &s->machine;
    fputs("<dl>\n", file);
    put_line(file, "Date", m->date);
    put_line(file, "Host", m->host);
    put_line(file, "Command", s->options->command_line);
    text_print(text, sizeof text, "%s, %zu CPU%s, %zu usable, load %.2f", m->cpu, m->cpus, m->cpus == 1 ? "" : "s",
               m->usable, m->load);
    put_line(file, "Machine", text);
    put_line(file, "Instruction sets", m->isa);
    text_print(text, sizeof text, "libattn %s, measured in %.0f s", attn_version(), s->end - s->begin);
    put_line(file, "Library", text);
    put_line(file, "Default backend", s->backends.choice);
    backends_note(&s->backends, text, sizeof text);
    put_line(file, "Note", text);
    sweep_noise(s, text, sizeof text);
    put_line(file, "Disturbances", text);
    fputs("</dl>\n", file);
}

static void put_backends(const sweep *s, FILE *file) {
    fputs("<section><h2>Backends</h2>\n<table class=\"backends\"><tr><th class=\"name\">name</th><th "
          "class=\"name\">what it is</th>"
          "<th>times as fast as the first</th><th>cases</th></tr>\n",
          file);
    for (size_t b = 0; b < s->backends.count; b++) {
        const backend *item = &s->backends.item[b];
        const bool runs = b < s->backends.running;
        size_t n = 0;
        const double ratio = runs ? sweep_mean_ratio(s, b, &n) : 0;
        fputs("<tr><td class=\"name\">", file);
        text_xml(file, item->label);
        fprintf(file, "</td><td class=\"name%s\">", runs ? "" : " bad");
        text_xml(file, runs ? item->choice : item->child.reason);
        if (n > 0)
            fprintf(file, "</td><td title=\"times as fast as the first\">%.2f</td><td title=\"cases\">%zu</td></tr>\n",
                    ratio, n);
        else
            fputs("</td><td></td><td></td></tr>\n", file);
    }
    fputs("</table>\n<p>The speed is the geometric mean over the cases that both ran.</p></section>\n", file);
}

static void put_cell(const sweep *s, FILE *file, size_t index, size_t b) {
    char room[200];
    bool tie;
    const cell *c = sweep_cell(s, index, b);
    if (!cell_has_time(c)) {
        fputs("<td class=\"bad\" title=\"", file);
        text_xml(file, cell_trouble(c, room, sizeof room));
        fprintf(file, "\">%s</td>", c->state == CELL_WRONG ? "wrong" : c->state == CELL_FAILED ? "failed" : "–");
        return;
    }
    (void)sweep_winner(s, index, &tie);
    const bool best = sweep_ties(s, index, b);
    fprintf(file, "<td class=\"%s\" title=\"± %.1f%%, %zu rounds\">%.1f</td>",
            !best ? ""
            : tie ? "tied"
                  : "best",
            100 * stats_noise(&c->seconds), c->count, sweep_speed(s, index, b));
}

/* That of the rounds of a case. */
static void put_peak(const sweep *s, FILE *file, size_t index) {
    if (sweep_fell(s, index))
        fprintf(file, "<td class=\"bad\" title=\"the peak fell while the case ran\">%.0f!</td>", s->case_peaks[index]);
    else if (s->case_peaks[index] > 0)
        fprintf(file, "<td>%.0f</td>", s->case_peaks[index]);
    else
        fputs("<td></td>", file);
}

static void put_section(const sweep *s, FILE *file, size_t first, size_t count) {
    char title[200];
    case_title(&s->cases[first], title, sizeof title);
    fprintf(file, "<h3>%s (%s)</h3>\n<table><tr><th>heads</th><th>tokens</th><th>peak</th>", title,
            case_unit(&s->cases[first]));
    for (size_t b = 0; b < s->backends.running; b++) {
        fputs("<th>", file);
        text_xml(file, s->backends.item[b].label);
        fputs("</th>", file);
    }
    fputs("</tr>\n", file);
    for (size_t i = first; i < first + count; i++) {
        fprintf(file, "<tr><td>%zu</td><td>%zu</td>", s->cases[i].H, s->cases[i].T);
        put_peak(s, file, i);
        for (size_t b = 0; b < s->backends.running; b++)
            put_cell(s, file, i, b);
        fputs("</tr>\n", file);
    }
    fputs("</table>\n", file);
}

static void put_numbers(const sweep *s, FILE *file) {
    fputs("<section><h2>Numbers</h2>\n<p>Bold is the fastest; italic are those that are as fast as one another within "
          "the noise. The "
          "pointer on a number shows its interval of confidence. The peak is that of as many threads in GFLOP/s while "
          "the "
          "case ran; ! marks one that fell.</p>\n",
          file);
    for (size_t first = 0, n; s->backends.running > 0 && first < s->count; first += n) {
        n = sweep_section(s, first);
        put_section(s, file, first, n);
    }
    fputs("</section>\n", file);
}

void html_write(const sweep *s, FILE *file) {
    static const chart_kind kinds[] = {CHART_WINNER, CHART_LENGTH, CHART_HEADS, CHART_ROOFLINE};
    fputs(head, file);
    fputs(style, file);
    svg_style(file);
    fputs("</head><body>\n<h1>attn-bench</h1>\n", file);
    put_machine(s, file);
    put_backends(s, file);
    for (size_t i = 0; s->backends.running > 0 && i < sizeof kinds / sizeof *kinds; i++) {
        fputs("<section>\n", file);
        svg_embed(s, kinds[i], file);
        fputs("</section>\n", file);
    }
    put_numbers(s, file);
    fputs("</body></html>\n", file);
}
