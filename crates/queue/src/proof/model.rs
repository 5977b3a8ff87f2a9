//! The model of a journal: a few maps of what it must hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::content;
use crate::disk::{Disk, read_full_at};
use crate::journal::Op;
use crate::record::{Accepted, Attempt, Content, Death, End, Ended, History, Meta};
use crate::recovery::{FoundFile, Recovered};

/// A file that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) meta: Arc<Meta>,
    pub(super) history: History,
    pub(super) death: Option<Death>,
    pub(super) content: Bytes,
    /// Whether its content is in a file of its own, whose id is the file's number.
    pub(super) own: bool,
}

impl File {
    /// The file with this number; its content is told by number and size.
    pub(super) fn new(number: u64, size: usize, own: bool) -> Self {
        let byte = |at: usize| u8::try_from((at as u64 * 31 + number * 7) % 251).unwrap();
        let content: Bytes = (0..size).map(byte).collect::<Vec<u8>>().into();
        let meta = Meta {
            title: format!("file-{number}.json").into(),
            key: (!number.is_multiple_of(3)).then(|| format!("key-{number}").into()),
            from: "127.0.0.1:40000".into(),
            size: size as u64,
            crc32c: crc32c::crc32c(&content),
            accepted_ms: 1000 + number,
        };
        Self {
            meta: Arc::new(meta),
            history: History::default(),
            death: None,
            content,
            own,
        }
    }
}

/// An operation on the model.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Accept(u64, File),
    Attempt(u64, Attempt, bool),
    Bury(u64, Death),
    Replay(u64),
    End(Ended),
    Forget(Vec<u64>),
}

impl Change {
    /// What the journal is told.
    pub(super) fn op(&self) -> Op {
        match self.clone() {
            Self::Accept(
                number,
                File {
                    meta,
                    history,
                    death,
                    content,
                    own,
                },
            ) => {
                let content = if own {
                    Content::Own(number)
                } else {
                    Content::Inline(content)
                };
                Op::Accept(Box::new(Accepted {
                    number,
                    meta,
                    history,
                    death,
                    content,
                }))
            }
            Self::Attempt(number, attempt, is_failure) => Op::Attempt {
                number,
                attempt,
                is_failure,
            },
            Self::Bury(number, death) => Op::Bury { number, death },
            Self::Replay(number) => Op::Replay { number },
            Self::End(ended) => Op::End(Box::new(ended)),
            Self::Forget(numbers) => Op::Forget(numbers),
        }
    }
}

/// The attempt that fails at this time.
pub(super) fn attempt(at_ms: u64) -> Attempt {
    Attempt {
        at_ms,
        server: "s2".into(),
        reason: "disk full".into(),
    }
}

/// The death at this time.
pub(super) fn death(at_ms: u64) -> Death {
    Death {
        at_ms,
        reason: "refused by all".into(),
    }
}

/// All that a journal holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) files: BTreeMap<u64, File>,
    pub(super) ended: BTreeMap<u64, Ended>,
    /// Ended files that may be found or not.
    pub(super) forgotten: BTreeMap<u64, Ended>,
    /// The highest number that was accepted.
    pub(super) highest: u64,
}

impl Model {
    /// Does what the journal does. Operations on files that are not there are ignored.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Accept(number, file) => {
                self.highest = self.highest.max(*number);
                self.files.insert(*number, file.clone());
            }
            Change::Attempt(number, attempt, is_failure) => {
                if let Some(file) = self.files.get_mut(number) {
                    file.history.add(attempt.clone(), *is_failure);
                }
            }
            Change::Bury(number, death) => {
                if let Some(file) = self.files.get_mut(number) {
                    file.death = Some(death.clone());
                }
            }
            Change::Replay(number) => {
                if let Some(file) = self.files.get_mut(number) {
                    file.history.failures = 0;
                    if let Some(death) = file.death.take() {
                        file.history.replayed(death.at_ms, &death.reason);
                    }
                }
            }
            Change::End(ended) => {
                if self.files.remove(&ended.number).is_some() {
                    self.ended.insert(ended.number, ended.clone());
                }
            }
            Change::Forget(numbers) => {
                for number in numbers {
                    self.forgotten.extend(self.ended.remove_entry(number));
                }
            }
        }
    }

    /// The end of a file that is kept.
    pub(super) fn ending(&self, number: u64, delivered: bool) -> Change {
        let file = &self.files[&number];
        let server = Arc::from("s1");
        let identity = number.is_multiple_of(2).then(|| "00".repeat(16).into());
        let end = if delivered {
            End::Delivered {
                server,
                confirmed: identity.is_some(),
                identity,
            }
        } else {
            End::Dropped {
                reason: "refused by all".into(),
            }
        };
        let (meta, history) = (file.meta.clone(), file.history.clone());
        Change::End(Ended {
            number,
            at_ms: 5000 + number,
            end,
            meta,
            history,
        })
    }

    /// Whether this is what was found; if not, what differs.
    fn compare(&self, found: &Found) -> Result<(), String> {
        let numbers = self.files.keys().chain(found.files.keys());
        if let Some(number) = numbers
            .copied()
            .find(|number| self.files.get(number) != found.files.get(number))
        {
            let (kept, found) = (self.files.get(&number), found.files.get(&number));
            return Err(format!("file {number} was {kept:?} and became {found:?}"));
        }
        let lost = |(number, ended): &(&u64, &Ended)| found.ended.get(number) != Some(ended);
        if let Some((number, _)) = self.ended.iter().find(lost) {
            return Err(format!(
                "the end of file {number} became {:?}",
                found.ended.get(number)
            ));
        }
        let known = |number: &u64| self.ended.get(number).or(self.forgotten.get(number));
        match found
            .ended
            .iter()
            .find(|(number, ended)| known(number) != Some(ended))
        {
            Some((number, _)) => Err(format!("the end of file {number} is invented")),
            None => Ok(()),
        }
    }
}

