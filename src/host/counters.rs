//! What the kernel counts of network interfaces and of disks, and rates from two such counts.

use std::collections::HashMap;
use std::time::Duration;

/// Bytes in a sector of `/proc/diskstats`, whatever the disk's own sectors are.
const SECTOR: u64 = 512;

/// What one network interface has counted since it is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Network {
    /// Bytes received.
    pub(super) received: u64,
    /// Bytes sent.
    pub(super) sent: u64,
    /// Packets dropped, in both directions.
    pub(super) dropped: u64,
}

/// What a disk has counted since the machine was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Disk {
    /// Bytes read.
    pub(super) read: u64,
    /// Bytes written.
    pub(super) written: u64,
}

/// The number of a device: major and minor.
pub(super) type Device = (u32, u32);

/// Reads `/proc/net/dev`: two lines of headings, then `name: ` and sixteen numbers for each
/// interface. Lines of another shape are left out.
pub(super) fn networks(text: &str) -> HashMap<String, Network> {
    let interface = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .map_while(|number| number.parse().ok())
            .collect();
        let network = Network {
            received: *numbers.first()?,
            sent: *numbers.get(8)?,
            dropped: numbers.get(3)?.saturating_add(*numbers.get(11)?),
        };
        Some((name.trim().to_owned(), network))
    };
    text.lines().filter_map(interface).collect()
}

/// What all interfaces have counted since the earlier count. One that is new or was made anew has
/// counted nothing yet.
pub(super) fn since(earlier: &HashMap<String, Network>, now: &HashMap<String, Network>) -> Network {
    let mut all = Network::default();
    for (name, now) in now {
        let Some(before) = earlier.get(name) else {
            continue;
        };
        all.received = all
            .received
            .saturating_add(now.received.saturating_sub(before.received));
        all.sent = all
            .sent
            .saturating_add(now.sent.saturating_sub(before.sent));
        all.dropped = all
            .dropped
            .saturating_add(now.dropped.saturating_sub(before.dropped));
    }
    all
}

/// Finds a device in `/proc/diskstats`: major, minor, name, then reads (how many, merged, sectors,
/// milliseconds) and writes (the same).
pub(super) fn disk(text: &str, device: Device) -> Option<Disk> {
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let is_it = number(0)? == u64::from(device.0) && number(1)? == u64::from(device.1);
        if !is_it {
            return None;
        }
        Some(Disk {
            read: number(5)?.saturating_mul(SECTOR),
            written: number(9)?.saturating_mul(SECTOR),
        })
    })
}

/// The device behind the mount at which `path` lies, from `/proc/self/mountinfo`; `None` if what is
/// mounted there is no device. The mount whose point is the longest start of the path is the one.
pub(super) fn source_of<'a>(mountinfo: &'a str, path: &str) -> Option<&'a str> {
    let mount = |line: &'a str| {
        let mut fields = line.split(' ');
        let point = unescaped(fields.nth(4)?);
        let source = fields.skip_while(|field| *field != "-").nth(2)?;
        let is_above = point == "/"
            || path
                .strip_prefix(&point)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        is_above.then_some((point.len(), source))
    };
    // Of several mounts at one point the last one is seen.
    let (_, source) = mountinfo.lines().filter_map(mount).max_by_key(|it| it.0)?;
    source.starts_with("/dev/").then_some(source)
}

/// Undoes the escapes of a path in `/proc/self/mountinfo`.
pub(super) fn unescaped(path: &str) -> String {
    ["\\040 ", "\\011\t", "\\012\n", "\\134\\"]
        .iter()
        .filter_map(|it| it.split_at_checked(4))
        .fold(path.to_owned(), |path, (escape, meant)| {
            path.replace(escape, meant)
        })
}

/// So much in a second.
#[expect(clippy::cast_precision_loss, reason = "rates need no 53 bits")]
pub(super) fn rate(amount: u64, over: Duration) -> Option<f32> {
    let seconds = over.as_secs_f64();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is finite, and a figure"
    )]
    let rate = (amount as f64 / seconds) as f32;
    rate.is_finite().then_some(rate)
}
