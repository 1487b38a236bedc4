/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdint.h>

#include "svg.h"

void html_write(const void *data, FILE *file) {
    const scene *s = data;
    fputs("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\">\n"
          "<title>Attention</title>\n<style>\n"
          "body{margin:2rem;font:16px system-ui,sans-serif;background:#ffffff;color:#1f2328}\n"
          ".picture{overflow-x:auto}\n"
          "@media (prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}}\n"
          "</style></head><body>\n<h1>",
          file);
    svg_escape(file, s->text);
    fputs("</h1>\n", file);
    if (s->source != SIZE_MAX) {
        fputs("<div class=\"picture\">\n", file);
        arcs_write(s, file);
        fputs("</div>\n", file);
    }
    fputs("<div class=\"picture\">\n", file);
    heat_write(s, file);
    fputs("</div>\n</body></html>\n", file);
}
