//! Facts about a host on the wire: rounded and bounded by who tells them, checked by who is told.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::limits::MAX_FACTS;
use super::object;
use crate::fleet::Facts;
use crate::fleet::facts::MAX_CORES;
use crate::text::excerpt;

/// What a server's greeting tells of its host. A greeting is never refused for it: a server whose
/// figures are wrong still takes files.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum HelloFacts {
    /// Nothing.
    #[default]
    Untold,
    /// These, which have passed [`Facts::check`].
    Told(Arc<Facts>),
    /// Something that cannot be used, and why. It is not written.
    Unusable(Arc<str>),
}

impl HelloFacts {
    /// The facts, if they were told and can be used.
    pub fn told(&self) -> Option<&Arc<Facts>> {
        match self {
            Self::Told(facts) => Some(facts),
            Self::Untold | Self::Unusable(_) => None,
        }
    }

    pub(super) fn read(json: Option<&RawValue>) -> Self {
        match json.map(read) {
            None => Self::Untold,
            Some(Ok(facts)) => Self::Told(Arc::new(facts)),
            Some(Err(reason)) => Self::Unusable(reason.into()),
        }
    }
}

/// Reads facts, or says why they cannot be used.
pub(super) fn read(json: &RawValue) -> Result<Facts, String> {
    let facts: Facts = object::from_str(json.get())
        .map_err(|error| excerpt(&format!("`facts`: {error}")).into_owned())?;
    facts.check().map_err(|error| error.to_string())?;
    Ok(facts)
}

/// The facts as they are told on the wire: parts of 1 rounded to thousandths, those of single cores
/// to hundredths, rates to whole bytes, and in at most [`MAX_FACTS`] bytes of JSON. What does not
/// fit is left out: first the single cores, then the texts. More than [`MAX_CORES`] cores, which
/// nobody takes, are left out, too.
pub fn fit(facts: &Facts) -> Facts {
    let mut fitted = rounded(facts);
    if fitted.cores.len() > MAX_CORES || length(&fitted) > MAX_FACTS {
        fitted.cores = Box::default();
    }
    if length(&fitted) > MAX_FACTS {
        (fitted.disk_trouble, fitted.status_text) = (None, None);
    }
    fitted
}

fn rounded(facts: &Facts) -> Facts {
    let mut rounded = facts.clone();
    for part in [
        &mut rounded.cpu,
        &mut rounded.memory_ratio,
        &mut rounded.disk_ratio,
        &mut rounded.load,
    ] {
        *part = part.map(|part| (part * 1000.0).round() / 1000.0);
    }
    for core in &mut rounded.cores {
        *core = (*core * 100.0).round() / 100.0;
    }
    for rate in [
        &mut rounded.disk_read,
        &mut rounded.disk_write,
        &mut rounded.net_rx,
        &mut rounded.net_tx,
    ] {
        *rate = rate.map(f32::round);
    }
    rounded.net_dropped = facts.net_dropped.map(|rate| (rate * 100.0).round() / 100.0);
    rounded
}

