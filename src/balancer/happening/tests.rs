use super::*;
use crate::schedule::Fact;

#[test]
fn what_is_reported_is_noted_once_with_its_server_or_file() {
    let events = Events::default();
    events.report(&Happening::Dead {
        number: 7,
        title: "t",
        reason: "why",
    });
    events.report(&Happening::Weight {
        server: "s",
        weight: 3,
    });
    let noted = events.after(0);
    assert_eq!(noted.len(), 2);
    assert_eq!(noted[0].number, Some(7));
    assert_eq!((noted[0].level, noted[0].kind), (Level::Error, Kind::Dead));
    assert_eq!(noted[0].text, "t: why");
    assert_eq!(noted[1].server.as_deref(), Some("s"));
    assert_eq!(noted[1].text, "weight 3");
}

/// What follows from facts is told; a fact by itself would say it again in our words.
#[test]
fn a_fact_is_no_event_and_a_server_with_two_names_matters_most() {
    let events = Events::default();
    events.report(&Happening::Flipped {
        server: "s",
        flip: &Flip {
            fact: Fact::Link,
            good: false,
            reason: "why".into(),
            lasted: Duration::ZERO,
        },
    });
    for trouble in [Trouble::Twice, Trouble::Down] {
        events.report(&Happening::Trouble {
            server: "s",
            trouble,
            reason: "why",
        });
    }
    let after = Some(Duration::from_secs(20));
    events.report(&Happening::Up { server: "s", after });
    let told = events.after(0);
    let told: Vec<_> = told
        .iter()
        .map(|event| (event.level, &*event.text))
        .collect();
    assert_eq!(
        told,
        [
            (Level::Error, "it gets no files: why"),
            (Level::Warn, "down: why"),
            (Level::Info, "up again after 20 s")
        ]
    );
}
