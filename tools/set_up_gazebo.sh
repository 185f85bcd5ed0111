#!/bin/bash
# Make Gazebo Classic 11 run here: a Debian bullseye system in a folder, with our world plugin compiled in it.
# Usage: tools/set_up_gazebo.sh            about 4 minutes and 1.3 GB the first time; nothing to do after that
#        tools/set_up_gazebo.sh --where    only say where both are
# EFM_GAZEBO    the folder; default: efm/gazebo in the user's cache
# EFM_MIRROR    a Debian mirror that has bullseye; default: the one that apt uses
# Exit code 77: it cannot be had on this machine, with the reason; 1: it can, and something is broken.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
folder=${EFM_GAZEBO:-${XDG_CACHE_HOME:-$HOME/.cache}/efm/gazebo}
suite=bullseye # the only Debian release with Gazebo Classic 11 of its own
packages='gazebo xvfb libgl1-mesa-dri iproute2 g++'
# What the plugin's includes need, unpacked without what these packages depend on: libraries are there.
headers='libgazebo-dev libsdformat-dev libignition-math-dev libignition-common-dev libignition-msgs-dev
    libignition-transport-dev libprotobuf-dev libboost1.74-dev libtinyxml2-dev libtinyxml-dev
    libtbb-dev libogre-1.9-dev uuid-dev libignition-cmake-dev'
includes='/usr/include/gazebo-11 /usr/include/gazebo-11/gazebo /usr/include/sdformat-9.3 /usr/include/ignition/math6
    /usr/include/ignition/common3 /usr/include/ignition/msgs5 /usr/include/ignition/transport8 /usr/include/OGRE /usr/include/OGRE/Terrain /usr/include/OGRE/Paging'
recipe=$(printf '%s' "2 $suite $packages $headers" | sha256sum | cut -c1-12)
root=$folder/$suite-$recipe
source=$here/worlds/plugin/table.cc
plugin=/opt/efm/$(sha256sum <"$source" | cut -c1-12)

unavailable() {
    echo "gazebo: cannot be had here: $1" >&2
    exit 77
}

mirror() {
    [ -n "${EFM_MIRROR:-}" ] && echo "$EFM_MIRROR" && return
    # shellcheck disable=SC2016 # apt fills in this dollar
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' 2>/dev/null | sort | uniq -c |
        sort -rn | awk 'NR == 1 {sub("/$", "", $2); print $2}'
}

# Run a command in a root, with mounts and processes of its own that are gone when it ends.
inside() {
    unshare --mount --pid --fork --kill-child --propagation private -- bash -c '
        mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" /usr/bin/env -i \
            PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"' "$@"
}

# Why this machine cannot have a root; nothing where it can.
obstacle() {
    [ "$(id -u)" = 0 ] || { echo 'it needs root'; return; }
    [ "$(uname -m)" = x86_64 ] || { echo "it was made for x86_64, this is $(uname -m)"; return; }
    command -v apt-get >/dev/null || { echo 'it needs apt'; return; }
    unshare --mount --pid --fork true 2>/dev/null || { echo 'this machine allows no namespaces'; return; }
    [ -n "$(mirror)" ] || { echo 'apt names no Debian mirror; set EFM_MIRROR'; return; }
    rm -f "$folder/Release"
    /usr/lib/apt/apt-helper download-file "$(mirror)/dists/$suite/Release" "$folder/Release" >/dev/null 2>&1 ||
        echo "the mirror that apt uses has no $suite, or cannot be reached; EFM_MIRROR names another"
}

build_root() {
    local why
    why=$(obstacle)
    [ -z "$why" ] || unavailable "$why"
    echo "--- Gazebo Classic 11 in $root (4 minutes)"
    command -v debootstrap >/dev/null || { apt-get update && apt-get install -y --no-install-recommends debootstrap; } >/dev/null
    rm -rf --one-file-system "$root.new"
    mkdir -p "$root.new"
    debootstrap --variant=minbase --components=main "$suite" "$root.new" "$(mirror)" >"$folder/debootstrap.log" 2>&1 ||
        { tail -n 20 "$folder/debootstrap.log" >&2; return 1; }
    cp -L /etc/resolv.conf "$root.new/etc/resolv.conf"
    # shellcheck disable=SC2086
    {
        inside "$root.new" apt-get update
        inside "$root.new" apt-get install -y --no-install-recommends $packages
        inside "$root.new" bash -ec "mkdir /opt/headers && cd /opt/headers && apt-get download $(echo $headers) &&
            for deb in *.deb; do dpkg -x \$deb /; done && cd / && rm -r /opt/headers && apt-get clean && rm -rf /var/lib/apt/lists/*"
    } >"$folder/apt.log" 2>&1 || { tail -n 20 "$folder/apt.log" >&2; return 1; }
    mv "$root.new" "$root"
}

build_plugin() {
    echo "--- world plugin in $root$plugin (half a minute)"
    rm -rf "$root$plugin.new"
    mkdir -p "$root$plugin.new"
    cp "$source" "$root$plugin.new/table.cc"
    # The libraries are those of gzserver, which loads it.
    inside "$root" g++ -std=c++17 -O1 -fPIC -shared -w \
        $(printf -- '-isystem %s ' $includes) -o "$plugin.new/libefm_table.so" "$plugin.new/table.cc" >"$folder/plugin.log" 2>&1 ||
        { head -n 20 "$folder/plugin.log" >&2; return 1; }
    mv "$root$plugin.new" "$root$plugin"
}

where() {
    [ -d "$root" ] && [ -d "$root$plugin" ] || { echo "gazebo: expected it in $folder, got nothing; as root: make gazebo" >&2; exit 1; }
    echo "$root $plugin"
}

[ "${1:-}" = --where ] && where && exit
mkdir -p "$folder"
exec 9>"$folder/lock"
flock 9 # two runs never build at once
[ -d "$root" ] || build_root
[ -d "$root$plugin" ] || build_plugin
