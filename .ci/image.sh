#!/usr/bin/env bash
# Checks what the Dockerfile promises, without a container engine.
# Usage: image.sh --build          runs the commands of the build stage on what it is given; the
#                                  binary is target/image/context/target/dist/cancelot then
#        image.sh --build arm64    the same for arm64, on amd64; the binary is
#                                  target/image/arm64/target/aarch64-unknown-linux-gnu/dist/cancelot.
#                                  If what that takes cannot be had, it says so, and there is none
#        image.sh BINARY [arm64]   runs a binary in a root that has only what the image has,
#                                  read-only but for the volume, as the image's user and without
#                                  capabilities or a way to gain them; as root. One for arm64 runs
#                                  emulated, with pages of 16 KiB
set -euo pipefail
what=$1 platform=${2:-}
cd "$(dirname "$0")/.."
repo=$PWD
. .ci/serve.sh
grpcurl=$repo/target/ci-tools/grpcurl foreign=$repo/target/ci-tools/arm64

# The values of an instruction, lines that are continued joined.
instruction() { sed -e ':a;/\\$/{N;s/\\\n *//;ba}' Dockerfile | sed -n "s/^$1 //p"; }

if [ "$what" = --build ]; then
  context=$repo/target/image/${platform:-context}
  mkdir -p "$context"
  find "$context" -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +
  sed -n 's/^!//p' .dockerignore | xargs git ls-files -z -- | xargs -0 cp --preserve=mode,timestamps --parents -t "$context"
  built=$context/target/dist/cancelot
  if [ "$platform" = arm64 ]; then
    "$repo/.ci/arm64.sh" "$foreign" ||
      { echo 'NOT CHECKED: arm64, because what builds it cannot be had from here'; exit; }
    # What a builder for that platform has by itself. Nothing is optimized: it would take half of the
    # time, and tell little about arm64.
    export TARGETARCH=arm64 CARGO_BUILD_TARGET=aarch64-unknown-linux-gnu RUSTC=$foreign/bin/rustc \
      CC_aarch64_unknown_linux_gnu=$foreign/bin/cc AR_aarch64_unknown_linux_gnu=$foreign/bin/ar \
      CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$foreign/bin/cc \
      CARGO_PROFILE_DIST_LTO=off CARGO_PROFILE_DIST_CODEGEN_UNITS=256 CARGO_PROFILE_DIST_OPT_LEVEL=0 \
      CARGO_PROFILE_DIST_DEBUG=none
    built=$context/target/$CARGO_BUILD_TARGET/dist/cancelot
  fi
  instruction RUN | while read -r command; do
    printf 'RUN %s\n' "$command"
    # What the build stage builds by runs here, whatever machine the image is for.
    native=()
    case $command in 'cargo install '*) native=(-u CARGO_BUILD_TARGET -u RUSTC) ;; esac
    (cd "$context" && env -u CARGO_TARGET_DIR "${native[@]}" CARGO_INCREMENTAL=0 sh -euc "$command" </dev/null)
  done
  ls -l "$built"
  exit
fi

[ "$(id -u)" = 0 ] || { echo 'image.sh mounts and changes roots: run it as root' >&2; exit 1; }
binary=$(realpath "$what")

if [ -z "${CANCELOT_IMAGE_NAMESPACE:-}" ]; then
  # Again, where mounts are ours and go away with us.
  CANCELOT_IMAGE_NAMESPACE=1 exec unshare --mount --pid --fork --kill-child \
    "$repo/.ci/image.sh" "$binary" ${platform:+"$platform"}
fi

entrypoint=$(instruction ENTRYPOINT | sed 's/^\["\(.*\)"\]$/\1/')
user=$(instruction USER)
data=$(instruction VOLUME)

work=$(mktemp -d)
root=$work/root log=$work/log
clean() {
  kill "${served:-}" 2>/dev/null || true
  umount -R "$root" 2>/dev/null || true
  rm -rf --one-file-system "$work"
}
trap clean EXIT
mkdir "$root"
mount -t tmpfs -o mode=0755 cancelot "$root"
mkdir -p "$root$(dirname "$entrypoint")" "$root/etc/ssl/certs" "$root/etc/cancelot" "$root$data" \
  "$root/tmp" "$root/proc" "$root/dev"
cp "$binary" "$root$entrypoint"
# Where libraries are, what lists those that a binary asks for, and what runs it.
libraries='' needed=(ldd) emulator=()
if [ "$platform" = arm64 ]; then
  # As with a kernel whose pages have 16 KiB. With 64 KiB the program ends in the emulator, though
  # not on kernels with such pages.
  cp "$foreign/bin/emulator" "$root/emulator"
  libraries=$foreign/image emulator=(/emulator -p 16384)
  needed=("$foreign/bin/emulator" -L "$libraries" -E LD_TRACE_LOADED_OBJECTS=1)
