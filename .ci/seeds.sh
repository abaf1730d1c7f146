#!/usr/bin/env bash
# Runs so many seeds of the simulation, from one on. A failure says its seed and how to run it again.
# Usage: seeds.sh FIRST COUNT [ARGUMENTS OF cargo test...]
set -euo pipefail
cd "$(dirname "$0")/.."
first=$1 count=$2
shift 2
command="SEED=$first SEEDS=$count cargo test --locked $* --lib simulation::tests::promises"
printf 'seeds %d to %d: %s\n' "$first" $((first + count - 1)) "$command"
SEED=$first SEEDS=$count cargo test --locked "$@" --lib simulation::tests::promises || {
  printf 'FAILED: seeds that were drawn for this run, see above: %s\n' "$command"
  exit 1
}
