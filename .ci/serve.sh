# Sourced by the checks that call a service. Starts a command that says `listening on ADDRESS`, and
# waits for that. Sets `served`, its process, and `addr`; fails if it ends, or says nothing for 120 s.
# Usage: start_serving OUT LOG COMMAND...
start_serving() {
  local out=$1 log=$2
  shift 2
  # Before the process has: a shell in the background opens its file when its turn comes, and the
  # words of an earlier service must not be read.
  : >"$out"
  "$@" >"$out" 2>"$log" &
  served=$!
  addr=
  for _ in $(seq 1200); do
    addr=$(sed -n 's/^listening on //p' "$out")
    [ -z "$addr" ] || return 0
    kill -0 "$served" 2>/dev/null || break
    sleep 0.1
  done
  echo 'FAILED: it does not serve:' >&2
  cat "$out" "$log" >&2
  return 1
}
