//! Files that change while they are sent, or between two attempts.

use tokio::sync::mpsc;

use super::pretended::{Pretended, Script, cut_behind};
use super::sending::{HUGE, LARGE, Sending, noise};
use crate::client::*;

/// How somebody else writes to a file that is being sent.
#[derive(Debug, Clone, Copy)]
enum Meddling {
    Cut,
    Append,
    Overwrite,
    Replace,
}

impl Sending {
    /// Changes the content of a file, and keeps its size where that makes sense.
    fn meddle(&self, file: usize, how: Meddling, round: usize) {
        let open = || {
            std::fs::File::options()
                .write(true)
                .open(self.path(file))
                .unwrap()
        };
        match how {
            Meddling::Cut => open().set_len(1000).unwrap(),
            Meddling::Append => {
                let len = open().metadata().unwrap().len();
                std::os::unix::fs::FileExt::write_all_at(&open(), b"more", len).unwrap();
            }
            Meddling::Overwrite => {
                std::os::unix::fs::FileExt::write_all_at(&open(), &round.to_le_bytes(), 0).unwrap();
            }
            Meddling::Replace => {
                let other = self.dir.path().join("other");
                std::fs::write(&other, noise(round + 50, HUGE)).unwrap();
                std::fs::rename(&other, self.path(file)).unwrap();
            }
        }
    }

    /// Sends, and has a file meddled with each time that its content begins to be sent, up to so
    /// often.
    async fn run_meddled(&self, balancer: &Pretended, how: Meddling, times: usize) {
        let (begun, mut begins) = mpsc::unbounded_channel();
        balancer.world().begun = Some(begun);
        let meddle = async {
            for round in 0..times {
                while begins.recv().await != Some(1) {}
                self.meddle(1, how, round);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = meddle => {}
            result = self.run(balancer) => result.unwrap(),
        }
    }
}

/// What came of a file that changed while it was sent was once delivered as if it were the file.
#[tokio::test(start_paused = true)]
async fn a_large_file_that_changes_while_it_is_sent_is_sent_anew() {
    for how in [
        Meddling::Cut,
        Meddling::Append,
        Meddling::Overwrite,
        Meddling::Replace,
    ] {
        let balancer = Pretended::default();
        let sending = Sending::new(&[1, HUGE, 3]);
        sending.run_meddled(&balancer, how, 1).await;
        sending.check(&balancer);
        assert_eq!(balancer.world().connections, 2, "{how:?}");
        assert_eq!(sending.tally.borrow().sent[1].change, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_never_stands_still_is_not_sent_and_the_others_go_on() {
    for (changed, tries) in [(Changed::Retry, 6), (Changed::Fail, 1)] {
        let balancer = Pretended::default();
        let mut sending = Sending::new(&[1, HUGE, 3]);
        sending.options.changed = changed;
        sending
            .run_meddled(&balancer, Meddling::Overwrite, 100)
            .await;
        let fates = sending.fates();
        assert!(
            matches!(&fates[1], Fate::Changed { reason } if reason.contains("written to")),
            "{fates:?}"
        );
        assert!(
            matches!(
                (&fates[0], &fates[2]),
                (Fate::Delivered { .. }, Fate::Delivered { .. })
            ),
            "{fates:?}"
        );
        assert_eq!(sending.tally.borrow().failed(), 1);
        let world = balancer.world();
        assert_eq!(
            (
                world.known.len(),
                world.puts().iter().filter(|put| put.0 == 1).count()
            ),
            (2, tries)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_changes_is_sent_all_the_same_when_that_is_wanted_and_it_is_told() {
    let balancer = Pretended::default();
    let mut sending = Sending::new(&[1, HUGE, 3]);
    sending.options.changed = Changed::Send;
    sending.run_meddled(&balancer, Meddling::Append, 1).await;
    let tally = sending.tally.borrow();
    assert_eq!((tally.delivered, tally.failed()), (3, 0));
    assert!(
        tally.sent[1]
            .change
            .as_deref()
            .is_some_and(|change| change.contains("bytes before")),
        "{:?}",
        tally.sent
    );
    assert_eq!(tally.sent[1].hash, Some(blake3::hash(&noise(1, HUGE))));
    assert_eq!(balancer.world().connections, 1);
}

/// What was sent whole may have been accepted: it is asked about before the file, which is another
/// one by now, is sent.
#[tokio::test(start_paused = true)]
async fn a_file_that_changes_between_two_attempts_is_what_the_balancer_has_of_it() {
    for known in [true, false] {
        for size in [5, LARGE] {
            let balancer = Pretended::new([Script {
                receipts_lost: true,
                ..cut_behind(1)
            }]);
            let sending = Sending::new(&[size]);
            let change = async {
                sending
                    .tally
                    .subscribe()
                    .wait_for(|tally| tally.reconnecting)
                    .await
                    .unwrap();
                sending.write(0, &noise(9, size));
                if !known {
                    balancer.world().known.clear();
                    balancer.world().taken.clear();
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                result = sending.run(&balancer) => result.unwrap(),
                () = change => {}
            }
            let expected = noise(if known { 0 } else { 9 }, size);
            let world = balancer.world();
            assert!(
                world.known.values().all(|known| known.content == expected),
                "{known} {size}"
            );
            assert!(
                matches!(sending.fates()[0], Fate::Delivered { .. }),
                "{:?}",
                sending.fates()
            );
            assert_eq!(
                sending.tally.borrow().sent[0].hash,
                Some(blake3::hash(&expected)),
                "{known} {size}"
            );
        }
    }
}

/// A file that was sent may be with the balancer, though it cannot be read again: it is asked for
/// first.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_gone_when_it_is_to_be_sent_again_is_asked_about() {
    for known in [true, false] {
        let cut = Script {
            receipts_lost: true,
            ..cut_behind(1)
        };
        let balancer = Pretended::new([cut]);
        let sending = Sending::new(&[5]);
        let remove = async {
            sending
                .tally
                .subscribe()
                .wait_for(|tally| tally.reconnecting)
                .await
                .unwrap();
            std::fs::remove_file(sending.path(0)).unwrap();
            if !known {
                balancer.world().known.clear();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = sending.run(&balancer) => result.unwrap(),
            () = remove => {}
        }
        let fate = sending.fates().remove(0);
        assert_eq!(matches!(fate, Fate::Delivered { .. }), known, "{fate:?}");
        assert_eq!(matches!(fate, Fate::Unreadable { .. }), !known, "{fate:?}");
    }
}
