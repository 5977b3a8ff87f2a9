//! The files that `send` at the prompt names.

use std::path::Path;

use super::folder::Folder;
use super::words::{Pattern, expand_home, matched, matching, pattern};
use crate::cli::output::{Exit, Failure};
use crate::client::walk::{Found, Links};
use crate::client::{Form, Source};
use crate::os_text;
use crate::text::printable_path;
use crate::transport::plain;

/// What `send` found, and what people call each of the files.
pub(super) struct Picked {
    pub(super) found: Found,
    pub(super) names: Vec<String>,
    /// How many directories patterns matched, which are left out.
    pub(super) directories: usize,
}

/// Finds the files by the words behind `send`: names in the folder, paths, and patterns of either.
/// Blocks.
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
            option if option.starts_with('-') && !folder.find(option).exists() => {
                let error = format!("`send` has no option {option} at the prompt");
                let hint = "-r, --follow, --skip-links; `bilico send --help`, in another terminal, \
                            lists those of the command";
                return Err(Failure::new(Exit::Failed, error).hint(hint));
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
        directories: 0,
    };
    for word in names {
        let name = expand_home(word);
        let path = folder.find(&name);
        if let Some(sample) = folder.sample(&name) {
            picked.sample(sample);
        } else if let Some(pattern) = pattern(&name).filter(|_| !path.exists()) {
            picked.matching(folder, &pattern, word, links, recursive)?;
        } else {
            picked.add(&path, word, links, recursive)?;
        }
    }
    Ok(picked)
}

impl Picked {
    fn sample(&mut self, sample: Source) {
        self.names.push(sample.shown());
        self.found.sources.push(sample);
    }

    /// Adds what a pattern matches in the folder, or else in the file system.
    fn matching(
        &mut self,
        folder: &Folder,
        pattern: &Pattern,
        word: &str,
        links: Links,
        recursive: bool,
    ) -> Result<(), Failure> {
        let own = matching(pattern, folder.names());
        for name in &own {
            match folder.sample(name) {
                Some(sample) => self.sample(sample),
                None => self.add(&folder.find(name), name, links, recursive)?,
            }
        }
        if !own.is_empty() {
            return Ok(());
        }
        let (paths, unread) = matched(pattern);
        if let Some((folder, error)) = unread.first() {
            let folder = printable_path(folder);
            let error = format!("cannot look for {word}: {folder}: {}", plain(error));
            return Err(Failure::new(Exit::Failed, error));
        }
        if paths.is_empty() {
            let failure = Failure::new(Exit::Failed, format!("no file matches {word}"));
            return Err(failure.hint("ls lists the files in the folder; other files need a path"));
        }
        for path in paths {
            if !recursive && path.is_dir() {
                self.directories += 1;
            } else {
                self.add(&path, &os_text::encode(path.as_os_str()), links, recursive)?;
            }
        }
        Ok(())
    }

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
            files => self.names.extend(files.iter().map(Source::shown)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn titles(folder: &Folder, word: &str) -> Vec<String> {
        let picked =
            pick(folder, &[word.to_owned()]).unwrap_or_else(|failure| panic!("{failure:?}"));
        let sources = picked.found.sources.into_iter();
        sources.map(|source| source.title).collect()
    }

    #[test]
    fn patterns_names_and_paths_lead_to_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        fs::create_dir(at("sub")).unwrap();
        for name in ["a.txt", "b[1].txt", "c.json", "sub/d.txt"] {
            fs::write(at(name), name).unwrap();
        }
        let own = Folder::open(Some(dir.path())).unwrap_or_else(|failure| panic!("{failure:?}"));
        let samples = Folder::open(None).unwrap_or_else(|failure| panic!("{failure:?}"));
        assert_eq!(titles(&own, "*.txt"), ["a.txt", "b[1].txt"]);
        assert_eq!(titles(&own, "b[1].txt"), ["b[1].txt"]);
        assert_eq!(titles(&samples, &at("*.json")), ["c.json"]);
        assert_eq!(titles(&samples, "till*"), ["till-receipt.json"]);
        assert_eq!(titles(&samples, "missing"), ["missing"]);
        let all = |words: &[String]| {
            let picked = pick(&samples, words).unwrap_or_else(|failure| panic!("{failure:?}"));
            (picked.found.sources.len(), picked.directories)
        };
        assert_eq!(all(&[at("*")]), (3, 1));
        assert_eq!(all(&["-r".to_owned(), at("*")]), (4, 0));
        for (word, hint) in [
            (at("sub"), "send -r"),
            (at("*.pdf"), "ls lists"),
            ("-x".to_owned(), "--skip-links"),
        ] {
            let failure = pick(&samples, &[word]).err().unwrap();
            assert!(failure.hint.as_ref().unwrap().contains(hint), "{failure:?}");
        }
    }
}
