# The power: a real upsd with one dummy-ups driver a UPS, in a namespace of its own, with private state.

UPSES=(pyrphoros statera)
UPS_DIR=$LAB/ups
export NUT_CONFPATH=$UPS_DIR/etc NUT_STATEPATH=$UPS_DIR/run NUT_QUIET_INIT_UPSNOTIFY=true

ups_start() {
  local u
  rm -rf "$UPS_DIR"
  mkdir -p "$UPS_DIR/etc" "$UPS_DIR/run"
  {
    printf 'maxstartdelay = 10\npollinterval = 1\n'
    for u in "${UPSES[@]}"; do
      printf '[%s]\n  driver = dummy-ups\n  port = %s\n  mode = dummy-once\n  desc = "lab UPS %s"\n' "$u" "$UPS_DIR/etc/$u.dev" "$u"
    done
  } >"$UPS_DIR/etc/ups.conf"
  printf 'LISTEN %s 3493\nSTATEPATH %s\nMAXAGE 5\n' "${IP[ups]}" "$UPS_DIR/run" >"$UPS_DIR/etc/upsd.conf"
  cat >"$UPS_DIR/etc/upsd.users" <<C
[admin]
  password = adminpass
  actions = SET FSD
  instcmds = ALL
[monuser]
  password = secret
  upsmon secondary
[cutter]
  password = cutpass
  instcmds = shutdown.return
C
  for u in "${UPSES[@]}"; do
    cat >"$UPS_DIR/etc/$u.dev" <<C
device.mfr: LAB
device.model: Dummy 3000
device.serial: LAB-$u
device.type: ups
ups.mfr: LAB
ups.model: Dummy 3000
ups.status: OL
ups.load: 23
battery.charge: 100
battery.charge.low: 20
battery.runtime: 1800
battery.runtime.low: 120
battery.voltage: 54.2
input.voltage: 230.1
output.voltage: 230.0
C
  done
  chmod -R go-rwx "$UPS_DIR/etc"
  for u in "${UPSES[@]}"; do driver_start "$u"; done
  local i
  for u in "${UPSES[@]}"; do
    for ((i = 0; i < 200; i++)); do [ -S "$UPS_DIR/run/dummy-ups-$u" ] && break; sleep 0.02; done
  done
  upsd_start
}

# Debian's /sbin/upsd is a wrapper that wants MODE in /etc/nut/nut.conf: call the programs themselves. As root, because
# the nut user may not reach into the lab's folder.
driver_start() { background "$UPS_DIR/$1.log" "$UPS_DIR/$1.pid" /lib/nut/dummy-ups -a "$1" -F -u root; }
upsd_start() { background "$UPS_DIR/upsd.log" "$UPS_DIR/upsd.pid" nsenter --net="/run/netns/$SITE-ups" -- /lib/nut/upsd -F -u root; }

ups_set() { # UPS VAR=VALUE...
  local u=$1 file kv key value old now
  shift
  file=$UPS_DIR/etc/$u.dev
  cp -p "$file" "$file.new"
  for kv in "$@"; do
    key=${kv%%=*} value=${kv#*=}
    [[ $kv == *=* && $key =~ ^[a-z0-9.]+$ ]] || die "not VAR=VALUE: $kv"
    sed -i "/^$key:/d" "$file.new"
    [ "$value" = - ] || echo "$key: $value" >>"$file.new"
  done
  # dummy-ups reads the file again only when its mtime differs in whole seconds from the last one it saw: two writes in
  # one second would lose the second. So each write gets a larger one.
  old=$(stat -c %Y "$file") now=$(date +%s)
  [ "$now" -gt "$old" ] || now=$((old + 1))
  touch -d "@$now" "$file.new"
  mv "$file.new" "$file"
}

ups_var() { sed -n "s/^$2: //p" "$UPS_DIR/etc/$1.dev"; }

locked() { ( flock 9; "$@" ) 9>"$UPS_DIR/lock"; }

drain_step() { # UPS RUNTIME CHARGE; 1 = no longer on battery
  local status low
  status=$(ups_var "$1" ups.status) low=$(ups_var "$1" battery.runtime.low)
  [[ " $status " == *" OB "* ]] || return 1
  [ "$2" -gt "${low:-0}" ] || [[ " $status " == *" LB "* ]] || status="$status LB"
  ups_set "$1" "battery.runtime=$2" "battery.charge=$3" "ups.status=$status"
}

# A battery that empties: one second a second while the UPS is on battery; it says LB below battery.runtime.low.
ups_drain() { # UPS SECONDS [--cut]
  local u=$1 total=$2 begin charge left n
  charge=$(ups_var "$u" battery.charge) begin=$(now_ms)
  while :; do
    left=$((total - ($(now_ms) - begin) / 1000))
    [ $left -gt 0 ] || left=0
    locked drain_step "$u" "$left" "$((charge * left / total))" || break
    if [ $left = 0 ]; then
      date +%s.%N >"$UPS_DIR/$u.empty"
      if [ "${3:-}" = --cut ]; then for n in "${ALL_NODES[@]}"; do cmd_node cut-power "$n" || true; done; fi
      break
    fi
    sleep 1
  done
}

cmd_ups() {
  local verb=${1:-} u=${UPSES[0]} v
  [ $# -gt 0 ] && shift
  for v in "${UPSES[@]}"; do [ "${1:-}" != "$v" ] || { u=$v; shift; break; }; done
  case $verb in
    get) in_lab upsc "$u@${IP[ups]}" "$@" 2>&1 | grep -v '^Init SSL' ;;
    set) locked ups_set "$u" "$@" ;;
    drain)
      [[ ${1:-} =~ ^[0-9]+$ ]] || die "usage: lab ups drain [UPS] SECONDS [--cut]"
      drain_stop "$u"
      rm -f "$UPS_DIR/$u.empty"
      locked drain_step "$u" "$1" "$(ups_var "$u" battery.charge)" || die "$u is not on battery"
      LAB=$LAB background "$UPS_DIR/$u.drain.log" "$UPS_DIR/$u.drain.pid" "$LAB_SRC/lab" ups drain-loop "$u" "$@" ;;
    drain-loop) ups_drain "$u" "$@" ;;
    kill-driver) kill -KILL "$(cat "$UPS_DIR/$u.pid")" ;;
    stop-driver) kill -STOP "$(cat "$UPS_DIR/$u.pid")" ;;
    cont-driver) kill -CONT "$(cat "$UPS_DIR/$u.pid")" ;;
    start-driver) driver_start "$u" ;;
    kill-upsd) kill -KILL "$(cat "$UPS_DIR/upsd.pid")" ;;
    start-upsd) upsd_start ;;
    *) die "usage: lab ups get|set|drain|kill-driver|start-driver|stop-driver|cont-driver|kill-upsd|start-upsd" ;;
  esac
}

drain_stop() {
  local pid
  pid=$(cat "$UPS_DIR/$1.drain.pid" 2>/dev/null) || return 0
  grep -qs "^$pid$" "$CG/services/cgroup.procs" && kill "$pid" || true
  rm -f "$UPS_DIR/$1.drain.pid"
}
