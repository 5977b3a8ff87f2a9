//! The one task that owns all files and every decision about them: it tells the dispatcher what
//! happened and when, carries out what the dispatcher decides, and has each change recorded.
//! Everything else in the balancer talks to the hub over one channel. No lock is shared on the way
//! of a file, and messages that arrive together are decided together.
//!
//! Invariant: nothing is announced before it is durable. A file goes to a server, and its client
//! gets a receipt, after the journal has committed the file. A server is told to forget a file, or
//! to remove its copy, after the journal has committed the delivery. `commits` says how.
//!
//! | file | subject |
//! |---|---|
//! | `state` | the hub's fields and dependencies |
//! | `run` | the loop: the only place that reads the clock |
//! | `recover` | takes over the files of an earlier run |
//! | `admit` | new files, and files that come a second time under one key |
//! | `commit` | what follows when operations are durable |
//! | `thaw` | reads the backlog back in time for its turn |
//! | `act` | carries out the dispatcher's actions |
//! | `link`, `reconcile`, `trust` | what servers report, and how far it is believed |
//! | `end`, `cancel` | deliveries, dead letters, replays, drops, and what is forgotten |
//! | `notice` | what operators hear of servers |
//! | `answer`, `queries` | questions |
//! | `errands`, `slices`, `bulk` | searches, and orders about many files: a slice of files at a time |
//! | `operator`, `keep` | orders about servers, which are kept for later runs, and new settings |
//!
//! Types with one subject each: `files` knows where every file is, `waiters` who waits for its
//! receipts, `commits` what is not durable yet, `servers` the links, `times` how long files
//! took, `reading` whether the backlog is being read, `told` and `news` what operators have heard,
//! `clock` the time, `limits` the bounds. `outside` starts what runs beside the hub, so that
//! tests can put channels in its place.

mod act;
mod admit;
mod answer;
mod bulk;
mod cancel;
mod clock;
mod commit;
mod commits;
mod end;
mod errands;
mod files;
mod keep;
mod keeping;
mod limits;
mod link;
mod members;
mod news;
mod notice;
mod operator;
mod outside;
mod queries;
mod reading;
mod reconcile;
mod recover;
mod retiring;
mod run;
mod servers;
mod slices;
mod state;
#[cfg(test)]
mod tests;
mod thaw;
mod times;
mod told;
mod trust;
mod waiters;

pub(super) use clock::Clock;
pub(super) use limits::HubLimits;
pub(super) use outside::Tasks;
pub(super) use state::{Deps, Hub};
