#!/bin/bash
# Make headless OpenGL work where it may be done, else say in one line what is missing.
# Usage: tools/set_up_graphics.sh PYTHON
set -eu

packages='libegl1 libgl1-mesa-dri libopengl0'

works() {
    MUJOCO_GL=egl LP_NUM_THREADS=1 "$1" -c 'import mujoco; mujoco.GLContext(8, 8).make_current()' >/dev/null 2>&1
}

install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    echo "--- $packages"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    { apt-get update && apt-get install -y --no-install-recommends $packages; } >/dev/null 2>&1
}

works "$1" || { install && works "$1"; } || echo "headless OpenGL is missing: as root, apt-get install $packages" >&2
