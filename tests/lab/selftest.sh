#!/bin/bash
# selftest.sh - does the lab itself do what its README says? Prints what each step took. Ends with `lab down`.
#   KEEP=1  leave the site up at the end        STEPS='volumes ups'  only these (the site must be up)
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
lab() { bash "$here/lab" "$@"; }
k() { lab kubectl --request-timeout=10s "$@"; }
eval "$(lab env)"

ms() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 1000)); }
begin=$(ms) step_begin=$begin
step() { step_begin=$(ms); printf '== %s\n' "$*"; }
took() { local d=$(($(ms) - step_begin)); printf '   %-62s %3d.%02d s\n' "$*" $((d / 1000)) $((d % 1000 / 10)); step_begin=$(ms); }
fail() { echo "FAILED: $*" >&2; exit 1; }
# until SECONDS CMD...: wait for a command to succeed
until_ok() {
  local limit=$(($(ms) + $1 * 1000)); shift
  until "$@" >/dev/null 2>&1; do [ "$(ms)" -lt $limit ] || fail "not in time: $*"; sleep 0.1; done
}
expect() { [ "$1" = "$2" ] || fail "$3: expected '$1', got '$2'"; }

# Not grep -q: it ends at the first hit, and what writes to it fails.
has() { grep "$@" >/dev/null; }

ready_nodes() { [ "$(k get nodes -o json | jq '[.items[] | select(any(.status.conditions[]; .type == "Ready" and .status == "True"))] | length')" = "$1" ]; }
# Nodes whose posted boot is the one that runs, with a lease renewed in the last 10 s.
fresh_node() {
  [ "$(k get node "$1" -o jsonpath='{.status.nodeInfo.bootID}')" = "$(lab node exec "$1" cat /proc/sys/kernel/random/boot_id)" ] &&
    [ "$(k -n kube-node-lease get lease "$1" -o json | jq 'now - (.spec.renewTime | sub("\\.[0-9]+"; "") | fromdateiso8601) < 10')" = true ]
}
all_fresh() { local n; for n in cp-1 cp-2 cp-3 worker-1 worker-2; do fresh_node "$n" || return 1; done; }
pods_ready() { [ "$(k get pods -l "$1" -o json | jq '[.items[] | select(any(.status.conditions[]?; .type == "Ready" and .status == "True")) | select(.metadata.deletionTimestamp == null)] | length')" = "$2" ]; }
# All pods of a DaemonSet run in the boot of their node that runs now.
pods_fresh() { # APP
  local node id
  while read -r node id; do
    [[ $id == containerd://$(lab node exec "$node" cat /proc/sys/kernel/random/boot_id)-* ]] || return 1
  done < <(k get pods -l "app=$1" -o jsonpath='{range .items[*]}{.spec.nodeName} {.status.containerStatuses[0].containerID}{"\n"}{end}')
}
shims() { lab node exec "$1" pgrep -c -f 'k3s/data/[^/]*/bin/containerd-shim' || true; }
uid_of() { k get pod "$1" -o jsonpath='{.metadata.uid}'; }
shim_of() { lab node exec "$1" pgrep -f "containerd-shim-runc-v2 -namespace k8s.io -id $2" || true; }
gone() { ! k get pod "$1" >/dev/null 2>&1; }

evict() { # NAMESPACE POD
  printf '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"%s","namespace":"%s"}}' "$2" "$1" |
    k create --raw "/api/v1/namespaces/$1/pods/$2/eviction" -f - >/dev/null
}
pod() { # NAME NODE STOP-SECONDS GRACE
  k apply -f - >/dev/null <<Y
apiVersion: v1
kind: Pod
metadata: {name: $1, labels: {app: lone}, annotations: {lab.hecate/stop-seconds: "$3"}}
spec:
  nodeSelector: {kubernetes.io/hostname: $2}
  terminationGracePeriodSeconds: $4
  tolerations: [{operator: Exists}]
  containers: [{name: c, image: lab/pause}]
Y
}

t_workloads() {
  step "workloads"
  k apply -f - >/dev/null <<'Y'
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 6
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: lab/web}], terminationGracePeriodSeconds: 5}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: every}
spec:
  selector: {matchLabels: {app: every}}
  template:
    metadata: {labels: {app: every}}
    spec: {containers: [{name: c, image: lab/every}], tolerations: [{operator: Exists}]}
