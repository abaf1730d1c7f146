#!/usr/bin/env bash
# Ten thousand small results to a client that does not read for a while, on h2 0.4.18, which ends
# connections on which tiny frames wait, and on 0.4.20. First that the hazard is real.
# Usage: h2-clients.sh CANCELOT
set -euo pipefail
cancelot=$1
root=$(cd "$(dirname "$0")/.." && pwd)
clients=$root/tests/clients target=$root/target/h2-clients
. "$root/.ci/serve.sh"

log=$(mktemp)
served=
trap 'kill $served 2>/dev/null; wait $served 2>/dev/null || true; rm -f "$log" "$log.err"' EXIT
start_serving "$log" "$log.err" \
  "$cancelot" serve --sandbox --set server.listen=127.0.0.1:0 --set log.filter=warn
url=http://$addr

for version in 0.4.18 0.4.20; do
  cargo build --quiet --locked --manifest-path "$clients/h2-$version/Cargo.toml" \
    --target-dir "$target"
  client=$target/debug/small-frames
  hazard=$("$client" hazard)
  printf 'h2 %s, a frame for each result: %s\n' "$version" "$hazard"
  case $version:$hazard in
    0.4.18:fatal*ENHANCE_YOUR_CALM* | 0.4.20:*) ;;
    *) echo 'the hazard is not what it was: the test below proves nothing' >&2; exit 1 ;;
  esac
  printf 'h2 %s, cancelot: %s\n' "$version" "$("$client" "$url")"
done
