//! How much the directory holds: counted now and then, and in between by what is stored and removed.
//!
//! Files are also taken away by others, so no running total stays right. A count looks at each file,
//! which takes long in a large directory: it runs on a thread of its own, rests for as long as it
//! works, and runs again only when the directory has changed and enough time has passed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::fstat;

use super::held::Count;
use super::name::is_own;
use super::opened::{Opened, is_regular};
use super::place::Place;

/// The shortest time between two counts.
const PAUSE: Duration = Duration::from_mins(10);

/// A count that took long is repeated after this many times as long.
const PAUSES: u32 = 100;

/// After this many files a count rests.
const PORTION: usize = 1024;

/// Files in the directory and bytes of their content; `None` until they were first counted. Has them
/// counted anew if it is time. Does not wait for the disk.
pub(super) fn held(place: &Arc<Place>, now: Instant) -> Option<(u64, u64)> {
    let mut counting = place.held.counting();
    let is_due = counting.last.is_none_or(|last| {
        now.saturating_duration_since(last.at) >= PAUSE.max(last.took.saturating_mul(PAUSES))
    });
    if is_due && !counting.is_running {
        let of = place.clone();
        let started = thread::Builder::new()
            .name("count-files".to_owned())
            .spawn(move || count(&of));
        counting.is_running = started.is_ok();
    }
    let last = counting.last?;
    let (files, bytes) = moved(place);
    let held = |counted: i128, moved: i128| u64::try_from(counted + moved).unwrap_or(0);
    Some((held(last.files, files), held(last.bytes, bytes)))
}

/// What was stored less what was removed, since the start.
fn moved(place: &Place) -> (i128, i128) {
    let get = |counter: &AtomicU64| i128::from(counter.load(Ordering::Relaxed));
    let files = get(&place.stored_files) - get(&place.held.removed_files);
    let bytes = get(&place.stored_bytes) - get(&place.held.removed_bytes);
    (files, bytes)
}

/// Counts, if the directory was changed since the last count, and notes the result. What is stored
/// meanwhile may be counted or not.
fn count(place: &Place) {
    let began = Instant::now();
    let last = place.held.counting().last;
    let counted = place.dir.now().and_then(|dir| {
        let changed = changed(&dir)?;
        if let Some(last) = last.filter(|last| last.changed == changed) {
            return Ok(Count {
                at: Instant::now(),
                ..last
            });
        }
        let (files, bytes) = count_in(&dir)?;
        let moved = moved(place);
        Ok(Count {
            files: i128::from(files) - moved.0,
            bytes: i128::from(bytes) - moved.1,
            at: Instant::now(),
            took: began.elapsed(),
            changed,
        })
    });
    let mut counting = place.held.counting();
    counting.is_running = false;
    match counted {
        Ok(count) => counting.last = Some(count),
        Err(error) => tracing::debug!(error = %error, "cannot count the files of the directory"),
    }
}

/// When names were last added to the directory, or taken from it.
fn changed(dir: &Opened) -> io::Result<(i64, u64)> {
    let found = fstat(dir.handle())?;
    Ok((found.st_mtime, found.st_mtime_nsec))
}

fn count_in(dir: &Opened) -> io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    let mut working = Instant::now();
    for (place, name) in dir.names()?.enumerate() {
        if place % PORTION == PORTION - 1 {
            thread::sleep(working.elapsed());
            working = Instant::now();
        }
        let name = name?;
        let Some(name) = name.to_str().ok().filter(|name| !is_own(name)) else {
            continue;
        };
        // It may be gone by now.
        let Ok(found) = dir.found(name) else { continue };
        if is_regular(&found) {
            files += 1;
            bytes += u64::try_from(found.st_size).unwrap_or(0);
        }
    }
    Ok((files, bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use std::sync::Mutex;

    use super::super::held::Held;
    use super::*;
    use crate::durability::Durability;
    use crate::server::directory::Directory;

    fn place(dir: &Path) -> Arc<Place> {
        Arc::new(Place {
            dir: Directory::new(dir),
            durability: Durability::Os,
            identity: Mutex::default(),
            stored_files: AtomicU64::new(0),
            stored_bytes: AtomicU64::new(0),
            held: Held::default(),
            instance: "".into(),
            _lock: None,
        })
    }

    /// The result of the count that runs at `now`, or of the last one.
    fn counted(place: &Arc<Place>, now: Instant) -> Option<(u64, u64)> {
        let first = held(place, now);
        let deadline = Instant::now() + Duration::from_secs(10);
        while place.held.counting().is_running {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
        // A count that has just ended is not repeated at the present time.
        held(place, Instant::now()).or(first)
    }

    #[test]
    fn files_are_counted_and_then_followed() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, size: usize| {
            fs::write(dir.path().join(name), vec![b'x'; size]).unwrap();
        };
        write("1_a", 10);
        write("2_b", 5);
        write(".bilico-index", 1000);
        write(".bilico-3-0.part", 1000);
        fs::create_dir(dir.path().join("4_c")).unwrap();
        let place = place(dir.path());
        // Those of before the count are in it.
        place.count(5);
        let now = Instant::now();
        assert_eq!(held(&place, now), None, "nobody has counted yet");
        assert_eq!(counted(&place, now), Some((2, 15)));
        place.count(7);
        assert_eq!(held(&place, now), Some((3, 22)));
        place.held.remove(10);
        assert_eq!(held(&place, now), Some((2, 12)));
        // Others take all away: until the next count nobody knows, and it is never less than none.
        for name in ["1_a", "2_b"] {
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        assert_eq!(held(&place, now), Some((2, 12)));
        for _ in 0..5 {
            place.held.remove(10);
        }
        assert_eq!(held(&place, now), Some((0, 0)));
        assert_eq!(counted(&place, now + PAUSE * 2), Some((0, 0)));
        write("9_z", 3);
        assert_eq!(counted(&place, now + PAUSE * 4), Some((1, 3)));
        place.count(1);
        assert_eq!(held(&place, now), Some((2, 4)));
    }
}
