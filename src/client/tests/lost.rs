//! Connections that are lost, and balancers that are away.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::pretended::{PIPE, Pretended, Script, cut_behind};
use super::sending::{LARGE, Sending, noise};
use crate::client::*;
use crate::protocol::{Hello, Message, RefusalCode, Role, frame};
use crate::transport::{Connect, Connecting};

#[tokio::test(start_paused = true)]
async fn a_cut_anywhere_loses_nothing_and_doubles_nothing() {
    for receipts_lost in [false, true] {
        for first in 0..12 {
            for second in [0, 1, 5] {
                let cut = |behind| Script {
                    receipts_lost,
                    ..cut_behind(behind)
                };
                let balancer = Pretended::new([cut(first), cut(second)]);
                let sending = Sending::new(&[1, 0, 100, 7, 20_000, 3, 70_000, 1, 2, 3]);
                sending.run(&balancer).await.unwrap();
                sending.check(&balancer);
                let keys: BTreeMap<u64, Vec<String>> = balancer.world().puts().into_iter().fold(
                    BTreeMap::new(),
                    |mut keys, (id, key, _)| {
                        keys.entry(id).or_insert_with(Vec::new).push(key);
                        keys
                    },
                );
                assert!(
                    keys.values()
                        .all(|keys| keys.iter().all(|key| *key == keys[0])),
                    "{keys:?}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_offered_where_nothing_was_lost() {
    let balancer = Pretended::default();
    let sending = Sending::new(&[5, LARGE, 5]);
    sending.run(&balancer).await.unwrap();
    sending.check(&balancer);
    let world = balancer.world();
    assert_eq!((world.offers().len(), world.connections), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_accepted_file_is_asked_about_and_not_sent_again() {
    let balancer = Pretended::new([Script {
        only_accepted: true,
        ..cut_behind(3)
    }]);
    let sending = Sending::new(&[1, 2, 3]);
    sending.run(&balancer).await.unwrap();
    sending.check(&balancer);
    let world = balancer.world();
    assert_eq!((world.offers(), world.puts().len()), (vec![0, 1, 2], 3));
}

#[tokio::test(start_paused = true)]
async fn an_accepted_file_is_not_asked_about_when_accepted_is_enough() {
    let balancer = Pretended::new([Script {
        only_accepted: true,
        ..cut_behind(2)
    }]);
    let mut sending = Sending::new(&[1, 2, 3]);
    sending.options.wait = Wait::Accepted;
    sending.run(&balancer).await.unwrap();
    assert_eq!(sending.tally.borrow().accepted, 3);
    assert!(balancer.world().offers().is_empty());
    assert_eq!(balancer.world().puts().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_large_file_goes_on_where_it_was_cut() {
    for cut in [1, PIPE, LARGE / 2, LARGE] {
        let balancer = Pretended::new([Script {
            cut_inside: Some(cut),
            ..Script::default()
        }]);
        let sending = Sending::new(&[LARGE, 5]);
        sending.run(&balancer).await.unwrap();
        sending.check(&balancer);
        let world = balancer.world();
        assert_eq!(world.offers(), [0]);
        let [(0, _, 0), .., (0, _, offset)] = &world
            .puts()
            .into_iter()
            .filter(|put| put.0 == 0)
            .collect::<Vec<_>>()[..]
        else {
            panic!("{:?}", world.puts())
        };
        assert!(*offset >= cut as u64, "{offset}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_payload_in_memory_goes_on_where_it_was_cut() {
    let balancer = Pretended::new([Script {
        cut_inside: Some(LARGE / 2),
        ..Script::default()
    }]);
    let mut sending = Sending::new(&[0]);
    let payload = serde_json::json!({"title": "inner", "content": "x".repeat(LARGE)});
    sending.write(0, payload.to_string().as_bytes());
    sending.sources[0].form = Form::Payload;
    sending.run(&balancer).await.unwrap();
    let world = balancer.world();
    let known = world.known.values().next().unwrap();
    assert_eq!(
        (
            known.title.as_str(),
            known.content.len(),
            world.puts().len()
        ),
        ("inner", LARGE, 2)
    );
    let tally = sending.tally.borrow();
    assert_eq!(tally.sent[0].title.as_deref(), Some("inner"));
    assert_eq!(
        tally.sent[0].hash,
        Some(blake3::hash("x".repeat(LARGE).as_bytes()))
    );
}

#[tokio::test(start_paused = true)]
async fn another_beginning_makes_a_file_start_over_once() {
    let balancer = Pretended::new([Script {
        cut_inside: Some(LARGE / 2),
        ..Script::default()
    }]);
    let sending = Sending::new(&[LARGE]);
    let changed = noise(99, LARGE);
    let run = async {
        // The file changes while the connection is lost.
        let mut tally = sending.tally.subscribe();
        tally.wait_for(|tally| tally.reconnecting).await.unwrap();
        sending.write(0, &changed);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = sending.run(&balancer) => result.unwrap(),
        () = run => {}
    }
    sending.check(&balancer);
    let offsets: Vec<bool> = balancer
        .world()
        .puts()
        .iter()
        .map(|(_, _, offset)| *offset > 0)
        .collect();
    assert_eq!(offsets, [false, true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_balancer_that_stays_away_ends_it_when_the_time_is_up() {
    let away = || {
        (0..1000).map(|_| Script {
            refused: true,
            ..Script::default()
        })
    };
    let balancer = Pretended::new(std::iter::once(cut_behind(1)).chain(away()));
    let mut sending = Sending::new(&[1, 2]);
    let started = Instant::now();
    let error = sending.run(&balancer).await.unwrap_err();
    assert!(matches!(error, ClientError::Lost(_)), "{error}");
    assert!(
        (60..62).contains(&started.elapsed().as_secs()),
        "{:?}",
        started.elapsed()
    );
    let attempts = balancer.world().attempts.len();
    assert!((30..80).contains(&attempts), "{attempts}");
    assert_eq!(sending.tally.borrow().unaccepted(), 1);

    // Without a retry it is told at once, as is a first connection that cannot be made.
    let balancer = Pretended::new([cut_behind(1)]);
    sending.options.retry = Duration::ZERO;
    assert!(matches!(
        sending.run(&balancer).await,
        Err(ClientError::Lost(_))
    ));
    assert_eq!(balancer.world().attempts.len(), 1);
    sending.options.retry = Duration::from_mins(1);
    let balancer = Pretended::new(away());
    assert!(matches!(
        sending.run(&balancer).await,
        Err(ClientError::Connect { .. })
    ));
    assert_eq!(balancer.world().attempts.len(), 1);
}

/// Connections that are made and lost before anything is said are no end of the time without one.
#[tokio::test(start_paused = true)]
async fn a_balancer_that_only_ever_hangs_up_is_not_tried_for_ever() {
    let balancer = Pretended::new((0..1000).map(|_| cut_behind(0)));
    let sending = Sending::new(&[1]);
    let started = Instant::now();
    sending.run(&balancer).await.unwrap_err();
    assert!(
        started.elapsed() < Duration::from_secs(70),
        "{:?}",
        started.elapsed()
    );
    assert!(balancer.world().attempts.len() < 80);
}

#[tokio::test(start_paused = true)]
async fn a_stopping_balancer_is_waited_for_and_one_that_complains_is_not() {
    let stopping = Script {
        farewell: Some(RefusalCode::Stopping),
        ..cut_behind(1)
    };
    let balancer = Pretended::new([
        stopping.clone(),
        Script {
            refused: true,
            ..Script::default()
        },
    ]);
    let mut sending = Sending::new(&[1, 2, 3]);
    sending.run(&balancer).await.unwrap();
    sending.check(&balancer);

    sending.options.retry = Duration::ZERO;
    let balancer = Pretended::new([stopping]);
    assert!(
        matches!(sending.run(&balancer).await, Err(ClientError::Stopped(reason)) if reason == "so it goes")
    );

    sending.options.retry = Duration::from_mins(1);
    let balancer = Pretended::new([Script {
        farewell: Some(RefusalCode::Malformed),
        ..cut_behind(1)
    }]);
    assert!(matches!(
        sending.run(&balancer).await,
        Err(ClientError::Closed(_))
    ));
    assert_eq!(balancer.world().attempts.len(), 1);
}

/// A balancer may say anything; nothing is counted twice and nothing panics.
#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_an_error_and_not_tried_again() {
    struct Babbling;
    impl Connect for Babbling {
        fn connect<'a>(&'a self, _: &'a str) -> Connecting<'a> {
            let (ours, mut theirs) = tokio::io::duplex(PIPE);
            tokio::spawn(async move {
                let mut out = Vec::new();
                frame::encode_preface(&mut out);
                let hello = Message::from(Hello::of(Role::Balancer));
                frame::encode(&hello, 0, &mut out);
                out.extend_from_slice(&[0; 64]);
                theirs.write_all(&out).await.unwrap();
                let mut rest = Vec::new();
                let _ = theirs.read_to_end(&mut rest).await;
            });
            Box::pin(async { Ok(Box::new(ours) as crate::transport::BoxStream) })
        }
    }
    let sending = Sending::new(&[5]);
    let way = Way {
        connector: std::sync::Arc::new(Babbling),
        ..Way::plain("x")
    };
    let result = transfer(&way, &sending.sources, &sending.options, &sending.tally).await;
    assert!(
        matches!(result, Err(ClientError::Nonsense(_))),
        "{result:?}"
    );
}
