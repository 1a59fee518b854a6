# The net: a bridge in a namespace of its own, one namespace a host. Nothing is added to the machine's own network.

net_add() { # NAME ADDRESS
  local ns=$SITE-$1
  ip netns add "$ns"
  ip link add name "v-$1" netns "$SITE" type veth peer name eth0 netns "$ns"
  ip -n "$SITE" link set "v-$1" master br0
  ip -n "$ns" -b - <<N
link set lo up
addr add $2/24 dev eth0
link set eth0 up
route add default via $GATEWAY
N
}

# The folder that `ip netns` mounts on itself: the last `lab down` removes it if it was not there before the first lab.
MADE_NETNS=/run/netns-made-by-lab

net_up() {
  mountpoint -q /run/netns || touch "$MADE_NETNS"
  ip netns add "$SITE"
  ip -n "$SITE" -b - <<N
link set lo up
link add br0 type bridge
link set br0 up
addr add $GATEWAY/24 dev br0
N
  local n
  for n in "${ALL_NODES[@]}"; do net_add "$n" "${IP[$n]}"; done
  net_add ups "${IP[ups]}"
  switch_port ups up # nodes come with their power
}

switch_port() { ip -n "$SITE" link set "v-$1" "$2"; } # NODE up|down: the cable at the switch

net_down() {
  local n
  for n in $(ip netns list 2>/dev/null | awk '{print $1}'); do
    case $n in "$SITE" | "$SITE"-*) ip netns del "$n" ;; esac
  done
  if [ -e "$MADE_NETNS" ] && [ -z "$(ls -A /run/netns 2>/dev/null)" ]; then
    umount /run/netns 2>/dev/null || true
    rmdir /run/netns 2>/dev/null || true
    rm -f "$MADE_NETNS"
  fi
}

# Every host forgets who had which address, as after a gratuitous ARP.
forget_neighbours() {
  local n
  for n in "$SITE" "${ALL_NODES[@]/#/$SITE-}"; do ip -n "$n" neigh flush all 2>/dev/null || true; done
}

set_address() { # NODE ADDRESS
  ip -n "$SITE-$1" -b - <<N
addr flush dev eth0 scope global
addr add $2/24 dev eth0
route replace default via $GATEWAY
N
}

cmd_swap() {
  [ $# = 2 ] || die "usage: lab swap A B"
  set_address "$1" "${IP[$2]}"
  set_address "$2" "${IP[$1]}"
  forget_neighbours
}

cmd_unswap() {
  [ $# = 2 ] || die "usage: lab unswap A B"
  set_address "$1" "${IP[$1]}"
  set_address "$2" "${IP[$2]}"
  forget_neighbours
}
