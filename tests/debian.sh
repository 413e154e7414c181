#!/usr/bin/env bash
# Runs `make sweep` and `make test` of the current commit on an unpacked Debian: debian.sh SUITE [COMMAND]
#
# Needs root and debootstrap. The packages come from the mirror in the host's apt configuration. The
# unpacked system stays in the cache folder, the checkout and its .venv are new each time.
set -euo pipefail
suite=${1:?usage: debian.sh SUITE [COMMAND]}
command=${2:-make sweep && make test}
root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
system=${XDG_CACHE_HOME:-$HOME/.cache}/population-sweep/debian/$suite

if [ ! -e "$system/etc/debian_version" ]; then
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 '/debian/\?$')
  mkdir -p "$system"
  debootstrap --variant=minbase --include=ca-certificates,git,make,python3,python3-venv \
    "$suite" "$system" "$mirror" || { rm -rf "$system"; exit 1; }
fi

rm -rf "$system/root/project"
git clone --quiet --depth 1 "file://$root" "$system/root/project"

# The system uses the host's name servers, certificates, and settings of pip and of proxies.
cp /etc/resolv.conf "$system/etc/resolv.conf"
cp -L /etc/ssl/certs/ca-certificates.crt "$system/etc/ssl/certs/ca-certificates.crt"
settings=$(env | grep -iE '^(pip_|uv_|[a-z_]*cert[a-z_]*=|[a-z]*_proxy=|debian_)' | grep -iv find_links || true)
mapfile -t settings <<<"$settings"

# The mounts end with the process, so nothing has to be unmounted.
exec unshare --mount --propagation private bash -euc '
  system=$1 command=$2; shift 2
  mount -t proc proc "$system/proc"
  mount --rbind /dev "$system/dev"
  mount -t tmpfs tmpfs "$system/dev/shm"
  exec chroot "$system" env -i "$@" HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    bash -euc "cd /root/project; python3 --version; $command"
' bash "$system" "$command" "${settings[@]}"
