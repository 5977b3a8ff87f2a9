//! Follows the receipts of files while they come: how many are accepted, and how many delivered.
//!
//! `cargo run --example follow_receipts -- 127.0.0.1:60002 sample_files/*.json`

use std::path::Path;
use std::time::Duration;

use bilico::client::{
    Changed, ClientError, Form, Keys, Options, Source, Tally, Wait, Way, transfer,
};
use tokio::sync::watch;

#[tokio::main]
async fn main() -> Result<(), ClientError> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:60002".to_owned());
    let sources: Vec<_> = arguments
        .map(|path| Source::named(Path::new(&path), Form::Either))
        .collect();
    let options = Options {
        wait: Wait::Delivered,
        keys: Keys::default(),
        retry: Duration::ZERO,
        changed: Changed::Fail,
        hashed: false,
    };

    // The transfer writes each receipt into the tally. A reader that is slow misses the states in
    // between, never the last one.
    let tally = watch::Sender::new(Tally::default());
    let mut receipts = tally.subscribe();
    let printer = tokio::spawn(async move {
        while receipts.changed().await.is_ok() {
            let tally = receipts.borrow_and_update();
            println!(
                "{} of {} accepted, {} delivered",
                tally.accepted,
                tally.fates.len(),
                tally.delivered
            );
        }
    });
    let result = transfer(&Way::plain(address), &sources, &options, &tally).await;
    drop(tally);
    let _ = printer.await;
    result
}
