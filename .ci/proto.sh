#!/usr/bin/env bash
# The published API: style, and that nothing which a caller of the last release relies on is gone.
# .ci/released holds the API of the last release; before the first one, what callers were shown.
# Usage: proto.sh BUF            checks
#        proto.sh BUF --release  part of a release: from now on this API is the released one
set -euo pipefail
buf=$(realpath "$1")
cd "$(dirname "$0")/.."
released=.ci/released
proto=cancelot/v1/cancelot.proto

if [ "${2:-}" = --release ]; then
  cp "proto/$proto" "$released/$proto"
  printf 'the released API is now that of proto/%s: commit it, and tag that commit\n' "$proto"
  exit
fi

failed() { printf 'FAILED: %s\n' "$*"; exit 1; }

"$buf" lint
"$buf" format --diff --exit-code
printf 'ok: style\n'

# Where tags are, a forgotten step of the last release is seen.
if tag=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null); then
  git show "$tag:proto/$proto" | cmp -s - "$released/$proto" ||
    failed "$released is not the API of $tag: git show $tag:proto/$proto >$released/$proto"
  printf 'ok: the released API is that of %s\n' "$tag"
fi

"$buf" breaking --against "$released"
printf 'ok: callers of the last release still work\n'

# A check that finds nothing proves nothing: each of these has to be found, and be what is found.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
planted() { # planted RULE SED: the released API, changed by SED, breaks RULE; no RULE, and it breaks nothing
  local rule=$1 change=$2 found
  rm -rf "$work/proto"
  cp -r "$released" "$work/proto"
  cp buf.yaml "$work/buf.yaml"
  sed -i "$change" "$work/proto/$proto"
  ! cmp -s "$work/proto/$proto" "$released/$proto" || failed "nothing was planted by: $change"
  if found=$("$buf" breaking "$work" --against "$released" --error-format=json); then
    [ -z "$rule" ] || failed "not found: $change"
  else
    [ -n "$rule" ] || failed "taken for a break: $change: $found"
    grep -q "\"type\":\"$rule\"" <<<"$found" || failed "$change: no $rule in: $found"
  fi
  printf 'ok: planted: %s\n' "${rule:-an addition, which breaks nothing}"
}
planted FIELD_SAME_NAME 's/  string idempotency_key = 1;/  string request_key = 1;/'
planted FIELD_NO_DELETE 's/  bool dry_run = 3;//'
planted FIELD_SAME_TYPE 's/  bool dry_run = 3;/  string dry_run = 3;/'
planted FIELD_SAME_CARDINALITY 's/  optional bool prorate = 8;/  repeated bool prorate = 8;/'
planted ENUM_VALUE_SAME_NAME 's/OUTCOME_REJECTED = 7/OUTCOME_REFUSED = 7/'
planted RPC_NO_DELETE '/  rpc StopBatch(/d'
planted RPC_SAME_SERVER_STREAMING 's/returns (stream CancelSubscriptionResponse)/returns (CancelSubscriptionResponse)/'
planted MESSAGE_NO_DELETE 's/^message LineItem {/message InvoiceItem {/; s/repeated LineItem /repeated InvoiceItem /'
planted '' 's/^message AllEnrollments {}/message AllEnrollments { string filter = 1; }/'
