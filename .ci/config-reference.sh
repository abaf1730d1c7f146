#!/usr/bin/env bash
# Writes the reference of all settings into docs/configuration.md, between its two marks.
# Usage: config-reference.sh CANCELOT
set -euo pipefail
cancelot=$(realpath "$1")
cd "$(dirname "$0")/.."
page=docs/configuration.md
begin='<!-- configuration: generated, checked by a test -->'
end='<!-- end of configuration -->'

for mark in "$begin" "$end"; do
  grep -qxF -- "$mark" "$page" || { echo "FAILED: $page has no line $mark" >&2; exit 1; }
done
reference=$("$cancelot" config reference)
work=$(mktemp)
trap 'rm -f "$work"' EXIT
{
  sed "/^$begin\$/q" "$page"
  printf '\n%s\n\n' "$reference"
  sed -n "/^$end\$/,\$p" "$page"
} >"$work"
cat "$work" >"$page"
