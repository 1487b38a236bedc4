#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# licences.sh ROOT: every source file has its SPDX line once, in the first three lines.
set -eu
cd "$1"

rooms=
for room in include src tests bench cmake docs examples packaging .ci; do
    [ ! -d $room ] || rooms="$rooms $room"
done

# The pattern in halves, or its line would count as one.
find CMakeLists.txt $rooms -type f \( -name '*.[ch]' -o -name '*.[ch]pp' -o -name '*.sh' -o -name '*.py' \
    -o -name CMakeLists.txt -o -name meson.build -o -name '*.cmake' -o -name '*.in' -o -path .ci/run \) -exec awk '
    function judge() {
        if (file != "" && (early != 1 || all != 1)) {
            print file ": wants one line SPDX-License-" "Identifier: BSD-3-Clause at its beginning"
            bad = 1
        }
    }
    FNR == 1 { judge(); file = FILENAME; early = all = 0 }
    FNR <= 3 && index($0, "SPDX-License-" "Identifier: BSD-3-Clause") { early++ }
    $0 ~ "^[^A-Za-z]*SPDX-License-" "Identifier" { all++ }
    END { judge(); exit bad }' {} +
