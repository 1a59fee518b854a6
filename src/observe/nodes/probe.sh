# What one look at a node prints, as key=value lines; read by probe.rs. POSIX sh, no root but for two exact sudo rules.
# Arguments: control-plane|worker  snapshots|-  killall|-  SECONDS (limit of each part that may hang)
# Prints no configuration text: it may hold tokens and passwords.
role=$1 snapshots=$2 killall=$3 seconds=$4
exec </dev/null 2>/dev/null
LC_ALL=C PATH=$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
export LC_ALL PATH
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY

newline='
'

has() { command -v "$1" >/dev/null; }
limit() { if has timeout; then timeout "$seconds" "$@"; else "$@"; fi; }

# The metrics listener of k3s' embedded etcd; plain HTTP, on loopback only.
etcd() {
  if has curl; then curl -s -m "$seconds" "http://127.0.0.1:2381$1"
  elif has wget; then wget -q -T "$seconds" -O - "http://127.0.0.1:2381$1"
  elif has bash; then
    limit bash -c 'exec 3<>/dev/tcp/127.0.0.1/2381 && printf "GET %s HTTP/1.0\r\n\r\n" "$0" >&3 && cat <&3' "$1"
  fi
}

echo begin=hecate-probe-1
# A date without nanoseconds prints its format.
echo "clock=$(date +%s.%N)"
echo "machine_id=$(cat /etc/machine-id)"
echo "boot_id=$(cat /proc/sys/kernel/random/boot_id)"
echo "uptime=$(cat /proc/uptime)"
limit systemctl show k3s.service k3s-agent.service hecate-etcd-snapshot.service -p Id,LoadState,ActiveState,SubState,TimeoutStopUSec

# As k3s-killall.sh finds them. Where /proc hides other users' processes (hidepid), the kubelet's cgroups speak for them.
if [ -r /proc/1/cmdline ] && cat /proc/1/cmdline >/dev/null; then
  echo "containers=$(grep -l 'k3s/data/[^/]*/bin/containerd-shim' /proc/[0-9]*/cmdline | grep -c .)"
else
  echo "containers=$(cat /sys/fs/cgroup/kubepods*/cgroup.events /sys/fs/cgroup/*/kubepods*/cgroup.events | grep -c '^populated 1')"
fi

if [ "$killall" = killall ]; then
  if limit sudo -n -l /usr/local/bin/k3s-killall.sh >/dev/null; then echo killall=yes; else echo killall=no; fi
fi

if [ "$role" = control-plane ]; then
  settings=$(limit systemctl show k3s.service -p ExecStart -p Environment
    cat /etc/rancher/k3s/config.yaml /etc/rancher/k3s/config.yaml.d/*.yaml | grep -v '^[[:space:]]*#')
  # A server joins others by --server, `server:` or K3S_URL, which only works with etcd or a shared database.
  case $settings in
    *datastore-endpoint* | *K3S_DATASTORE_ENDPOINT*) echo hint=external ;;
    *cluster-init* | *--server* | *K3S_URL*) echo hint=etcd ;;
    server:* | *"$newline"server:*) echo hint=etcd ;;
  esac
  # kine stands before a database that is not etcd.
  grep -q 'kine\.sock' /proc/net/unix && echo hint=kine
  leader=$(etcd /metrics | grep '^etcd_server_is_leader ')
  if [ -n "$leader" ]; then
    echo "etcd_leader=${leader#* }"
    echo "etcd_health=$(etcd /health | tail -n 1 | cut -c 1-200)"
  fi
fi

if [ "$snapshots" = snapshots ]; then
  if list=$(limit sudo -n /usr/local/bin/k3s etcd-snapshot ls); then
    printf '%s\n' "$list" | grep '^hecate-' | tail -n 500 | sed 's/^/snapshot=/'
    echo snapshots=listed
  else
    echo snapshots=failed
  fi
fi

# chronyd knows more than the kernel's flag, which timedatectl shows.
synced=
if has chronyc; then
  tracking=$(limit chronyc -n tracking)
  printf '%s\n' "$tracking" | sed -n -e 's/^System time *: *\([0-9.]*\) seconds fast of NTP time$/ntp_ahead=\1/p' \
    -e 's/^System time *: *\([0-9.]*\) seconds slow of NTP time$/ntp_ahead=-\1/p'
  case $tracking in
    *'Leap status'*'Not synchronised'*) synced=no ;;
    *'Leap status'*) synced=yes ;;
  esac
fi
if [ -z "$synced" ] && has timedatectl; then synced=$(limit timedatectl show -p NTPSynchronized --value); fi
echo "time_synced=$synced"
echo end=hecate-probe-1