Y
  until_ok 30 pods_ready app=web 6
  until_ok 30 pods_ready app=every 5
  took "6 pods of a Deployment and 5 of a DaemonSet Ready"
}

t_grace() {
  step "eviction"
  pod quick worker-1 0 30; pod slow worker-1 3 30; pod never worker-1 never 4
  until_ok 15 pods_ready app=lone 3
  took "3 pods Ready"
  local uid; uid=$(uid_of never)
  evict default quick; until_ok 5 gone quick; took "a pod that ends at once is gone"
  evict default slow; until_ok 8 gone slow; took "a pod that takes 3 s is gone"
  evict default never; until_ok 10 gone never; took "a pod that never ends is gone (grace 4 s)"
  [ -z "$(shim_of worker-1 "$uid")" ] || fail "process of an evicted pod is left"
  k apply -f - >/dev/null <<'Y'
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 0, selector: {matchLabels: {app: web}}}
Y
  until_ok 10 sh -c "[ -n \"\$('$here/lab' kubectl get pdb web -o jsonpath='{.status.expectedPods}')\" ]"
  local p out; p=$(k get pods -l app=web -o jsonpath='{.items[0].metadata.name}')
  out=$(evict default "$p" 2>&1 || true)
  [[ $out == *"disruption budget"* ]] || fail "a PDB that allows nothing let a pod go: $out"
  k delete pdb web >/dev/null
  took "a PDB that allows nothing refuses"
}

t_adopt() {
  step "pods and units"
  local before uid pid
  pod keep worker-2 0 5
  until_ok 15 pods_ready app=lone 1
  uid=$(uid_of keep) pid=$(shim_of worker-2 "$uid")
  [ -n "$pid" ] || fail "no process"
  before=$(shims worker-2)
  step_begin=$(ms)
  lab node exec worker-2 systemctl stop k3s-agent; took "systemctl stop k3s-agent"
  expect "$before" "$(shims worker-2)" "processes after stopping the agent"
  k delete pod keep --force --grace-period=0 >/dev/null 2>&1 # gone from the API while the agent is away
  step_begin=$(ms)
  lab node exec worker-2 systemctl start k3s-agent; took "systemctl start k3s-agent"
  until_ok 5 sh -c "[ -z \"\$('$here/lab' node exec worker-2 pgrep -f 'id $uid')\" ]"
  expect "$((before - 1))" "$(shims worker-2)" "processes adopted"
  took "others adopted, the deleted pod's process ended"
  lab node exec worker-2 /usr/local/bin/k3s-killall.sh
  expect 0 "$(shims worker-2)" "processes after k3s-killall.sh"
  expect inactive "$(lab node exec worker-2 systemctl is-active k3s-agent || true)" "k3s-agent after k3s-killall.sh"
  took "k3s-killall.sh"
  lab ssh worker-2 sudo -n systemctl start --no-block k3s-agent
  until_ok 20 pods_ready app=every 5
  [ "$(shims worker-2)" -gt 0 ] || fail "pods did not start again"
  lab sudolog worker-2 | has 'start --no-block k3s-agent' || fail "no sudo log"
  took "started through hecate's sudo rules, pods back"
  if lab ssh worker-2 sudo -n systemctl reboot 2>/dev/null; then fail "sudo allows too much"; fi
}