fn length(facts: &Facts) -> usize {
    serde_json::to_vec(facts).map_or(usize::MAX, |json| json.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::facts::MAX_FACT_TEXT;
    use crate::protocol::limits::MAX_HELLO;
    use crate::protocol::status::Memory;
    use crate::protocol::{Hello, Message, Role};

    fn told(field: &str) -> HelloFacts {
        let header = format!(r#"{{"request_type":"hello","role":"server","facts":{field}}}"#);
        match Message::decode(header.as_bytes()).unwrap() {
            Message::Hello(hello) => hello.facts,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn facts_that_cannot_be_used_leave_the_greeting_as_it_is() {
        let facts = Facts {
            cpu: Some(0.5),
            ..Facts::default()
        };
        assert_eq!(
            told(r#"{"cpu":0.5,"new":[{"x":1}]}"#),
            HelloFacts::Told(facts.into())
        );
        assert_eq!(told("{}"), HelloFacts::Told(Facts::default().into()));
        assert_eq!(told("null"), HelloFacts::Untold);
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        let cores = format!(r#"{{"cores":[{}1]}}"#, "1,".repeat(MAX_CORES));
        for bad in [
            "[]",
            "7",
            "\"cpu\"",
            r#"{"cpu":1.5}"#,
            r#"{"cpu":-1}"#,
            r#"{"cpu":"1"}"#,
            r#"{"cpu":1e300}"#,
            r#"{"cpu":0.1,"cpu":0.1}"#,
            r#"{"memory_used":-1}"#,
            r#"{"memory_used":1.5}"#,
            r#"{"cores":{}}"#,
            &deep,
            &cores,
        ] {
            let HelloFacts::Unusable(reason) = told(bad) else {
                panic!("{bad}");
            };
            assert!((1..=300).contains(&reason.len()), "{bad}: {reason}");
        }
    }

    /// The figures of a host with so many idle cores were once as short as they must be, and refused
    /// all together.
    #[test]
    fn more_cores_than_are_taken_are_left_out() {
        for (cores, told) in [(MAX_CORES, MAX_CORES), (MAX_CORES + 1, 0), (600, 0)] {
            let fitted = fit(&Facts {
                cpu: Some(0.0),
                cores: vec![0.0; cores].into(),
                ..Facts::default()
            });
            assert_eq!(fitted.check(), Ok(()), "{cores}");
            assert_eq!((fitted.cpu, fitted.cores.len()), (Some(0.0), told));
        }
    }

    /// All figures at their longest, on a host with many cores.
    #[test]
    fn a_greeting_with_facts_is_within_its_bound() {
        let text: Box<str> = "\u{1}".repeat(MAX_FACT_TEXT).into();
        let most = Some(u64::MAX);
        let rate = Some(f32::MAX);
        let mut facts = Facts {
            cpu: Some(0.123_456),
            cores: vec![0.987_654; MAX_CORES].into(),
            memory_used: most,
            memory_total: most,
            memory_ratio: Some(0.123_456),
            swap_used: most,
            swap_total: most,
            disk_used: most,
            disk_total: most,
            disk_free: most,
            disk_ratio: Some(0.123_456),
            disk_trouble: Some(text.clone()),
            disk_read: rate,
            disk_write: rate,
            net_rx: rate,
            net_tx: rate,
            net_dropped: Some(123_456.79),
            network_up: Some(false),
            link_down: rate,
            link_up: rate,
            uptime_s: most,
            load: Some(0.123_456),
            held_files: most,
            held_bytes: most,
            process_memory: most,
            process_limit: most,
            status_text: Some(text),
        };
        for texts in [true, false] {
            if !texts {
                (facts.disk_trouble, facts.status_text) = (None, None);
            }
            for cores in [MAX_CORES, 200, 0] {
                facts.cores = vec![0.987_654; cores].into();
                let fitted = fit(&facts);
                assert_eq!(fitted.check(), Ok(()));
                assert_eq!(fitted.cpu, Some(0.123));
                let all_fit = !texts && cores == 200;
                assert_eq!(fitted.cores.len(), if all_fit { cores } else { 0 });
                let hello = Message::from(Hello {
                    overloaded: Some(false),
                    identity: Some("0f".repeat(16).into()),
                    memory: Some(Memory {
                        used: u64::MAX,
                        limit: u64::MAX,
                    }),
                    instance: Some("0f".repeat(16).into()),
                    bulk: Some(true),
                    ahead: Some(true),
                    facts: HelloFacts::Told(fitted.into()),
                    ..Hello::of(Role::Server)
                });
                let mut wire = Vec::new();
                hello.encode(&mut wire);
                assert!(wire.len() <= MAX_HELLO as usize, "{}", wire.len());
                assert_eq!(Message::decode(&wire).unwrap(), hello);
            }
        }
    }
}
