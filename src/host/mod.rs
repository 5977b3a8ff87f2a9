//! The figures of this machine: processor, memory, disk and network.