t_snapshot() {
  step "etcd snapshot"
  lab node exec cp-1 k3s etcd-snapshot save --name hecate-selftest 2>&1 | has saved || fail "no snapshot"
  took "save"
  lab node exec cp-1 k3s etcd-snapshot ls | grep -E '^hecate-selftest-cp-1-[0-9]+ +file:///var/lib/rancher/k3s/server/db/snapshots/' || fail "not listed"
  lab node exec cp-1 k3s etcd-snapshot ls -o json | jq -e '.items[0].spec.nodeName == "cp-1"' >/dev/null || fail "no JSON"
  expect 700 "$(lab node exec cp-1 stat -c %a /var/lib/rancher/k3s/server/db/snapshots)" "mode of the snapshots' folder"
  lab ssh cp-1 sudo -n /usr/bin/systemd-run --unit=hecate-etcd-snapshot --collect --wait --quiet /usr/local/bin/k3s etcd-snapshot save --name hecate-1 || fail "snapshot by sudo"
  lab ssh cp-1 sudo -n /usr/local/bin/k3s etcd-snapshot ls | has hecate-1-cp-1 || fail "snapshot by sudo is not listed"
  lab node exec cp-1 k3s kubectl get --raw /readyz >/dev/null
  lab node exec cp-1 k3s --version | has "^k3s version $HECATE_LAB_KUBE_VERSION+k3s1" || fail version
  took "ls, kubectl, --version"
}

t_faults() {
  step "faults"
  lab node freeze worker-1
  expect frozen "$(lab node state worker-1)" state
  lab run timeout 2 bash -c 'exec 3<>/dev/tcp/10.99.0.21/22' || fail "a frozen node does not accept TCP"
  if lab run timeout 1 bash -c 'exec 3<>/dev/tcp/10.99.0.21/22 && read -r -u 3 x' 2>/dev/null; then fail "a frozen node talks"; fi
  lab node thaw worker-1
  until_ok 5 lab ssh worker-1 true
  took "frozen: accepts TCP, says nothing; thawed: answers"
  lab node unplug worker-1
  if lab run timeout 1 bash -c 'exec 3<>/dev/tcp/10.99.0.21/22' 2>/dev/null; then fail "an unplugged node answers"; fi
  lab node plug worker-1; until_ok 5 lab ssh worker-1 true
  took "unplugged: silent; plugged: answers"
  lab swap worker-1 worker-2
  if lab ssh worker-1 true 2>/dev/null; then fail "swap: the other's host key was taken"; fi
  expect worker-2 "$(lab run ssh -i "$HECATE_LAB_SSH_KEY" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR hecate@10.99.0.21 hostname)" "host behind a swapped address"
  lab unswap worker-1 worker-2; until_ok 5 lab ssh worker-1 true
  took "swapped: the wrong host answers; unswapped: the right one"
  lab ssh jump true || fail jump
  expect worker-1 "$(lab run ssh -i "$HECATE_LAB_SSH_KEY" -o BatchMode=yes -o UserKnownHostsFile="$HECATE_LAB_KNOWN_HOSTS" -o LogLevel=ERROR \
    -o "ProxyCommand=ssh -i $HECATE_LAB_SSH_KEY -o BatchMode=yes -o UserKnownHostsFile=$HECATE_LAB_KNOWN_HOSTS -W %h:%p hecate@10.99.0.3" hecate@10.99.0.21 hostname)" "through the jump host"
  took "through the jump host"
  expect yes "$(lab node exec worker-1 timedatectl show -p NTPSynchronized --value)" timedatectl
  lab clock worker-1 unsynced
  expect no "$(lab node exec worker-1 timedatectl show -p NTPSynchronized --value)" timedatectl
  lab clock worker-1 synced
  took "clock synchronised, unsynchronised"
}

