use super::*;

fn peer() -> SocketAddr {
    "127.0.0.1:1".parse().unwrap()
}

/// A connection that leaves when it is asked to.
fn sit(place: Place, left: tokio::sync::mpsc::UnboundedSender<&'static str>, name: &'static str) {
    tokio::spawn(async move {
        place.seat().asked_to_leave().await;
        left.send(name).unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn the_silent_leave_first_then_the_idle_then_the_deaf_and_who_works_stays() {
    let places = Arc::new(Places::new(5));
    let (left, mut leaves) = tokio::sync::mpsc::unbounded_channel();
    let mut busy = None;
    for (name, rest) in [
        ("deaf", Some(Rest::Deaf)),
        ("idle", Some(Rest::Idle)),
        ("silent", Some(Rest::Silent)),
        ("busy", Some(Rest::Idle)),
        ("works", None),
    ] {
        let place = places.take(peer()).await;
        rest.map_or_else(|| place.seat().work(), |rest| place.seat().rest(rest));
        if name == "busy" {
            place.seat().ask_before(|| true);
            busy = Some(place.seat().clone());
        }
        sit(place, left.clone(), name);
    }
    for expected in ["silent", "idle", "deaf"] {
        let next = places.take(peer()).await;
        next.seat().work();
        std::mem::forget(next);
        assert_eq!(leaves.recv().await, Some(expected));
    }
    assert!(
        timeout(Duration::from_mins(10), places.take(peer()))
            .await
            .is_err()
    );
    assert!(busy.is_some_and(|seat| !seat.is_at_rest()));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_of_a_kind_leaves_first_and_nobody_before_it_has_settled() {
    let places = Arc::new(Places::new(2));
    let (left, mut leaves) = tokio::sync::mpsc::unbounded_channel();
    sit(places.take(peer()).await, left.clone(), "first");
    tokio::time::sleep(Duration::from_millis(50)).await;
    sit(places.take(peer()).await, left.clone(), "second");
    let asked = Instant::now();
    let third = places.take(peer()).await;
    assert!(
        asked.elapsed() + Duration::from_millis(51) >= SETTLE,
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(leaves.recv().await, Some("first"));
    drop(third);
}

#[tokio::test(start_paused = true)]
async fn a_smaller_limit_holds_for_those_who_come() {
    let places = Arc::new(Places::new(2));
    let place = places.take(peer()).await;
    place.seat().work();
    places.set_limit(1);
    assert!(
        timeout(Duration::from_mins(1), places.take(peer()))
            .await
            .is_err()
    );
    places.set_limit(2);
    drop(places.take(peer()).await);
}
