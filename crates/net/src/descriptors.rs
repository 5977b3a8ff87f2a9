//! The budget of file descriptors.
//!
//! The journal, servers, operators and content files have descriptors reserved; connections of
//! peers get the rest. Invariant: whatever peers do, and however many connect, the reserved
//! descriptors can be opened.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Reserved for the standard streams, epoll, signals, listeners, the log and the lock, for the
/// journal's segments and directory or the store's index, for name look-ups, and for the connection
/// that waits for a free place.
pub const FIXED: u64 = 48;

/// Reserved for each server of a balancer: a probe, and either four connections of an old-style
/// server with their files, or a link, the link before it, and a content file.
pub const PER_SERVER: u64 = 6;

/// A process does not start with fewer connections for its peers.
pub const FEWEST: u64 = 16;

/// Descriptors for content files, one for each large file that is received: at least the first
/// number, and at most the second is withheld from connections.
const LARGE: (u64, u64) = (8, 512);

/// The soft limit to set if there is no hard limit: the usual default of the kernel for one
/// process.
const UNLIMITED: u64 = 1 << 20;

/// The limit of open files is too low for the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the limit of {limit} open files is too low: at least {needed} are needed, for the files of \
     this role, {servers} servers, operators and a few connections"
)]
pub struct TooFew {
    /// The limit of open files.
    pub limit: u64,
    /// The lowest sufficient limit.
    pub needed: u64,
    /// Servers of the balancer; 0 for a server.
    pub servers: u64,
}

/// How many descriptors the parts of a role may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Openings {
    /// The limit of open files.
    pub limit: u64,
    /// Most connections of peers at once.
    pub connections: usize,
    /// Most large files that are received at once.
    pub large: usize,
    /// Descriptors that are not assigned.
    pub spare: usize,
}

impl Openings {
    /// No limit at all.
    pub const UNBOUNDED: Self = Self {
        limit: u64::MAX,
        connections: usize::MAX,
        large: usize::MAX >> 4,
        spare: usize::MAX,
    };

    /// The budget of a balancer with this many servers and `admin` connections of operators, and at
    /// most `wanted` connections of clients.
    pub fn of_balancer(
        limit: u64,
        servers: usize,
        admin: usize,
        wanted: usize,
    ) -> Result<Self, TooFew> {
        let (servers, wanted) = (servers as u64, wanted as u64);
        let reserved = FIXED
            .saturating_add(PER_SERVER.saturating_mul(servers))
            .saturating_add(admin as u64);
        let needed = reserved.saturating_add(FEWEST + LARGE.0);
        if limit < needed {
            return Err(TooFew {
                limit,
                needed,
                servers,
            });
        }
        let rest = limit - reserved;
        let connections = wanted.min(rest - (rest / 4).clamp(LARGE.0, LARGE.1));
        // Each connection sends one large file at a time; the admin listener takes files, too.
        let large = (rest - connections).min(connections.saturating_add(admin as u64).max(LARGE.0));
        let spare = rest - connections - large;
        Ok(Self {
            limit,
            connections: size(connections),
            large: size(large),
            spare: size(spare),
        })
    }

    /// The budget of a file server that writes `batch` files at once. A connection sends one large
    /// file at a time.
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

/// The number as a count of things in memory.
pub fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Raises the soft limit of open files to the hard limit. Returns the limit.
pub fn raise() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = Some(limit.maximum.unwrap_or(UNLIMITED));
    if before.is_none_or(|before| limit.current.is_some_and(|most| most <= before)) {
        return before.unwrap_or(u64::MAX);
    }
    // If the system refuses, the old limit stays.
    let current = if setrlimit(Resource::Nofile, limit).is_ok() {
        limit.current
    } else {
        before
    };
    current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_and_what_clients_get_is_never_more_than_there_is() {
        for limit in [100, 150, 256, 1024, 4096, 20_000, 1 << 20] {
            for (servers, admin, wanted) in [
                (1, 0, 16_384),
                (3, 32, 20),
                (10, 128, 16_384),
                (100, 2048, 1),
            ] {
                let reserved = FIXED + PER_SERVER * servers as u64 + admin as u64;
                match Openings::of_balancer(limit, servers, admin, wanted) {
                    Ok(openings) => {
                        let Openings {
                            connections,
                            large,
                            spare,
                            ..
                        } = openings;
                        assert_eq!(reserved + (connections + large + spare) as u64, limit);
                        assert!(
                            connections <= wanted && connections >= wanted.min(16) && large >= 8,
                            "{openings:?}"
                        );
                    }
                    Err(TooFew { needed, .. }) => assert!(limit < needed, "{limit}: {needed}"),
                }
            }
        }
        let many = Openings::of_balancer(20_000, 3, 2048, 16_384).unwrap();
        assert_eq!(
            many.connections, 16_384,
            "a common limit is enough for the default"
        );
    }

    #[test]
    fn a_server_counts_a_file_for_each_connection() {
        assert_eq!(
            Openings::of_server(20_000, 512, 0, 1024)
                .unwrap()
                .connections,
            1024
        );
        assert_eq!(
            Openings::of_server(1024, 512, 0, 1024).unwrap().connections,
            232
        );
        assert!(Openings::of_server(64, 32, 0, 1024).is_err());
    }
}
