#!/bin/bash
# build-root.sh DIR - the Debian tree that all nodes share, read-only, below their own disks.
# From this machine's own apt sources and apt settings, nothing else.
set -euo pipefail
dir=$1
packages=systemd,systemd-sysv,dbus,openssh-server,openssh-client,sudo,iproute2,procps,chrony,libfaketime,ca-certificates
conf=()
for f in /etc/apt/apt.conf.d/99*; do [ -f "$f" ] && conf+=(--aptopt="$f"); done
# Only Debian's own sources: a machine may have others, for other things.
sources=()
for f in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do [ -s "$f" ] && sources+=("$f"); done
suite=$(. /etc/os-release; echo "${VERSION_CODENAME:-bookworm}")
mmdebstrap --mode=root --variant=minbase --include="$packages" "${conf[@]}" \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --skip=check/empty "$suite" "$dir" "${sources[@]}"
