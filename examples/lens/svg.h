/* SPDX-License-Identifier: BSD-3-Clause */
/* The pictures of a scene as SVG. Each needs nothing else and follows the reader's choice of a light or dark page. */
#ifndef LENS_SVG_H
#define LENS_SVG_H

#include "scene.h"

/* Arcs from the scene's word to the others, with their scores. */
void arcs_write(const scene *s, FILE *file);

/* Heat maps: the scene's view with its words, then every head of every layer. */
void heat_write(const scene *s, FILE *file);

/* The beginning of a picture, up to its page. */
void svg_begin(FILE *file, double width, double height, const char *title);

/* A text element; anchor is "start", "middle" or "end". */
void svg_text(FILE *file, const char *class, const char *anchor, double x, double y, const char *text);

/* Text with what XML reserves replaced, and what it forbids left out. */
void svg_escape(FILE *file, const char *text);

#endif
