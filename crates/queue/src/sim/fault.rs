//! How an operation fails.

use std::io;

/// How an operation fails without a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An I/O error. Nothing happens, but what a sync should have written is in doubt from then on.
    Eio,
    /// No space left; like [`Fault::Eio`] otherwise.
    Enospc,
    /// A write takes half of its bytes. Nothing for other operations, nor for less than two bytes.
    Short,
    /// A write takes half of its bytes, and the next one finds no space. Like [`Fault::Enospc`] for
    /// other operations, and for less than two bytes.
    ShortThenEnospc,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Eio, Self::Enospc, Self::Short, Self::ShortThenEnospc];

    /// The result of an operation that is not a write.
    pub(super) fn outcome(self) -> io::Result<()> {
        match self {
            Self::Eio => Err(io::Error::from_raw_os_error(libc::EIO)),
            Self::Enospc | Self::ShortThenEnospc => Err(no_space()),
            Self::Short => Ok(()),
        }
    }
}

pub(super) fn no_space() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

pub(super) fn crashed() -> io::Error {
    io::Error::other("crashed")
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Trouble {
    Crash,
    Fault(Fault),
}

/// The result of an operation in trouble that is neither a write nor a sync. If the process dies
/// in it, it is carried out, unsynced.
pub(super) fn refuse(trouble: Option<Trouble>) -> io::Result<()> {
    match trouble {
        Some(Trouble::Fault(fault)) => fault.outcome(),
        Some(Trouble::Crash) | None => Ok(()),
    }
}
