#!/bin/bash
# run.sh NAME SITE CGROUP2 DIR LOWER - one node from power-on to power-off. Runs in a mount namespace of its own, so that
# every mount goes with the node.
{ # braces: bash reads all of it first, so that editing it cannot break running nodes
  name=$1 site=$2 cgroot=$3 dir=$4 lower=$5
  cg=/sys/fs/cgroup/$site/nodes/$name
  # The node sees a pure cgroup2 tree, as on a real Debian 12, whatever the machine has.
  umount -R /sys/fs/cgroup 2>/dev/null || umount -R -l /sys/fs/cgroup
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  mount -t overlay overlay -o "lowerdir=$lower,upperdir=$dir/upper,workdir=$dir/work" "$dir/merged" || rc=9
  ip -n "$site" link set "v-$name" up

  clean() {
    # A killed nspawn leaves its PID 1 as an orphan: end whatever is left.
    echo 1 >"$cg/cgroup.kill" 2>/dev/null
    for ((i = 0; i < 500; i++)); do grep -q 'populated 0' "$cg/cgroup.events" 2>/dev/null && break; [ -d "$cg" ] || break; sleep 0.01; done
    find "$cg" -depth -type d -exec rmdir {} \; 2>/dev/null
  }

  while [ -z "${rc:-}" ]; do
    mkdir -p "$cg"
    # nspawn builds its own cgroups below the one it is started in. The time namespace gives the node a fresh uptime.
    bash -c 'echo $$ >"$1/cgroup.procs"; echo $$ >"$2/nspawn.pid"; read -r up _ </proc/uptime; up=${up%%.*}
      exec unshare --time --monotonic "-$up" --boottime "-$up" systemd-nspawn --quiet -D "$2/merged" --boot --register=no --keep-unit \
        -M "$3" --hostname="$3" --network-namespace-path="/run/netns/$4-$3" --link-journal=no --resolv-conf=off --timezone=off \
        --console=read-only' - "$cg" "$dir" "$name" "$site"
    rc=$?
    clean
    echo "$(date +%s.%N) $name ended rc=$rc"
    [ $rc = 133 ] && rc='' # the node asked for a reboot
  done
  # A host without power answers nothing: no RST, no ARP.
  ip -n "$site" link set "v-$name" down
  rm -f "$dir/nspawn.pid"
  echo "$rc" >"$dir/rc"
  rm -f "$dir/super.pid"
  exit 0
}
