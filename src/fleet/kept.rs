//! The file in which the members of the fleet outlive the balancer, in the journal's directory.
//!
//! A file that is damaged, or that belongs to another journal, is set aside and told: the balancer
//! starts all the same, with the members that the configuration has.

use serde::{Deserialize, Serialize};

use crate::fleet_core::registry::KeptMember;
use crate::queue::SealedFile;
use crate::queue::disk::Disk;

/// The file: ten thousand members with all that may be long about them take less than is read.
pub(super) const FILE: SealedFile = SealedFile {
    name: "fleet.json",
    part: "fleet.part",
    damaged: "fleet.damaged",
    first: "bilico fleet 1",
    most: 64 * 1024 * 1024,
};

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    /// The identity of the journal, so that a file that was copied to another one does nothing.
    journal: String,
    members: Vec<KeptMember>,
}

/// Reads the file, if there is one.
pub(super) fn read(disk: &dyn Disk, journal: &str) -> Result<Option<Vec<KeptMember>>, String> {
    let bytes = FILE.read(disk)?;
    bytes.map(|bytes| parse(&bytes, journal)).transpose()
}

fn parse(bytes: &[u8], journal: &str) -> Result<Vec<KeptMember>, String> {
    let content: Content = serde_json::from_str(FILE.open(bytes)?)
        .map_err(|error| format!("it is damaged: {error}"))?;
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
    FILE.seal(&serde_json::to_string(&content).unwrap_or_default())
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
                is_proved: true,
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
        assert_eq!(read(&disk, "j"), Ok(None));
        let members = some_members();
        for text in ["bilico fleet 1\n", &text("j", members.clone())] {
            FILE.write(&disk, text).unwrap();
        }
        assert_eq!(read(&disk, "j"), Ok(Some(members)));
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
