# Sourced by examples/demo.sh and tests/run.sh: makes sure that Debian packages are installed.
#
#   copper_need_packages GROUP...     groups of cmake/debian-packages.txt
#   copper_need_go                    any Go toolchain: the one in PATH, else Debian's golang-go
#
# Says what it installs before it does. Without root and without sudo it prints the exact command and
# stops. Services that a package brings (redis, nginx) are not started.

copper_say() { printf '== %s\n' "$*"; }

copper_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

copper_list_packages() {
    local group
    for group in "$@"; do
        sed -n "s/^\[$group\] *//p" "$copper_root/cmake/debian-packages.txt"
    done | tr -s ' ' '\n'
}

copper_is_installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

copper_install() {
    local sudo=
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null; then
            copper_say "these packages are missing, and there is neither root nor sudo. Run as root:"
            echo "apt-get update && apt-get install -y --no-install-recommends $*"
            exit 1
        fi
        sudo=sudo
    fi
    copper_say "installing Debian packages: $*"
    # a policy that says "do not start services", where the system has none of its own
    local policy=/usr/sbin/policy-rc.d
    [ -e $policy ] && policy=
    [ -n "$policy" ] && printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null \
        && $sudo chmod 755 $policy
    local status=0 log
    log=$(mktemp)
    { $sudo apt-get update -q &&
        $sudo env DEBIAN_FRONTEND=noninteractive \
            apt-get install -q -y --no-install-recommends "$@"; } >"$log" 2>&1 || status=$?
    [ -n "$policy" ] && $sudo rm -f $policy
    if [ $status != 0 ]; then
        tail -20 "$log"
        copper_say "apt-get could not install: $*"
        exit 1
    fi
    rm -f "$log"
}

copper_need_packages() {
    if ! command -v dpkg-query >/dev/null; then
        copper_say "this is not a Debian system; install by its own means what matches:"
        copper_list_packages "$@" | tr '\n' ' '
        echo
        return
    fi
    local missing=() package
    for package in $(copper_list_packages "$@"); do
        copper_is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] || copper_install "${missing[@]}"
}

copper_need_go() {
    if command -v go >/dev/null; then
        return
    fi
    if [ -x /usr/local/go/bin/go ]; then
        PATH=$PATH:/usr/local/go/bin
        return
    fi
    copper_install golang-go
}
