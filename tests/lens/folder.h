/* SPDX-License-Identifier: BSD-3-Clause */
/* A folder for a test's files. */
#ifndef LENS_TESTS_FOLDER_H
#define LENS_TESTS_FOLDER_H

/* Makes it; its path has room for a name after it. */
void folder_make(char path[64]);

/* Removes it with the files of lens's tests. */
void folder_remove(const char *path);

#endif
