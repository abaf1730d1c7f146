#!/usr/bin/env bash
# Runs every fuzz target for so many seconds, from the committed corpus. What is found on the way
# stays out of the corpus; a crash ends the run, says its input, and leaves it in fuzz/artifacts.
# Usage: fuzz.sh SECONDS
set -euo pipefail
seconds=$1
root=$(cd "$(dirname "$0")/.." && pwd)
"$root/.ci/tools.sh" fuzz
cd "$root/fuzz"
export PATH=$root/target/ci-tools/bin:$PATH
# Without a sanitizer it builds on the stable toolchain; the code has no unsafe of its own.
cargo fuzz build --sanitizer none
for target in $(cargo fuzz list); do
  found=$(mktemp -d)
  if cargo fuzz run --sanitizer none "$target" "$found" "corpus/$target" -- \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 \
    >"$found.log" 2>&1; then
    printf '%s: %s\n' "$target" "$(grep '^Done' "$found.log")"
  else
    tail -40 "$found.log" >&2
    echo "$target failed; its input is in fuzz/artifacts/$target" >&2
    exit 1
  fi
  rm -rf "$found" "$found.log"
done
