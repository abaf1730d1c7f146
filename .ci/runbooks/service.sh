# What the commands of docs/runbooks are tried against, sourced by docs.py in front of each page: a
# service with TLS, two callers and an issuer that is away, its accounts at a simulator, and words for
# the pages to bring trouble about. ETC, LIB and PKI are directories.
simulator=http://127.0.0.1:8600/_sandbox
export RUNBOOK_LOG=$LIB/log
export CANCELOT_ENDPOINT=https://localhost:50051 CANCELOT_TLS_CA_FILE=$PKI/ca.crt
export CANCELOT_TOKEN_FILE=$ETC/billing.token
# What grpcurl believes without being told.
export SSL_CERT_FILE=$PKI/ca.crt
for caller in billing oncall; do openssl rand -hex 32 >"$ETC/$caller.token"; done
for account in rebilly solidgate; do printf 'good-credential\n' >"$ETC/$account.credential"; done
cat >"$ETC/cancelot.toml" <<TOML
[server]
tls_cert_file = "$PKI/tls.crt"
tls_key_file = "$PKI/tls.key"
admin_listen = "127.0.0.1:9090"
reload_ms = 100
[journal]
dir = "$LIB/journal"
[engine]
retry_window_ms = 2000
backoff_base_ms = 10
backoff_max_ms = 100
[log]
format = "json"
[issuers.cluster]
issuer = "https://cluster"
audiences = ["cancelot"]
jwks_url = "http://127.0.0.1:9/jwks"
[callers.billing]
token_file = "$ETC/billing.token"
jwt_issuer = "cluster"
jwt_subjects = ["system:serviceaccount:billing:worker"]
[callers.oncall]
token_file = "$ETC/oncall.token"
auditor = true
auditor_answers = true
[accounts.rebilly]
provider = "rebilly"
base_url = "http://127.0.0.1:8600/rebilly"
credential_file = "$ETC/rebilly.credential"
timeout_ms = 900
settling_ms = 1000
[accounts.solidgate]
provider = "solidgate"
base_url = "http://127.0.0.1:8600/solidgate"
credential_file = "$ETC/solidgate.credential"
timeout_ms = 900
settling_ms = 1000
TOML
# The pages say $TOKEN for that of whoever is on call.
TOKEN=$(cat "$ETC/oncall.token")

cancelot sandbox >"$LIB/sandbox" 2>&1 &
simulating=$!
until curl -sf "$simulator" >/dev/null; do kill -0 "$simulating"; sleep 0.1; done
# Standard output too, as a pod's log has it: lines that are no JSON among those that are.
serve() { cancelot serve --config "$ETC/cancelot.toml" >>"$RUNBOOK_LOG" 2>&1 & served=$!; }
serving() { until [ "$(curl -s http://127.0.0.1:9090/readyz)" = ready ]; do kill -0 "$served"; sleep 0.1; done; }
serve
serving

cancels() { # cancels ACCOUNT ID: whatever becomes of it
  cancelot cancel subscriptions --account "$1" --subscription-id "$2" --when now --yes --output jsonl || true
}
breaks() { # breaks ACCOUNT RATES: how often what goes wrong there
  curl -sSf -X PUT -d "$2" "$simulator/$1/faults"
}
logged() { # logged TEXT: the log has it, or will in a moment
  until grep -qF -- "$1" "$RUNBOOK_LOG"; do kill -0 "$served"; sleep 0.1; done
}
cancels rebilly sub_1
cancels rebilly missing
cancels solidgate subs_1
logged '"cancellation settled"'
