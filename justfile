# Every command that a contributor needs. `just` lists them.

_list:
    @just --list --unsorted

# What each change must pass, as CI runs it.
ci:
    bash .ci/run

# Formatting, lints, documentation and licences, without the tests.
check:
    cargo fmt --all --check
    cargo clippy --locked --workspace --all-targets -- -D warnings
    cargo doc --locked --workspace --no-deps --document-private-items
    cargo deny --workspace check bans licenses sources

# The ordinary tests: about three minutes on two cores, after the build.
test *ARGS:
    cargo test --locked {{ARGS}}

# The full proof of the journal: every bit and byte, not each eighth.
proof:
    BILICO_PROOF=full cargo test --locked -p bilico-queue

# The tests that have a long form, in it: all kills, crowds, files in doubt, chaos, and a hundred
# thousand histories of the registry.
campaign SECONDS="120":
    BILICO_PROOF=full cargo test --locked -p bilico-core --lib registry::
    BILICO_CHAOS_SECONDS={{SECONDS}} BILICO_PROOF=full cargo test --locked --test it -- chaos:: doubt:: delivery:: crowds:: verify::

# Faults on real processes for so many seconds; a failed run prints its seed.
chaos SECONDS="120" SEED="":
    BILICO_CHAOS_SECONDS={{SECONDS}} BILICO_SEED={{SEED}} cargo test --locked --test it chaos::

# The short run of all fuzz targets, on the stable compiler.
fuzz:
    cargo test --locked -p bilico-fuzz

# The Debian package: docs/install.md.
deb *BINARY:
    packaging/deb {{BINARY}}

# A package in a fresh Debian of its own, under systemd: installed, run, upgraded, purged. Needs root.
deb-check PACKAGE:
    packaging/deb-check {{PACKAGE}}

# One static program.
static *ARGS:
    packaging/static {{ARGS}}

# The container image; with a static program, without a network.
container *STATIC:
    packaging/container {{STATIC}}

# A cluster rolls from an older revision to this one and back while files pass.
upgrade REV:
    packaging/upgrade {{REV}}

# A balancer, three servers and the prompt.
demo:
    cargo run --release -- demo

# The cores by themselves.
bench *ARGS:
    cargo bench {{ARGS}}

# The whole program beside what people would use instead.
compare *ARGS:
    bench/compare {{ARGS}}
