# up, down and what looks at the whole site.

owner() { cat "$RUN/lab" 2>/dev/null || true; }

# One command at a time changes which site there is.
site_lock() {
  mkdir -p "$RUN"
  exec 9>"$RUN/lock"
  flock 9
}

# A host takes 5 to 9 inotify instances, all of them of the machine's root: two sites need more than the usual 128.
INOTIFY=/proc/sys/fs/inotify/max_user_instances
inotify_up() {
  local had; had=$(cat "$INOTIFY")
  [ "$had" -ge 512 ] || { echo "$had" >"$RUN/inotify"; echo 512 >"$INOTIFY"; }
}
inotify_down() {
  [ ! -f "$RUN/inotify" ] || cat "$RUN/inotify" >"$INOTIFY"
  rm -f "$RUN/inotify"
}

cmd_down() {
  site_lock
  site_down
  rm -rf "$RUN"
}

site_down() {
  local i lab
  lab=$(owner)
  if [ -d "$CG" ]; then
    echo 1 >"$CG/cgroup.kill"
    for ((i = 0; i < 1000; i++)); do grep -q 'populated 0' "$CG/cgroup.events" && break; sleep 0.01; done
    find "$CG" -depth -type d -exec rmdir {} \; 2>/dev/null || true
  fi
  net_down
  for i in "$LAB" "$lab"; do
    [ -n "$i" ] && mountpoint -q "$i/nodes" && umount "$i/nodes"
    [ -z "$i" ] || rm -rf "$i/ups" "$i/ntp.pid" "$i/nodes"
  done
  inotify_down
  rm -f "$RUN/lab"
}

root_tree() {
  local tar; tar=$(root_tar)
  [ "$(cat "$LAB/root.stamp" 2>/dev/null)" = "$tar" ] && return
  rm -rf "$LAB/root" "$LAB/root.stamp"
  mkdir -p "$LAB/root"
  tar -C "$LAB/root" --numeric-owner --xattrs -I zstd -xpf "$tar"
  echo "$tar" >"$LAB/root.stamp"
}

# The login user's sudo rules are the ones hecate documents, checked as sudo would.
sudo_rules() {
  local rules=$CHECKOUT/configs/sudoers.d/hecate
  [ -f "$rules" ] || die "no $rules"
  install -m440 "$rules" "$LAB/sudoers"
  chroot "$LAB/root" visudo -cqf - <"$LAB/sudoers" || die "sudo does not accept $rules"
}

