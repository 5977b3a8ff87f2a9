//! Which server speaks for which directory of files, and the highest number that was acknowledged
//! in each directory.
//!
//! Decides about a directory that two servers report, without sockets, tasks or a clock.
//! Invariant: at most one server speaks for a directory, the one that came first and still answers.
//! Two would be dangerous: copies are removed by the identity of their directory, and a server ends
//! a balancer's first link when the same balancer opens a second one.

use std::collections::HashMap;
use std::sync::Arc;

use super::dispatch::Speaker;
use crate::schedule::Slot;

/// When this many directories are known, those for which no server speaks are forgotten.
const MOST_KNOWN: usize = 4096;

/// A server reports a directory for which another server speaks already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Twice {
    /// The server that came first.
    pub(super) first: Slot,
    /// What this one is.
    pub(super) is: Second,
}

/// What a second server for one directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Second {
    /// The same process under another address.
    SameServer,
    /// Another process: its directory is a copy.
    Copy,
    /// Not known, or not yet: the first server may have restarted since it was last heard.
    Unknown,
}

/// A directory.
#[derive(Debug, Default)]
struct Known {
    first: Option<Slot>,
    instance: Option<Arc<str>>,
    /// How often the first server has reported its instance.
    told: u64,
    /// The instance that a second server has reported, and the value of `told` at that time.
    second: Option<(Arc<str>, u64)>,
    /// The highest number acknowledged by a server that keeps an index there.
    acknowledged: u64,
}

/// All directories that servers have reported, by identity.
#[derive(Debug, Default)]
pub(super) struct Directories {
    known: HashMap<Arc<str>, Known>,
    /// The directory that each server speaks for.
    spoken_for: HashMap<Slot, Arc<str>>,
}

impl Directories {
    /// A server reports its directory. The error says that another server speaks for it already,
    /// so that this one must get no files.
    pub(super) fn claim(&mut self, slot: Slot, speaker: &Speaker) -> Result<(), Twice> {
        let Some(identity) = &speaker.identity else {
            self.release(slot);
            return Ok(());
        };
        if self.spoken_for.get(&slot) != Some(identity) {
            self.release(slot);
            self.make_room();
        }
        let known = self.known.entry(identity.clone()).or_default();
        match known.first {
            Some(first) if first != slot => Err(Twice {
                first,
                is: known.compare(speaker.instance.as_ref()),
            }),
            _ => {
                known.first = Some(slot);
                known.instance.clone_from(&speaker.instance);
                known.told += 1;
                self.spoken_for.insert(slot, identity.clone());
                Ok(())
            }
        }
    }

    /// The server no longer speaks for a directory: it does not answer, or was removed.
    pub(super) fn release(&mut self, slot: Slot) {
        if let Some(known) = self
            .spoken_for
            .remove(&slot)
            .and_then(|identity| self.known.get_mut(&identity))
        {
            (known.first, known.second) = (None, None);
        }
    }

    /// Files with numbers up to this were acknowledged in the directory.
    pub(super) fn acknowledged(&mut self, identity: &Arc<str>, number: u64) {
        if let Some(known) = self.known.get_mut(identity) {
            known.acknowledged = known.acknowledged.max(number);
        }
    }

    /// A directory knows no number above `seen`. If a higher one was acknowledged there, the
    /// directory was set back: gives that number, once.
    pub(super) fn set_back(&mut self, identity: &Arc<str>, seen: u64) -> Option<u64> {
        let known = self
            .known
            .get_mut(identity)
            .filter(|known| known.acknowledged > seen)?;
        Some(std::mem::replace(&mut known.acknowledged, seen))
    }

    fn make_room(&mut self) {
        if self.known.len() >= MOST_KNOWN {
            self.known.retain(|_, known| known.first.is_some());
        }
    }
}

