/* SPDX-License-Identifier: BSD-3-Clause */
#include "folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void folder_make(char path[64]) {
    snprintf(path, 64, "/tmp/attn-lens-XXXXXX");
    if (mkdtemp(path) == NULL) {
        perror(path);
        abort();
    }
}

void folder_remove(const char *path) {
    static const char *const names[] = {"config.json", "vocab.txt", "model.safetensors", "tokenizer.json"};
    char file[128];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(file, sizeof file, "%s/%s", path, names[i]);
        unlink(file);
    }
    rmdir(path);
}
