#!/usr/bin/env bash
# Cancelot as its callers meet it: a Python and a Go client, with code that is generated from the
# published proto, against a served sandbox and over a restart. They are in tests/clients.
# Usage: clients.sh BINARY BUF
set -euo pipefail
binary=$(realpath "$1") buf=$(realpath "$2")
cd "$(dirname "$0")/.."
tools=$PWD/target/ci-tools
out=$PWD/target/clients
rm -rf "$out"
mkdir -p "$out/proto/cancelot/v1" "$out/python"
.ci/tools.sh clients

# What a caller has: the binary's own word for its API.
"$binary" proto >"$out/proto/cancelot/v1/cancelot.proto"
"$binary" proto --service-config >"$out/service-config.json"
# A strict reader of descriptor sets.
"$binary" proto --descriptor-set >"$out/cancelot.binpb"
"$buf" build "$out/cancelot.binpb" -o /dev/null

printf '\nPython\n'
python=$tools/python/bin/python
"$python" -m grpc_tools.protoc --proto_path="$out/proto" --python_out="$out/python" \
  --grpc_python_out="$out/python" cancelot/v1/cancelot.proto
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$out/python "$python" tests/clients/python/check.py "$binary" "$out/service-config.json"

printf '\nGo\n'
cp -r tests/clients/go "$out/go"
cd "$out/go"
PATH=$tools:$PATH "$buf" generate "$out/proto"
unformatted=$(gofmt -l client ./*.go)
[ -z "$unformatted" ] || { echo "FAILED: gofmt: $unformatted"; exit 1; }
# As .ci/tools.sh builds, so that both share what they are made of.
export GOFLAGS="-mod=readonly '-gcflags=all=-N -l'"
go vet ./...
go build -o "$out/go-client" .
"$out/go-client" "$binary" "$out/service-config.json"