/// What a journal must hold because a commit said that it is durable, and what it may hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Truth {
    pub(super) sure: Model,
    /// Applied since the last commit that returned, in their order.
    pub(super) open: Vec<Change>,
}

impl Truth {
    /// Applies what is open.
    pub(super) fn settle(&mut self) {
        let open = std::mem::take(&mut self.open);
        for change in &open {
            self.sure.apply(change);
        }
    }

    /// Checks that a recovery found everything that is sure, and a prefix of what is open. Then
    /// that is sure from then on.
    pub(super) fn judge(&mut self, found: &Found) -> Result<(), String> {
        let mut model = self.sure.clone();
        let wrong = model.compare(found).err();
        let is_so = wrong.is_none()
            || self.open.iter().any(|change| {
                model.apply(change);
                model.compare(found).is_ok()
            });
        if let Some(wrong) = wrong.filter(|_| !is_so) {
            return Err(format!("{wrong}\nopen: {:?}", self.open));
        }
        if found.next_number <= model.highest {
            return Err(format!(
                "number {} is given again: {}",
                model.highest, found.next_number
            ));
        }
        // Forgotten ends that were found are known again.
        let again = model
            .forgotten
            .keys()
            .filter(|number| found.ended.contains_key(number))
            .copied();
        for number in again.collect::<Vec<_>>() {
            model.ended.extend(model.forgotten.remove_entry(&number));
        }
        *self = Self {
            sure: model,
            open: Vec::new(),
        };
        Ok(())
    }
}

/// What a recovery found, contents read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) files: BTreeMap<u64, File>,
    pub(super) ended: BTreeMap<u64, Ended>,
    pub(super) next_number: u64,
}

impl Found {
    /// Reads all contents; an error if one cannot be read, or is not what its record says.
    pub(super) fn read(disk: &dyn Disk, recovered: &Recovered) -> Result<Self, String> {
        let read = |(number, kept): (&u64, &FoundFile)| {
            let content = read_content(disk, kept)
                .map_err(|error| format!("content of file {number}: {error}"))?;
            let accepted = &kept.accepted;
            if accepted.number != *number {
                return Err(format!("file {number} calls itself {}", accepted.number));
            }
            let (meta, history, death) = (
                accepted.meta.clone(),
                accepted.history.clone(),
                accepted.death.clone(),
            );
            let own = matches!(accepted.content, Content::Own(_));
            Ok((
                *number,
                File {
                    meta,
                    history,
                    death,
                    content,
                    own,
                },
            ))
        };
        let files = recovered
            .found_files()?
            .iter()
            .map(read)
            .collect::<Result<_, _>>()?;
        let ended: BTreeMap<_, _> = recovered
            .ended
            .iter()
            .map(|ended| (ended.number, ended.clone()))
            .collect();
        if ended.len() < recovered.ended.len() {
            return Err("a file has ended twice".into());
        }
        Ok(Self {
            files,
            ended,
            next_number: recovered.next_number,
        })
    }
}

/// Reads a file's content as its sender does.
pub(super) fn read_content(disk: &dyn Disk, kept: &FoundFile) -> Result<Bytes, String> {
    let meta = &kept.accepted.meta;
    match (&kept.accepted.content, &kept.location) {
        (Content::Inline(_), Some(location)) => location
            .read(meta.crc32c)
            .map_err(|error| error.to_string()),
        (Content::Own(id), None) => {
            let file = disk
                .open(&content::name(*id))
                .map_err(|error| error.to_string())?;
            let mut bytes = vec![0; usize::try_from(meta.size).unwrap()];
            let read = read_full_at(&*file, &mut bytes, 0).map_err(|error| error.to_string())?;
            let is_right = read == bytes.len() && crc32c::crc32c(&bytes) == meta.crc32c;
            if is_right {
                Ok(bytes.into())
            } else {
                Err("is damaged".into())
            }
        }
        other => Err(format!("is neither here nor there: {other:?}")),
    }
}
