//! What a promise to keep a file is worth: the same choice at the balancer's journal and at a
//! server's directory.

/// What a file must outlive before it counts as accepted, or as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It is synced to disk: it survives kills, crashes and power cuts.
    Disk,
    /// The operating system has it: it survives the death of the process, not of the machine.
    Os,
}
