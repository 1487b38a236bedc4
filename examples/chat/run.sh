#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Installs what is missing, builds attn-chat, fetches the model and runs: run.sh [attn-chat arguments]
# Without arguments it asks for a summary. Paths are relative to the caller's folder.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

sh "$root/cmake/build-target.sh" attn-chat chat
model=$(bash "$root/examples/chat/get-model.sh")

chat() { "$root/build/release/examples/chat/attn-chat" "$@" --model "$model"; }

if [ $# -gt 0 ]; then
    chat "$@"
else
    chat chat -p "Summarise in one sentence: A library lends a reader books for three weeks. Who brings them back later \
pays a small fine, unless nobody else waited for them."
fi
