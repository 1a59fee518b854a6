# What every part of the lab knows: names, addresses, folders. Sourced by ../lab.

LAB=$(readlink -m "${LAB:-${TMPDIR:-/tmp}/hecate-lab}")
CACHE=$(readlink -m "${HECATE_LAB_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/hecate-lab}")
# Every global name (network namespaces, cgroup, /run) begins with this; a second lab beside the first needs another.
SITE=${HECATE_LAB_NAME:-hecate-lab}
CHECKOUT=$(readlink -m "$LAB_SRC/../..")
NODES_DIR=$LAB/nodes
RUN=/run/$SITE

SERVERS=(cp-1 cp-2 cp-3)
AGENTS=(worker-1 worker-2)
K3S_NODES=("${SERVERS[@]}" "${AGENTS[@]}")
ALL_NODES=("${K3S_NODES[@]}" jump hecate)
declare -A IP=(
  [cp-1]=10.99.0.11 [cp-2]=10.99.0.12 [cp-3]=10.99.0.13 [worker-1]=10.99.0.21 [worker-2]=10.99.0.22
  [hecate]=10.99.0.2 [jump]=10.99.0.3 [ups]=10.99.0.5
)
GATEWAY=10.99.0.1

# cgroup2: at the top on a pure host, beside cgroup v1 on a hybrid one.
if [ "$(stat -fc %T /sys/fs/cgroup 2>/dev/null)" = cgroup2fs ]; then CG_ROOT=/sys/fs/cgroup; else CG_ROOT=/sys/fs/cgroup/unified; fi
CG=$CG_ROOT/$SITE

die() { echo "lab: $*" >&2; exit 1; }
now_ms() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 1000)); }
T0=$(now_ms)
say() { local d=$(($(now_ms) - T0)); printf '%5d.%d s  %s\n' $((d / 1000)) $((d % 1000 / 100)) "$*" >&2; }

role_of() { # NODE -> server, agent or plain
  case $1 in cp-*) echo server ;; worker-*) echo agent ;; hecate | jump) echo plain ;; *) die "no node $1" ;; esac
}

in_lab() { nsenter --net="/run/netns/$SITE" -- "$@"; }

# Start a command that outlives this script, in the lab's own cgroup (so that `lab down` ends exactly what the lab
# started) and without this script's descriptors (locks).
background() { # LOGFILE PIDFILE CMD...
  local log=$1 pidfile=$2; shift 2
  mkdir -p "$CG/services"
  setsid bash -c 'echo $$ >"$1/cgroup.procs"; echo $$ >"$2"; shift 2; exec "$@"' - "$CG/services" "$pidfile" "$@" \
    >>"$log" 2>&1 </dev/null 8>&- 9>&- &
  disown
}
