# Sourced by run and nightly, in the root of the tree: steps, what is made ready beside them, and seeds.
root=$PWD
tools=$root/target/ci-tools
mkdir -p "$tools"
# From a fresh clone nothing is built a second time or looked at in a debugger: neither is prepared.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=none

step() { printf '\n== %s (after %d:%02d)\n' "$*" $((SECONDS / 60)) $((SECONDS % 60)); }

# What runs beside the steps, each a group of processes: it ends with this one.
beside=()
# Makes tools ready while something else leaves a core idle. Whatever needs one asks .ci/tools.sh for
# it, which waits until it is there, and makes it again, aloud, if this could not.
ready() { # ready TOOLS...: each by itself
  local name
  for name in "$@"; do
    # A group of processes, to be ended as a whole; a session of its own would have half of the machine,
    # however nice it is.
    set -m
    nice -n 19 .ci/tools.sh "$name" </dev/null >"$tools/$name.log" 2>&1 &
    set +m
    beside+=($!)
  done
}
trap 'for pid in "${beside[@]}"; do kill -- "-$pid" 2>/dev/null || true; done' EXIT

# A number of a run's own, from FIRST on, below END.
draw() { # draw FIRST END
  shuf -n 1 -i "$1-$(($2 - 1))"
}

# Checks of a binary as those meet it who call it, install it and operate it.
try() { # try CANCELOT
  step 'grpcurl against a served sandbox'
  .ci/tools.sh grpcurl wheels
  .ci/grpcurl.sh "$tools/grpcurl" "$1"

  # It waits more than it works, in a network of its own.
  local docs code=0
  set -m
  .ci/docs.py "$1" "$tools/grpcurl" </dev/null >"$tools/docs.log" 2>&1 &
  docs=$!
  set +m
  beside+=("$docs")

  step 'Clients in Python and Go'
  .ci/clients.sh "$1" "$tools/buf"

  step 'Chart'
  .ci/chart.sh "$1"

  step 'Alerts, runbooks, metrics and dashboard, by a Prometheus that watches'
  .ci/observability.sh "$1"

  step 'The documentation is so, and the demo as a stranger runs it'
  wait "$docs" || code=$?
  cat "$tools/docs.log"
  return "$code"
}
