# Nodes: systemd-nspawn machines, each with its own disk (an overlay's upper folder), net and cgroup.

known() { [ -n "${IP[$1]:-}" ] && [ "$1" != ups ] || die "no node $1"; }
disk() { echo "$NODES_DIR/$1/upper"; }
node_cg() { echo "$CG/nodes/$1"; }

# The node's PID 1, seen from outside.
leader() {
  local nspawn pid
  nspawn=$(cat "$NODES_DIR/$1/nspawn.pid" 2>/dev/null) || return 1
  pid=$(cat "/proc/$nspawn/task/$nspawn/children" 2>/dev/null) || return 1
  pid=${pid%% *}
  [ -n "$pid" ] && echo "$pid"
}

node_state() { # on, frozen or off
  local cg; cg=$(node_cg "$1")
  if [ ! -e "$NODES_DIR/$1/super.pid" ]; then echo off
  elif [ "$(cat "$cg/cgroup.freeze" 2>/dev/null)" = 1 ]; then echo frozen
  else echo on; fi
}

wait_off() { # NODE: until its supervisor is done as well
  local i
  for ((i = 0; i < 3000; i++)); do
    [ -e "$NODES_DIR/$1/super.pid" ] || return 0
    sleep 0.01
  done
  die "$1 does not end"
}

node_make() {
  local name=$1 role d etc
  role=$(role_of "$name")
  d=$(disk "$name")
  etc=$d/etc
  [ ! -d "$d" ] || return 0
  mkdir -p "$etc/ssh/authorized_keys.d" "$etc/sudoers.d" "$etc/systemd/system/multi-user.target.wants" "$d/var/log" \
    "$NODES_DIR/$name/work" "$NODES_DIR/$name/merged"
  # Host keys survive `lab down`, as known_hosts does.
  mkdir -p "$LAB/hostkeys"
  [ -f "$LAB/hostkeys/$name" ] || ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$LAB/hostkeys/$name"
  install -m600 "$LAB/hostkeys/$name" "$etc/ssh/ssh_host_ed25519_key"
  install -m644 "$LAB/hostkeys/$name.pub" "$etc/ssh/ssh_host_ed25519_key.pub"
  install -m644 "$LAB/id_ed25519.pub" "$etc/ssh/authorized_keys.d/hecate"
  tr -d - </proc/sys/kernel/random/uuid >"$etc/machine-id"
  echo "$name" >"$etc/hostname"
  { printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name"; hosts_lines "$name"; } >"$etc/hosts"
  install -m440 "$LAB/sudoers" "$etc/sudoers.d/hecate"
  [ "$role" = plain ] || k3s_disk "$name" "$role" "$d"
}

hosts_lines() { # all but NODE
  local n
  for n in "${!IP[@]}"; do [ "$n" = "$1" ] || echo "${IP[$n]} $n"; done | sort
}

# What k3s' installer leaves on a host, and the certificates that k3s would make itself.
k3s_disk() {
  local name=$1 role=$2 d=$3 unit=k3s first=${IP[cp-1]}
  [ "$role" = agent ] && unit=k3s-agent
  cp -r "$LAB/pki/node/$name/." "$d/" # not -a: it would make / and /etc as private as the keys
  mkdir -p "$d/etc/rancher/k3s/config.yaml.d"
  chmod 755 "$d"/etc/rancher{,/k3s} "$d/var" "$d/var/lib" "$d/var/lib/rancher" "$d/var/lib/rancher/k3s"
  {
    echo "token: lab"
    echo "node-name: $name"
    echo "node-ip: ${IP[$name]}"
    if [ "$role" = server ]; then
      if [ "$name" = cp-1 ]; then echo "cluster-init: true"; else echo "server: https://$first:6443"; fi
      echo "tls-san: [$(for n in "${SERVERS[@]}"; do printf '%s,' "${IP[$n]}"; done | sed 's/,$//')]"
    else
      echo "server: https://$first:6443"
    fi
  } >"$d/etc/rancher/k3s/config.yaml"
  echo "lab-members: [$(for n in "${SERVERS[@]}"; do printf '%s=%s,' "$n" "${IP[$n]}"; done | sed 's/,$//')]" >"$d/etc/rancher/k3s/config.yaml.d/lab.yaml"
  : >"$d/etc/systemd/system/$unit.service.env"
  cat >"$d/etc/systemd/system/$unit.service" <<U
[Unit]
Description=Lightweight Kubernetes
Documentation=https://k3s.io
Wants=network-online.target
After=network-online.target

[Install]
WantedBy=multi-user.target

[Service]
Type=notify
EnvironmentFile=-/etc/default/%N
EnvironmentFile=-/etc/sysconfig/%N
EnvironmentFile=-/etc/systemd/system/$unit.service.env
KillMode=process
Delegate=yes
User=root
# Having non-zero Limit*s causes performance problems due to accounting overhead
# in the kernel. We recommend using cgroups to do container-local accounting.
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStart=/usr/local/bin/k3s $role
U
  ln -s "/etc/systemd/system/$unit.service" "$d/etc/systemd/system/multi-user.target.wants/$unit.service"
}

node_on() {
  local name=$1 dir=$NODES_DIR/$1 lower=$LAB/root i
  [ -d "$dir/upper" ] || die "$name has no disk: lab node make $name"
  # A node that is just going down may be switched on already.
  if [ -e "$dir/super.pid" ]; then
    for ((i = 0; i < 100; i++)); do [ -e "$dir/super.pid" ] || break; sleep 0.02; done
    [ ! -e "$dir/super.pid" ] || return 0
  fi
  [ "$(role_of "$name")" = plain ] || lower=$(k3s_dir):$(kube_dir):$lower
  rm -f "$dir/rc"
  background "$dir/console.log" "$dir/super.pid" unshare --mount --propagation private \
    bash "$LAB_SRC/node/run.sh" "$name" "$SITE" "$CG_ROOT" "$dir" "$lower"
  for ((i = 0; i < 500; i++)); do [ -e "$dir/super.pid" ] && return; sleep 0.01; done
  die "$name did not start"
}

cmd_node() {
  [ $# -ge 2 ] || die "usage: lab node VERB NAME"
  local verb=$1 name=$2 pid
  shift 2
  known "$name"
  case $verb in
    make) node_make "$name" ;;
    on) node_on "$name" ;;
    cut-power)
      # The switch first: the dying sockets would say goodbye, which a pulled plug never does.
      [ -e "$NODES_DIR/$name/super.pid" ] || return 0
      switch_port "$name" down
      echo 1 >"$(node_cg "$name")/cgroup.kill"
      wait_off "$name" ;;
    press) pid=$(cat "$NODES_DIR/$name/nspawn.pid" 2>/dev/null) && kill -TERM "$pid" ;; # the power button
    poweroff | reboot) node_exec "$name" systemctl "$verb" ;;
    state) node_state "$name" ;;
    rm)
      [ ! -e "$NODES_DIR/$name/super.pid" ] || cmd_node cut-power "$name"
      rm -rf "${NODES_DIR:?}/$name" ;;
    unplug) switch_port "$name" down ;;
    plug) switch_port "$name" up ;;
    freeze) echo 1 >"$(node_cg "$name")/cgroup.freeze" ;;
    thaw) echo 0 >"$(node_cg "$name")/cgroup.freeze" ;;
    console) cat "$NODES_DIR/$name/console.log" ;;
    uptime) node_exec "$name" cat /proc/uptime ;;
    exec) node_exec "$name" "$@" ;;
    *) die "no node verb $verb" ;;
  esac
}

