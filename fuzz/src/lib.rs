//! Each decoder of Bilico, fed with anything: the targets are in `tests/targets`.
//!
//! `cargo test -p bilico-fuzz` gives each of them random inputs for some seconds, on the stable
//! compiler. With `cargo install cargo-bolero` and a nightly compiler the same targets run under
//! libFuzzer: `cargo bolero test -p bilico-fuzz frame::decodes --engine libfuzzer`.
