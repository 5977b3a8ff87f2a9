//! The kinds of faults.
#![allow(clippy::enum_glob_use, reason = "the list names all kinds")]

/// A kind of fault. The number is the place of a server, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The balancer is killed by SIGKILL, and started again later.
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
    /// Bytes between the balancer and a server arrive late.
    Delay,
    /// No bytes pass between clients and balancer for a while.
    StallClients,
    /// No bytes pass between the balancer and a server for a while.
    StallServer,
    /// All bytes between the balancer and a server are lost, both ways, until the connections are
    /// cut.
    LoseServer,
    /// The answers of a server are lost.
    SwallowAcks,
    /// The balancer's answers to clients are lost.
    SwallowReceipts,
    /// The journal's disk is full.
    FullJournal,
    /// The journal's files cannot grow, although its disk has room: nothing is committed, and
    /// everything else goes on.
    StuckJournal,
    /// A server cannot write files of more than a few bytes.
    FullServer,
    /// The balancer can open no more than three files.
    NoFilesBalancer,
    /// A server can open no more than three files.
    NoFilesServer,
    /// Clients use up the balancer's open files: silent ones, idle ones, and those that close after
    /// their receipts.
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