node_exec() { # NODE CMD...
  local pid name=$1
  shift
  pid=$(leader "$name") || die "$name is off"
  nsenter -t "$pid" -a env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"
}

cmd_wait() { # NODE [SECONDS]
  known "$1"
  local limit=$(($(now_ms) + ${2:-60} * 1000))
  while [ "$(now_ms)" -lt $limit ]; do
    in_lab timeout 2 bash -c "exec 3<>/dev/tcp/${IP[$1]}/22 && read -t 1 -u 3 x && [[ \$x == SSH* ]]" 2>/dev/null && return
    sleep 0.05
  done
  die "$1 does not answer"
}

cmd_ssh() { # NODE CMD...
  known "$1"
  local name=$1
  shift
  in_lab ssh -i "$LAB/id_ed25519" -o IdentitiesOnly=yes -o "UserKnownHostsFile=$LAB/known_hosts" -o "HostKeyAlias=$name" \
    -o StrictHostKeyChecking=yes -o BatchMode=yes -o ConnectTimeout=3 -o LogLevel=ERROR "hecate@${IP[$name]}" "$@"
}

cmd_run() { # [--from NODE] CMD...
  local ns=$SITE
  if [ "${1:-}" = --from ]; then known "$2"; ns=$SITE-$2; shift 2; fi
  exec nsenter --net="/run/netns/$ns" -- "$@"
}

cmd_sudolog() { known "$1"; cat "$(disk "$1")/var/log/sudo.log" 2>/dev/null || true; }
cmd_file() { known "$1"; cat "$(disk "$1")/${2:?path}"; }
cmd_journal() { local n=$1; shift; known "$n"; journalctl --no-pager -q -D "$(disk "$n")/var/log/journal" "$@"; }

cmd_clock() { # NODE synced|unsynced
  case $2 in
    synced) node_exec "$1" rm -f /run/ntp-unsynced ;;
    unsynced) node_exec "$1" touch /run/ntp-unsynced ;;
    *) die "usage: lab clock NAME synced|unsynced" ;;
  esac
  node_exec "$1" systemctl stop systemd-timedated || true
}

cmd_ntp() { # NODE OFFSET|unsync|silent
  known "$1"
  { grep -v "^${IP[$1]} " "$LAB/ntp.rules" || true; echo "${IP[$1]} $2"; } >"$LAB/ntp.rules.new"
  mv "$LAB/ntp.rules.new" "$LAB/ntp.rules"
}
