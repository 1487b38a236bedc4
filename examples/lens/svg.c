/* SPDX-License-Identifier: BSD-3-Clause */
#include "svg.h"

#include <stdint.h>

/* One hue, so that colour-blind readers lose nothing: blue and vermilion of Okabe and Ito, "Color Universal Design",
 * 2008; how much is told by width, opacity and a figure. */
static const char style[] =
    "<style>\n"
    "svg text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;fill:#1f2328}\n"
    ".page{fill:#ffffff}\n"
    ".title{font-size:20px;font-weight:600}\n"
    ".note{font-size:13px}\n"
    "svg .note{fill:#59636e}\n"
    ".word{font-size:20px}\n"
    ".label{font-size:13px}\n"
    ".score{font-size:15px}\n"
    ".most{font-weight:700}\n"
    ".arc{fill:none;stroke:#0072b2;stroke-linecap:round}\n"
    ".from{fill:none;stroke:#d55e00;stroke-width:2}\n"
    ".cell{fill:#0072b2}\n"
    ".frame{fill:none;stroke:#d8dee4}\n"
    "@media (prefers-color-scheme:dark){\n"
    "svg text{fill:#e6edf3}\n"
    ".page{fill:#0d1117}\n"
    "svg .note{fill:#9da7b1}\n"
    ".arc{stroke:#56b4e9}\n"
    ".from{stroke:#e69f00}\n"
    ".cell{fill:#56b4e9}\n"
    ".frame{stroke:#2b323b}\n"
    "}\n"
    "</style>\n";

void svg_escape(FILE *file, const char *text) {
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", file);
            break;
        case '>':
            fputs("&gt;", file);
            break;
        case '&':
            fputs("&amp;", file);
            break;
        case '"':
            fputs("&quot;", file);
            break;
        default:
            if ((unsigned char)*text >= ' ')
                fputc(*text, file);
        }
    }
}

void svg_begin(FILE *file, double width, double height, const char *title) {
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"%.0f\" height=\"%.0f\" "
            "viewBox=\"0 0 %.0f %.0f\">\n<title>",
            width, height, width, height);
    svg_escape(file, title);
    fprintf(file, "</title>\n%s<rect class=\"page\" width=\"%.0f\" height=\"%.0f\"/>\n", style, width, height);
}

void svg_text(FILE *file, const char *class, const char *anchor, double x, double y, const char *text) {
    fprintf(file, "<text class=\"%s\" text-anchor=\"%s\" x=\"%.1f\" y=\"%.1f\">", class, anchor, x, y);
    svg_escape(file, text);
    fputs("</text>\n", file);
}

void svg_write(const void *data, FILE *file) {
    const scene *s = data;
    (s->source == SIZE_MAX ? heat_write : arcs_write)(s, file);
}
