//! What Tab completes: commands, the names of files, and servers.

use std::sync::{Arc, Mutex, PoisonError};

use rustyline::completion::{FilenameCompleter, Quote, escape, unescape};

use super::about::{COMMANDS, about};
use super::words::open_quote;
use crate::cli::prompt::{Completion, Completions};

/// The most names that are offered.
const MOST: usize = 1000;

/// The names of the files in the folder, as it was read last.
pub(super) type Names = Arc<Mutex<Vec<String>>>;

/// Completes the words of a command.
pub(super) struct Completer {
    /// The names of the files in the folder.
    pub(super) names: Names,
    /// Asks for the names of the servers. It may block for a moment.
    pub(super) servers: Box<dyn Fn() -> Vec<String> + Send>,
}

impl Completions for Completer {
    fn complete(&self, line: &str) -> (usize, Vec<Completion>) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_begun = line.ends_with(|c: char| !c.is_whitespace());
        let word = if is_begun {
            words.last().copied().unwrap_or_default()
        } else {
            ""
        };
        let start = line.len() - word.len();
        let before = words.len() - usize::from(is_begun);
        let command = words.first().and_then(|first| about(first));
        match (before, command.map(|about| about.name)) {
            (0, _) => (start, commands(word, true)),
            (_, Some("send")) => self.files(line),
            (1, Some("help")) => (start, commands(word, false)),
            (1, Some("drain" | "undrain")) => (start, self.servers(word, "")),
            (1, Some("weight")) => (start, self.servers(word, " ")),
            _ => (line.len(), Vec::new()),
        }
    }
}

/// The commands that begin with this word, in any case.
fn commands(word: &str, is_run: bool) -> Vec<Completion> {
    let word = word.to_lowercase();
    let known = COMMANDS
        .iter()
        .filter(|about| about.name.to_lowercase().starts_with(&word));
    known
        .map(|about| {
            let takes_more = is_run && about.usage.len() > about.name.len();
            Completion::new(about.name, if takes_more { " " } else { "" })
        })
        .collect()
}

impl Completer {
    /// The servers whose name or port begins with this word; if there are none, those whose name
    /// has it elsewhere.
    fn servers(&self, word: &str, end: &'static str) -> Vec<Completion> {
        let all = (self.servers)();
        let begins = |name: &&String| {
            let port = name.rsplit_once(':').map_or("", |(_, port)| port);
            name.starts_with(word) || port.starts_with(word)
        };
        let mut found: Vec<_> = all.iter().filter(begins).collect();
        if found.is_empty() {
            found = all.iter().filter(|name| name.contains(word)).collect();
        }
        let found = found.into_iter().take(MOST);
        found.map(|name| Completion::new(name, end)).collect()
    }

    /// The files in the folder whose names begin with the last word, and the paths that do.
    fn files(&self, line: &str) -> (usize, Vec<Completion>) {
        let Ok((start, paths)) = FilenameCompleter::new().complete_path(line, line.len()) else {
            return (line.len(), Vec::new());
        };
        let (quote, end) = match open_quote(line) {
            Some('"') => (Quote::Double, "\" "),
            Some(_) => (Quote::Single, "' "),
            None => (Quote::None, " "),
        };
        let typed = line.get(start..).unwrap_or_default();
        let typed = match quote {
            Quote::Single => typed.into(),
            Quote::Double | Quote::None => unescape(typed, Some('\\')),
        };
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let own = names.iter().filter(|name| name.starts_with(&*typed));
        let mut found: Vec<_> = own
            .take(MOST)
            .map(|name| {
                let inserted = escape(name.clone(), Some('\\'), needs_escape(quote), quote);
                Completion::of(name.clone(), inserted, end)
            })
            .collect();
        for pair in paths.into_iter().take(MOST) {
            let is_dir = pair.replacement.ends_with('/');
            if found.iter().all(|known| known.text() != pair.replacement) {
                let end = if is_dir { "" } else { end };
                found.push(Completion::of(pair.display, pair.replacement, end));
            }
        }
        (start, found)
    }
}

/// Which characters get a backslash: those that end a word, or an open quote.
fn needs_escape(quote: Quote) -> fn(char) -> bool {
    match quote {
        Quote::Double => |c| matches!(c, '"' | '\\' | '$' | '`'),
        Quote::Single | Quote::None => |c| c.is_whitespace() || "\"'\\#*?[]".contains(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str) -> (usize, Vec<String>) {
        let names = ["two words.json", "till.json", "it's.json"];
        let completer = Completer {
            names: Arc::new(Mutex::new(names.map(str::to_owned).to_vec())),
            servers: Box::new(|| vec!["127.0.0.1:5001".into(), "backup:5002".into()]),
        };
        let (start, found) = completer.complete(line);
        let texts = found.iter().map(|found| found.text().to_owned());
        (start, texts.collect())
    }

    #[test]
    fn the_word_at_the_end_of_the_line_is_completed() {
        for (line, start, expected) in [
            ("s", 0, &["send", "status"][..]),
            ("F", 0, &["FTP"]),
            ("ft", 0, &["FTP"]),
            ("help we", 5, &["weight"]),
            ("drain 5", 6, &["127.0.0.1:5001", "backup:5002"]),
            ("drain b", 6, &["backup:5002"]),
            ("undrain kup", 8, &["backup:5002"]),
            ("weight 127", 7, &["127.0.0.1:5001"]),
            ("weight 5001 ", 12, &[]),
            ("FTP ", 4, &[]),
            ("xyzzy a", 7, &[]),
            ("send ti", 5, &["till.json"]),
            ("send till.json tw", 15, &["two\\ words.json"]),
            ("send two\\ w", 5, &["two\\ words.json"]),
            ("send \"two w", 6, &["two words.json"]),
            ("send 'two w", 6, &["two words.json"]),
            ("send it", 5, &["it\\'s.json"]),
        ] {
            let expected = expected.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(completed(line), (start, expected), "{line:?}");
        }
    }

    #[test]
    fn paths_are_completed_too() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("some file"), "").unwrap();
        let typed = format!("send {}/s", dir.path().display());
        let base = dir.path().display().to_string();
        let (start, found) = completed(&typed);
        let expected = [format!("{base}/some\\ file"), format!("{base}/sub/")];
        assert_eq!((start, found), (5, expected.to_vec()));
    }
}
