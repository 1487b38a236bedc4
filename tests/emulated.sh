#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Runs programs on an emulated Xeon with AVX-512 F to BF16 and VNNI:  emulated.sh ROOT SECONDS COMMAND...
# ROOT is what cmake/emulated-root.sh unpacked. Its Bochs boots its kernel with nothing but the programs and the libraries
# that they link. A COMMAND is a line of shell, VARIABLE=VALUE... PROGRAM ARGUMENT.... Fails where one does, or where all
# take more than so many SECONDS: some 80 million instructions each, fewer where they are those of vectors.
set -euo pipefail

root=$(cd "$1" && pwd)
seconds=$2
shift 2
machine=$(mktemp -d)
trap 'rm -rf "$machine"' EXIT
mkdir -p "$machine"/inside/{bin,dev,proc,sys,tmp} "$machine/disk"

# bring FILE: it, and the libraries that it links, at the paths that they have here
bring() {
    local file
    for file in "$1" $(ldd "$1" 2>/dev/null | grep -oE '/[^ ]+'); do
        mkdir -p "$machine/inside$(dirname "$file")"
        cp --dereference --no-clobber "$file" "$machine/inside$file"
    done
}

# What Linux starts. /proc/uptime counts instructions, some 2.2 billion a second.
first_process() {
    local command word
    echo '#!/bin/busybox sh'
    echo '/bin/busybox --install -s /bin; export PATH=/bin'
    echo 'mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev'
    echo 'echo; echo ==BEGIN'
    for command in "$@"; do
        echo "($command) 2>&1; echo \"==STATUS \$? $command\""
    done
    echo 'echo ==END; stty raw; poweroff -f' # stty waits for what is printed
}

for command in "$@"; do
    for word in $command; do
        [ ! -f "$word" ] || bring "$(realpath --no-symlinks "$word")"
    done
done
cp "$(command -v busybox)" "$machine/inside/bin/busybox"
first_process "$@" >"$machine/inside/init"
chmod +x "$machine/inside/init"

# A CD that ISOLINUX boots. Bochs's SMM knows no fifth level of page tables.
(cd "$machine/inside" && find . | cpio --quiet -o -H newc) >"$machine/disk/initrd"
cp "$root"/boot/vmlinuz-* "$machine/disk/linux"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$machine/disk/"
printf '%s\n' 'DEFAULT linux' 'PROMPT 0' 'LABEL linux' 'KERNEL linux' 'INITRD initrd' \
    'APPEND console=ttyS0 loglevel=1 panic=-1 mitigations=off nokaslr no5lvl tsc=reliable no_timer_check' \
    >"$machine/disk/isolinux.cfg"
genisoimage -quiet -o "$machine/cd" -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table \
    "$machine/disk"

# The clock counts instructions, so that every run is the same. Linux manages no tiles where the CPU has no XFD.
cat >"$machine/bochsrc" <<END
memory: guest=512, host=512
cpu: model=sapphire_rapids, ips=20000000, exclude_features="amx,amx_int8,amx_bf16"
clock: sync=none, time0=1000000000
romimage: file=$root/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=$root/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path=$machine/cd, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$machine/serial
display_library: rfb, options="timeout=0"
log: $machine/log
debug: action=ignore
info: action=ignore
error: action=ignore
panic: action=fatal
END
emulator() {
    local library=$root/usr/lib/x86_64-linux-gnu
    LTDL_LIBRARY_PATH=$library/bochs/plugins exec timeout "$seconds" "$root/lib64/ld-linux-x86-64.so.2" \
        --library-path "$library:$library/bochs/plugins" "$root/usr/bin/bochs-bin" "$@"
}

: >"$machine/serial"
emulator -q -f "$machine/bochsrc" </dev/null >"$machine/output" 2>&1 &
bochs=$!
tail --follow --pid=$bochs --sleep-interval=0.5 "$machine/serial" | sed -u -n '/^==BEGIN/,$s/\r$//p'
wait $bochs || true # powering off is a panic

failed=$(grep -c '^==STATUS [^0]' "$machine/serial" || true)
run=$(grep -c '^==STATUS' "$machine/serial" || true)
if ! grep -q '^==END' "$machine/serial"; then
    echo "emulated.sh: the machine stopped, or ran for more than $seconds s" >&2
    tail -n 5 "$machine/log" "$machine/output" >&2
    failed=$((failed + $# - run))
fi
echo "$((100 * ($# - failed) / $#))% tests passed, $failed tests failed out of $#"
[ "$failed" = 0 ]
