# The everyday commands. `just` lists them; each is one line that works without just too.
# CI calls the same scripts: .ci/run for each change, .ci/nightly for what takes hours.

binary := "target/debug/cancelot"

_default:
    @just --list --unsorted

# The whole system under faults, checked against its promises
demo:
    cargo run --release -- demo

# Records the demo anew, in README and docs/demo.cast
record:
    cargo build --release --locked
    .ci/record-demo.py target/release/cancelot

# A gateway with simulated providers on 127.0.0.1:50051
serve:
    cargo run --release -- serve --sandbox

# All tests, or those that ARGUMENTS name: just test --lib simulation
test *ARGUMENTS:
    cargo test --locked {{ ARGUMENTS }}

# Seeds of the simulation: just seeds 1 5000
seeds FIRST="1" COUNT="1000":
    .ci/seeds.sh {{ FIRST }} {{ COUNT }}

# Format, lints and documentation of the code
check:
    cargo fmt --all --check
    cargo clippy --locked --all-targets -- -D warnings
    RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items --quiet

# Formats the code
fmt:
    cargo fmt --all

# Writes what follows from the table of settings: docs/configuration.md and the chart's schema
settings: build
    .ci/config-reference.sh {{ binary }}
    python3 .ci/chart/generate.py {{ binary }}

# Runs the commands of the documentation, and checks its links and configurations
docs: build
    .ci/tools.sh grpcurl
    .ci/docs.py {{ binary }} target/ci-tools/grpcurl

# What durability costs, beside a bare fan-out
bench *ARGUMENTS:
    cargo bench --locked --bench fanout {{ ARGUMENTS }}

# Plants bugs, all or those that NAMES begin, and lets the simulation find them
mutants *NAMES:
    tests/mutants/run {{ NAMES }}

# The gate: everything that has to hold before a change lands
ci:
    .ci/run

# What takes hours, all of it or single STEPS
nightly *STEPS:
    .ci/nightly {{ STEPS }}

# The gate and the night, as before a release
release:
    .ci/release

build:
    cargo build --locked
