//! Every record is read back, and nothing else is one.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use proptest::prelude::*;

fn meta() -> Arc<Meta> {
    Arc::new(Meta {
        title: "però \u{0}.json".into(),
        key: Some("k-1".into()),
        from: "127.0.0.1:60100".into(),
        size: 3,
        crc32c: 0xDEAD_BEEF,
        accepted_ms: 1_795_000_000_123,
    })
}

fn samples() -> Vec<Record> {
    let attempt = Attempt {
        at_ms: 7,
        server: "127.0.0.1:5001".into(),
        reason: "disk full".into(),
    };
    let mut history = History::default();
    (0..40).for_each(|_| history.add(attempt.clone(), true));
    assert_eq!(
        (history.attempts, history.failures, history.first.len()),
        (40, 40, MAX_HISTORY)
    );
    let death = Death {
        at_ms: 9,
        reason: "too large".into(),
    };
    let accepted = Accepted {
        number: 4711,
        meta: meta(),
        history: history.clone(),
        death: Some(death.clone()),
        content: Content::Inline(Bytes::from_static(b"abc")),
    };
    let large = Accepted {
        meta: Arc::new(Meta {
            key: None,
            size: 1 << 40,
            ..(*meta()).clone()
        }),
        history: History::default(),
        death: None,
        content: Content::Own(u64::MAX),
        ..accepted.clone()
    };
    let delivered = End::Delivered {
        server: "s".into(),
        identity: Some("00".repeat(16).into()),
        confirmed: true,
    };
    let old_style = End::Delivered {
        server: "s".into(),
        identity: None,
        confirmed: false,
    };
    let ended = |end| {
        Record::Ended(Box::new(Ended {
            number: 3,
            at_ms: 8,
            end,
            meta: meta(),
            history: history.clone(),
        }))
    };
    vec![
        Record::Accepted(Box::new(accepted)),
        Record::Accepted(Box::new(large)),
        Record::Attempt {
            number: 1,
            attempt,
            is_failure: false,
        },
        ended(delivered),
        ended(old_style),
        ended(End::Dropped {
            reason: "no".into(),
        }),
        Record::Dead {
            number: u64::MAX,
            death,
        },
        Record::Replayed { number: 5 },
        Record::Mark,
        Record::Oldest { segment: 6 },
    ]
}

fn encoded(record: &Record) -> Bytes {
    let mut out = Vec::new();
    record.encode(&mut out);
    out.into()
}

#[test]
fn every_record_is_read_back() {
    for record in samples() {
        assert_eq!(
            Record::decode(record.kind(), &encoded(&record)),
            Some(record)
        );
    }
}

#[test]
fn what_is_cut_or_has_something_behind_it_is_nothing() {
    for record in samples() {
        let body = encoded(&record);
        for len in 0..body.len() {
            assert_eq!(
                Record::decode(record.kind(), &body.slice(..len)),
                None,
                "{record:?} cut to {len}"
            );
        }
        let longer = [&body[..], b"x"].concat().into();
        assert_eq!(Record::decode(record.kind(), &longer), None, "{record:?}");
    }
}

#[test]
fn long_texts_are_cut_between_characters() {
    let attempt = Attempt {
        at_ms: 1,
        server: "è".repeat(300).into(),
        reason: "x".repeat(70_000).into(),
    };
    let record = Record::Attempt {
        number: 1,
        attempt,
        is_failure: false,
    };
    let Some(Record::Attempt { attempt, .. }) = Record::decode(2, &encoded(&record)) else {
        panic!()
    };
    assert_eq!((attempt.server.len(), attempt.reason.len()), (512, 512));
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_nothing(
        kind: u8,
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = Record::decode(kind % 9, &body.into());
    }
}
