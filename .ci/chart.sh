#!/usr/bin/env bash
# All that has to hold of the Helm chart, without a cluster: helm's lint and rendering for each file
# of helm/cancelot/ci, refusals with their reasons, unit tests, the schemas of the oldest Kubernetes
# and an API server's own validation and Pod Security of a new one, the configuration as the service
# reads it, and the commands of the notes.
# Usage: chart.sh CANCELOT [GRPCURL]
set -euo pipefail
cancelot=$(realpath "$1")
grpcurl=$(realpath "${2:-$(dirname "$0")/../target/ci-tools/grpcurl}")
cd "$(dirname "$0")/.."
tools=$PWD/target/ci-tools
chart=helm/cancelot
# The oldest Kubernetes that the chart allows: what it renders has to be known there.
oldest=1.30
mkdir -p "$tools"

failed() { printf 'FAILED: %s\n' "$*"; exit 1; }
ok() { printf 'ok: %s\n' "$*"; }

(cd .ci/chart && GOBIN=$tools go install -mod=readonly tool ./admit)
# A library's folder of every built-in kind's schema, which is all that is used of it.
schemas=$(go mod download -json sigs.k8s.io/kubectl-validate@v0.0.4 | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
python3 .ci/chart/kube_schemas.py "$schemas/pkg/openapiclient/builtins/$oldest" target/kube-schemas

work=$(mktemp -d)
served=
clean() {
  [ -z "$served" ] || { kill "$served" && wait "$served"; } 2>/dev/null || true
  rm -rf "$work"
}
trap clean EXIT
render() { "$tools/helm" template cancelot $chart --namespace ends --kube-version $oldest "$@"; }

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
grep -qx "appVersion: \"$version\"" $chart/Chart.yaml || failed "Chart.yaml: appVersion is not $version"
python3 .ci/chart/generate.py "$cancelot" --check
ok 'schema and README are up to date'

for values in "$chart"/ci/*-values.yaml; do
  "$tools/helm" lint --strict --quiet --kube-version $oldest $chart --values "$values"
  rendered=$work/$(basename "$values")
  render --values "$values" >"$rendered"
  "$tools/kubeconform" -strict -summary \
    -schema-location 'target/kube-schemas/{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json' \
    "$rendered"
  "$tools/admit" <"$rendered"
done

"$tools/helm-unittest" --strict $chart

refused() { # refused REASON ARGUMENTS...: helm refuses them, and says why
  local reason=$1 said
  shift
  if said=$(render --values $chart/ci/accounts-values.yaml "$@" 2>&1); then
    failed "not refused: $*"
  fi
  grep -qF -- "$reason" <<<"$said" || failed "$*: no \"$reason\" in: $said"
  ok "refused: $reason"
}
refused 'replicaCount is 2: give 1. The journal is a store inside one process' --set replicaCount=2
refused 'replicaCount is 0: give 1' --set replicaCount=0
refused 'no caller is configured, so everybody in the cluster could cancel' --set config.callers=null
refused 'config.server.listen is 127.0.0.1:50051, which nothing outside' \
  --set config.server.listen=127.0.0.1:50051
refused 'config.journal.dir is /var/lib: give a directory below /data' --set config.journal.dir=/var/lib
refused 'extraEnv sets CANCELOT_SERVER_DRAIN_MS' --set 'extraEnv[0].name=CANCELOT_SERVER_DRAIN_MS'
refused 'config.accounts.new has no credential: give existingSecret' \
  --set config.accounts.new.provider=rebilly
refused 'config.callers.new has no token: give existingSecret' --set config.callers.new.secretKey=x
refused 'config.accounts.sequenzy has its credential in several places (existingSecret, credential_env)' \
  --set config.accounts.sequenzy.credential_env=KEY
refused "additional properties 'credential' not allowed" --set config.accounts.sequenzy.credential=s3cret
refused "additional properties 'token' not allowed" --set config.callers.billing.token=s3cret
refused "additional properties 'drain' not allowed" --set config.server.drain=1
refused "additional properties 'replicas' not allowed" --set replicas=1
refused "maximum: got 700,000, want 600,000" --set config.server.drain_ms=700000
refused "got string, want integer" --set-string config.server.drain_ms=30s
refused "missing property 'provider'" --set config.accounts.new.existingSecret=x
refused "value must be one of 'rebilly', 'solidgate', 'funnelfox', 'revolv3', 'sequenzy'" \
  --set config.accounts.sequenzy.provider=stripe
refused 'config.accounts.Sequenzy is not a legal name: give 1-63 lower-case letters' \
  --set config.accounts.Sequenzy.provider=sequenzy
refused "at '/image/digest': 'latest' does not match pattern" --set image.digest=latest
refused "at '/podDisruptionBudget/maxUnavailable': got string, want integer" \
  --set podDisruptionBudget.maxUnavailable=50%
refused 'commonLabels sets app.kubernetes.io/name, which is the chart' \
  --set 'commonLabels.app\.kubernetes\.io/name=other'
refused 'podLabels sets app.kubernetes.io/component, which is the chart' \
  --set 'podLabels.app\.kubernetes\.io/component=other'
refused "at '/preStopSleepSeconds': minimum: got 0, want 1" --set preStopSleepSeconds=0
said=$("$tools/helm" template cancelot $chart --kube-version 1.29 2>&1 || true)
grep -qF 'requires kubeVersion: >=1.30' <<<"$said" || failed "Kubernetes 1.29: $said"
ok 'refused: Kubernetes 1.29'

checksum() { render --values $chart/ci/accounts-values.yaml "$@" | grep checksum/config; }
[ "$(checksum)" = "$(checksum --set podLabels.a=b)" ] || failed 'the checksum changes by itself'
[ "$(checksum)" != "$(checksum --set config.server.drain_ms=1)" ] || failed 'the checksum stays'
ok 'a change of the configuration, and nothing else, changes its checksum'

python3 .ci/chart/keys.py "$cancelot" "$tools/helm"
ok 'every setting of the configuration reference is reached by values'

# Against the accounts of a sandbox, which have the names of their providers.
cp -r $chart "$work/chart"
{ printf '{{- define "notes" }}'; cat $chart/templates/NOTES.txt; printf '{{ end }}'; } \
  >"$work/chart/templates/_notes.tpl"
printf 'notes: {{ include "notes" . | toJson }}\n' >"$work/chart/templates/notes.yaml"
"$cancelot" serve --sandbox --set server.listen=127.0.0.1:0 >"$work/out" 2>"$work/log" &
served=$!
for _ in $(seq 100); do
  addr=$(sed -n 's/^listening on //p' "$work/out")
  [ -z "$addr" ] || break
  kill -0 "$served" || failed "the sandbox does not serve: $(cat "$work/log")"
  sleep 0.1
done
for provider in rebilly solidgate funnelfox revolv3; do
  id=sub_1
  [ $provider != revolv3 ] || id=1
  "$tools/helm" template cancelot "$work/chart" --kube-version $oldest --show-only templates/notes.yaml \
    --set config.callers.ci.existingSecret=ci,config.accounts.$provider.provider=$provider \
    --set config.accounts.$provider.existingSecret=x,config.accounts.a-sequenzy.provider=sequenzy \
    --set config.accounts.a-sequenzy.existingSecret=x |
    python3 -c 'import json, sys; print(json.loads(sys.stdin.read().split("\nnotes: ", 1)[1]))' |
    sed -n -e ':a;/\\$/{N;s/\\\n *//;ba}' -e 's/^  grpcurl /"$grpcurl" /p' |
    sed -e "s/127.0.0.1:50051/$addr/" -e "s/\"subscription_id\":\"...\"/\"subscription_id\":\"$id\"/" \
      >"$work/commands"
  [ "$(wc -l <"$work/commands")" = 3 ] || failed "the notes have other commands: $(cat "$work/commands")"
  said=$(grpcurl=$grpcurl TOKEN=any bash -euc "$(cat "$work/commands")" 2>&1) ||
    failed "the commands of the notes with $provider: $said"
  grep -q OUTCOME_PREVIEWED <<<"$said" || failed "$provider: nothing was previewed: $said"
done
ok 'the grpcurl commands of the notes work'

# What the pods of helm test run, outside of pods.
"$cancelot" accounts --endpoint "http://$addr" >/dev/null
mapfile -t args < <(render --values $chart/ci/insecure-values.yaml --show-only templates/tests/sandbox.yaml |
  sed -n '/name: cancel$/,/securityContext/s/^        - //p' | sed "s/127.0.0.1:50051/$addr/")
"$cancelot" "${args[@]}" >"$work/out" 2>&1 || failed "helm test's cancellation: $(cat "$work/out")"
ok "helm test's commands: ${args[*]}"
