//! The sample files, which are in the program: a first try needs neither a file of one's own nor
//! this repository.
//!
//! Each becomes a file in memory, which has a path as long as this process runs: so the samples are
//! sent in the same way as all other files, and nothing of them is left on disk.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::cli::output::{Exit, Failure};
use crate::client::{Form, Source};

macro_rules! samples {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/sample_files/", $name)))),*]
    };
}

/// The name and the content of each, in the order of the names.
const SAMPLES: [(&str, &[u8]); 10] = samples![
    "bolla-di-consegna.json",
    "customs-note.json",
    "inventory.json",
    "lettera-al-magazzino.json",
    "poem-of-the-road.json",
    "price-list.json",
    "sensor-log.json",
    "shift-report.json",
    "till-receipt.json",
    "traccia-gps.json",
];

/// The sample files as files in memory. Dropping it removes them.
pub(super) struct Samples(Vec<Sample>);

struct Sample {
    name: &'static str,
    content: &'static [u8],
    file: OwnedFd,
}

impl Samples {
    pub(super) fn make() -> Result<Self, Failure> {
        let samples = SAMPLES.iter().map(|(name, content)| {
            let file = in_memory(name, content)?;
            Ok(Sample {
                name,
                content,
                file,
            })
        });
        let samples: io::Result<_> = samples.collect();
        samples.map(Self).map_err(|error| {
            let error = format!("cannot unpack the sample files: {error}");
            Failure::new(Exit::Failed, error).hint("name a folder of files with --files")
        })
    }

    /// The names and the sizes in bytes.
    pub(super) fn list(&self) -> Vec<(OsString, u64)> {
        let samples = self.0.iter();
        samples
            .map(|sample| (sample.name.into(), sample.content.len() as u64))
            .collect()
    }

    /// The sample of this name.
    pub(super) fn source(&self, name: &str) -> Option<Source> {
        let sample = self.0.iter().find(|sample| sample.name == name)?;
        Some(Source {
            path: PathBuf::from(format!("/proc/self/fd/{}", sample.file.as_raw_fd())),
            title: name.to_owned(),
            // The path does not show that it is JSON.
            form: Form::Payload,
            called: Some(sample.name),
        })
    }
}

fn in_memory(name: &str, content: &[u8]) -> io::Result<OwnedFd> {
    let file = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(file);
    file.write_all(content)?;
    let file = OwnedFd::from(file);
    fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW,
    )?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A sample that is added to the folder must be added to the list as well.
    #[test]
    fn they_are_those_of_the_folder_and_can_be_read_by_their_paths() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sample_files");
        let entries = fs::read_dir(folder).unwrap();
        let mut expected: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        expected.sort();
        let samples = Samples::make().unwrap();
        let list = samples.list().into_iter();
        let list: Vec<_> = list
            .map(|(name, size)| (name.into_string().unwrap(), size))
            .collect();
        let names: Vec<_> = list.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names, expected);
        for (name, size) in list {
            let source = samples.source(&name).unwrap();
            let content = fs::read(source.path).unwrap();
            assert_eq!(content, fs::read(format!("{folder}/{name}")).unwrap());
            assert_eq!(content.len() as u64, size);
        }
        assert!(samples.source("other.json").is_none());
    }
}
