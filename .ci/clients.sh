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
mkdir -p "$tools" "$out/proto/cancelot/v1" "$out/python"

# What a caller has: the binary's own word for its API.
"$binary" proto >"$out/proto/cancelot/v1/cancelot.proto"
"$binary" proto --service-config >"$out/service-config.json"
# A strict reader of descriptor sets.
"$binary" proto --descriptor-set >"$out/cancelot.binpb"
"$buf" build "$out/cancelot.binpb" -o /dev/null

printf '\nPython\n'
venv=$tools/python
requirements=tests/clients/python/requirements.txt
if ! cmp -s "$requirements" "$venv/requirements.txt"; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$requirements"
  cp "$requirements" "$venv/requirements.txt"
fi
"$venv/bin/python" -m grpc_tools.protoc --proto_path="$out/proto" --python_out="$out/python" \
  --grpc_python_out="$out/python" cancelot/v1/cancelot.proto
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$out/python "$venv/bin/python" tests/clients/python/check.py "$binary" "$out/service-config.json"

printf '\nGo\n'
cp -r tests/clients/go "$out/go"
cd "$out/go"
GOBIN=$tools GOFLAGS=-mod=readonly go install tool
PATH=$tools:$PATH "$buf" generate "$out/proto"
unformatted=$(gofmt -l client ./*.go)
[ -z "$unformatted" ] || { echo "FAILED: gofmt: $unformatted"; exit 1; }
go vet -mod=readonly ./...
go build -mod=readonly -o "$out/go-client" .
"$out/go-client" "$binary" "$out/service-config.json"
