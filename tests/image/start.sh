#!/usr/bin/env bash
# Runs a command in an image's file system as `read_only: true`, `cap_drop: [ALL]` and `no-new-privileges` do in compose.yaml:
# as user 1000 without a capability, the root read-only, /tmp and the home in memory. Wants a mount namespace of its own.
# Usage: start.sh ROOT DATA COMMAND…
set -euo pipefail

root=$1 data=$2
shift 2

mount --bind "$root" "$root"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=0700,uid=1000,gid=1000 tmpfs "$root/home/ray"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777,size=1g tmpfs "$root/dev/shm"
mount -t proc proc "$root/proc"
mount --bind "$data" "$root/var/lib/rayscribe"
mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs "$@"
