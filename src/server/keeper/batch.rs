//! The jobs that are done together.

use std::sync::{Arc, mpsc};

use rustix::process::{Resource, getrlimit};
use tokio::sync::OwnedSemaphorePermit;

use super::super::index::Key;
use super::super::job::{Done, Incoming, IncomingBody, Job, Removed};
use crate::protocol::Expected;

/// The most jobs that are done together.
const MAX_JOBS: usize = 512;

/// The most content in bytes that the jobs of a batch have in memory; a batch ends with the job
/// that reaches it.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Jobs of kinds that can be done together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) files: Vec<(Incoming, Done)>,
    /// Done after the files: a number that is confirmed and comes again in one batch must still be
    /// in the index.
    pub(super) confirmed: Vec<Confirmed>,
    pub(super) removals: Vec<Removal>,
}

/// Numbers that a balancer has confirmed.
pub(super) struct Confirmed {
    pub(super) journal: Arc<str>,
    pub(super) numbers: Vec<u64>,
    /// The room that the list takes.
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

/// A file that has to go.
pub(super) struct Removal {
    pub(super) key: Key,
    /// What the file must be to be removed; `None` if its number is enough.
    pub(super) expected: Option<Expected>,
    pub(super) done: Removed,
}

impl Batch {
    /// Whether `job` can be done only after the batch: removals and files may be about one number.
    pub(super) fn must_precede(&self, job: &Job) -> bool {
        match job {
            Job::File(..) | Job::Confirmed(..) => !self.removals.is_empty(),
            Job::Remove(..) => !(self.files.is_empty() && self.confirmed.is_empty()),
            Job::Inventory(..) => true,
            Job::Open | Job::Bind(..) => false,
        }
    }
}

/// How many files may be stored together: each is open until it is published, and half of the
/// file descriptors are for connections.
pub fn most_files() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / 2)
        .unwrap_or(usize::MAX)
        .clamp(1, MAX_JOBS)
}

/// Takes `first` and the jobs that wait behind it, up to a batch of them.
pub(super) fn collect(first: Job, queue: &mpsc::Receiver<Job>, most: usize) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(job) = next {
        bytes += bytes_of(&job);
        jobs.push(job);
        let has_room = jobs.len() < most && bytes < MAX_BYTES;
        next = if has_room {
            queue.try_recv().ok()
        } else {
            None
        };
    }
    jobs
}

/// The content in bytes that a job has in memory.
fn bytes_of(job: &Job) -> usize {
    match job {
        Job::File(file, _) => match &file.body {
            IncomingBody::Whole(content) => content.len(),
            IncomingBody::Staged(_) => 0,
        },
        _ => 0,
    }
}
