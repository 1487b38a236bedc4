#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# licences.sh ROOT: every source file has its SPDX line once, in the first three lines.
set -eu
cd "$1"

rooms=
for room in include src tests bench cmake examples .ci; do
    [ ! -d $room ] || rooms="$rooms $room"
done

find CMakeLists.txt $rooms -type f \( -name '*.[ch]' -o -name '*.cpp' -o -name '*.sh' -o -name '*.py' \
    -o -name CMakeLists.txt -o -name '*.cmake' -o -name '*.in' -o -path .ci/run \) | sort | {
    bad=0
    while read -r file; do
        # In halves, or this line would count as one.
        if [ "$(head -n 3 "$file" | grep -c 'SPDX-License-''Identifier: BSD-3-Clause')" != 1 ] ||
            [ "$(grep -c '^[^A-Za-z]*SPDX-License-''Identifier' "$file")" != 1 ]; then
            echo "$file: wants one line SPDX-License-""Identifier: BSD-3-Clause at its beginning"
            bad=1
        fi
    done
    exit $bad
}
