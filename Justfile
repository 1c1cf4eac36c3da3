# Every command that people and CI run. `./just RECIPE` works without `just` installed.

set shell := ["bash", "-euo", "pipefail", "-c"]

# list the recipes
default:
    @{{ just_executable() }} --list --unsorted

# back up a sample database on this machine, restore it and compare, in a minute
demo:
    @env="$(deploy/scripts/tools.sh demo)"; eval "$env"; exec deploy/scripts/demo.sh

# follow Stash's tutorial on a real kube-apiserver, with kubectl
demo-kube:
    @env="$(deploy/scripts/tools.sh test)"; eval "$env"; exec deploy/scripts/demo-kube.sh

# start a single-node cluster without Docker, install the chart, back up and restore (root; 20 minutes the first time)
demo-cluster:
    @env="$(deploy/scripts/tools.sh test)"; eval "$env"; cargo build --locked --workspace --bin lagan; \
    LAGAN_BIN="$(realpath "${CARGO_TARGET_DIR:-target}/debug/lagan")" exec deploy/scripts/demo-cluster.sh demo

# test the chart in a single-node cluster (root)
test-cluster:
    @env="$(deploy/scripts/tools.sh test)"; eval "$env"; cargo build --locked --workspace --bin lagan; \
    LAGAN_BIN="$(realpath "${CARGO_TARGET_DIR:-target}/debug/lagan")" exec deploy/scripts/demo-cluster.sh test

# start a kube-apiserver with Lagan's CRDs and print its kubeconfig
up-kube:
    @env="$(deploy/scripts/tools.sh test)"; eval "$env"; exec deploy/scripts/up-kube.sh start

# stop the kube-apiserver of up-kube
down-kube:
    @deploy/scripts/up-kube.sh stop

# run all tests against real programs, then the lints
test *ARGS: && lint
    @env="$(deploy/scripts/tools.sh test)"; eval "$env"; \
    cargo build --workspace --bin lagan --locked; \
    cargo test --workspace --locked {{ ARGS }}

# run the whole suites of faults, with the tests that take long or need root
test-faults *ARGS:
    @env="$(deploy/scripts/tools.sh test)"; eval "$env"; \
    cargo build --workspace --bin lagan --locked; \
    cargo test --workspace --locked --test faults --test cluster --no-fail-fast -- --include-ignored {{ ARGS }}

# run sessions for MINUTES under faults that SEED chooses, and audit everything at the end
soak MINUTES="3" *SEED:
    @env="$(deploy/scripts/tools.sh test)"; eval "$env"; cargo build --locked --workspace --bin lagan --bin soak; \
    LAGAN_BIN="$(realpath "${CARGO_TARGET_DIR:-target}/debug/lagan")" exec "${CARGO_TARGET_DIR:-target}/debug/soak" {{ MINUTES }} {{ SEED }}

# run N seeds of the simulation of the engine; LAGAN_SEED=S runs one seed and prints its story
simulate N="1000":
    LAGAN_SEEDS={{ N }} cargo test --workspace --lib --locked simulation::whatever -- --nocapture

# bring back one known defect after the other; each must be caught by a seed of the simulation. LAGAN_MUTANT=NAME chooses one
mutants:
    cargo test --workspace --lib --locked --features lagan-engine/mutants simulation::every_mutant -- --nocapture

# read the documents that released versions wrote
test-upgrade:
    cargo test --locked -p lagan-schemas -p lagan-sources -p lagan-bus --test upgrade
    cargo test --locked -p lagan-bus -p lagan-workers --lib kept

# add fixtures of new documents; existing ones never change
fixtures:
    LAGAN_FIXTURES=write cargo test --locked -p lagan-schemas -p lagan-sources -p lagan-bus --test upgrade
    LAGAN_FIXTURES=write cargo test --locked -p lagan-bus -p lagan-workers --lib kept

# check formatting and run clippy; warnings are errors
lint:
    cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
    cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# format the code
fmt:
    cargo fmt --all

# rewrite the generated files (CRDs, JSON schemas, references)
generate:
    cargo run -q -p lagan -- generate

# compare backup and restore with mariadb-dump and restic
bench *ARGS:
    @env="$(deploy/scripts/tools.sh test)"; eval "$env"; exec deploy/scripts/bench.sh {{ ARGS }}

# measure the time to the first dump byte and the cost of 10,000 configurations, on a real kube-apiserver
bench-kube:
    @env="$(deploy/scripts/tools.sh test)"; eval "$env"; cargo build --release --locked -p lagan; \
    LAGAN_BIN="$(realpath "${CARGO_TARGET_DIR:-target}/release/lagan")" exec deploy/scripts/bench-kube.sh

# measure an engine: all lines of the table, or those that are named; --scale 0.01 for small numbers, --json FILE
bench-engine *ARGS:
    @env="$(deploy/scripts/tools.sh test)"; eval "$env"; cargo build --release --locked --workspace --bin lagan --bin bench-engine; \
    LAGAN_BIN="$(realpath "${CARGO_TARGET_DIR:-target}/release/lagan")" exec "${CARGO_TARGET_DIR:-target}/release/bench-engine" {{ ARGS }}

# install the programs that tests and demo need, and print the environment that finds them
tools:
    @deploy/scripts/tools.sh test

# build the release binary target/release/lagan
build:
    cargo build --release --locked -p lagan
