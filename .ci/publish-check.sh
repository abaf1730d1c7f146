#!/usr/bin/env bash
# Runs .ci/publish.sh in a clone, with stand-ins for what it calls: which commands it runs, and what it
# refuses before the first of them.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed() { printf 'FAILED: %s\n' "$*"; [ ! -e "$work/ran" ] || cat "$work/ran"; exit 1; }

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
git clone --quiet --depth 1 --no-tags "file://$PWD" "$work/clone"
digest=$(printf 'sha256:%064d' 1)
mkdir "$work/bin"
stub() { # stub NAME SCRIPT: notes its arguments, and does what SCRIPT says
  printf '#!/bin/bash\necho %s "$@" >>%q\n%s\n' "$1" "$work/ran" "$2" >"$work/bin/$1"
  chmod +x "$work/bin/$1"
}
stub docker "case \$1 in
  buildx) while [ \"\$1\" != --metadata-file ]; do shift; done; echo '{\"containerimage.digest\": \"$digest\"}' >\"\$2\" ;;
  create) echo container ;;
  cp) echo binary >\"\$3\" ;;
esac"
stub cosign ':'
stub helm 'case $1 in
  package) echo chart >"$4/cancelot-0.1.0.tgz" ;;
  push) echo "Digest: sha256:of-the-chart" >&2 ;;
esac'
stub sbom 'echo "{}" >"$3"'

base() { sed -n "s/^ARG $1=//p" Dockerfile; }
build=$(base BUILD_IMAGE)@$digest runtime=$(base RUNTIME_IMAGE)@$digest
publish() { # publish VARIABLES...
  rm -f "$work/ran"
  env PATH="$work/bin:$PATH" SBOM=sbom "$@" "$work/clone/.ci/publish.sh" registry.example.com/team 2>&1
}
refused() { # refused REASON VARIABLES...
  local said
  if said=$(publish "${@:2}"); then failed "not refused: ${*:2}"; fi
  grep -qF -- "$1" <<<"$said" || failed "no \"$1\" in: $said"
  [ ! -e "$work/ran" ] || failed "something was run before it was refused: $1"
  printf 'ok: refused: %s\n' "$1"
}
refused "this commit has no tag v$version" BUILD_IMAGE="$build" RUNTIME_IMAGE="$runtime"
git -C "$work/clone" tag "v$version"
refused 'BUILD_IMAGE is not set: give docker.io/library/rust' RUNTIME_IMAGE="$runtime"
refused 'RUNTIME_IMAGE is not set: give gcr.io/distroless/cc-debian13' BUILD_IMAGE="$build"
refused "RUNTIME_IMAGE is $(base RUNTIME_IMAGE): give" BUILD_IMAGE="$build" RUNTIME_IMAGE="$(base RUNTIME_IMAGE)"
refused 'BUILD_IMAGE is docker.io/library/rust:latest@' BUILD_IMAGE="docker.io/library/rust:latest@$digest" RUNTIME_IMAGE="$runtime"
refused 'RUNTIME_IMAGE is' BUILD_IMAGE="$build" RUNTIME_IMAGE="$(base RUNTIME_IMAGE)@sha256:abc"
echo >>"$work/clone/README.md"
refused 'the tree has changes' BUILD_IMAGE="$build" RUNTIME_IMAGE="$runtime"
git -C "$work/clone" checkout --quiet -- README.md

said=$(publish BUILD_IMAGE="$build" RUNTIME_IMAGE="$runtime") || failed "it does not publish: $said"
image=registry.example.com/team/cancelot
for command in \
  'docker buildx build --platform linux/amd64,linux/arm64 --provenance=mode=max --sbom=true' \
  "--build-arg BUILD_IMAGE=$build --build-arg RUNTIME_IMAGE=$runtime" \
  "--build-arg REVISION=$(git rev-parse HEAD)" \
  "cosign sign --yes $image@$digest" \
  "cosign attest --yes --type cyclonedx --predicate $work/clone/target/release-files/cancelot-amd64.cdx.json $image@$digest" \
  "cosign attest --yes --type cyclonedx --predicate $work/clone/target/release-files/cancelot-arm64.cdx.json $image@$digest" \
  'cosign sign --yes registry.example.com/team/charts/cancelot@sha256:of-the-chart' \
  'cosign sign-blob --yes --bundle SHA256SUMS.bundle SHA256SUMS'; do
  grep -qF -- "$command" "$work/ran" || failed "it does not run: $command"
done
for text in "$image@$digest" "$build" "$runtime" "$(git rev-parse HEAD)"; do
  grep -qF -- "$text" "$work/clone/target/release-files/notes.md" || failed "the notes have no $text"
done
(cd "$work/clone/target/release-files" && sha256sum --check --quiet SHA256SUMS)
[ "$(wc -l <"$work/clone/target/release-files/SHA256SUMS")" = 5 ] || failed 'SHA256SUMS has not five files'
echo 'ok: what a release runs: the image by digests, provenance, SBOMs, signatures, sums'
