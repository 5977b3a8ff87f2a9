//! What agents say, made into facts: the objects of the agents of the first systems, which cannot be
//! changed, and the native one. Units of the first systems are MiB, GiB, percent and Mbit.

use std::time::Duration;

use serde_json::Value;

use super::object::Object;
use super::refused::Refused;
use crate::fleet_core::Facts;
use crate::fleet_core::facts::MAX_CORES;

const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1_073_741_824.0;

/// Bits of a Mbit.
const MBIT: f64 = 1_000_000.0;

/// How often a datagram agent speaks: it sleeps for 5 s and measures for 1 s.
pub(super) const DATAGRAM_EVERY: Duration = Duration::from_secs(6);

/// How often an agent posts, unless it was told another interval.
pub(super) const INGEST_EVERY: Duration = Duration::from_secs(5);

/// How often processor, memory and disk are sent over WebSocket.
pub(super) const CRD_EVERY: Duration = Duration::from_secs(10);

/// How often a line's speed is sent: a measurement takes 40 s, and a pause of 30 s follows.
pub(super) const NETWORK_EVERY: Duration = Duration::from_secs(70);

/// The limits of what a native agent may say about how often it speaks.
const EVERY: std::ops::RangeInclusive<f64> = 0.1..=3600.0;

/// How often a native agent speaks that does not say it.
const NATIVE_EVERY: Duration = Duration::from_secs(10);

/// Packets that were dropped since an agent's last word.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lost(f64);

impl Lost {
    /// Packets a second, if it is known when the last word was.
    #[expect(clippy::cast_possible_truncation, reason = "a chart needs no 53 bits")]
    pub(super) fn over(self, gap: Option<Duration>) -> Option<f32> {
        let gap = gap.filter(|gap| !gap.is_zero())?;
        Some((self.0 / gap.as_secs_f64()) as f32)
    }
}

/// The datagram of an agent of the first datagram system.
pub(super) fn datagram(bytes: &[u8]) -> Result<(Facts, Option<Lost>), Refused> {
    let mut all = Object::read(bytes)?;
    let mut facts = Facts::default();
    let mut lost = None;
    if let Some(cpu) = all.object("cpu")? {
        facts.cpu = percent(cpu.number("media")?)?;
        facts.cores = cores(&cpu, "por_nucleo")?;
    }
    if let Some(memory) = all.object("memoria")? {
        facts.memory_total = bytes_of(memory.number("total_MB")?, MIB)?;
        let free = bytes_of(memory.number("livre_MB")?, MIB)?;
        let used = bytes_of(memory.number("usada_MB")?, MIB)?;
        facts.memory_used = rest(facts.memory_total, free).or(used);
    }
    if let Some(disk) = all.object("disco")? {
        facts.disk_total = bytes_of(disk.number("uso_total_GB")?, GIB)?;
        facts.disk_used = bytes_of(disk.number("usado_GB")?, GIB)?;
        facts.disk_free = bytes_of(disk.number("livre_GB")?, GIB)?;
        facts.disk_read = rate(disk.number("taxa_leitura_MBps")?, MIB)?;
        facts.disk_write = rate(disk.number("taxa_escrita_MBps")?, MIB)?;
    }
    if let Some(network) = all.object("rede")? {
        facts.net_tx = rate(network.number("taxa_upload_MBps")?, MIB)?;
        facts.net_rx = rate(network.number("taxa_download_MBps")?, MIB)?;
        lost = network.number("pacotes_perdidos")?.map(Lost);
    }
    Ok((checked(facts)?, lost))
}

/// The body that the HTTP variant of that agent posts, with the name that it has given itself.
pub(super) fn ingest(bytes: &[u8]) -> Result<(String, Facts), Refused> {
    let mut all = Object::read(bytes)?;
    let name = all.text("client_id")?.unwrap_or_default().to_owned();
    let mut metrics = all.object("metrics")?.ok_or(Refused::NO_FIGURES)?;
    let mut facts = Facts::default();
    if let Some(cpu) = metrics.object("cpu")? {
        facts.cpu = percent(cpu.number("avg")?)?;
        facts.cores = cores(&cpu, "per_core")?;
    }
    if let Some(memory) = metrics.object("memory")? {
        facts.memory_total = bytes_of(memory.number("total")?, 1.0)?;
        let free = bytes_of(memory.number("free")?, 1.0)?;
        let used = bytes_of(memory.number("used")?, 1.0)?;
        facts.memory_used = rest(facts.memory_total, free).or(used);
    }
    if let Some(disk) = metrics.object("disk")? {
        facts.disk_total = bytes_of(disk.number("total")?, 1.0)?;
        facts.disk_used = bytes_of(disk.number("used")?, 1.0)?;
        facts.disk_free = bytes_of(disk.number("free")?, 1.0)?;
        facts.disk_read = rate(disk.number("read_bytes_per_s")?, 1.0)?;
        facts.disk_write = rate(disk.number("write_bytes_per_s")?, 1.0)?;
    }
    if let Some(network) = metrics.object("net")? {
        facts.net_tx = rate(network.number("bytes_sent_per_s")?, 1.0)?;
        facts.net_rx = rate(network.number("bytes_recv_per_s")?, 1.0)?;
    }
    Ok((name, checked(facts)?))
}

