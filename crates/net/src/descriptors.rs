//! What the process may open, and who gets how much of it.
//!
//! Owns the budget: the journal, servers, operators and files of their own have their part
//! reserved, and connections of peers get what is left. Invariant: however many peers come and
//! whatever they do, what is reserved can be opened.

use rustix::process::{Resource, getrlimit, setrlimit};

/// For what every process has open (standard streams, epoll, signals, listeners, the log, the
/// lock), the journal's segments and directory, or the store's index, names that are looked up, and
/// the connection that waits for a place.
pub const FIXED: u64 = 48;

/// For each server of a balancer: four connections with files to an old-style one and what they
/// read, or a link, the one before it, and large content that is read; and a probe.
pub const PER_SERVER: u64 = 6;

/// The fewest connections of clients, or of balancers, with which a process starts.
pub const FEWEST: u64 = 16;

/// The fewest large files that come in at once, each of which has a file open beside its
/// connection, and the most that are kept free when clients would have it all.
const LARGE: (u64, u64) = (8, 512);

/// The most that is asked for where there is no limit: the system's own default for one process.
const UNLIMITED: u64 = 1 << 20;

/// The process may open less than it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{limit} open files are too few: {needed} are needed at least, for the files of this role, {servers} servers, operators and a few connections"
)]
pub struct TooFew {
    /// What the process may open.
    pub limit: u64,
    /// What it needs.
    pub needed: u64,
    /// How many servers it has.
    pub servers: u64,
}

/// What is left for peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Openings {
    /// What the process may open.
    pub limit: u64,
    /// Connections at once.
    pub connections: usize,
    /// Large files that come in at once.
    pub large: usize,
    /// What nobody needs yet.
    pub spare: usize,
}

impl Openings {
    /// Where nobody counts.
    pub const UNBOUNDED: Self = Self {
        limit: u64::MAX,
        connections: usize::MAX,
        large: usize::MAX >> 4,
        spare: usize::MAX,
    };

    /// What is left of `limit` with so many servers and `admin` connections of operators; `wanted`
    /// connections are enough.
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
        // Each connection brings one at a time; operators' listeners take files, too.
        let large = (rest - connections).min(connections.saturating_add(admin as u64).max(LARGE.0));
        let spare = rest - connections - large;
        Ok(Self {
            limit,
            connections: size(connections),
            large: size(large),
            spare: size(spare),
        })
    }

    /// The same for a file server, which writes `batch` files at once. A connection brings one
    /// large file at a time.
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

/// Lets the process open as much as it is allowed to, and says how much that is.
pub fn raise() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = Some(limit.maximum.unwrap_or(UNLIMITED));
    if before.is_none_or(|before| limit.current.is_some_and(|most| most <= before)) {
        return before.unwrap_or(u64::MAX);
    }
    // What the system does not allow is not needed: then it is as it was.
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
