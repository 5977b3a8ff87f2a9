//! Chaos on real processes for as long as you like: `cargo run --release -p bilico-testkit --bin
//! chaos -- --minutes 60 --seed S`.
//!
//! With `--show NAME` it shows one claim instead: `kills`, `full` or `stuck`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a check that cannot go on has failed"
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bilico_testkit::{ACT_AS_BILICO, chaos, set_program};
use clap::{Parser, ValueEnum};

/// Chaos on real processes.
#[derive(Debug, Parser)]
struct Args {
    /// How many minutes faults go on
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    minutes: f64,
    /// How many seconds faults go on, in place of minutes
    #[arg(long, value_name = "N", conflicts_with = "minutes")]
    seconds: Option<f64>,
    /// The seed of the run; without it, `BILICO_SEED` or a random one
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Everything speaks TLS, and clients show a token
    #[arg(long)]
    secure: bool,
    /// Show one claim instead
    #[arg(long, value_name = "NAME")]
    show: Option<Show>,
    /// How many files a show uses
    #[arg(long, value_name = "N")]
    files: Option<usize>,
    /// The `bilico` to test; without it, the library that this tool is built with
    #[arg(long, value_name = "PATH")]
    bilico: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Show {
    /// Files survive 25 kills
    Kills,
    /// A full disk refuses files and keeps those that it accepted
    Full,
    /// One stuck file does not make the journal grow
    Stuck,
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    if std::env::var_os(ACT_AS_BILICO).is_some() {
        return bilico::cli::main();
    }
    let args = Args::parse();
    // Never the `bilico` that lies in the same directory: it may be an older build.
    set_program(match args.bilico {
        Some(path) => path.canonicalize().expect("the path of bilico"),
        None => std::env::current_exe().expect("the path of this tool"),
    });
    let seed = args.seed.unwrap_or_else(chaos::seed);
    println!("seed {seed}");
    match args.show {
        None => {
            let seconds = args.seconds.unwrap_or(args.minutes * 60.0);
            return rain(seed, Duration::from_secs_f64(seconds), args.secure);
        }
        Some(Show::Kills) => {
            let files = args.files.unwrap_or(20_000);
            drop(chaos::shows::kills(seed, files, 5));
        }
        Some(Show::Full) => drop(chaos::shows::full(seed)),
        Some(Show::Stuck) => chaos::shows::stuck(args.files.unwrap_or(100_000)),
    }
    ExitCode::SUCCESS
}

/// Lets faults rain. Ctrl-C ends it in order, so that everything that was started ends, too.
fn rain(seed: u64, time: Duration, is_secure: bool) -> ExitCode {
    let interrupts = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    interrupts.spawn(async {
        let _ = tokio::signal::ctrl_c().await;
        INTERRUPTED.store(true, Ordering::Relaxed);
    });
    let mut outcome = chaos::run(seed, time, is_secure, || {
        INTERRUPTED.load(Ordering::Relaxed)
    });
    if !INTERRUPTED.load(Ordering::Relaxed) {
        outcome.fail_if_missed();
    }
    outcome.tell(seed);
    if outcome.findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