impl Known {
    /// What a second server with this instance is.
    fn compare(&mut self, instance: Option<&Arc<str>>) -> Second {
        let (Some(first), Some(second)) = (&self.instance, instance) else {
            return Second::Unknown;
        };
        if first == second {
            return Second::SameServer;
        }
        match &self.second {
            // The first server has reported since then, and its instance is still the same.
            Some((known, told)) if known == second && self.told > *told => Second::Copy,
            Some((known, _)) if known == second => Second::Unknown,
            _ => {
                self.second = Some((second.clone(), self.told));
                Second::Unknown
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Scheduler;

    fn slots() -> (Slot, Slot) {
        let mut scheduler = Scheduler::new();
        (scheduler.add(1), scheduler.add(1))
    }

    fn speaker(identity: &str, instance: &str) -> Speaker {
        let some = |text: &str| (!text.is_empty()).then(|| text.into());
        Speaker {
            identity: some(identity),
            instance: some(instance),
        }
    }

    #[test]
    fn one_server_under_two_names_is_one_even_when_it_is_started_anew() {
        let ((one, two), mut directories) = (slots(), Directories::default());
        assert_eq!(directories.claim(one, &speaker("a", "1")), Ok(()));
        assert_eq!(directories.claim(two, &speaker("b", "2")), Ok(()));
        assert_eq!(
            directories.claim(two, &speaker("a", "1")),
            Err(Twice {
                first: one,
                is: Second::SameServer
            })
        );
        // Its second name is asked first after it was started anew.
        assert_eq!(
            directories.claim(two, &speaker("a", "3")),
            Err(Twice {
                first: one,
                is: Second::Unknown
            })
        );
        assert_eq!(
            directories.claim(two, &speaker("a", "3")),
            Err(Twice {
                first: one,
                is: Second::Unknown
            })
        );
        assert_eq!(directories.claim(one, &speaker("a", "3")), Ok(()));
        assert_eq!(
            directories.claim(two, &speaker("a", "3")),
            Err(Twice {
                first: one,
                is: Second::SameServer
            })
        );
    }

    #[test]
    fn a_copied_directory_is_told_once_the_first_server_was_heard_again() {
        let ((one, two), mut directories) = (slots(), Directories::default());
        assert_eq!(directories.claim(one, &speaker("a", "1")), Ok(()));
        assert_eq!(
            directories.claim(two, &speaker("a", "2")),
            Err(Twice {
                first: one,
                is: Second::Unknown
            })
        );
        assert_eq!(directories.claim(one, &speaker("a", "1")), Ok(()));
        assert_eq!(
            directories.claim(two, &speaker("a", "2")),
            Err(Twice {
                first: one,
                is: Second::Copy
            })
        );
        // The first one is gone: then the other is all there is.
        directories.release(one);
        assert_eq!(directories.claim(two, &speaker("a", "2")), Ok(()));
        assert_eq!(
            directories.claim(one, &speaker("a", "")),
            Err(Twice {
                first: two,
                is: Second::Unknown
            })
        );
    }

    #[test]
    fn a_server_without_a_name_or_with_another_one_speaks_for_nothing_it_spoke_for() {
        let ((one, two), mut directories) = (slots(), Directories::default());
        for left in [speaker("", "1"), speaker("b", "1")] {
            assert_eq!(directories.claim(one, &speaker("a", "1")), Ok(()));
            assert_eq!(directories.claim(one, &left), Ok(()));
            assert_eq!(directories.claim(two, &speaker("a", "2")), Ok(()));
            directories.release(two);
        }
    }

    #[test]
    fn a_directory_that_has_seen_less_than_it_acknowledged_was_set_back() {
        let ((one, _), mut directories) = (slots(), Directories::default());
        let name: Arc<str> = "a".into();
        directories.acknowledged(&name, 9);
        assert_eq!(
            directories.set_back(&name, 0),
            None,
            "nobody has told of it"
        );
        assert_eq!(directories.claim(one, &speaker("a", "1")), Ok(()));
        directories.acknowledged(&name, 9);
        directories.acknowledged(&name, 7);
        assert_eq!(directories.set_back(&name, 9), None);
        directories.release(one);
        assert_eq!(
            (
                directories.set_back(&name, 4),
                directories.set_back(&name, 4)
            ),
            (Some(9), None)
        );
    }

    #[test]
    fn what_servers_call_themselves_takes_bounded_room() {
        let ((one, two), mut directories) = (slots(), Directories::default());
        assert_eq!(directories.claim(two, &speaker("stays", "1")), Ok(()));
        for name in 0..3 * MOST_KNOWN {
            assert_eq!(
                directories.claim(one, &speaker(&format!("{name}"), "1")),
                Ok(())
            );
        }
        assert!(directories.known.len() <= MOST_KNOWN);
        assert!(directories.known.contains_key("stays"));
    }
}
