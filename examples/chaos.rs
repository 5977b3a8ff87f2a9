//! Chaos on real processes for as long as you like: `cargo run --release --example chaos --
//! --minutes 60 --seed S`.
//!
//! With `--show NAME` it shows one claim instead: `kills`, `full` or `stuck`.
#![allow(unreachable_pub, reason = "an example has no outside")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unchecked_time_subtraction,
    reason = "a check that cannot go on has failed"
)]

#[path = "../tests/chaos/mod.rs"]
mod driver;
#[path = "../tests/it/harness.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod harness;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;

/// Chaos on real processes.
#[derive(Debug, Parser)]
struct Args {
    /// How long faults go on
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    minutes: f64,
    /// What to begin from; without it, `BILICO_SEED` or a new one
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Show one claim instead: kills, full, stuck
    #[arg(long, value_name = "NAME")]
    show: Option<String>,
    /// How many files a show is to use
    #[arg(long, value_name = "N")]
    files: Option<usize>,
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    if std::env::var_os(harness::ACT_AS_BILICO).is_some() {
        return bilico::cli::main();
    }
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(driver::seed);
    println!("seed {seed}");
    // Not the default, which would end us before we have ended what we started.
    let interrupts = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    interrupts.spawn(async {
        let _ = tokio::signal::ctrl_c().await;
        INTERRUPTED.store(true, Ordering::Relaxed);
    });
    let is_enough = || INTERRUPTED.load(Ordering::Relaxed);
    match args.show.as_deref() {
        None => {
            let outcome = driver::run(
                seed,
                Duration::from_secs_f64(args.minutes * 60.0),
                is_enough,
            );
            outcome.tell(seed);
            if !outcome.findings.is_empty() {
                return ExitCode::FAILURE;
            }
        }
        Some("kills") => drop(driver::shows::kills(seed, args.files.unwrap_or(20_000))),
        Some("full") => drop(driver::shows::full(seed)),
        Some("stuck") => driver::shows::stuck(args.files.unwrap_or(100_000)),
        Some(other) => {
            eprintln!("there is nothing called {other} to show");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