t_ups() {
  step "UPS"
  ups() { lab ups get "$1" "$2" 2>/dev/null; }
  until_ok 10 sh -c "'$here/lab' ups get pyrphoros ups.status | grep -q OL"
  step_begin=$(ms)
  lab ups set ups.status='OB DISCHRG' battery.runtime=600; lab ups set statera ups.load=41; lab ups set ups.load=55
  until_ok 10 sh -c "'$here/lab' ups get ups.load | grep -q 55"
  expect "OB DISCHRG" "$(ups pyrphoros ups.status)" ups.status
  took "on battery, two writes in a second"
  until_ok 5 sh -c "'$here/lab' ups get statera ups.load | grep -q 41"
  expect OL "$(ups statera ups.status)" "the other UPS"
  lab ups drain 125
  step_begin=$(ms)
  lab ups set ups.load=66 # beside the drain
  until_ok 15 sh -c "'$here/lab' ups get ups.status | grep -q LB"
  expect 66 "$(ups pyrphoros ups.load)" "a write during the drain"
  took "runtime drains, LB below 120 s"
  lab ups set ups.status=OL battery.runtime=1800 battery.charge=100
  sleep 3
  expect "OL 1800" "$(ups pyrphoros ups.status) $(ups pyrphoros battery.runtime)" "after the drain"
  lab ups kill-driver; until_ok 8 sh -c "'$here/lab' ups get ups.status | grep -q -i driver"
  expect OL "$(ups statera ups.status)" "the other UPS"
  lab ups start-driver; until_ok 10 sh -c "'$here/lab' ups get ups.status | grep -q ^OL"
  took "driver killed and started"
  lab ups stop-driver; until_ok 12 sh -c "'$here/lab' ups get ups.status | grep -q -i stale"
  lab ups cont-driver; until_ok 12 sh -c "'$here/lab' ups get ups.status | grep -q ^OL"
  took "driver hung: stale; going on: OL"
  lab ups kill-upsd; sleep 0.2; if lab ups get ups.status 2>/dev/null | has ^OL; then fail "upsd is dead and talks"; fi
  lab ups start-upsd; until_ok 10 sh -c "'$here/lab' ups get ups.status | grep -q ^OL"
  took "upsd killed and started"
}

t_volumes() {
  step "volumes"
  k apply -f - >/dev/null <<'Y'
apiVersion: v1
kind: PersistentVolume
metadata: {name: data-1, annotations: {lab.hecate/detach-seconds: "2"}}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  persistentVolumeReclaimPolicy: Delete
  claimRef: {namespace: default, name: data-1}
  csi: {driver: csi.lab.hecate, volumeHandle: vol-1}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data-1}
spec: {accessModes: [ReadWriteOnce], storageClassName: "", volumeName: data-1, resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: db, labels: {app: db}}
spec:
  terminationGracePeriodSeconds: 5
  containers: [{name: c, image: lab/db, volumeMounts: [{name: d, mountPath: /d}]}]
  volumes: [{name: d, persistentVolumeClaim: {claimName: data-1}}]
Y
  until_ok 30 pods_ready app=db 1
  expect true "$(k get volumeattachment -o jsonpath='{.items[0].status.attached}')" "VolumeAttachment"
  took "attached, pod Ready"
  evict default db; until_ok 8 gone db; took "pod gone"
  until_ok 30 sh -c "[ -z \"\$('$here/lab' kubectl get volumeattachment -o name)\" ]"
  took "detached (takes 2 s)"
  k delete pvc data-1 --wait=false >/dev/null; k delete pv data-1 --wait=false >/dev/null
}

t_restart() {
  step "the whole cluster: stop, start"
  local n p=()
  for n in cp-1 cp-2 cp-3; do { lab node exec $n systemctl stop k3s; echo "   $n stopped after $(($(ms) - step_begin)) ms"; } & p+=($!); done
  for n in worker-1 worker-2; do lab node exec $n systemctl stop k3s-agent & p+=($!); done
  wait "${p[@]}"
  took "k3s and k3s-agent stopped everywhere"
  for n in cp-1 cp-2 cp-3; do
    [ -z "$(lab node exec $n pgrep -f 'k3s/data/lab/bin/(etcd|kube)' || true)" ] || fail "$n: a part of k3s is left"
    expect inactive "$(lab node exec $n systemctl is-active k3s || true)" "k3s on $n"
  done
  step_begin=$(ms)
  for n in cp-1 cp-2 cp-3; do lab ssh $n sudo -n systemctl start --no-block k3s; done
  for n in worker-1 worker-2; do lab ssh $n sudo -n systemctl start --no-block k3s-agent; done
  until_ok 60 k get --raw /readyz; took "first API server ready"
  for n in cp-1 cp-2 cp-3; do until_ok 60 lab kubectl-at $n --request-timeout=2s get --raw /readyz; done; took "all API servers ready"
  until_ok 60 all_fresh; took "all nodes fresh"
  until_ok 60 ready_nodes 5
  until_ok 30 pods_ready app=every 5; took "Ready again"
}

