//! How many files the process may open, and how they are shared out.
//!
//! Owns the budget: a part is reserved for the journal, servers, operators and the process's own
//! files, and connections of peers get the rest. Invariant: however many peers come and whatever
//! they do, the reserved part is free for its owners.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Reserved for the files that every process has open (standard streams, epoll, signals, listeners,
/// log, lock), for the journal's segments and directory or the store's index, for the resolver, and
/// for the connection that waits for a place.
pub const FIXED: u64 = 48;

/// Reserved for each server of a balancer. An old-style server needs four connections, and a file
/// that is read for it, and borrows more; a native one needs a link and its lane, both of those before them, and large
/// content that is read. Both need a probe.
pub const PER_SERVER: u64 = 6;

/// Reserved for a balancer's head start, of which there is one at a time. It needs a connection, and
/// may have its file open longer than its upload has.
pub const HEAD_STARTS: u64 = 2;

/// A process does not start with fewer connections for its peers.
pub const FEWEST: u64 = 16;

/// The fewest large files that may come in at once. Each has a file open beside its connection.
const MIN_LARGE: u64 = 8;

/// The most files that are kept for large files when connections could use all of them.
const MAX_LARGE: u64 = 512;

/// The number of files that is asked for where there is no limit: the kernel's default maximum for
/// one process.
const UNLIMITED: u64 = 1 << 20;

/// The process may open fewer files than it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{limit} open files are too few: at least {needed} are needed, for the files of this role, \
     {servers} servers, operators and a few connections"
)]
pub struct TooFew {
    /// The number of files that the process may open.
    pub limit: u64,
    /// The number of files that it needs at least.
    pub needed: u64,
    /// The number of its servers.
    pub servers: u64,
}

/// The files that are left for peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Openings {
    /// The number of files that the process may open.
    pub limit: u64,
    /// The most connections at once.
    pub connections: usize,
    /// The most large files that come in at once.
    pub large: usize,
    /// Files that are not needed yet.
    pub spare: usize,
}

impl Openings {
    /// For tests and programs that do not limit open files.
    pub const UNBOUNDED: Self = Self {
        limit: u64::MAX,
        connections: usize::MAX,
        large: usize::MAX >> 4,
        spare: usize::MAX,
    };

    /// Shares out `limit` files of a balancer with this many servers and `admin` connections of
    /// operators. Clients get at most `wanted` connections.
    pub fn of_balancer(
        limit: u64,
        servers: usize,
        admin: usize,
        wanted: usize,
    ) -> Result<Self, TooFew> {
        let servers = servers as u64;
        let wanted = wanted as u64;
        let reserved = (FIXED + HEAD_STARTS)
            .saturating_add(PER_SERVER.saturating_mul(servers))
            .saturating_add(admin as u64);
        let needed = reserved.saturating_add(FEWEST + MIN_LARGE);
        if limit < needed {
            return Err(TooFew {
                limit,
                needed,
                servers,
            });
        }
        let rest = limit - reserved;
        let connections = wanted.min(rest - (rest / 4).clamp(MIN_LARGE, MAX_LARGE));
        // A connection brings one large file at a time; so does one of operators, over HTTP.
        let large =
            (rest - connections).min(connections.saturating_add(admin as u64).max(MIN_LARGE));
        let spare = rest - connections - large;
        Ok(Self {
            limit,
            connections: size(connections),
            large: size(large),
            spare: size(spare),
        })
    }

    /// Shares out `limit` files of a file server, which writes `batch` files at once. A connection
    /// brings one large file at a time.
    pub fn of_server(
        limit: u64,
        batch: usize,
        admin: usize,
        wanted: usize,
    ) -> Result<Self, TooFew> {
        let reserved = FIXED
            .saturating_add(batch as u64)
            .saturating_add(admin as u64);
        let needed = reserved.saturating_add(2 * FEWEST);
        if limit < needed {
            return Err(TooFew {
                limit,
                needed,
                servers: 0,
            });
        }
        let connections = size((limit - reserved) / 2).min(wanted);
        Ok(Self {
            limit,
            connections,
            large: connections,
            spare: 0,
        })
    }
}

/// A number as a `usize`, at most [`usize::MAX`].
pub fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Raises the process's limit on open files as far as it may, and returns the limit.
pub fn raise() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = Some(limit.maximum.unwrap_or(UNLIMITED));
    if before.is_none_or(|before| limit.current.is_some_and(|most| most <= before)) {
        return before.unwrap_or(u64::MAX);
    }
    // If the system refuses, the limit stays as it was.
    let current = if setrlimit(Resource::Nofile, limit).is_ok() {
        limit.current
    } else {
        before
    };
    current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
