//! The kinds of faults.
#![allow(clippy::enum_glob_use, reason = "the list names all kinds")]

/// A kind of fault. A place is that of a process: 0 is the balancer, servers are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// kill -9, and a start later.
    KillBalancer,
    /// The same of the server in this place.
    KillServer(usize),
    /// The same of a client, by the same command.
    KillClient,
    /// SIGSTOP, and SIGCONT later.
    PauseBalancer,
    /// The same of a server.
    PauseServer,
    /// The same of a client.
    PauseClient,
    /// Connections of clients are cut after some bytes.
    CutClients,
    /// Connections to a server are cut after some bytes.
    CutServer,
    /// Everything takes long on its way to a server.
    Delay,
    /// Nothing gets on between clients and balancer for a while.
    StallClients,
    /// Nothing gets on between balancer and a server for a while.
    StallServer,
    /// Everything between the balancer and a server vanishes, both ways, until the connections are
    /// cut.
    LoseServer,
    /// What a server answers vanishes.
    SwallowAcks,
    /// What the balancer answers to clients vanishes.
    SwallowReceipts,
    /// The journal's disk is full.
    FullJournal,
    /// The journal's files cannot grow, though its disk has room: nothing is committed, and
    /// everything else goes on.
    StuckJournal,
    /// A server cannot write files of more than a few bytes.
    FullServer,
    /// The balancer can open next to nothing.
    NoFilesBalancer,
    /// A server can open next to nothing.
    NoFilesServer,
    /// Clients use up what the balancer may open: silent ones, idle ones, and those that vanish
    /// after their receipts.
    CrowdBalancer,
    /// The journal's directory is renamed while the balancer runs, and half of the time an empty
    /// one takes its place.
    TakeJournal,
    /// The balancer is killed, and a bit flips in a file of each kind before it starts again.
    FlipBits,
}

impl Kind {
    /// All of them, for so many servers.
    pub(super) fn all(servers: usize) -> Vec<Self> {
        use Kind::*;
        let mut all = vec![
            KillBalancer,
            KillClient,
            PauseBalancer,
            PauseServer,
            PauseClient,
            CutClients,
            CutServer,
            Delay,
            StallClients,
            StallServer,
            LoseServer,
            SwallowAcks,
            SwallowReceipts,
            FullJournal,
            StuckJournal,
            FullServer,
            NoFilesBalancer,
            NoFilesServer,
            CrowdBalancer,
            TakeJournal,
            FlipBits,
        ];
        all.extend((1..=servers).map(KillServer));
        all
    }
}
