//! The files that `send` at the prompt names.

use std::path::Path;

use super::folder::Folder;
use crate::cli::output::{Exit, Failure};
use crate::client::Form;
use crate::client::walk::{Found, Links};

/// What `send` found, and what people call each of the files.
pub(super) struct Picked {
    pub(super) found: Found,
    pub(super) names: Vec<String>,
}

/// Finds the files by the words behind `send`. Blocks.
pub(super) fn pick(folder: &Folder, words: &[String]) -> Result<Picked, Failure> {
    let (mut links, mut recursive) = (Links::Tell, false);
    let mut words = words.iter();
    let mut names = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-r" | "--recursive" => recursive = true,
            "--follow" => links = Links::Follow,
            "--skip-links" => links = Links::Skip,
            "-" => {
                let error =
                    "the prompt reads its commands from standard input, so `-` cannot be sent";
                let failure = Failure::new(Exit::Failed, error);
                return Err(failure.hint("leave, and use `bilico send -`; a file called - is ./-"));
            }
            "--" => {
                names.extend(words);
                break;
            }
            _ => names.push(word),
        }
    }
    if names.is_empty() {
        let failure = Failure::new(Exit::Failed, "`send` needs the names of files");
        return Err(failure.hint("send NAME…, with names that ls lists, or paths"));
    }
    let mut picked = Picked {
        found: Found::default(),
        names: Vec::new(),
    };
    for name in names {
        picked.add(&folder.find(name), name, links, recursive)?;
    }
    Ok(picked)
}

impl Picked {
    fn add(
        &mut self,
        path: &Path,
        name: &str,
        links: Links,
        recursive: bool,
    ) -> Result<(), Failure> {
        let before = self.found.sources.len();
        let added = self.found.add(path, Form::Either, links, recursive);
        added.map_err(|_| {
            let failure = Failure::new(Exit::Failed, format!("{name} is a directory"));
            failure.hint(format!("send -r {name} sends the files in it"))
        })?;
        let added = self.found.sources.get(before..).unwrap_or_default();
        match added {
            // As it was typed.
            [file] if file.path == path => self.names.push(name.to_owned()),
            files => self
                .names
                .extend(files.iter().map(crate::client::Source::shown)),
        }
        Ok(())
    }
}
