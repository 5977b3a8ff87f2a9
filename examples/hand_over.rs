//! Hands files over to a running balancer and says what became of each.
//!
//! `cargo run --example hand_over -- 127.0.0.1:60002 report.pdf invoice.xml`

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bilico::client::{Changed, Fate, Form, Keys, Options, Source, Tally, Wait, Way, transfer};
use tokio::sync::watch;

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(address) = arguments.next() else {
        eprintln!("usage: hand_over HOST:PORT FILE…");
        return ExitCode::from(2);
    };
    let sources: Vec<_> = arguments
        .map(|path| Source::named(Path::new(&path), Form::Raw))
        .collect();
    let options = Options {
        wait: Wait::Delivered,
        // Each file gets a key of its own, so that the balancer recognises a file that is sent
        // again over a new connection.
        keys: Keys::default(),
        retry: Duration::from_mins(1),
        changed: Changed::Retry,
        hashed: false,
    };
    let tally = watch::Sender::new(Tally::default());
    let result = transfer(&Way::plain(address), &sources, &options, &tally).await;

    let tally = tally.borrow();
    for (source, fate) in sources.iter().zip(&tally.fates) {
        match fate {
            Fate::Delivered { number, server, .. } => {
                println!("{}: number {number}, stored by {server}", source.title);
            }
            fate => println!("{}: {fate:?}", source.title),
        }
    }
    match result {
        Ok(()) if tally.failed() == 0 => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
