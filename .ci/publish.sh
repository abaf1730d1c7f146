#!/usr/bin/env bash
# What a release pipeline runs on a tag that has passed .ci/release: builds the image for both machines,
# pushes it with its provenance and what it is made of, signs image and chart, and writes the files of
# the release to target/release-files.
# Usage: publish.sh REGISTRY          such as registry.example.com/team
# BUILD_IMAGE and RUNTIME_IMAGE are the base images of the Dockerfile, each with a digest (@sha256:...):
# whoever releases looks it up, by `docker buildx imagetools inspect IMAGE`, and it is in the notes.
# Needs docker with buildx, cosign and helm, logged in to the registry, and for cosign the pipeline's own
# identity (OIDC): there is no key to keep.
set -euo pipefail
registry=${1:?Usage: publish.sh REGISTRY}
cd "$(dirname "$0")/.."
failed() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
revision=$(git rev-parse HEAD)
[ "$(git tag --points-at HEAD --list "v$version")" = "v$version" ] ||
  failed "this commit has no tag v$version: tag what .ci/release has passed"
[ -z "$(git status --porcelain)" ] || failed 'the tree has changes: release what is committed'

# A tag can be another image tomorrow; a digest cannot.
by_digest() { # by_digest ARGUMENT
  local base given=${!1:-}
  base=$(sed -n "s/^ARG $1=//p" Dockerfile)
  [[ $given =~ ^"$base"@sha256:[0-9a-f]{64}$ ]] ||
    failed "$1 is ${given:-not set}: give $base with its digest, as \`docker buildx imagetools inspect $base\` says it"
}
by_digest BUILD_IMAGE
by_digest RUNTIME_IMAGE

out=$PWD/target/release-files
rm -rf "$out"
mkdir -p "$out"
image=$registry/cancelot
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

# Provenance: which commit, arguments and base images it was built of, by the builder itself. The SBOM
# beside it is of the whole image, by a scanner that reads the binary; the one below is of the source.
docker buildx build --platform linux/amd64,linux/arm64 --provenance=mode=max --sbom=true \
  --build-arg "BUILD_IMAGE=$BUILD_IMAGE" --build-arg "RUNTIME_IMAGE=$RUNTIME_IMAGE" \
  --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
  --metadata-file "$out/image.json" --tag "$image:$version" --push .
digest=$(sed -n 's/.*"containerimage.digest": *"\(sha256:[0-9a-f]\{64\}\)".*/\1/p' "$out/image.json")
[ -n "$digest" ] || failed "image.json names no digest: $(cat "$out/image.json")"

# One signature holds for all that the digest stands for: both images, provenance and SBOM.
cosign sign --yes "$image@$digest"

context=$out/context
mkdir "$context"
git archive HEAD | tar -x -C "$context"
for machine in amd64/x86_64-unknown-linux-gnu arm64/aarch64-unknown-linux-gnu; do
  platform=${machine%/*}
  container=$(docker create --platform "linux/$platform" "$image@$digest")
  docker cp "$container:/usr/local/bin/cancelot" "$out/cancelot-$platform"
  docker rm "$container" >/dev/null
  "${SBOM:-.ci/sbom.sh}" "$context" "$out/cancelot-$platform" "$out/cancelot-$platform.cdx.json" "${machine#*/}"
  cosign attest --yes --type cyclonedx --predicate "$out/cancelot-$platform.cdx.json" "$image@$digest"
done
rm -rf "$context"

helm package helm/cancelot --destination "$out"
chart=$(helm push "$out"/cancelot-*.tgz "oci://$registry/charts" 2>&1 | sed -n 's/^Digest: //p')
[ -n "$chart" ] || failed 'helm push says no digest'
cosign sign --yes "$registry/charts/cancelot@$chart"

cat >"$out/notes.md" <<NOTES
# Cancelot $version

| | |
|---|---|
| commit | \`$revision\` |
| image | \`$image@$digest\` |
| chart | \`oci://$registry/charts/cancelot@$chart\` |
| built in | \`$BUILD_IMAGE\` |
| on top of | \`$RUNTIME_IMAGE\` |

Binaries and their SBOMs (CycloneDX) are beside this, with their digests in \`SHA256SUMS\`. SECURITY.md says how to
verify all of it.

$(sed -n "/^## $version/,/^## /p" CHANGELOG.md | sed '1d;/^## /d')
NOTES
(cd "$out" && sha256sum -- cancelot-* >SHA256SUMS && cosign sign-blob --yes --bundle SHA256SUMS.bundle SHA256SUMS)
echo "released: $image@$digest"
