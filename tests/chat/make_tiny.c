/* SPDX-License-Identifier: BSD-3-Clause */
/* Writes the tiny model: make_tiny FILE */
#include <stdlib.h>

#include "tiny.h"

int main(int argc, char **argv) {
    bytes b = tiny_make(GGUF_Q4_1, GGUF_Q6_K);
    const bool good = argc > 1 && damage_save(argv[1], &b);
    free(b.data);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