fi
# distroless/cc has these libraries, and an image with fewer would not start it.
allowed=' libc.so.6 libm.so.6 libgcc_s.so.1 ld-linux-x86-64.so.2 ld-linux-aarch64.so.1 '
for library in $("${needed[@]}" "$binary" | grep -o '/[^ ]*'); do
  case $allowed in
    *" $(basename "$library") "*) ;;
    *) echo "FAILED: the image has no $(basename "$library")" >&2; exit 1 ;;
  esac
  mkdir -p "$root$(dirname "$library")"
  cp -L "$libraries$library" "$root$library"
done
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' \
  >"$root/etc/passwd"
printf 'nonroot:x:65532:\n' >"$root/etc/group"
touch "$root/dev/null" "$root/dev/urandom"
mount --bind /dev/null "$root/dev/null"
mount --bind /dev/urandom "$root/dev/urandom"
mount -t proc proc "$root/proc"
printf 'not a real credential\n' >"$root/etc/cancelot/rebilly"
# A port of our own, so that several of these may run at a time.
cat >"$root/etc/cancelot/cancelot.toml" <<TOML
[server]
listen = "127.0.0.1:0"
drain_ms = 1000
[journal]
free_bytes_min = 1048576
[accounts.rebilly-eu]
provider = "rebilly"
credential_file = "/etc/cancelot/rebilly"
TOML
# As a Secret is mounted: of root and the pod's group.
chgrp "${user#*:}" "$root"/etc/cancelot/*
chmod 0440 "$root"/etc/cancelot/*
# Two volumes: the image's, and the /tmp that a sandbox needs. All else is read-only.
for volume in "$data" /tmp; do
  mount -t tmpfs -o "mode=0700,uid=${user%:*},gid=${user#*:}" volume "$root$volume"
done
mount -o remount,ro "$root"

# An array and not a function: in the background a function would be a shell around the process.
inside=(env -i "$(command -v setpriv)" --no-new-privs "$(command -v unshare)" "--root=$root"
  "--wd=$(instruction WORKDIR | tail -1)" "--setuid=${user%:*}" "--setgid=${user#*:}" "${emulator[@]}" "$entrypoint")

check() { # check WHAT TEXT: standard input has to contain TEXT
  local answer
  answer=$(cat)
  grep -qF -- "$2" <<<"$answer" || { printf 'FAILED: %s: no %s in\n%s\n' "$1" "$2" "$answer"; exit 1; }
  printf 'ok: %s\n' "$1"
}

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
"${inside[@]}" --version | check 'it starts, with no library missing' "cancelot $version"
instruction 'ARG' | check 'the image says the version of the crate' "VERSION=$version"
"${inside[@]}" config check --config /etc/cancelot/cancelot.toml | check 'config check' '1 account'

serve() { # serve ARGUMENTS...: a service whose address is in $addr
  start_serving "$work/out" "$log" "${inside[@]}" serve "$@"
}
stopped() { # stopped WHAT: it ends in order on the image's stop signal
  kill -s "$(instruction STOPSIGNAL)" "$served"
  wait "$served" || { printf 'FAILED: %s: exit code %s\n' "$1" "$?"; cat "$log"; exit 1; }
  check "$1" stopped <"$log"
}
health() {
  "$grpcurl" -plaintext -d "{\"service\":\"$1\"}" "$addr" grpc.health.v1.Health/Check
}

serve --config /etc/cancelot/cancelot.toml
health '' | check 'the overall service is healthy, which is the liveness probe' '"SERVING"'
health cancelot.v1.CancellationService | check 'the named one is ready' '"SERVING"'
"${inside[@]}" accounts --endpoint "http://$addr" | check 'its client works in the image' rebilly-eu
"${inside[@]}" proto --descriptor-set >"$work/protoset"
"$grpcurl" -plaintext -protoset "$work/protoset" "$addr" cancelot.v1.CancellationService/ListAccounts \
  | check 'the image has the descriptor set for clients without reflection' rebilly-eu
stopped 'it ends in order on the stop signal'

serve --sandbox --set server.listen=127.0.0.1:0 --set journal.free_bytes_min=1048576
"${inside[@]}" cancel subscriptions --endpoint "http://$addr" --account rebilly --subscription-id sub_1 \
  --when now --yes --output jsonl 2>"$work/client" | check 'a cancellation in the sandbox' CANCELED
stopped 'the sandbox ends in order too'
