use super::*;

fn peer() -> SocketAddr {
    "127.0.0.1:1".parse().unwrap()
}

async fn taken(places: &Arc<Places>) -> Place {
    places.take(peer()).await.unwrap()
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
        let place = taken(&places).await;
        rest.map_or_else(|| place.seat().work(), |rest| place.seat().rest(rest));
        if name == "busy" {
            place.seat().ask_before(|| true);
            busy = Some(place.seat().clone());
        }
        sit(place, left.clone(), name);
    }
    for expected in ["silent", "idle", "deaf"] {
        let next = taken(&places).await;
        next.seat().work();
        std::mem::forget(next);
        assert_eq!(leaves.recv().await, Some(expected));
    }
    assert!(
        timeout(Duration::from_mins(10), taken(&places))
            .await
            .is_err()
    );
    assert!(busy.is_some_and(|seat| !seat.is_at_rest()));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_of_a_kind_leaves_first_and_nobody_before_it_has_settled() {
    let places = Arc::new(Places::new(2));
    let (left, mut leaves) = tokio::sync::mpsc::unbounded_channel();
    sit(taken(&places).await, left.clone(), "first");
    tokio::time::sleep(Duration::from_millis(50)).await;
    sit(taken(&places).await, left.clone(), "second");
    let asked = Instant::now();
    let third = taken(&places).await;
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
    let place = taken(&places).await;
    place.seat().work();
    places.set_limit(1);
    assert!(
        timeout(Duration::from_mins(1), taken(&places))
            .await
            .is_err()
    );
    places.set_limit(2);
    drop(taken(&places).await);
}

fn from(source: &str) -> SocketAddr {
    format!("{source}:1").parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_source_cannot_take_all_places_however_busy_it_is() {
    let places = Arc::new(Places::new(8));
    let mut crowd = Vec::new();
    while let Some(place) = places.take(from("10.0.0.1")).await {
        place.seat().work();
        crowd.push(place);
    }
    assert_eq!(crowd.len(), 6);
    let other = places.take(from("10.0.0.2")).await;
    assert!(other.is_some(), "others find a place");
    crowd.pop();
    assert!(places.take(from("10.0.0.1")).await.is_some());

    // One at rest makes way for the next of its source.
    let (left, mut leaves) = tokio::sync::mpsc::unbounded_channel();
    let idle = places.take(from("10.0.0.1")).await.unwrap();
    idle.seat().rest(Rest::Idle);
    sit(idle, left, "idle");
    tokio::time::sleep(SETTLE).await;
    assert!(places.take(from("10.0.0.1")).await.is_none());
    assert_eq!(leaves.recv().await, Some("idle"));
    tokio::task::yield_now().await;
    assert!(places.take(from("10.0.0.1")).await.is_some());
    drop((crowd, other));
    let state = places.lock();
    assert!(state.seats.is_empty() && state.sources.is_empty());
}

#[tokio::test(start_paused = true)]
async fn clients_on_this_machine_may_take_all_places() {
    let places = Arc::new(Places::new(4));
    let local = [(); 4].map(|()| places.clone());
    for places in local {
        std::mem::forget(taken(&places).await);
    }
}

#[tokio::test(start_paused = true)]
async fn of_the_idle_those_of_the_largest_crowd_leave_first() {
    let places = Arc::new(Places::new(5));
    let (left, mut leaves) = tokio::sync::mpsc::unbounded_channel();
    for (name, source) in [
        ("first of one", "10.0.0.1"),
        ("first of many", "10.0.0.2"),
        ("second of many", "10.0.0.2"),
        ("third of many", "10.0.0.2"),
        ("second of one", "10.0.0.1"),
    ] {
        let place = places.take(from(source)).await.unwrap();
        place.seat().rest(Rest::Idle);
        sit(place, left.clone(), name);
        tokio::time::sleep(SETTLE).await;
    }
    for expected in ["first of many", "first of one"] {
        let next = places.take(from("10.0.0.3")).await.unwrap();
        next.seat().work();
        std::mem::forget(next);
        assert_eq!(leaves.recv().await, Some(expected));
    }
}

/// Strangers of this source until it may have no more.
async fn crowd(places: &Arc<Places>, source: &str) -> Vec<Place> {
    let mut crowd = Vec::new();
    while let Some(place) = places.take(from(source)).await {
        crowd.push(place);
    }
    crowd
}

#[tokio::test(start_paused = true)]
async fn strangers_of_one_source_have_a_sixteenth_of_the_places_and_the_known_do_not_count() {
    let places = Arc::new(Places::new(16 * FEW * 2));
    let mut strangers = crowd(&places, "10.0.0.1").await;
    assert_eq!(strangers.len(), 2 * FEW);
    assert!(places.take(from("10.0.0.2")).await.is_some());
    for place in &strangers {
        place.seat().know();
        place.seat().know();
    }
    strangers.extend(crowd(&places, "10.0.0.1").await);
    assert_eq!(strangers.len(), 4 * FEW, "those who are known do not count");
    strangers.drain(2 * FEW..);
    strangers.extend(crowd(&places, "10.0.0.1").await);
    assert_eq!(strangers.len(), 4 * FEW, "nor do those who have gone");
    drop(strangers);
    assert_eq!(places.lock().strangers.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn strangers_of_all_sources_have_a_quarter_and_make_way_for_the_next_one() {
    let places = Arc::new(Places::new(8 * FEW));
    let known = taken(&places).await;
    known.seat().know();
    known.seat().rest(Rest::Idle);
    let (left, mut leaves) = tokio::sync::mpsc::unbounded_channel();
    sit(known, left.clone(), "known");
    let larger = crowd(&places, "10.0.0.1").await;
    assert_eq!(larger.len(), FEW);
    for place in larger {
        sit(place, left.clone(), "one of the larger crowd");
    }
    let mut strangers = Vec::new();
    for source in ["10.0.0.2", "10.0.0.3"] {
        for _ in 0..FEW / 2 {
            strangers.push(places.take(from(source)).await.unwrap());
        }
    }
    assert_eq!(places.lock().seats.len(), 2 * FEW + 1);
    let next = places.take(from("10.0.0.4")).await;
    assert!(next.is_some());
    assert_eq!(leaves.recv().await, Some("one of the larger crowd"));
    assert!(leaves.try_recv().is_err(), "nobody who is known");
}
