#!/usr/bin/env bash
# Calls a served sandbox as an engineer with grpcurl would: with reflection and without.
set -euo pipefail
grpcurl=$1 cancelot=$2
here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/.ci/serve.sh"
out=$(mktemp)
served=
trap 'kill $served 2>/dev/null; wait $served 2>/dev/null; rm -f "$out" "$out.log" "$out.protoset"' EXIT
start_serving "$out" "$out.log" "$cancelot" serve --sandbox --set server.listen=127.0.0.1:0
service=cancelot.v1.CancellationService

expect() { # expect WHAT TEXT: the answer on standard input has to contain TEXT
  local answer
  answer=$(cat)
  if grep -qF -- "$2" <<<"$answer"; then
    printf 'ok: %s\n' "$1"
  else
    printf 'FAILED: %s: no %s in\n%s\n' "$1" "$2" "$answer"
    exit 1
  fi
}

"$grpcurl" -plaintext "$addr" list | expect 'reflection lists the service' $service
"$grpcurl" -plaintext "$addr" describe $service | expect 'reflection describes it' CancelEnrollments
"$grpcurl" -plaintext -d '{"service":"cancelot.v1.CancellationService"}' "$addr" \
  grpc.health.v1.Health/Check | expect 'health' SERVING
"$grpcurl" -plaintext "$addr" $service/ListAccounts | expect 'accounts' PROVIDER_SEQUENZY

# A message alone proves nothing until the account has described a subscription.
"$grpcurl" -plaintext -d '{"idempotency_key":"ci-0","cancellations":[
  {"account":"funnelfox","subscription_id":"ff_1","when":{"period_end":{}}}]}' "$addr" \
  $service/CancelSubscription | expect 'a first cancellation' OUTCOME_SCHEDULED

request='{"idempotency_key":"ci-1","cancellations":[
  {"account":"rebilly","subscription_id":"sub_1","when":{"now":{}}},
  {"account":"solidgate","subscription_id":"subs_2","when":{"period_end":{}}},
  {"account":"funnelfox","subscription_id":"ff_missing","when":{"period_end":{}}}]}'
"$grpcurl" -plaintext -d "$request" "$addr" $service/CancelSubscription \
  | expect 'a cancellation' OUTCOME_CANCELED
"$grpcurl" -plaintext -d "$request" "$addr" $service/CancelSubscription \
  | expect 'its replay' '"replayed": true'
"$grpcurl" -plaintext -import-path "$here/proto" -proto cancelot/v1/cancelot.proto \
  -d '{"kind":"CANCELLATION_KIND_SUBSCRIPTION","idempotency_key":"ci-1/2"}' \
  "$addr" $service/GetCancellation | expect 'a record, without reflection' OUTCOME_NOT_FOUND
"$cancelot" proto --descriptor-set >"$out.protoset"
"$grpcurl" -plaintext -protoset "$out.protoset" \
  -d '{"kind":"CANCELLATION_KIND_SUBSCRIPTION","idempotency_key":"ci-1/0"}' \
  "$addr" $service/GetCancellation | expect 'a record, by the descriptor set of the binary' OUTCOME_CANCELED
"$grpcurl" -plaintext -protoset "$out.protoset" "$addr" grpc.health.v1.Health/Check \
  | expect 'which has the health service too' SERVING
"$cancelot" proto | cmp - "$here/proto/cancelot/v1/cancelot.proto"
"$cancelot" proto --service-config | cmp - "$here/proto/cancelot/v1/service-config.json"
printf 'ok: the binary has the proto and the service config\n'
("$grpcurl" -plaintext -d '{"idempotency_key":"ci-2","cancellations":[{"account":"nobody"}]}' \
  "$addr" $service/CancelSubscription 2>&1 || true) \
  | expect 'a clear refusal' '"field": "cancellations[0].when"'
