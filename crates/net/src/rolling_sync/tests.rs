use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::spawn_blocking;

#[tokio::test]
async fn much_is_synced_in_steps_and_little_not_at_all() {
    let syncs = Arc::new(AtomicU64::new(0));
    let counted = syncs.clone();
    let write = move || {
        let (mut behind, mut unsynced, mut most) = (RollingSync::default(), 0, 0);
        for _ in 0..1000 {
            unsynced += STEP / 10;
            most = most.max(unsynced);
            if behind.wrote(usize::try_from(STEP / 10).unwrap()) {
                let syncs = counted.clone();
                let sync = move || {
                    syncs.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                };
                behind.start(sync).unwrap();
                unsynced = 0;
            }
        }
        behind.end().unwrap();
        (most, behind.wrote(1000) && unsynced + 1000 < STEP)
    };
    let (most, is_due) = spawn_blocking(write).await.unwrap();
    assert!(most <= MOST + STEP && !is_due, "{most}");
    let syncs = syncs.load(Ordering::Relaxed);
    assert!((100 * STEP / MOST - 1..=100).contains(&syncs), "{syncs}");
}

#[tokio::test]
async fn a_sync_that_failed_is_told_later_but_surely() {
    let fail = || Err(io::Error::other("the disk is gone"));
    let at_the_end = spawn_blocking(move || {
        let mut behind = RollingSync::default();
        behind.start(fail)?;
        behind.end()
    });
    assert_eq!(
        at_the_end.await.unwrap().unwrap_err().to_string(),
        "the disk is gone"
    );
    let on_the_way = spawn_blocking(move || {
        let mut behind = RollingSync::default();
        behind.start(fail)?;
        behind.start(|| Ok(()))
    });
    assert_eq!(
        on_the_way.await.unwrap().unwrap_err().to_string(),
        "the disk is gone"
    );
}
