use super::*;

/// `set()` as Python writes it.
const EMPTY: &[u8] = b"\x80\x04\x8f\x94.";

/// `{"127.0.0.1:5050"}` as Python writes it.
const ONE: &[u8] = b"\x80\x04\x95\x16\0\0\0\0\0\0\0\x8f\x94(\x8c\x0e127.0.0.1:5050\x94\x90.";

/// The same as we write it.
const ASKED: &[u8] = b"\x80\x04\x8f(\x8c\x0e127.0.0.1:5050\x90.";

const NOTE: &str = "the checker at 127.0.0.1 cannot reach it";

async fn with_one() -> Doorways {
    // Nobody listens there, and nobody looks.
    with_one_and(OldLimits {
        look: Duration::from_mins(1),
        ..limits()
    })
    .await
}

async fn with_one_and(limits: OldLimits) -> Doorways {
    let doorways = Doorways::with(limits, &[]).await;
    doorways.announce("127.0.0.1:5050").await;
    doorways
}

fn notes(doorways: &Doorways) -> Vec<String> {
    doorways.member("127.0.0.1:5050").unwrap().notes
}

#[tokio::test]
async fn a_checker_has_a_second_opinion_and_removes_nobody() {
    let doorways = with_one().await;
    let mut checker = connect(doorways.checker).await;
    for round in 0..3 {
        assert_eq!(read(&mut checker).await, ASKED, "the balancer speaks first");
        checker.write_all(EMPTY).await.unwrap();
        until(|| notes(&doorways) == [NOTE]).await;
        assert_eq!(
            read(&mut checker).await,
            ASKED,
            "round {round}: it is still there"
        );
        // In pieces, and as Python 3.14 writes it.
        let mut newer = ONE.to_vec();
        newer[1] = 5;
        for byte in newer {
            checker.write_all(&[byte]).await.unwrap();
        }
        until(|| notes(&doorways).is_empty()).await;
    }
    assert_eq!(read(&mut checker).await, ASKED);
    checker.write_all(EMPTY).await.unwrap();
    until(|| notes(&doorways) == [NOTE]).await;
    drop(checker);
    until(|| notes(&doorways).is_empty()).await;
    assert!(
        doorways.fleet.doors().counts()[&DoorName::Checker]
            .refused
            .is_empty()
    );
}

#[tokio::test]
async fn a_checker_of_an_empty_fleet_gets_an_empty_set() {
    let doorways = Doorways::open().await;
    let mut checker = connect(doorways.checker).await;
    for _ in 0..2 {
        assert_eq!(read(&mut checker).await, b"\x80\x04\x8f.");
        checker.write_all(EMPTY).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_answer_ends_the_connection() {
    let doorways = with_one().await;
    let no_set = "no pickled set of texts";
    let unasked = "it can reach what it was not asked about";
    for (bytes, reason) in [
        (&b"cos\nsystem\n(S'id'\ntR."[..], no_set),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93", no_set),
        (b"\x80\x03", no_set),
        (b"{}", no_set),
        (b"\x80\x04\x8f(\x8c\x0e127.0.0.1:5051\x90.", unasked),
    ] {
        let before = doorways.refused(DoorName::Checker, reason);
        let mut checker = connect(doorways.checker).await;
        assert_eq!(read(&mut checker).await, ASKED);
        checker.write_all(bytes).await.unwrap();
        assert_eq!(rest(&mut checker).await, b"");
        let after = doorways.refused(DoorName::Checker, reason);
        assert_eq!(after, before + 1, "{bytes:?}");
    }
    for cut in 1..ONE.len() {
        let mut checker = connect(doorways.checker).await;
        read(&mut checker).await;
        checker.write_all(&ONE[..cut]).await.unwrap();
        checker.shutdown().await.unwrap();
        assert_eq!(rest(&mut checker).await, b"");
        assert!(notes(&doorways).is_empty(), "cut at {cut}");
    }
    let cut = doorways.refused(DoorName::Checker, "an answer that is cut");
    assert_eq!(cut, ONE.len() as u64 - 1);
}

#[tokio::test]
async fn an_answer_has_a_time_and_a_size() {
    let doorways = with_one_and(OldLimits {
        check: Duration::from_secs(1),
        check_each: Duration::ZERO,
        look: Duration::from_mins(1),
        ..limits()
    })
    .await;
    let mut late = connect(doorways.checker).await;
    let mut large = connect(doorways.checker).await;
    for checker in [&mut late, &mut large] {
        assert_eq!(read(checker).await, ASKED);
    }
    let text = [b"\x8c\xff".as_slice(), &[b'x'; 255]].concat();
    let endless = [b"\x80\x04\x8f(".as_slice(), &text.repeat(300)].concat();
    let _ = large.write_all(&endless).await;
    doorways
        .until_refused(DoorName::Checker, "no pickled set of texts")
        .await;
    assert_eq!(rest(&mut late).await, b"");
    assert_eq!(doorways.refused(DoorName::Checker, "no answer in time"), 1);
}

#[tokio::test]
async fn one_list_is_answered_once() {
    let doorways = with_one().await;
    let mut checker = connect(doorways.checker).await;
    assert_eq!(read(&mut checker).await, ASKED);
    checker.write_all(&[ONE, EMPTY].concat()).await.unwrap();
    assert_eq!(rest(&mut checker).await, b"");
    assert!(notes(&doorways).is_empty());
    let doorways = with_one_and(OldLimits {
        pace: DEADLINE,
        look: Duration::from_mins(1),
        ..limits()
    })
    .await;
    let mut checker = connect(doorways.checker).await;
    assert_eq!(read(&mut checker).await, ASKED);
    checker.write_all(ONE).await.unwrap();
    until(|| {
        let counts = doorways.fleet.doors().counts();
        counts
            .get(&DoorName::Checker)
            .is_some_and(|count| count.taken == 1)
    })
    .await;
    checker.write_all(EMPTY).await.unwrap();
    rest(&mut checker).await;
    assert_eq!(
        doorways.refused(DoorName::Checker, "an answer that nobody asked for"),
        1
    );
}

/// The original served one checker in its life.
#[tokio::test]
async fn there_are_four_checkers_and_others_after_them() {
    let doorways = with_one().await;
    let mut served = Vec::new();
    for _ in 0..4 {
        let mut checker = connect(doorways.checker).await;
        assert_eq!(read(&mut checker).await, ASKED);
        served.push(checker);
    }
    let mut fifth = connect(doorways.checker).await;
    assert_eq!(rest(&mut fifth).await, b"");
    assert_eq!(
        doorways.refused(DoorName::Checker, "there are 4 checkers"),
        1
    );
    served.pop();
    let again = async {
        loop {
            let mut checker = connect(doorways.checker).await;
            if read(&mut checker).await == ASKED {
                return;
            }
        }
    };
    timeout(DEADLINE, again).await.unwrap();
}
