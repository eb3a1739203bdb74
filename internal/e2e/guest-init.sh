#!/bin/sh
# The first process of a User-Mode Linux guest. The kernel gives what follows its own options as environment:
# OUT, a directory of the host for results, and MODULES, a comma-separated list.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
modules=/usr/lib/uml/modules
root=/mnt/root

mount -t proc proc /proc
insmod "$modules/$(uname -r)/kernel/fs/overlayfs/overlay.ko"

# The host's files, with everything that is written to them kept in memory.
mount -t tmpfs upper /mnt
mkdir /mnt/changes /mnt/work "$root"
mount -t overlay root -o lowerdir=/,upperdir=/mnt/changes,workdir=/mnt/work "$root"

mount --move /proc "$root/proc"
mount -t sysfs sys "$root/sys"
mount -t devtmpfs dev "$root/dev"
mkdir -p "$root/dev/pts" "$root/out" "$root/usr/lib/modules"
mount -t devpts devpts "$root/dev/pts"
mount -t tmpfs run "$root/run"
mount --bind "$modules" "$root/usr/lib/modules"
mount -t hostfs -o "$OUT" out "$root/out"
for m in $(echo "$MODULES" | tr , ' '); do
    chroot "$root" modprobe "$m"
done

# The first process itself goes into the new root: halt does nothing when it finds itself in another root than that one.
cd "$root" || exit 1
exec chroot "$root" /bin/sh -c '
    /bin/sh /out/command >/out/log 2>&1 </dev/null
    echo $? >/out/status
    sync
    halt -f -p'
