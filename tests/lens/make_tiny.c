/* SPDX-License-Identifier: BSD-3-Clause */
/* Writes the tiny model to a folder that is there: make_tiny FOLDER */
#include <stdlib.h>

#include "tiny.h"

int main(int argc, char **argv) {
    tiny_model m;
    if (argc != 2)
        return EXIT_FAILURE;
    tiny_make(&m);
    const bool good = tiny_write(&m, argv[1], "F16", "bert.");
    tiny_free(&m);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
