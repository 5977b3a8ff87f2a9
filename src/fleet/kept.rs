//! The file in which the members of the fleet outlive the balancer, in the journal's directory.
//!
//! It is written anew as a whole beside the one that is there, synced, and gets its name then. A
//! file that is damaged, or that belongs to another journal, is set aside and told: the balancer
//! starts all the same, with the members that the configuration has.

use std::io;

use serde::{Deserialize, Serialize};

use crate::checksum;
use crate::fleet_core::registry::KeptMember;
use crate::queue::disk::{Disk, read_full_at, write_all_at};

/// The file's name in the journal's directory.
pub(super) const FILE: &str = "fleet.json";

/// Its name while it is written.
const PART: &str = "fleet.part";

/// The name of a file that could not be understood.
pub(super) const DAMAGED: &str = "fleet.damaged";

/// The first line.
const FIRST: &str = "bilico fleet 1";

/// The largest file that is read, in bytes: ten thousand members with all that may be long about
/// them take less.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    /// The identity of the journal, so that a file that was copied to another one does nothing.
    journal: String,
    members: Vec<KeptMember>,
}

/// Reads the file; no file means no members.
pub(super) fn read(disk: &dyn Disk, journal: &str) -> Result<Vec<KeptMember>, String> {
    let file = match disk.open(FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let len = file.len().map_err(|error| error.to_string())?;
    if len > MAX_FILE {
        return Err(format!(
            "it has {len} bytes, at most {MAX_FILE} are expected"
        ));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    let read = read_full_at(&*file, &mut bytes, 0).map_err(|error| error.to_string())?;
    bytes.truncate(read);
    parse(&bytes, journal)
}

fn parse(bytes: &[u8], journal: &str) -> Result<Vec<KeptMember>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text")?;
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default();
    let (first, content, sum) = (next(), next(), next());
    if first != FIRST {
        return Err(format!(
            "it does not begin with `{FIRST}`: another version wrote it, or it is damaged"
        ));
    }
    if sum != format!("{:08x}", checksum::crc32c(content.as_bytes())) {
        return Err("it is damaged: its checksum is wrong".to_owned());
    }
    let content: Content =
        serde_json::from_str(content).map_err(|error| format!("it is damaged: {error}"))?;
    if content.journal != journal {
        return Err(format!(
            "it belongs to the journal {}, and this is {journal}",
            content.journal
        ));
    }
    Ok(content.members)
}

/// The text of the file.
pub(super) fn text(journal: &str, members: Vec<KeptMember>) -> String {
    let content = Content {
        journal: journal.to_owned(),
        members,
    };
    // Text and numbers can always be written as JSON.
    let content = serde_json::to_string(&content).unwrap_or_default();
    let sum = checksum::crc32c(content.as_bytes());
    format!("{FIRST}\n{content}\n{sum:08x}\n")
}

/// Writes the file, in place of the one that is there. When this returns it is durable.
pub(super) fn write(disk: &dyn Disk, text: &str) -> io::Result<()> {
    let part = match disk.create(PART) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(PART)?;
            disk.create(PART)?
        }
        created => created?,
    };
    write_all_at(&*part, text.as_bytes(), 0)?;
    part.sync()?;
    disk.rename(PART, FILE)?;
    disk.sync_dir()
}

/// Keeps a file that cannot be understood under another name.
pub(super) fn set_aside(disk: &dyn Disk) -> io::Result<()> {
    disk.rename(FILE, DAMAGED)?;
    disk.sync_dir()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet_core::registry::{Registration, Registry, RegistryConfig};
    use crate::queue::sim::SimDisk;
    use std::time::Duration;

    fn some_members() -> Vec<KeptMember> {
        let mut registry = Registry::new(RegistryConfig::default());
        for n in 0..3 {
            let registration = Registration {
                directory: format!("{n:032x}").into(),
                instance: None,
                address: format!("10.0.0.{n}:5001").into(),
                weight: 2,
                name: Some(format!("server {n}").into()),
                ticket: None,
                peer: Some([10, 0, 0, n].into()),
                lease: Duration::from_secs(15),
                facts: crate::fleet_core::Facts::default(),
            };
            registry.register(&registration, Duration::ZERO).unwrap();
        }
        registry.keep(Duration::ZERO)
    }

    #[test]
    fn members_are_read_as_they_were_written() {
        let disk = SimDisk::new();
        assert_eq!(read(&disk, "j"), Ok(Vec::new()));
        let members = some_members();
        for text in ["bilico fleet 1\n", &text("j", members.clone())] {
            write(&disk, text).unwrap();
        }
        assert_eq!(read(&disk, "j"), Ok(members));
    }

    /// Each byte of the file that is another, and each length: an error, never other members.
    #[test]
    fn damage_is_found_wherever_it_is() {
        let text = text("j", some_members()).into_bytes();
        for at in 0..text.len() {
            let mut damaged = text.clone();
            damaged[at] ^= 1;
            assert!(
                parse(&damaged, "j").is_err_and(|why| !why.is_empty())
                    || damaged[at] == b'\n'
                    || text[at] == b'\n',
                "byte {at}"
            );
        }
        for len in 0..text.len() - 1 {
            assert!(parse(&text[..len], "j").is_err(), "{len} bytes");
        }
        let error = parse(&text, "k").unwrap_err();
        assert_eq!(error, "it belongs to the journal j, and this is k");
    }
}
