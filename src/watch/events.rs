//! What the system tells of changes in folders, where it does.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::folder::How;
use super::rules::is_own;

/// Events that wait to be looked at, at most. When there are more, the whole folder is looked at.
const WAITING: usize = 16 * 1024;

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Something happened to what has this path below the folder.
    At(PathBuf, How),
    /// More happened than was told: look at everything.
    Everything,
}

/// Tells what happens in folders, from a thread of its own.
pub(super) struct Events {
    inotify: Arc<OwnedFd>,
    /// Written to when the thread is to end.
    end: Arc<OwnedFd>,
    dirs: Arc<Mutex<HashMap<i32, Arc<Path>>>>,
}

impl Events {
    /// Of no folder yet.
    pub(super) fn new() -> io::Result<(Self, mpsc::Receiver<Event>)> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let events = Self {
            inotify: Arc::new(inotify),
            end: Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?),
            dirs: Arc::default(),
        };
        let (tell, told) = mpsc::channel(WAITING);
        let reader = Reading {
            inotify: Arc::clone(&events.inotify),
            end: Arc::clone(&events.end),
            dirs: Arc::clone(&events.dirs),
            tell,
        };
        let thread = std::thread::Builder::new().name("watch".to_owned());
        thread.spawn(move || reader.run())?;
        Ok((events, told))
    }

    /// Tells of this folder, too, which has this path below the whole one.
    pub(super) fn add(&self, root: &Path, dir: &Arc<Path>) -> io::Result<()> {
        let what = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        let id = inotify::add_watch(&*self.inotify, root.join(dir), what)?;
        let mut dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        dirs.insert(id, Arc::clone(dir));
        Ok(())
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // The thread's other way to end is that nobody listens.
        let _ = rustix::io::write(&*self.end, &1_u64.to_ne_bytes());
    }
}

/// The thread's part.
struct Reading {
    inotify: Arc<OwnedFd>,
    end: Arc<OwnedFd>,
    dirs: Arc<Mutex<HashMap<i32, Arc<Path>>>>,
    tell: mpsc::Sender<Event>,
}

impl Reading {
    fn run(self) {
        while self.wait() {
            let Some(events) = self.read() else {
                return;
            };
            let mut is_behind = false;
            for event in events {
                is_behind |= event == Event::Everything || self.tell.try_send(event).is_err();
            }
            // What is lost while nobody listens is made good by one look at everything.
            if is_behind && self.tell.blocking_send(Event::Everything).is_err() {
                return;
            }
        }
    }

    /// Waits for events. Says whether to go on.
    fn wait(&self) -> bool {
        let mut ready = [
            PollFd::new(&*self.inotify, PollFlags::IN),
            PollFd::new(&*self.end, PollFlags::IN),
        ];
        loop {
            match poll(&mut ready, None) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        let [_, end] = &ready;
        end.revents().is_empty()
    }

    fn read(&self) -> Option<Vec<Event>> {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = Reader::new(&*self.inotify, &mut buffer);
        let mut events = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name();
                    let name = name.map(|name| OsStr::from_bytes(name.to_bytes()));
                    events.extend(understand(event.wd(), event.events(), name, &self.dirs));
                    if reader.is_buffer_empty() {
                        return Some(events);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Some(events),
                Err(_) => return None,
            }
        }
    }
}

fn understand(
    id: i32,
    what: ReadFlags,
    name: Option<&OsStr>,
    dirs: &Mutex<HashMap<i32, Arc<Path>>>,
) -> Option<Event> {
    if what.contains(ReadFlags::QUEUE_OVERFLOW) {
        return Some(Event::Everything);
    }
    let mut dirs = dirs.lock().unwrap_or_else(PoisonError::into_inner);
    if what.contains(ReadFlags::IGNORED) {
        dirs.remove(&id);
        return None;
    }
    let name = name.filter(|name| !is_own(Some(name)))?;
    let path = dirs.get(&id)?.join(name);
    if what.contains(ReadFlags::ISDIR) {
        let is_new = what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
        return is_new.then_some(Event::Everything);
    }
    let how = if what.contains(ReadFlags::MOVED_TO) {
        How::Whole
    } else if what.contains(ReadFlags::CLOSE_WRITE) {
        How::Closed
    } else {
        How::There
    };
    Some(Event::At(path, how))
}
