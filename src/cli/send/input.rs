//! Standard input as a file to send.
//!
//! What comes through a pipe comes once, and a connection can be lost after some of it was sent.
//! Therefore it is first kept in a file without a name, which goes with the process however that
//! ends; from there it is sent, and sent again, like any other. A regular file that was redirected,
//! from its beginning, is that file already.

use std::fs::File;
use std::io::{self, IsTerminal, Seek};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use crate::cli::output::{Exit, Failure, note, warn};
use crate::client::{Form, Source};
use crate::text::printable_path;

/// What names standard input on the command line, in messages and in receipts.
pub(super) const DASH: &str = "-";

/// Its title, unless another one is given.
const TITLE: &str = "stdin";

/// Standard input before it is read.
pub(super) fn source(form: Form) -> Source {
    Source {
        path: PathBuf::from("/dev/stdin"),
        title: TITLE.to_owned(),
        form,
        called: Some(DASH),
    }
}

/// A file with the content of standard input. It goes when this is dropped.
pub(super) struct Input {
    _kept: Option<File>,
    path: PathBuf,
    size: u64,
}

/// Reads standard input to its end, and lets its source lead to the content.
pub(super) async fn keep(
    source: &mut Source,
    is_quiet: bool,
    stop: &CancellationToken,
) -> Result<Input, Failure> {
    if !is_quiet && io::stdin().is_terminal() {
        note("reading standard input; Ctrl-D at the start of a line ends it");
    }
    let read = tokio::task::spawn_blocking(read);
    let input = tokio::select! {
        read = read => read.map_err(|error| Failure::new(Exit::Failed, error))??,
        () = stop.cancelled() => {
            return Err(Failure::new(Exit::Interrupted, "interrupted; nothing was sent"));
        }
    };
    if input.size == 0 && !is_quiet {
        warn("standard input was empty: an empty file is sent");
    }
    source.path.clone_from(&input.path);
    Ok(input)
}

/// Blocks.
fn read() -> Result<Input, Failure> {
    let cannot_read = |error: io::Error| {
        Failure::new(Exit::Failed, format!("cannot read standard input: {error}"))
    };
    let stdin = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(cannot_read)?;
    let mut stdin = File::from(stdin);
    let metadata = stdin.metadata().map_err(cannot_read)?;
    if metadata.is_file() && stdin.stream_position().is_ok_and(|at| at == 0) {
        let path = PathBuf::from("/proc/self/fd/0");
        // Who may read the open file may still not be let to open it.
        if File::open(&path).is_ok() {
            return Ok(Input {
                _kept: None,
                path,
                size: metadata.len(),
            });
        }
    }
    if metadata.is_dir() {
        return Err(cannot_read(io::ErrorKind::IsADirectory.into()));
    }
    let dir = std::env::temp_dir();
    let cannot_keep = |error: io::Error| {
        let dir = printable_path(&dir);
        let error = format!("cannot keep standard input in {dir}: {error}");
        Failure::new(Exit::Failed, error).hint("TMPDIR names another directory")
    };
    let mut kept = tempfile::tempfile_in(&dir).map_err(cannot_keep)?;
    let size = io::copy(&mut stdin, &mut kept).map_err(cannot_keep)?;
    Ok(Input {
        path: PathBuf::from(format!("/proc/self/fd/{}", kept.as_raw_fd())),
        _kept: Some(kept),
        size,
    })
}