/// Processor, memory and disk, as the first WebSocket system's agent sends them.
pub(super) fn crd(bytes: &[u8]) -> Result<Facts, Refused> {
    let all = Object::read(bytes)?;
    let disk_total = bytes_of(all.number("disk_total")?, GIB)?;
    let disk_free = bytes_of(all.number("disk_available")?, GIB)?;
    let memory_total = bytes_of(all.number("ram_total")?, GIB)?;
    let memory_free = bytes_of(all.number("ram_available")?, GIB)?;
    checked(Facts {
        cpu: percent(all.number("cpu_usage")?)?,
        memory_used: rest(memory_total, memory_free),
        memory_total,
        disk_used: rest(disk_total, disk_free),
        disk_total,
        disk_free,
        ..Facts::default()
    })
}

/// The speed of a host's line, as its other agent sends it.
pub(super) fn network(bytes: &[u8]) -> Result<Facts, Refused> {
    let all = Object::read(bytes)?;
    checked(Facts {
        link_down: rate(all.number("download_speed")?, MBIT)?,
        link_up: rate(all.number("upload_speed")?, MBIT)?,
        ..Facts::default()
    })
}

/// A line of a shell's history: who typed it, what it was, and when it was sent.
pub(super) fn command(bytes: &[u8]) -> Result<(String, String, String), Refused> {
    let all = Object::read(bytes)?;
    let text = |key: &str| -> Result<String, Refused> {
        let text = all.text(key)?.ok_or(Refused::WRONG_TYPE)?;
        Ok(text.to_owned())
    };
    Ok((text("user")?, text("command")?, text("created_at")?))
}

/// Native facts, and how often they are told.
pub(super) fn native(bytes: &[u8]) -> Result<(Facts, Duration), Refused> {
    let mut all = Object::read(bytes)?;
    let every = all.number("every_s")?;
    all.0.remove("every_s");
    let facts: Facts =
        serde_json::from_value(Value::Object(all.0)).map_err(|_| Refused::WRONG_TYPE)?;
    Ok((checked(facts)?, self::every(every)))
}

/// How often an agent speaks that says so.
pub(super) fn every(seconds: Option<f64>) -> Duration {
    seconds.map_or(NATIVE_EVERY, |seconds| {
        let (least, most) = (*EVERY.start(), *EVERY.end());
        Duration::from_secs_f64(seconds.clamp(least, most))
    })
}

/// How often somebody speaks whose last word was so long ago, and who usually speaks as often as this.
/// A silence of `long` or more is a pause, and no interval.
pub(super) fn interval(gap: Option<Duration>, usual: Duration, long: Duration) -> Duration {
    let gap = gap.filter(|gap| *gap < long);
    gap.map_or(usual, |gap| gap.max(usual))
}

/// Facts that are possible and tell something.
pub(super) fn checked(facts: Facts) -> Result<Facts, Refused> {
    facts.check().map_err(|_| Refused::IMPOSSIBLE)?;
    if facts == Facts::default() {
        return Err(Refused::NO_FIGURES);
    }
    Ok(facts)
}

/// How busy each core is. What is beyond the most that are kept is left out: the mean is of all.
fn cores(cpu: &Object, key: &str) -> Result<Box<[f32]>, Refused> {
    let numbers = cpu.numbers(key, MAX_CORES)?;
    let parts = numbers
        .into_iter()
        .map(|number| percent(Some(number)).map(Option::unwrap_or_default));
    parts.collect()
}

