#!/usr/bin/env bash
# Checks what operators are given, by the tools that read it: the alerts and their tests, a page for
# each alert, the metrics of a real scrape, and every query of the dashboard against a real Prometheus
# that watches a served sandbox at work.
# Usage: observability.sh CANCELOT
set -euo pipefail
cancelot=$(realpath "$1")
cd "$(dirname "$0")/.."
tools=$PWD/target/ci-tools
rules=helm/cancelot/alerts/rules.yaml
. .ci/serve.sh

failed() { printf 'FAILED: %s\n' "$*"; exit 1; }
ok() { printf 'ok: %s\n' "$*"; }

.ci/tools.sh prometheus

"$tools/promtool" check rules "$rules" >/dev/null || failed 'promtool check rules'
"$tools/promtool" test rules .ci/observability/alerts_test.yaml || failed 'promtool test rules'
ok 'each alert fires, and none while all is well'

work=$(mktemp -d)
served='' watching='' calling='' publishing=''
clean() {
  for pid in ${calling:+-$calling} $watching $served $publishing; do
    { kill -- "$pid" && wait "${pid#-}"; } 2>/dev/null || true
  done
  rm -rf "$work"
}
trap clean EXIT

# A port is whatever was free when it was asked for: one that is chosen before could be another's by then.
said() { # said PATTERN FILE PROCESS WHAT: what the pattern finds of what the process wrote, once it has
  local found=
  until found=$(sed -nE "s/$1/\1/p" "$2" | head -1) && [ -n "$found" ]; do
    kill -0 "$3" || failed "$4 has not started: $(cat "$2")" >&2
    sleep 0.1
  done
  printf '%s\n' "$found"
}
# With certificates, and an issuer whose keys are fetched, so that everything is there to be measured.
mkdir "$work/pki" "$work/published"
.ci/chart/pki.sh "$work/pki" cancelot.ends.svc URI:spiffe://prod/ci 90
cp "$work/pki/jwks.json" "$work/published"
: >"$work/keys.log"
python3 -u -m http.server --bind 127.0.0.1 --directory "$work/published" 0 >"$work/keys.log" 2>&1 &
publishing=$!
keys=$(said '^Serving HTTP on 127\.0\.0\.1 port ([0-9]+) .*' "$work/keys.log" $publishing 'the server of keys')
start_serving "$work/out" "$work/log" \
  "$cancelot" serve --sandbox --set server.listen=127.0.0.1:0 --set server.admin_listen=127.0.0.1:0 \
  --set server.tls_cert_file="$work/pki/tls.crt" --set server.tls_key_file="$work/pki/tls.key" \
  --set server.tls_client_ca_file="$work/pki/ca.crt" --set callers.ci.tls_sans=spiffe://prod/ci \
  --set issuers.ci.issuer=ci --set issuers.ci.audiences=cancelot \
  --set issuers.ci.jwks_url="http://127.0.0.1:$keys/jwks.json" \
  --set callers.ci.jwt_issuer=ci --set callers.ci.jwt_subjects=ci \
  --set log.filter=warn
# How the client connects, and what it shows.
export CANCELOT_ENDPOINT
shown=(--tls-ca-file "$work/pki/ca.crt" --tls-cert-file "$work/pki/client.crt" --tls-key-file "$work/pki/client.key")
CANCELOT_ENDPOINT=https://$addr
admin=$(sed -n 's/^metrics and probes on //p' "$work/out")

cat >"$work/prometheus.yaml" <<YAML
global: {scrape_interval: 500ms, evaluation_interval: 1s}
rule_files: [$PWD/$rules]
scrape_configs:
  - job_name: cancelot
    static_configs: [{targets: ["${admin#http://}"], labels: {namespace: ends}}]
YAML
"$tools/promtool" check config "$work/prometheus.yaml" >/dev/null || failed 'promtool check config'
: >"$work/prometheus.log"
"$tools/prometheus" --config.file="$work/prometheus.yaml" --storage.tsdb.path="$work/data" \
  --web.listen-address="127.0.0.1:0" >"$work/prometheus.log" 2>&1 &
watching=$!
port=$(said '.*msg="?Listening on"? address=127\.0\.0\.1:([0-9]+).*' "$work/prometheus.log" $watching Prometheus)

# Cancellations of all providers, some of which end badly, until everything has been looked at.
calls() {
  local n=0
  while :; do
    n=$((n + 1))
    for account in rebilly solidgate funnelfox revolv3; do
      id=$n when=now
      [ $account != funnelfox ] || when=period-end
      "$cancelot" cancel subscriptions "${shown[@]}" --account "$account" \
        --subscription-id "$id" --when "$when" --yes --output jsonl || true
    done
    "$cancelot" cancel subscriptions "${shown[@]}" --account rebilly \
      --subscription-id "missing-$n" --when now --yes --output jsonl || true
    "$cancelot" cancel subscriptions "${shown[@]}" --account nobody \
      --subscription-id 1 --when now --yes --output jsonl || true
  done
}
# A group of processes: a client that is at work would go on asking for a service that is gone.
set -m
calls >"$work/calls" 2>&1 &
calling=$!
set +m

python3 .ci/observability/check.py "http://127.0.0.1:$port" "$admin" ||
  failed "$(tail -3 "$work/prometheus.log"; tail -3 "$work/calls")"

curl -sS "$admin/metrics" >"$work/metrics"
"$tools/promtool" check metrics <"$work/metrics" || failed 'promtool check metrics'
ok "promtool finds nothing in the metrics: $(grep -vc '^#' "$work/metrics") samples"
