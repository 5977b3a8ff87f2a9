//! Files to send.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;

use super::pretended::Pretended;
use crate::client::{
    Changed, ClientError, Fate, Form, Keys, Options, Source, Tally, Wait, Way, transfer,
};

/// The size of a large file.
pub(super) const LARGE: usize = 3 * 1024 * 1024;

/// The size of a file that takes a while.
pub(super) const HUGE: usize = 4 * LARGE;

/// Files to send, and what became of them.
pub(super) struct Sending {
    pub(super) dir: TempDir,
    pub(super) sources: Vec<Source>,
    pub(super) options: Options,
    pub(super) tally: watch::Sender<Tally>,
}

impl Sending {
    /// Files of these sizes, called by their places.
    pub(super) fn new(sizes: &[usize]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sources = (0..sizes.len())
            .map(|file| Source::named(&dir.path().join(file.to_string()), Form::Raw));
        let options = Options {
            wait: Wait::Delivered,
            keys: Keys::default(),
            retry: Duration::from_mins(1),
            changed: Changed::Retry,
            hashed: true,
        };
        let sending = Self {
            sources: sources.collect(),
            dir,
            options,
            tally: watch::Sender::new(Tally::new(0)),
        };
        for (file, size) in sizes.iter().enumerate() {
            sending.write(file, &noise(file, *size));
        }
        sending
    }

    pub(super) fn write(&self, file: usize, content: &[u8]) {
        std::fs::write(self.path(file), content).unwrap();
    }

    pub(super) fn path(&self, file: usize) -> &Path {
        assert!(self.sources[file].path.starts_with(self.dir.path()));
        &self.sources[file].path
    }

    pub(super) async fn run(&self, balancer: &Pretended) -> Result<(), ClientError> {
        let way = Way {
            connector: Arc::new(balancer.clone()),
            ..Way::plain("pretended")
        };
        let sent = transfer(&way, &self.sources, &self.options, &self.tally);
        tokio::time::timeout(Duration::from_hours(1), sent)
            .await
            .expect("it ends")
    }

    pub(super) fn fates(&self) -> Vec<Fate> {
        self.tally.borrow().fates.clone()
    }

    /// Checks that every file is there once, whole, and counted once.
    pub(super) fn check(&self, balancer: &Pretended) {
        let (world, tally) = (balancer.world(), self.tally.borrow());
        assert_eq!(
            (tally.delivered, tally.accepted),
            (self.sources.len(), self.sources.len()),
            "{tally:?}"
        );
        assert_eq!(
            (tally.failed(), tally.undecided(), tally.unaccepted()),
            (0, 0, 0)
        );
        assert_eq!(tally.settled.len(), self.sources.len());
        assert!(
            world.taken.values().all(|times| *times == 1),
            "{:?}",
            world.taken
        );
        assert_eq!(world.known.len(), self.sources.len());
        for (file, source) in self.sources.iter().enumerate() {
            let content = std::fs::read(&source.path).unwrap();
            let known = &world.known[&*self.options.keys.of(file, source)];
            assert!(
                known.content == content && known.title == source.title,
                "file {file}"
            );
            assert_eq!(tally.sent[file].size, Some(content.len() as u64));
            assert_eq!(
                tally.sent[file].hash,
                Some(blake3::hash(&content)),
                "file {file}"
            );
            assert!(
                matches!(tally.fates[file], Fate::Delivered { number, .. } if number == known.number)
            );
        }
    }
}

/// Bytes that differ from file to file.
pub(super) fn noise(file: usize, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new()
        .update(&file.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}
