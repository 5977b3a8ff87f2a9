use super::*;

fn shared(epoch: u64, instance: &str) -> Tenure {
    Tenure::of(Some(epoch), Some(instance.into()))
}

/// Enters a link of the journal `j` at once.
async fn enter(links: &Arc<Links>, tenure: Tenure) -> (Arc<Leave>, Result<Entered, EnterError>) {
    let leave = Arc::new(Leave::default());
    let entered = links.enter("j".into(), tenure, false, leave.clone()).await;
    (leave, entered)
}

#[tokio::test(start_paused = true)]
async fn the_newest_link_ends_all_older_ones_and_waits_for_them() {
    let links = Arc::new(Links::default());
    let enter = |leave: &Arc<Leave>| {
        let links = links.clone();
        let leave = leave.clone();
        async move { links.enter("j".into(), Tenure::Sole, false, leave).await }
    };
    let leaves: Vec<_> = (0..3).map(|_| Arc::new(Leave::default())).collect();
    let first = enter(&leaves[0]).await.unwrap();
    let second = tokio::spawn(enter(&leaves[1]));
    let third = tokio::spawn(enter(&leaves[2]));
    leaves[0].asked().await;
    leaves[1].asked().await;
    assert!(
        leaves[1]
            .reason()
            .unwrap()
            .reason
            .contains("newer connection")
    );
    assert!(leaves[2].reason().is_none() && !third.is_finished());
    drop(first);
    drop(second.await.unwrap().unwrap());
    drop(third.await.unwrap().unwrap());
    assert!(links.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_link_that_does_not_end_is_not_waited_for_for_ever() {
    let links = Arc::new(Links::default());
    let (_, stuck) = enter(&links, Tenure::Sole).await;
    let other = links.enter("other".into(), Tenure::Sole, false, Arc::default());
    assert!(
        other.await.is_ok(),
        "a link of another journal is not waited for"
    );
    assert_eq!(
        enter(&links, Tenure::Sole).await.1.unwrap_err(),
        EnterError::Busy
    );
    drop(stuck.unwrap());
    assert!(enter(&links, Tenure::Sole).await.1.is_ok());
}

/// A lane that stayed could still bring files that the list of the new link does not have.
#[tokio::test(start_paused = true)]
async fn a_lane_ends_nothing_and_ends_with_the_links_of_its_tenure() {
    for tenure in [Tenure::Sole, shared(2, "a")] {
        let links = Arc::new(Links::default());
        let (leave, link) = enter(&links, tenure.clone()).await;
        let lane_leave = Arc::new(Leave::default());
        let lane = links.enter("j".into(), tenure.clone(), true, lane_leave.clone());
        let lane = lane.await.unwrap();
        assert!(leave.reason().is_none(), "the link goes on beside its lane");
        let newer = {
            let (links, tenure) = (links.clone(), tenure.clone());
            tokio::spawn(async move { enter(&links, tenure).await.1 })
        };
        leave.asked().await;
        lane_leave.asked().await;
        drop(link);
        tokio::task::yield_now().await;
        assert!(!newer.is_finished(), "the lane may still submit files");
        drop(lane);
        assert!(newer.await.unwrap().is_ok());
    }
    let links = Arc::new(Links::default());
    let (_, current) = enter(&links, shared(2, "a")).await;
    let stale = links.enter("j".into(), shared(1, "a"), true, Arc::default());
    let error = EnterError::Stale {
        ours: 1,
        current: 2,
    };
    assert_eq!(stale.await.unwrap_err(), error);
    drop(current);
}

/// The table in the module's documentation.
#[tokio::test(start_paused = true)]
async fn tenures_say_which_older_links_end() {
    for (older, newer, ends) in [
        (Tenure::Sole, Tenure::Sole, true),
        (shared(2, "a"), Tenure::Sole, true),
        (Tenure::Sole, shared(2, "a"), true),
        (shared(1, "a"), shared(2, "b"), true),
        (shared(2, "a"), shared(2, "a"), true),
        (shared(2, "a"), shared(2, "b"), false),
    ] {
        let links = Arc::new(Links::default());
        let (leave, entered) = enter(&links, older.clone()).await;
        let entered = entered.unwrap();
        let quiet = entered.quiet.clone();
        let ending = leave.clone();
        tokio::spawn(async move {
            ending.asked().await;
            drop(entered);
        });
        let (_, second) = enter(&links, newer.clone()).await;
        assert!(second.is_ok(), "{older:?}, then {newer:?}");
        assert_eq!(leave.reason().is_some(), ends, "{older:?}, then {newer:?}");
        assert_eq!(quiet.is_cancelled(), ends, "{older:?}, then {newer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_link_ends_nothing_and_is_refused_while_a_newer_epoch_has_one() {
    let links = Arc::new(Links::default());
    let (leave, current) = enter(&links, shared(3, "a")).await;
    let current = current.unwrap();
    for instance in ["a", "b"] {
        let (_, stale) = enter(&links, shared(2, instance)).await;
        let error = stale.unwrap_err();
        assert_eq!(
            error,
            EnterError::Stale {
                ours: 2,
                current: 3
            }
        );
        assert_eq!(error.refusal().code, RefusalCode::Stale);
    }
    assert!(leave.reason().is_none());
    drop(current);
    assert!(enter(&links, shared(2, "b")).await.1.is_ok());
}

#[test]
fn an_epoch_without_an_instance_does_not_count() {
    assert_eq!(Tenure::of(Some(1), None), Tenure::Sole);
    assert_eq!(Tenure::of(None, Some("a".into())), Tenure::Sole);
}
