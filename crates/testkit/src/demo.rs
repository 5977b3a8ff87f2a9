//! How tests start a demo.

/// The arguments of a demo of three servers on free ports.
pub const DEMO_ON_FREE_PORTS: [&str; 11] = [
    "demo",
    "--listen",
    "127.0.0.1:0",
    "--admin",
    "127.0.0.1:0",
    "--server",
    "127.0.0.1:0=3",
    "--server",
    "127.0.0.1:0=2",
    "--server",
    "127.0.0.1:0=1",
];
