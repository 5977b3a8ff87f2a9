//! Farms with old-style servers, and files for them.

use std::fs;
use std::net::SocketAddr;

use bilico::protocol::status::ServerReport;
use bilico_testkit::{Farm, OldServer, Role, start_balancer, start_server, wait_until};

/// Text with many places where cutting a JSON document could go wrong.
pub(super) const AWKWARD: &str =
    "però: \"{[}]\" \\ / \u{8}\u{1f}\r\n città 🚚 \u{10ffff} \u{e000} \\u00e9 }{";

/// The document as `json.dumps` writes it by default: ASCII only.
pub(super) fn as_ascii(document: &str) -> String {
    use std::fmt::Write;
    let mut ascii = String::new();
    for c in document.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(ascii, "\\u{unit:04x}").unwrap();
            }
        }
    }
    ascii
}

/// The number of bytes in the kernel's buffers of `local`, of its connection to `remote`.
pub(super) fn unread(local: SocketAddr, remote: SocketAddr) -> u64 {
    let hex = |address: SocketAddr| match address {
        SocketAddr::V4(address) => {
            format!(
                "{:08X}:{:04X}",
                u32::from_le_bytes(address.ip().octets()),
                address.port()
            )
        }
        SocketAddr::V6(_) => panic!("these tests speak IPv4"),
    };
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let row = |line: &str| -> Option<u64> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let queues = (fields.get(1..3)? == [hex(local), hex(remote)]).then_some(fields.get(4)?)?;
        Some(
            queues
                .split(':')
                .map(|bytes| u64::from_str_radix(bytes, 16).unwrap())
                .sum(),
        )
    };
    table.lines().find_map(row).unwrap_or(0)
}

/// A balancer over old-style servers and, after them in its list, new native ones.
pub(super) fn farm_over(old: &[(&OldServer, u32)], native: &[u32]) -> Farm {
    farm_with(old, native, &[])
}

pub(super) fn farm_with(old: &[(&OldServer, u32)], native: &[u32], flags: &[&str]) -> Farm {
    let old = old
        .iter()
        .map(|(server, weight)| format!("{}={weight}", server.address));
    farm_in(tempfile::tempdir().unwrap(), old, native, flags)
}

/// The same in a directory, over servers that are given as `--server` has them.
pub(super) fn farm_in(
    dir: tempfile::TempDir,
    old: impl Iterator<Item = String>,
    native: &[u32],
    flags: &[&str],
) -> Farm {
    let servers: Vec<Role> = (1..=native.len())
        .map(|n| start_server(dir.path(), n, &[]))
        .collect();
    let native = servers
        .iter()
        .zip(native)
        .map(|(server, weight)| format!("{}={weight}", server.address));
    let specs: Vec<String> = old.chain(native).collect();
    let balancer = start_balancer(dir.path(), &specs, flags);
    let farm = Farm {
        servers,
        balancer,
        dir,
    };
    farm.wait_until_up();
    farm
}

/// Starts a native server at this address, with `json_files_9` as its directory.
pub(super) fn native_at(farm: &Farm, address: &str) -> Role {
    Role::start(
        farm.dir.path(),
        &["server", "--listen", address, "--dir", "json_files_9"],
    )
}

/// Writes files into the farm's directory and returns their folder.
pub(super) fn write_files(farm: &Farm, count: usize, content: impl Fn(usize) -> Vec<u8>) -> String {
    let folder = farm.dir.path().join("to_send");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    for file in 0..count {
        fs::write(folder.join(format!("{file}.bin")), content(file)).unwrap();
    }
    folder.to_str().unwrap().to_owned()
}

pub(super) fn small(file: usize) -> Vec<u8> {
    format!("{file} {AWKWARD}").into_bytes()
}

#[track_caller]
pub(super) fn wait_for_server(
    farm: &Farm,
    place: usize,
    what: &str,
    condition: impl Fn(&ServerReport) -> bool,
) {
    wait_until(&format!("server {place} to be {what}"), || {
        condition(&farm.server_status(place))
    });
}

/// A server of ours in a directory of its own.
pub(super) fn server(flags: &[&str]) -> (tempfile::TempDir, Role) {
    let dir = tempfile::tempdir().unwrap();
    let server = start_server(dir.path(), 1, flags);
    (dir, server)
}
