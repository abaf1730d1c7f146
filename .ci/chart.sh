#!/usr/bin/env bash
# All that has to hold of the Helm chart, without a cluster: helm's lint and rendering for each file
# of helm/cancelot/ci, refusals with their reasons, unit tests, the schemas of the oldest Kubernetes
# and an API server's own validation and Pod Security of a new one, the configuration as the service
# reads and serves it, over TLS too, with probes, the commands of the notes and of helm test.
# Usage: chart.sh CANCELOT [GRPCURL]
set -euo pipefail
cancelot=$(realpath "$1")
grpcurl=$(realpath "${2:-$(dirname "$0")/../target/ci-tools/grpcurl}")
cd "$(dirname "$0")/.."
tools=$PWD/target/ci-tools
chart=helm/cancelot
# The oldest Kubernetes that the chart allows: what it renders has to be known there.
oldest=1.30
. .ci/serve.sh

failed() { printf 'FAILED: %s\n' "$*"; exit 1; }
ok() { printf 'ok: %s\n' "$*"; }

.ci/tools.sh chart
module() { go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'; }
# A library's folder of every built-in kind's schema, which is all that is used of it.
schemas=$(module sigs.k8s.io/kubectl-validate@v0.0.4)
# The custom kinds that the chart can use, as those define them who make them.
operator=$(module github.com/prometheus-operator/prometheus-operator@v0.85.0)/example/prometheus-operator-crd
manager=$(module github.com/cert-manager/cert-manager@v1.21.2)/deploy/crds
definitions=(
  "$operator"/monitoring.coreos.com_{servicemonitors,prometheusrules}.yaml
  "$manager/cert-manager.io_certificates.yaml"
)
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
  # The custom kinds are left to the definitions, which say more than a schema can.
  "$tools/kubeconform" -strict -summary -skip Certificate,PrometheusRule,ServiceMonitor \
    -schema-location 'target/kube-schemas/{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json' \
    "$rendered"
  "$tools/admit" "${definitions[@]}" <"$rendered"
done
custom=$(cat "$work"/*-values.yaml | grep -cE '^kind: (Certificate|PrometheusRule|ServiceMonitor)$')
[ "$custom" = 3 ] || failed "$custom objects of custom kinds were looked at"

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
refused 'config.callers.new has nothing that proves it: give existingSecret' \
  --set config.callers.new.secretKey=x
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
refused 'config.server.admin_listen is [::1]:8081, which nothing outside' \
  --set-string 'config.server.admin_listen=[::1]:8081'
refused 'config.server.admin_listen has the port of config.server.listen (50051)' \
  --set config.server.admin_listen=0.0.0.0:50051
refused 'config.audit.dir is /tmp/audit: give a directory below /data' --set config.audit.dir=/tmp/audit
refused 'metrics.serviceMonitor is enabled, and there is nothing to scrape' \
  --set metrics.serviceMonitor.enabled=true,config.server.admin_listen=null
refused 'extraEnv sets CANCELOT_SERVER_TLS_CERT_FILE' --set 'extraEnv[0].name=CANCELOT_SERVER_TLS_CERT_FILE'

refused 'networkPolicy.from is empty, and without it every pod' --set networkPolicy.from=null
refused 'or set networkPolicy.open to true' --set networkPolicy.from=null,networkPolicy.open=false
refused 'networkPolicy.from names peers, and networkPolicy.open lets everybody call: keep one' \
  --set networkPolicy.open=true
refused 'TLS is off, so tokens and requests could be read on the way: set tls.existingSecret or tls.certManager' \
  --set tls.allowPlaintext=false
refused 'or tls.allowPlaintext to true if something in between encrypts' --set tls.allowPlaintext=null
refused 'resources.limits.memory is 512Mi, and the settings let the service take 640Mi' \
  --set resources.limits.memory=512Mi
refused 'give 1408Mi or more, or lower config.server.request_bytes_max' \
  --set resources.limits.memory=1Gi,config.engine.open_bytes_max=805306368
refused 'extraEnv sets CANCELOT_ENGINE_OPEN_BYTES_MAX' \
  --set 'extraEnv[0].name=CANCELOT_ENGINE_OPEN_BYTES_MAX'

# The README's first values.
sed -n '/^cat >values.yaml <<VALUES$/,/^VALUES$/p' $chart/README.md | sed '1d;$d' >"$work/readme.yaml"
render --values "$work/readme.yaml" | grep -q 'kind: StatefulSet' || failed 'the values of the README'
ok 'the values of the README install it'

# The settings' defaults, which the chart's memory follows from, are those of the service.
bytes() { "$cancelot" config reference | sed -n "s/^| \`$1\` | [^|]* | \`\([0-9]*\)\` .*/\1/p"; }
budgets=$(($(bytes request_bytes_max) + $(bytes open_bytes_max) * 5 / 4 + $(bytes cache_bytes)))
render --values $chart/ci/accounts-values.yaml --show-only templates/statefulset.yaml |
  grep -qx "  *memory: $((budgets * 5 / 4 / 1048576 + 128))Mi" || failed "memory does not follow from $budgets"
ok 'the memory limit follows from the defaults of the service'

tls=tls.existingSecret=cancelot-tls
certificate=tls.certManager.enabled=true,tls.certManager.issuerRef.name=internal
clients=tls.clientCA.existingSecret=clients
refused 'TLS is on and config.server.admin_listen is not set' --set $tls,config.server.admin_listen=null
refused 'tls.existingSecret names a certificate, and tls.certManager would make another' --set $tls,$certificate
refused 'nobody is named who issues the certificate' --set tls.certManager.enabled=true
refused 'config.server has tls_cert_file or tls_key_file, and so has the chart' \
  --set $certificate,config.server.tls_cert_file=/tls.crt
refused 'config.server has one of tls_cert_file and tls_key_file' \
  --set config.server.tls_key_file=/tls.key
refused 'tls.clientCA is in a Secret (clients) and in a ConfigMap (others)' \
  --set $tls,$clients,tls.clientCA.configMap=others
refused 'tls.serverCA is in a Secret (a) and in a ConfigMap (b)' \
  --set $tls,tls.serverCA.existingSecret=a,tls.serverCA.configMap=b
refused 'config.server has tls_client_ca_file, and so has the chart' \
  --set $tls,$clients,config.server.tls_client_ca_file=/ca.crt
refused 'tls.clientCA vouches for certificates that no client can show without TLS' --set $clients
refused 'config.server.tls_client_auth is required, and nobody vouches' \
  --set $tls,config.server.tls_client_auth=required
refused 'tests.clientCertSecret is a certificate that the service does not ask for' \
  --set $tls,tests.clientCertSecret=mine
refused 'config.callers.new has tls_sans, and the service asks for no certificates: set tls.clientCA.' \
  --set "$tls,config.callers.new.tls_sans={dns:a}"
refused 'and config.server.tls_client_auth to optional or required' \
  --set "$tls,$clients,config.server.tls_client_auth=none,config.callers.new.tls_sans={dns:a}"

jwt=config.callers.new.jwt_issuer=kubernetes
subjects='config.callers.new.jwt_subjects={a}'
refused 'config.callers.new.jwt_issuer is kubernetes, and there is no such issuer: enable kubernetesCallers' \
  --set "$jwt,$subjects"
refused 'there is no such issuer: add config.issuers.partner' \
  --set "config.callers.new.jwt_issuer=partner,$subjects"
refused 'config.callers.new.jwt_issuer would let everybody in to whom kubernetes issues tokens' \
  --set $jwt,kubernetesCallers.enabled=true
refused 'config.callers.new has jwt_subjects or jwt_claims, which mean nothing without an issuer' \
  --set "$subjects"
issuer='config.issuers.kubernetes.issuer=a,config.issuers.kubernetes.audiences={a}'
refused 'config.issuers.kubernetes has neither jwks_file nor jwks_url' --set "$issuer"
refused 'config.issuers.kubernetes is what kubernetesCallers adds' \
  --set "$issuer,config.issuers.kubernetes.jwks_file=/keys,kubernetesCallers.enabled=true"
refused 'config.issuers.A is not a legal name' --set 'config.issuers.A.issuer=a,config.issuers.A.audiences={a}'
refused "missing property 'audiences'" --set config.issuers.a.issuer=a
refused "at '/config/callers/new/tls_sans': got string, want array" --set config.callers.new.tls_sans=dns:a
refused "value must be one of 'none', 'optional', 'required'" --set config.server.tls_client_auth=maybe
refused "at '/tls/certManager/keyAlgorithm': value must be one of" --set tls.certManager.keyAlgorithm=DSA
refused "at '/metrics/serviceMonitor/interval': 'often' does not match" \
  --set metrics.serviceMonitor.interval=often
refused "at '/kubernetesCallers/tokenExpirationSeconds': minimum: got 1, want 600" \
  --set kubernetesCallers.tokenExpirationSeconds=1
said=$("$tools/helm" template cancelot $chart --kube-version 1.29 2>&1 || true)
grep -qF 'requires kubeVersion: >=1.30' <<<"$said" || failed "Kubernetes 1.29: $said"
ok 'refused: Kubernetes 1.29'

checksum() { render --values $chart/ci/accounts-values.yaml "$@" | grep checksum/config; }
[ "$(checksum)" = "$(checksum --set podLabels.a=b)" ] || failed 'the checksum changes by itself'
[ "$(checksum)" != "$(checksum --set config.server.drain_ms=1)" ] || failed 'the checksum stays'
[ "$(checksum)" = "$(checksum --set config.callers.billing.batch_items_max=7)" ] ||
  failed 'a policy, which the service takes without a restart, changes the checksum'
ok 'a change of the configuration that takes a restart, and nothing else, changes its checksum'

watched() { render --values $chart/ci/monitoring-values.yaml --show-only "templates/$1"; }
watched dashboard.yaml | sed -n '/^  cancelot.json: /,$s/^    //p' | cmp - $chart/dashboards/cancelot.json
# Wrapped and quoted in another way, but with the same alerts and the same that Prometheus fills in.
alerts() { tr -d '\\' | tr -s ' \n' ' ' | grep -oE 'alert: [A-Za-z]+|\{\{[^}]*\}\}' | sort; }
diff <(watched prometheusrule.yaml | alerts) <(alerts <$chart/alerts/rules.yaml) ||
  failed 'alerts have changed on their way through Helm'
ok 'alerts and dashboards are those of the files'

mkdir "$work/pki"
.ci/chart/pki.sh "$work/pki" cancelot.ends.svc URI:spiffe://prod/ns/billing/sa/worker
python3 .ci/chart/keys.py "$cancelot" "$tools/helm" "$work/pki"
ok 'every setting of the configuration reference is reached by values'
python3 .ci/chart/release.py "$cancelot" "$grpcurl" "$tools/helm" "$work/pki" \
  "$chart"/ci/{accounts,mtls,kubernetes}-values.yaml

# Against the accounts of a sandbox, which have the names of their providers.
cp -r $chart "$work/chart"
{ printf '{{- define "notes" }}'; cat $chart/templates/NOTES.txt; printf '{{ end }}'; } \
  >"$work/chart/templates/_text.tpl"
printf 'notes: {{ include "notes" . | toJson }}\n' >"$work/chart/templates/notes.yaml"
start_serving "$work/out" "$work/log" "$cancelot" serve --sandbox --set server.listen=127.0.0.1:0
for provider in rebilly solidgate funnelfox revolv3; do
  id=sub_1
  [ $provider != revolv3 ] || id=1
  "$tools/helm" template cancelot "$work/chart" --kube-version $oldest --show-only templates/notes.yaml \
    --set tls.allowPlaintext=true,networkPolicy.open=true \
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

# What the pod of helm test runs that has a sandbox, outside of a pod.
mapfile -t args < <(render --values $chart/ci/insecure-values.yaml --show-only templates/tests/sandbox.yaml |
  sed -n '/name: cancel$/,/securityContext/s/^        - //p' | sed "s/127.0.0.1:50051/$addr/")
"$cancelot" "${args[@]}" >"$work/out" 2>&1 || failed "helm test's cancellation: $(cat "$work/out")"
ok "helm test's commands: ${args[*]}"
