use super::*;

const MIB: u64 = 1 << 20;

/// Runs a future until it cannot go on.
async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    let mut is_pending = true;
    for _ in 0..3 {
        tokio::select! {
            biased;
            _ = &mut *future => is_pending = false,
            () = tokio::task::yield_now() => {}
        }
        if !is_pending {
            break;
        }
    }
    is_pending
}

#[test]
fn a_step_is_small_before_anything_came_and_at_most_doubles_what_did() {
    let pool = Pool::new(16 << 30);
    assert_eq!(pool.first_step(0, 32 << 30), 4 * MIB);
    assert_eq!(pool.first_step(0, 1000), 1000);
    assert_eq!(pool.next_step(MIB, 32 << 30), 5 * MIB);
    assert_eq!(pool.next_step(100 * MIB, 32 << 30), 200 * MIB);
    assert_eq!(pool.next_step(100 * MIB, 150 * MIB), 150 * MIB);
    assert_eq!(Pool::new(MIB).first_step(0, MIB), 64 * 1024);
}

#[tokio::test]
async fn who_cannot_grow_gets_the_turn_and_the_next_one_gets_it_after_that() {
    let pool = Pool::new(2 * MIB);
    let [mut one, mut two, mut three] = [(); 3].map(|()| pool.try_share(600 * 1024).unwrap());
    assert!(!pool.try_grow(&mut one, MIB));
    assert_eq!(pool.grow(&mut one, MIB, 0).await, Some(Grown::Turn));
    assert!(pool.try_grow(&mut one, 2 * MIB), "it needs no units");
    let mut second = Box::pin(pool.grow(&mut two, MIB, 0));
    assert!(is_pending(&mut second).await);
    let mut third = Box::pin(pool.grow(&mut three, 2 * MIB, 0));
    assert!(is_pending(&mut third).await);
    // Its units are enough for the second, though not for the third.
    one.lean_on_turn();
    assert_eq!(second.await, Some(Grown::Units));
    assert!(is_pending(&mut third).await);
    drop(one);
    assert_eq!(third.await, Some(Grown::Turn));
    drop((two, three));
    assert!(pool.try_share(2 * MIB).is_some(), "all comes back");
}

#[tokio::test]
async fn only_who_is_slow_with_the_turn_while_others_wait_gives_way() {
    let pool = Pool::new(MIB);
    let mut slow = pool.try_share(512 * 1024).unwrap();
    let mut other = pool.try_share(512 * 1024).unwrap();
    assert!(
        !pool.is_too_slow(&slow, 0, Duration::ZERO),
        "it has no turn"
    );
    pool.grow(&mut slow, 2 * MIB, 0).await;
    std::thread::sleep(Duration::from_millis(10));
    assert!(!pool.is_too_slow(&slow, 0, Duration::ZERO), "nobody waits");
    let mut waiting = Box::pin(pool.grow(&mut other, 2 * MIB, 0));
    assert!(is_pending(&mut waiting).await);
    assert!(pool.is_too_slow(&slow, 0, Duration::ZERO));
    assert!(!pool.is_too_slow(&slow, 0, Duration::from_mins(1)));
    assert!(!pool.is_too_slow(&slow, 100 * MIB, Duration::ZERO));
    drop(waiting);
    assert!(!pool.is_too_slow(&slow, 0, Duration::ZERO), "nobody waits");
}

#[test]
fn a_pace_counts_from_the_end_of_the_grace() {
    let began = Instant::now();
    let pace = Pace { began, had: MIB };
    let grace = Duration::from_secs(30);
    let is_behind = |came, secs| pace.is_behind(came, grace, began + Duration::from_secs(secs));
    assert!(!is_behind(MIB, 30));
    assert!(is_behind(MIB, 31));
    assert!(!is_behind(MIB + LEAST_PACE, 31));
    assert!(is_behind(MIB + LEAST_PACE, 32));
}

#[tokio::test]
async fn a_pool_that_becomes_smaller_gives_less() {
    let pool = Pool::new(2 * MIB);
    let held = pool.try_share(MIB).unwrap();
    pool.resize(MIB);
    tokio::task::yield_now().await;
    assert!(pool.try_share(256).is_none());
    assert!(pool.can_have(MIB) && !pool.can_have(2 * MIB));
    drop(held);
    tokio::task::yield_now().await;
    assert!(pool.try_share(MIB).is_some());
}
