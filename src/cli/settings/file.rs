//! Reads a configuration file and reports all of its problems at once.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::program::Program;
use super::reading::{Problem, parse};

pub(in crate::cli) use super::reading::Entry;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// How many problems of one file are reported at most.
const MAX_PROBLEMS: usize = 100;

/// Reads a file. The error has one text per problem, with the file and the line.
pub(in crate::cli) fn load(path: &Path, program: &Program) -> Result<Vec<Entry>, Vec<String>> {
    let read = read(path).map_err(|problem| vec![problem]);
    let parsed = read.and_then(|text| parse(&text, program));
    parsed.map_err(|problems| texts(&problems, path))
}

/// The problems of a file with this text; an empty list if it has none.
pub(in crate::cli) fn problems(text: &str, path: &Path, program: &Program) -> Vec<String> {
    let problems = parse(text, program).err().unwrap_or_default();
    texts(&problems, path)
}

fn texts(problems: &[Problem], path: &Path) -> Vec<String> {
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    let mut texts: Vec<String> = problems
        .iter()
        .take(MAX_PROBLEMS)
        .map(|problem| problem.of(path))
        .collect();
    if more > 0 {
        texts.push(format!("{}: and {more} more problems", path.display()));
    }
    texts
}

fn read(path: &Path) -> Result<String, Problem> {
    let cannot = |error: &dyn fmt::Display| Problem {
        line: None,
        what: format!("cannot read the file: {error}"),
    };
    let metadata = std::fs::metadata(path).map_err(|error| cannot(&error))?;
    // A pipe can be read only once: a reload would block on it for ever.
    if !metadata.is_file() {
        return Err(cannot(&"not a regular file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| cannot(&error))?;
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| cannot(&error))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(cannot(&"it is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = error
            .as_bytes()
            .get(..error.utf8_error().valid_up_to())
            .unwrap_or_default();
        Problem::at(bytecount::count(before, b'\n') + 1, "invalid UTF-8")
    })
}
