#!/bin/bash
# bake-root.sh DIR - what every node has, whatever the site: sshd, the hecate user, chrony, a quick and quiet boot.
set -euo pipefail
root=$1
here=$(dirname "$(readlink -f "$0")")

# Each node gets a host key of its own.
rm -f "$root"/etc/ssh/ssh_host_*
cat >"$root/etc/ssh/sshd_config.d/lab.conf" <<C
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u
UseDNS no
C

# The login user has no password and no group that could do anything; sudo rules come with the node's disk.
chroot "$root" useradd -m -s /bin/bash hecate
chroot "$root" usermod -p '*' hecate
# The lab's own: sudo says what it ran in a file that outlives the node's power.
printf 'Defaults logfile=/var/log/sudo.log, loglinelen=0, log_year, !lecture\n' >"$root/etc/sudoers.d/00-lab-log"
chmod 440 "$root/etc/sudoers.d/00-lab-log"

# No gettys, no periodic jobs; the journal stays on the node's disk, to be read after a power-off.
for u in getty.target console-getty.service getty@.service systemd-networkd-wait-online.service apt-daily.timer \
  apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-firstboot.service \
  systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-pstore.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$u"
done
mkdir -p "$root/etc/systemd/journald.conf.d" "$root/var/log/journal"
printf '[Journal]\nStorage=persistent\nSyncIntervalSec=1s\nRuntimeMaxUse=16M\nSystemMaxUse=64M\nRateLimitIntervalSec=0\n' \
  >"$root/etc/systemd/journald.conf.d/lab.conf"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
: >"$root/etc/machine-id"
rm -f "$root/etc/resolv.conf"; : >"$root/etc/resolv.conf"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*

# chrony measures and never touches the clock, which all nodes share with the machine: -x.
mkdir -p "$root/etc/systemd/system/chrony.service.d" "$root/etc/systemd/system/systemd-timedated.service.d"
printf '[Unit]\nConditionCapability=\n' >"$root/etc/systemd/system/chrony.service.d/lab.conf"
echo 'DAEMON_OPTS="-x -F 1"' >"$root/etc/default/chrony"
cat >"$root/etc/chrony/chrony.conf" <<C
server 10.99.0.1 iburst minpoll 0 maxpoll 2
sourcedir /etc/chrony/sources.d
driftfile /var/lib/chrony/chrony.drift
maxupdateskew 100
C
# timedatectl's "System clock synchronized" is a flag of the shared kernel; this makes it one of each node.
gcc -shared -fPIC -O2 -o "$root/usr/local/lib/ntpsync.so" "$here/ntpsync.c"
printf '[Service]\nEnvironment=LD_PRELOAD=/usr/local/lib/ntpsync.so\n' >"$root/etc/systemd/system/systemd-timedated.service.d/lab.conf"
