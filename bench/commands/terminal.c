/* SPDX-License-Identifier: BSD-3-Clause */
#include "commands/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#define FILE_WIDTH 160

size_t terminal_width(void) {
    struct winsize size;
    if (isatty(STDOUT_FILENO) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return FILE_WIDTH;
    return size.ws_col;
}