t_power() {
  step "power: off and on by themselves"
  local n
  for n in worker-1 worker-2 cp-2 cp-3 cp-1; do lab ssh $n sudo -n systemctl poweroff & done; wait
  for n in worker-1 worker-2 cp-2 cp-3 cp-1; do until_ok 30 sh -c "[ \"\$('$here/lab' node state $n)\" = off ]"; done
  took "systemctl poweroff over ssh, all five off"
  lab journal cp-1 -u k3s -n 200 | has 'Shutting down' || fail "journal of a host that is off"
  for n in cp-1 cp-2 cp-3 worker-1 worker-2; do lab node on $n; done
  for n in cp-1 cp-2 cp-3 worker-1 worker-2; do lab wait $n; done; took "on: ssh answers"
  until_ok 90 all_fresh; took "all nodes fresh"
  until_ok 60 ready_nodes 5; until_ok 60 pods_fresh every; until_ok 60 pods_ready app=web 6; took "pods run in the new boot"
  step "power: cut for all, on"
  for n in cp-1 cp-2 cp-3 worker-1 worker-2; do lab node cut-power $n & done; wait; took "all five cut"
  for n in cp-1 cp-2 cp-3 worker-1 worker-2; do lab node on $n; done
  until_ok 90 all_fresh; took "all nodes fresh"
  until_ok 60 ready_nodes 5; until_ok 60 pods_fresh every; took "pods run in the new boot"
  step "the hecate host: off, on, reboot"
  local boot; boot=$(lab node exec hecate cat /proc/sys/kernel/random/boot_id)
  lab install-hecate /bin/true "$here/README.md"
  expect "/etc/hecate/id_ed25519 /etc/hecate/known_hosts /etc/hecate/kubeconfig" \
    "$(lab node exec hecate sh -c '/usr/local/bin/hecate && ls /etc/hecate/id_ed25519 /etc/hecate/known_hosts /etc/hecate/kubeconfig' | xargs)" "install-hecate"
  lab node poweroff hecate || true; until_ok 10 sh -c "[ \"\$('$here/lab' node state hecate)\" = off ]"; took "off"
  lab node on hecate; lab wait hecate; took "on"
  [ "$boot" != "$(lab node exec hecate cat /proc/sys/kernel/random/boot_id)" ] || fail "same boot id"
  [ "$(lab node uptime hecate | cut -d. -f1)" -lt 30 ] || fail "uptime is the machine's"
  lab node press hecate; until_ok 10 sh -c "[ \"\$('$here/lab' node state hecate)\" = off ]"; lab node on hecate; lab wait hecate; took "power button, on"
}

t_audit() {
  step "records"
  [ "$(lab audit lab-admin | jq -r 'select(.objectRef.subresource == "eviction") | .objectRef.name' | sort -u | grep -c -E '^(quick|slow|never|db)$')" -ge 3 ] || fail "evictions are not in the audit log"
  expect "" "$(lab audit hecate | head -1)" "audit of hecate"
  took "audit ($(lab audit | wc -l) lines)"
}

t_down() {
  step "down"
  lab down; took "down"
  [ ! -d "/sys/fs/cgroup/unified/$HECATE_LAB_NETNS" ] && [ ! -d "/sys/fs/cgroup/$HECATE_LAB_NETNS" ] || fail "a cgroup is left"
  if ip netns list 2>/dev/null | has "^$HECATE_LAB_NETNS"; then fail "a network namespace is left"; fi
  if grep -q "$LAB" /proc/mounts; then fail "a mount is left"; fi
  if pgrep -f "$LAB/" | grep -v "^$$\$" | has .; then fail "a process is left: $(pgrep -af "$LAB/")"; fi
}

if [ -z "${STEPS:-}" ]; then
  step up; lab up; took up
fi
for s in ${STEPS:-workloads grace adopt snapshot faults ups volumes restart power audit}; do "t_$s"; done
[ -n "${KEEP:-}${STEPS:-}" ] || t_down
printf 'lab selftest: all well, %d s\n' $((($(ms) - begin) / 1000))
