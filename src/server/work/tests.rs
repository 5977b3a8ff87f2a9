use super::*;

fn work(delay: Duration, limit: u64) -> Work {
    Work::new(delay, limit, TaskTracker::new(), CancellationToken::new())
}

#[test]
fn letters_are_counted_in_both_cases_and_no_others() {
    assert_eq!(count_letters("Banana à AÁA, α".as_bytes()), 5);
    assert_eq!(count_letters(b""), 0);
}

#[tokio::test(start_paused = true)]
async fn content_is_held_for_as_long_as_the_work_takes() {
    let work = work(Duration::from_secs(1), 10 * UNIT);
    assert_eq!(work.part_used(), Some(0.0));
    let hold = work.hold(10 * UNIT).unwrap();
    assert!(work.hold(1).is_none());
    assert_eq!(work.part_used(), Some(1.0));
    work.start(1, 5, Bytes::from_static(b"aaaaa"), hold);
    tokio::time::sleep(Duration::from_millis(4900)).await;
    assert!(work.hold(1).is_none());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(work.hold(1).is_some());
}

/// The store's thread starts the work: it must not need a runtime around it.
#[tokio::test]
async fn work_starts_from_any_thread() {
    let work = work(Duration::from_millis(1), 10 * UNIT);
    let hold = work.hold(1).unwrap();
    let starter = work.clone();
    std::thread::spawn(move || starter.start(1, 1, Bytes::from_static(b"a"), hold))
        .join()
        .unwrap();
    work.tasks.close();
    work.tasks.wait().await;
}

#[tokio::test]
async fn without_a_delay_nothing_is_held() {
    let work = work(Duration::ZERO, 0);
    let hold = work.hold(u64::MAX).unwrap();
    work.start(1, 5, Bytes::new(), hold);
    assert!(work.tasks.is_empty());
}
