#!/bin/sh
# What .ci/run and .ci/nightly find on a developer's machine, for a fresh container of the Rust image.
set -eu
apt-get update -qq
apt-get install -qq --yes --no-install-recommends e2fsprogs golang-go jq python3-venv >/dev/null
rustup component add clippy rustfmt
# The checkout belongs to the runner's user and not to that of the container.
git config --global --add safe.directory "$PWD"
