#!/usr/bin/env bash
# Writes what a binary is made of as CycloneDX, and holds it against what the binary itself says, which
# `cargo auditable` has put there. The same tree gives the same file, byte for byte.
# Usage: sbom.sh CONTEXT BINARY OUT [TARGET]   CONTEXT is the tree it was built from, which this writes
#                                              to; TARGET is the machine that it was built for
set -euo pipefail
context=$(realpath "$1") binary=$(realpath "$2") out=$(realpath -m "$3") target=${4:-x86_64-unknown-linux-gnu}
cd "$(dirname "$0")/.."
.ci/tools.sh sbom
tools=$PWD/target/ci-tools
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Features as the image has them. A time and a serial number would differ each time.
epoch=$(git log -1 --format=%ct)
(cd "$context" && SOURCE_DATE_EPOCH=$epoch PATH=$tools/bin:$PATH cargo cyclonedx --quiet --format json \
  --spec-version 1.5 --target "$target" --no-build-deps --override-filename cancelot-sbom)
mv "$context/cancelot-sbom.json" "$work/made.json"
# One is written for each package of the workspace.
rm -f "$context"/crates/*/cancelot-sbom.json
objcopy --dump-section ".dep-v0=$work/section" "$binary" "$work/copy" 2>/dev/null || true
[ -s "$work/section" ] ||
  { echo "FAILED: $binary does not say what it is made of: it was not built by cargo auditable"; exit 1; }

python3 - "$work/made.json" "$work/section" "$out" "$context" <<'PYTHON'
import json, sys, zlib
from pathlib import Path

made, section, out, context = sys.argv[1:]
sbom = json.loads(Path(made).read_text().replace(f"path+file://{context}", "cancelot"))
sbom.pop("serialNumber", None)
listed = {(c["name"], c["version"]) for c in sbom["components"]}
packages = json.loads(zlib.decompress(Path(section).read_bytes()))["packages"]
inside = {(p["name"], p["version"]) for p in packages if p.get("kind", "runtime") == "runtime" and not p.get("root")}
if missing := inside - listed:
    sys.exit(f"FAILED: in the binary and not in the SBOM: {sorted(missing)}")
if more := listed - {(p["name"], p["version"]) for p in packages}:
    sys.exit(f"FAILED: in the SBOM and not in the binary: {sorted(more)}")
for component in sbom["components"]:
    name = component["name"]
    if not component.get("purl", "").startswith(f"pkg:cargo/{name}@"):
        sys.exit(f"FAILED: {name} has no package URL")
    if not component.get("licenses"):
        sys.exit(f"FAILED: {name} has no licence")
    # Packages of the workspace have none: they are what the commit says.
    is_ours = (Path(context) / "crates" / name.removeprefix("cancelot-") / "Cargo.toml").is_file()
    if not component.get("hashes") and not (is_ours and name.startswith("cancelot-")):
        sys.exit(f"FAILED: {name} has no hash")
Path(out).parent.mkdir(parents=True, exist_ok=True)
Path(out).write_text(json.dumps(sbom, indent=2) + "\n")
print(f"ok: {out}: {len(listed)} crates, those of the binary")
PYTHON
