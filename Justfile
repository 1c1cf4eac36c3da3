# Every command that a person or CI runs. `./just RECIPE` works without `just` installed.

set shell := ["bash", "-euo", "pipefail", "-c"]

# list the recipes
default:
    @{{ just_executable() }} --list --unsorted

# back a sample database up and bring it back, on this machine, in a minute
demo:
    @env="$(deploy/scripts/tools.sh demo)"; eval "$env"; exec deploy/scripts/demo.sh

# the tutorial of Stash on a real kube-apiserver, with kubectl
demo-kube:
    @env="$(deploy/scripts/tools.sh test)"; eval "$env"; exec deploy/scripts/demo-kube.sh

# a whole single-node cluster without Docker: the chart in it, backup, restore, three workers (root; 20 minutes at first)
demo-cluster:
    @env="$(deploy/scripts/tools.sh test)"; eval "$env"; cargo build --locked -p lagan; \
    LAGAN_BIN="$(realpath "${CARGO_TARGET_DIR:-target}/debug/lagan")" exec deploy/scripts/demo-cluster.sh demo

# the same with assertions
test-cluster:
    @env="$(deploy/scripts/tools.sh test)"; eval "$env"; cargo build --locked -p lagan; \
    LAGAN_BIN="$(realpath "${CARGO_TARGET_DIR:-target}/debug/lagan")" exec deploy/scripts/demo-cluster.sh test

# a kube-apiserver with Lagan's kinds that stays; prints its kubeconfig
up-kube:
    @env="$(deploy/scripts/tools.sh test)"; eval "$env"; exec deploy/scripts/up-kube.sh start

# stops it
down-kube:
    @deploy/scripts/up-kube.sh stop

# all tests against the real parts, then the lints
test *ARGS: && lint
    @env="$(deploy/scripts/tools.sh test)"; eval "$env"; \
    cargo build --workspace --bin lagan --locked; \
    cargo test --workspace --locked {{ ARGS }}

# formatting and clippy, warnings are errors
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

# time a backup beside raw mariadb-dump and restic
bench *ARGS:
    @env="$(deploy/scripts/tools.sh test)"; eval "$env"; exec deploy/scripts/bench.sh {{ ARGS }}

# time to the first dump byte, and what 10,000 configurations cost, on a real kube-apiserver
bench-kube:
    @env="$(deploy/scripts/tools.sh test)"; eval "$env"; cargo build --release --locked -p lagan; \
    LAGAN_BIN="$(realpath "${CARGO_TARGET_DIR:-target}/release/lagan")" exec deploy/scripts/bench-kube.sh

# get the real parts that tests and demo need; prints the environment that finds them
tools:
    @deploy/scripts/tools.sh test

# release build of the binary: target/release/lagan
build:
    cargo build --release --locked -p lagan
