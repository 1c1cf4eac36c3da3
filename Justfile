# Every command that a person or CI runs. `./just RECIPE` works without `just` installed.

set shell := ["bash", "-euo", "pipefail", "-c"]

# list the recipes
default:
    @{{ just_executable() }} --list --unsorted

# back a sample database up and bring it back, on this machine, in a minute
demo:
    @env="$(deploy/scripts/tools.sh demo)"; eval "$env"; exec deploy/scripts/demo.sh

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

# get the real parts that tests and demo need; prints the environment that finds them
tools:
    @deploy/scripts/tools.sh test

# release build of the binary: target/release/lagan
build:
    cargo build --release --locked -p lagan
