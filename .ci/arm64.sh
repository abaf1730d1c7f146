#!/usr/bin/env bash
# Makes what builds and runs arm64 binaries on an amd64 machine, below DIR, from Debian's packages:
# unpacked and not installed, and without root.
#   DIR/bin/rustc      Rust with the standard libraries of both; Rust's own come from elsewhere
#   DIR/bin/cc, ar     the C compiler that the image's build stage has, as a cross compiler
#   DIR/bin/emulator   runs a binary
#   DIR/image          the libraries that the image has
# Usage: arm64.sh DIR
set -euo pipefail
mkdir -p "$1"
cd "$1"
dir=$PWD
[ ! -e complete ] || exit 0

# Whatever this machine has its packages from.
mirror=$(apt-get indextargets --no-release-info --format '$(REPO_URI)' 'Created-By: Packages' |
  sort -u | sed -n '\|/debian/$|{p;q}')
[ -n "$mirror" ] || { echo 'FAILED: apt knows no mirror of Debian' >&2; exit 1; }
# The image is Debian 13. Rust is the one that Debian builds its browsers with there. The C compiler is
# an older Debian's, since it is run with this machine's C library, which may be as old; a C library
# takes what was linked with an older one.
image=trixie compiler=bookworm rust=trixie
rm -rf apt packages bin image rust gcc emulator
mkdir -p apt/lists/partial apt/archives/partial packages bin
: >apt/status
for suite in $image $compiler; do echo "deb $mirror $suite main"; done >apt/sources.list
apt() {
  local what=$1
  shift
  apt-get -qq -o Dir::State="$dir/apt" -o Dir::State::lists=lists -o Dir::State::status="$dir/apt/status" \
    -o Dir::Cache="$dir/apt" -o Dir::Etc::sourcelist="$dir/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::Etc::preferencesparts=/dev/null -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 \
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o APT::Sandbox::User=root "$what" "$@"
}
# Packages with all they need, all the way down: nothing counts as installed.
closure() { # closure SUITE PACKAGES...
  apt install --simulate --no-install-recommends --target-release "$1" "${@:2}" | sed -n 's/^Inst \([^ ]*\) .*/\1/p'
}
unpack() { # unpack INTO SUITE: the packages that standard input names
  local packages package
  read -r -d '' -a packages || true
  (cd packages && apt download "${packages[@]/%//$2}")
  for package in packages/*.deb; do dpkg-deb -x "$package" "$1"; done
  rm packages/*.deb
}
apt update

# Rust's brings a C library of its own, and is started by that one's loader. The other compiler is
# run with this machine's, which it must not meet again.
{ closure $rust libstd-rust-web-dev; echo rustc-web libstd-rust-web-dev:arm64; } | unpack rust $rust
closure $compiler gcc-12-aarch64-linux-gnu libc6-dev-arm64-cross | grep -vx libc6 | unpack gcc $compiler
closure $image libgcc-s1:arm64 | unpack image $image
# What an installed Debian has, and its packages count on.
ln -s usr/lib image/lib
echo qemu-user-static | unpack emulator $compiler

cat >bin/rustc <<SH
#!/bin/sh
exec $dir/rust/usr/lib64/ld-linux-x86-64.so.2 --library-path $dir/rust/usr/lib/x86_64-linux-gnu \\
  $dir/rust/usr/bin/rustc --sysroot $dir/rust/usr "\$@"
SH
cat >bin/cc <<SH
#!/bin/sh
export LD_LIBRARY_PATH=$dir/gcc/usr/lib/x86_64-linux-gnu
exec $dir/gcc/usr/bin/aarch64-linux-gnu-gcc-12 --sysroot=$dir/gcc "\$@"
SH
cat >bin/ar <<SH
#!/bin/sh
export LD_LIBRARY_PATH=$dir/gcc/usr/lib/x86_64-linux-gnu
exec $dir/gcc/usr/bin/aarch64-linux-gnu-ar "\$@"
SH
ln -s ../emulator/usr/bin/qemu-aarch64-static bin/emulator
chmod +x bin/*
bin/rustc -vV
bin/cc --version
bin/emulator --version
touch complete