credentials() {
  local names n
  [ -f "$LAB/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -C hecate-lab -f "$LAB/id_ed25519"
  names=$(for n in "${SERVERS[@]}"; do printf '%s=%s,' "$n" "${IP[$n]}"; done)
  # A new cluster every time: its certificates go with it.
  rm -rf "$LAB/pki"
  "$(k3s_dir)/usr/local/bin/k3s" lab-pki "$LAB/pki" --servers "${names%,}" --nodes "$(IFS=,; echo "${K3S_NODES[*]}")" --users lab-admin,hecate
}

# By name, for HostKeyAlias, and by address.
known_hosts() {
  local n
  for n in "${ALL_NODES[@]}"; do
    [ ! -f "$LAB/hostkeys/$n.pub" ] || echo "$n,${IP[$n]} $(cut -d' ' -f1,2 "$LAB/hostkeys/$n.pub")"
  done >"$LAB/known_hosts"
}

cmd_up() {
  local wait=yes n nodes=() other
  while [ $# -gt 0 ]; do
    case $1 in --no-wait) wait=no ;; *) known "$1"; nodes+=("$1") ;; esac
    shift
  done
  [ ${#nodes[@]} -gt 0 ] || nodes=("${ALL_NODES[@]}")
  is_built && [ -z "$(missing_packages)" ] || { cmd_deps; cmd_build; }
  site_lock
  other=$(owner)
  if [ -n "$other" ] && [ "$other" != "$LAB" ] && grep -qs 'populated 1' "$CG/cgroup.events"; then
    die "a site named $SITE runs from $other: end it (LAB=$other lab down) or set HECATE_LAB_NAME"
  fi
  site_down # what an earlier run may have left
  mkdir -p "$LAB" "$CG"
  echo "$LAB" >"$RUN/lab"
  inotify_up
  root_tree
  sudo_rules
  credentials
  mkdir -p "$NODES_DIR"
  # etcd's logs are allocated ahead, 128 MiB a server.
  mount -t tmpfs -o size=6g,mode=755 lab-nodes "$NODES_DIR"
  for n in "${nodes[@]}"; do node_make "$n"; done
  known_hosts
  # The first namespace of a machine makes their folder: one site at a time.
  exec 8>"$CACHE/lock"
  flock 8
  net_up
  exec 8>&-
  : >"$LAB/ntp.rules"
  background "$LAB/ntp.log" "$LAB/ntp.pid" nsenter --net="/run/netns/$SITE" -- python3 "$LAB_SRC/node/ntp.py" "$GATEWAY" "$LAB/ntp.rules"
  ups_start
  say "net, UPSes and time server"
  # Servers first: theirs is the longest way.
  for n in "${nodes[@]}"; do node_on "$n"; done
  exec 9>&-
  [ $wait = yes ] || return 0
  for n in "${nodes[@]}"; do cmd_wait "$n"; done
  say "${#nodes[@]} nodes answer ssh"
  local k3s=0
  for n in "${nodes[@]}"; do [ "$(role_of "$n")" = plain ] || k3s=$((k3s + 1)); done
  [ $k3s = 0 ] || wait_cluster "$k3s"
}

# Until COUNT nodes are Ready without a taint of their beginning, and pods can be made.
wait_cluster() { # COUNT [SECONDS]
  local count=$1 limit=$(($(now_ms) + ${2:-120} * 1000)) said=no ready
  while [ "$(now_ms)" -lt $limit ]; do
    if [ -n "$(live_server)" ]; then
      ready=$(cmd_kubectl --request-timeout=3s get nodes -o json 2>/dev/null | jq '[.items[]
        | select(any(.status.conditions[]; .type == "Ready" and .status == "True"))
        | select(all(.spec.taints[]?; .key | startswith("node.kubernetes.io/not-ready") or startswith("node.kubernetes.io/unreachable") | not))] | length' 2>/dev/null || true)
      [ $said = yes ] || [ -z "$ready" ] || [ "$ready" = 0 ] || { say "API answers"; said=yes; }
      if [[ $ready =~ ^[0-9]+$ ]] && [ "$ready" -ge "$count" ] && cmd_kubectl --request-timeout=3s -n default get serviceaccount default >/dev/null 2>&1; then
        say "$count nodes Ready"
        return
      fi
    fi
    sleep 0.3
  done
  die "the cluster did not become ready"
}

live_server() {
  local n
  for n in "${SERVERS[@]}"; do
    if in_lab timeout 0.5 bash -c "exec 3<>/dev/tcp/${IP[$n]}/6443" 2>/dev/null; then echo "$n"; return; fi
  done
}

cmd_kubectl() {
  local n; n=$(live_server)
  cmd_kubectl_at "${n:-cp-1}" "$@"
}

cmd_kubectl_at() { # NODE ARGS...
  known "$1"
  local server=https://${IP[$1]}:6443
  shift
  in_lab "$(kube_dir)$BIN/kubectl" --kubeconfig "$LAB/pki/lab-admin.kubeconfig" --server "$server" "$@"
}

cmd_audit() { # [USER]
  local n files=()
  for n in "${SERVERS[@]}"; do [ ! -f "$(disk "$n")/var/log/kube-audit.log" ] || files+=("$(disk "$n")/var/log/kube-audit.log"); done
  [ ${#files[@]} -gt 0 ] || return 0
  # A line that is being written is not JSON yet: leave it out.
  cat "${files[@]}" | jq -cR --arg user "${1:-}" 'fromjson? | select($user == "" or .user.username == $user)' | jq -cs 'sort_by(.requestReceivedTimestamp)[]'
}

cmd_env() {
  local k v
  while read -r k v; do printf '%s=%q\n' "$k" "$v"; done <<E
LAB $LAB
HECATE_LAB_NETNS $SITE
HECATE_LAB_SSH_KEY $LAB/id_ed25519
HECATE_LAB_KNOWN_HOSTS $LAB/known_hosts
HECATE_LAB_KUBECONFIG $LAB/pki/hecate.kubeconfig
HECATE_LAB_ADMIN_KUBECONFIG $LAB/pki/lab-admin.kubeconfig
HECATE_LAB_NODES_DIR $NODES_DIR
HECATE_LAB_UPSD ${IP[ups]}:3493
HECATE_LAB_KUBE_VERSION $KUBE_VERSION
E
}

# hecate on its own host: the program, its unit, its credentials, and whatever files are given beside it. Not started.
cmd_install_hecate() { # BINARY [FILE...]
  local d f
  [ -f "${1:-}" ] || die "usage: lab install-hecate BINARY [FILE...]"
  if [ "$(node_state hecate)" = on ]; then d=/proc/$(leader hecate)/root; else d=$(disk hecate); fi
  mkdir -p "$d/usr/local/bin" "$d/etc/hecate"
  install -m755 "$1" "$d/usr/local/bin/.hecate.new"
  mv "$d/usr/local/bin/.hecate.new" "$d/usr/local/bin/hecate" # the old one may be running
  shift
  install -m600 "$LAB/id_ed25519" "$d/etc/hecate/id_ed25519"
  install -m644 "$LAB/known_hosts" "$d/etc/hecate/known_hosts"
  install -m600 "$LAB/pki/hecate.kubeconfig" "$d/etc/hecate/kubeconfig"
  for f in "$@"; do install -m640 "$f" "$d/etc/hecate/$(basename "$f")"; done
  if [ -f "$CHECKOUT/systemd/hecate.service" ]; then
    install -m644 "$CHECKOUT/systemd/hecate.service" "$d/etc/systemd/system/hecate.service"
    # nspawn shows a container's own boot id by a mount over /proc/sys/kernel/random/boot_id; these two settings make
    # systemd mount /proc anew without it, and every boot of the hecate host would look like the same one.
    install -d "$d/etc/systemd/system/hecate.service.d"
    printf '[Service]\nProtectKernelTunables=no\nProtectControlGroups=no\n' >"$d/etc/systemd/system/hecate.service.d/10-nspawn.conf"
    [ "$(node_state hecate)" != on ] || node_exec hecate systemctl daemon-reload
  fi
}