#[expect(clippy::cast_possible_truncation, reason = "a chart needs no 53 bits")]
fn percent(number: Option<f64>) -> Result<Option<f32>, Refused> {
    match number {
        Some(number) if number > 100.0 => Err(Refused::IMPOSSIBLE),
        number => Ok(number.map(|number| (number / 100.0) as f32)),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a chart needs no 53 bits")]
fn rate(number: Option<f64>, unit: f64) -> Result<Option<f32>, Refused> {
    let rate = number.map(|number| (number * unit) as f32);
    if rate.is_some_and(|rate| !rate.is_finite()) {
        return Err(Refused::IMPOSSIBLE);
    }
    Ok(rate)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is between 0 and 2^63"
)]
fn bytes_of(number: Option<f64>, unit: f64) -> Result<Option<u64>, Refused> {
    const MOST: f64 = 9.2e18;
    let bytes = number.map(|number| (number * unit).round());
    if bytes.is_some_and(|bytes| bytes > MOST) {
        return Err(Refused::IMPOSSIBLE);
    }
    Ok(bytes.map(|bytes| bytes as u64))
}

/// What is not available.
fn rest(total: Option<u64>, free: Option<u64>) -> Option<u64> {
    Some(total?.saturating_sub(free?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the first datagram system's agent sent it on a machine with two cores: 341 bytes.
    const DATAGRAM: &str = r#"{"cpu": {"por_nucleo": [4.0, 100.0], "media": 70.9}, "memoria": {"total_MB": 24105.56, "usada_MB": 1313.59, "livre_MB": 22791.97}, "disco": {"uso_total_GB": 251.97, "usado_GB": 27.59, "livre_GB": 63.28, "taxa_leitura_MBps": 0.14, "taxa_escrita_MBps": 0.0}, "rede": {"taxa_upload_MBps": 0.0, "taxa_download_MBps": 0.5, "pacotes_perdidos": 12}}"#;

    #[test]
    fn mebibytes_and_gibibytes_become_bytes() {
        let (facts, lost) = datagram(DATAGRAM.as_bytes()).unwrap();
        let expected = Facts {
            cpu: Some(0.709),
            cores: vec![0.04, 1.0].into(),
            memory_used: Some(1_377_398_948),
            memory_total: Some(25_276_511_683),
            disk_used: Some(29_624_536_924),
            disk_total: Some(270_550_727_393),
            disk_free: Some(67_946_382_623),
            disk_read: Some(146_800.64),
            disk_write: Some(0.0),
            net_rx: Some(524_288.0),
            net_tx: Some(0.0),
            ..Facts::default()
        };
        // Memory in use is what is not available: the two are rounded apart by the agent.
        let used = facts.memory_used.unwrap();
        assert!(
            used.abs_diff(expected.memory_used.unwrap()) < 20_000,
            "{used}"
        );
        assert_eq!(
            Facts {
                memory_used: expected.memory_used,
                ..facts
            },
            expected
        );
        let lost = lost.unwrap();
        assert_eq!(lost.over(None), None);
        assert_eq!(lost.over(Some(Duration::from_secs(6))), Some(2.0));
    }

    #[test]
    fn the_body_that_is_posted_has_bytes_and_seconds() {
        let body = r#"{"client_id": "host-a", "metrics": {"cpu": {"per_core": [3.2, 100.0], "avg": 52.1}, "memory": {"total": 25276514304, "used": 1757216768, "free": 23519297536, "percent": 7.0}, "disk": {"total": 270553174016, "used": 29637013504, "free": 67935735808, "percent": 30.4, "read_bytes_per_s": 43970.8, "write_bytes_per_s": 5032216.1}, "net": {"bytes_sent_per_s": 1120.8, "bytes_recv_per_s": 980.1}}, "timestamp": 1795580531.53}"#;
        let (name, facts) = ingest(body.as_bytes()).unwrap();
        assert_eq!(name, "host-a");
        assert_eq!(facts.cpu, Some(0.521));
        assert_eq!(facts.memory_used, Some(1_757_216_768));
        assert_eq!(facts.disk_write, Some(5_032_216.0));
        assert_eq!((facts.net_tx, facts.net_rx), (Some(1120.8), Some(980.1)));
    }

    #[test]
    fn what_comes_over_websocket_is_in_gibibytes_and_megabits() {
        let message = r#"{"cpu_usage": 100.0, "ram_available": 22.09, "ram_total": 23.54, "disk_available": 62.86, "disk_total": 251.97, "what": "is that"}"#;
        let facts = crd(message.as_bytes()).unwrap();
        assert_eq!(facts.cpu, Some(1.0));
        assert_eq!(facts.memory_total, Some(25_275_882_537));
        assert_eq!(facts.memory_used, Some(1_556_925_645));
        assert_eq!(facts.disk_free, Some(67_495_411_057));
        let message = br#"{"download_speed": 93.25, "upload_speed": 41.01}"#;
        let facts = network(message).unwrap();
        assert_eq!(facts.link_down, Some(93_250_000.0));
        assert_eq!(facts.link_up, Some(41_010_000.0));
        let line = r#"{"user": "root", "command": "ls -la", "created_at": "2026-11-25 04:23:08"}"#;
        let (user, command, at) = command(line.as_bytes()).unwrap();
        assert_eq!(
            [&*user, &*command, &*at],
            ["root", "ls -la", "2026-11-25 04:23:08"]
        );
    }

    #[test]
    fn native_facts_say_how_often_they_come() {
        let (facts, every) = native(br#"{"every_s": 2.5, "cpu": 0.5, "new": []}"#).unwrap();
        assert_eq!((facts.cpu, every), (Some(0.5), Duration::from_millis(2500)));
        let (_, every) = native(br#"{"cpu": 0.5}"#).unwrap();
        assert_eq!(every, NATIVE_EVERY);
        let (_, every) = native(br#"{"cpu": 0.5, "every_s": 1e300}"#).unwrap();
        assert_eq!(every, Duration::from_hours(1));
        for bad in [
            r#"{"cpu": 1.5}"#,
            r#"{"cpu": -0.5}"#,
            r#"{"net_rx": 1e39}"#,
            r#"{"cpu": "half"}"#,
            r#"{"memory_used": -1}"#,
            r#"{"memory_used": 0.5}"#,
            r#"{"every_s": 5}"#,
            r#"{"cpu": 0.5, "every_s": -1}"#,
            "{}",
        ] {
            native(bad.as_bytes()).unwrap_err();
        }
    }

    /// After a pause an agent's death showed only after three times the pause.
    #[test]
    fn a_pause_is_no_interval() {
        let s = Duration::from_secs;
        for (gap, expected) in [
            (None, 5),
            (Some(1), 5),
            (Some(30), 30),
            (Some(599), 599),
            (Some(600), 5),
            (Some(7200), 5),
        ] {
            assert_eq!(interval(gap.map(s), s(5), s(600)), s(expected), "{gap:?}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (bad, reason) in [
            ("{}", Refused::NO_FIGURES),
            (r#"{"cpu": {}}"#, Refused::NO_FIGURES),
            (r#"{"cpu": 1}"#, Refused::WRONG_TYPE),
            (r#"{"cpu": []}"#, Refused::WRONG_TYPE),
            (r#"{"cpu": {"media": "70"}}"#, Refused::WRONG_TYPE),
            (r#"{"cpu": {"media": true}}"#, Refused::WRONG_TYPE),
            (r#"{"cpu": {"media": [1]}}"#, Refused::WRONG_TYPE),
            (r#"{"cpu": {"por_nucleo": {}}}"#, Refused::WRONG_TYPE),
            (r#"{"cpu": {"por_nucleo": [null]}}"#, Refused::WRONG_TYPE),
            (r#"{"cpu": {"por_nucleo": [1, "2"]}}"#, Refused::WRONG_TYPE),
            (r#"{"cpu": {"media": -1}}"#, Refused::IMPOSSIBLE),
            (r#"{"cpu": {"media": 100.1}}"#, Refused::IMPOSSIBLE),
            (r#"{"memoria": {"total_MB": -1}}"#, Refused::IMPOSSIBLE),
            (r#"{"memoria": {"total_MB": 1e300}}"#, Refused::IMPOSSIBLE),
            (
                r#"{"rede": {"taxa_upload_MBps": 1e300}}"#,
                Refused::IMPOSSIBLE,
            ),
            (r#"{"memoria": {"total_MB": 1e999}}"#, Refused::NO_JSON),
            (r#"{"cpu": {"media": NaN}}"#, Refused::NO_JSON),
            (r#"{"cpu": {"media": Infinity}}"#, Refused::NO_JSON),
        ] {
            assert_eq!(datagram(bad.as_bytes()).unwrap_err(), reason, "{bad}");
        }
    }

    #[test]
    fn more_cores_than_are_kept_are_left_out() {
        let cores = vec!["1.0"; 1300].join(",");
        let message = format!(r#"{{"cpu":{{"por_nucleo":[{cores}],"media":50}}}}"#);
        let (facts, _) = datagram(message.as_bytes()).unwrap();
        assert_eq!((facts.cores.len(), facts.cpu), (MAX_CORES, Some(0.5)));
    }
}
