//! Small files beside the journal that are whole or not there: a first line that names the format, a
//! line of content, and its checksum.
//!
//! Such a file is written anew as a whole beside the one that is there, synced, and gets its name
//! then. One that is damaged can be set aside under another name.

use std::io;

use bilico_core::checksum;

use super::disk::{Disk, read_full_at, write_all_at};

/// A kind of small file in the journal's directory.
#[derive(Debug)]
pub struct SealedFile {
    /// Its name.
    pub name: &'static str,
    /// Its name while it is written.
    pub part: &'static str,
    /// The name of one that could not be understood.
    pub damaged: &'static str,
    /// Its first line.
    pub first: &'static str,
    /// The most bytes that are read.
    pub most: u64,
}

impl SealedFile {
    /// Reads the bytes of the file; `None` if there is none. The error is for people.
    pub fn read(&self, disk: &dyn Disk) -> Result<Option<Vec<u8>>, String> {
        let file = match disk.open(self.name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let len = file.len().map_err(|error| error.to_string())?;
        if len > self.most {
            let most = self.most;
            return Err(format!("it has {len} bytes, at most {most} are expected"));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        let read = read_full_at(&*file, &mut bytes, 0).map_err(|error| error.to_string())?;
        bytes.truncate(read);
        Ok(Some(bytes))
    }

    /// The content in these bytes of a file, if they are whole.
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<&'a str, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is no text")?;
        let mut lines = text.lines();
        let mut next = || lines.next().unwrap_or_default();
        let (first, content, sum) = (next(), next(), next());
        if first != self.first {
            return Err(format!(
                "it does not begin with `{}`: another version wrote it, or it is damaged",
                self.first
            ));
        }
        if sum != format!("{:08x}", checksum::crc32c(content.as_bytes())) {
            return Err("it is damaged: its checksum is wrong".to_owned());
        }
        Ok(content)
    }

    /// The text of a file with this content, which is one line.
    pub fn seal(&self, content: &str) -> String {
        let sum = checksum::crc32c(content.as_bytes());
        format!("{}\n{content}\n{sum:08x}\n", self.first)
    }

    /// Writes the text of the file, in place of the one that is there. When this returns it is
    /// durable.
    pub fn write(&self, disk: &dyn Disk, text: &str) -> io::Result<()> {
        let part = match disk.create(self.part) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove(self.part)?;
                disk.create(self.part)?
            }
            created => created?,
        };
        write_all_at(&*part, text.as_bytes(), 0)?;
        part.sync()?;
        disk.rename(self.part, self.name)?;
        disk.sync_dir()
    }

    /// Keeps a file that cannot be understood under another name, if that can be done, and gives the
    /// name that it has now.
    pub fn set_aside(&self, disk: &dyn Disk) -> &'static str {
        let moved = disk.rename(self.name, self.damaged);
        match moved.and_then(|()| disk.sync_dir()) {
            Ok(()) => self.damaged,
            Err(_) => self.name,
        }
    }
}
