//! What the balancer knows already, and no longer knows.

use std::time::Duration;

use super::pretended::{Pretended, Script, cut_behind};
use super::sending::{LARGE, Sending, noise};
use crate::client::*;

#[tokio::test(start_paused = true)]
async fn a_key_prefix_lets_another_run_go_on() {
    let balancer = Pretended::new([Script {
        cut_inside: Some(LARGE / 2),
        ..Script::default()
    }]);
    let mut sending = Sending::new(&[5, LARGE]);
    sending.options.keys = Keys::titled("p/").unwrap();
    sending.options.retry = Duration::ZERO;
    sending.run(&balancer).await.unwrap_err();
    assert_eq!(
        balancer.world().offers(),
        [1],
        "large files are offered first"
    );
    sending.run(&balancer).await.unwrap();
    sending.check(&balancer);
    assert!(
        balancer
            .world()
            .puts()
            .iter()
            .any(|(id, _, offset)| *id == 1 && *offset >= LARGE as u64 / 2)
    );
    sending.run(&balancer).await.unwrap();
    assert_eq!(sending.tally.borrow().delivered, 2);
    let hash = sending.tally.borrow().sent[1].hash;
    assert_eq!(
        hash,
        Some(blake3::hash(&noise(1, LARGE))),
        "what was only offered has a hash, too"
    );
    assert_eq!(
        balancer
            .world()
            .puts()
            .iter()
            .filter(|put| put.0 == 1)
            .count(),
        2,
        "the third run sends nothing large"
    );
    assert!(balancer.world().taken.values().all(|times| *times == 1));
}

#[tokio::test(start_paused = true)]
async fn an_accepted_file_that_the_balancer_no_longer_knows_is_forgotten_and_not_sent_again() {
    let balancer = Pretended::new([Script {
        only_accepted: true,
        ..cut_behind(2)
    }]);
    let sending = Sending::new(&[1, LARGE, 3]);
    let forget = async {
        sending
            .tally
            .subscribe()
            .wait_for(|tally| tally.reconnecting)
            .await
            .unwrap();
        balancer.world().known.clear();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = sending.run(&balancer) => result.unwrap(),
        () = forget => {}
    }
    let fates = sending.fates();
    assert_eq!(
        fates[..2],
        [Fate::Forgotten { number: 1 }, Fate::Forgotten { number: 2 }]
    );
    assert!(matches!(fates[2], Fate::Delivered { .. }));
    assert_eq!(
        (
            sending.tally.borrow().forgotten,
            balancer.world().puts().len()
        ),
        (2, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn dead_letters_end_the_waiting() {
    let balancer = Pretended::default();
    balancer.world().dead = true;
    let sending = Sending::new(&[1]);
    sending.run(&balancer).await.unwrap();
    assert_eq!(
        sending.fates(),
        [Fate::Dead {
            number: 1,
            reason: "too large".to_owned()
        }]
    );
}

#[tokio::test(start_paused = true)]
async fn other_content_under_a_known_key_is_told() {
    let balancer = Pretended::default();
    let mut sending = Sending::new(&[5]);
    sending.options.keys = Keys::titled("p/").unwrap();
    sending.run(&balancer).await.unwrap();
    sending.write(0, b"other");
    sending.run(&balancer).await.unwrap();
    assert!(matches!(&sending.fates()[0], Fate::Refused { reason } if reason.contains("conflict")));
}

/// A large file that is only offered was once taken for the same when its size was: what had
/// changed was reported as delivered, and never sent.
#[tokio::test(start_paused = true)]
async fn other_content_of_the_same_size_under_a_known_key_is_told() {
    let balancer = Pretended::default();
    let mut sending = Sending::new(&[LARGE]);
    sending.options.keys = Keys::titled("p/").unwrap();
    sending.run(&balancer).await.unwrap();
    sending.write(0, &noise(7, LARGE));
    sending.run(&balancer).await.unwrap();
    assert!(
        matches!(&sending.fates()[0], Fate::Refused { reason } if reason.contains("conflict")),
        "{:?}",
        sending.fates()
    );
    assert_eq!(balancer.world().puts().len(), 1);
}
