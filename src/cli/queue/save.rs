//! `bilico queue save`: the content of dead letters and waiting files, in files.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::Serialize;

use super::ask::{AskArgs, print_json};
use super::orders::DeadArgs;
use crate::admin::types::FileList;
use crate::balancer::query::{FileReport, MAX_LISTED, Selection};
use crate::checksum;
use crate::cli::api::Api;
use crate::cli::output::{self, Exit, Failure, complain, say};
use crate::server::name::stored_name;
use crate::text::Printable;

/// How many bytes are read at once.
const STEP: usize = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct SaveArgs {
    #[command(flatten)]
    which: DeadArgs,
    /// Where one file goes; `-` is the standard output [default: `NUMBER_TITLE` in this directory]
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["to", "all", "title", "user", "reason"])]
    output: Option<PathBuf>,
    /// The directory that files go to; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Save what is left of damaged content, too
    #[arg(long)]
    damaged: bool,
    #[command(flatten)]
    ask: AskArgs,
}

/// What became of one file, for `--json`.
#[derive(Debug, Serialize)]
struct Saved<'a> {
    number: u64,
    path: &'a Path,
    size: u64,
    /// `saved`; or `there`, with the same content, before.
    state: &'static str,
}

pub(super) fn save(args: &SaveArgs) -> Result<Exit, Failure> {
    let numbers = &args.which.numbers;
    if args.output.is_some() && numbers.len() > 1 {
        let error = format!(
            "--output names one file, and there are {} to save",
            numbers.len()
        );
        return Err(Failure::new(Exit::Usage, error).hint("pass --to DIR instead"));
    }
    if numbers.is_empty() && args.to.is_none() {
        let error = "many files need a directory to go to";
        return Err(Failure::new(Exit::Usage, error).hint("pass --to DIR"));
    }
    let what = match &numbers[..] {
        [] => "save dead letters".to_owned(),
        [number] => format!("save file {number}"),
        many => format!("save {} files", many.len()),
    };
    let api = Api::new(&args.ask.admin)?.to(what);
    if let (Some(path), [number]) = (&args.output, &numbers[..]) {
        return save_as(&api, *number, path, args);
    }
    let dir = args.to.as_deref().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(|error| cannot_write(dir, &error))?;
    let mut sum = Sum::default();
    if numbers.is_empty() {
        all_dead(&api, args, dir, &mut sum)?;
    }
    for number in numbers {
        let known = api.get::<FileReport>(&format!("files/{number}"));
        let saved = known.and_then(|file| save_in(&api, &file, dir, args));
        // The failure of a single file is the command's own.
        sum.add(if numbers.len() == 1 {
            Ok(saved?)
        } else {
            saved
        })?;
    }
    if !args.ask.json {
        say(sum.words(dir));
    }
    Ok(if sum.failed > 0 {
        Exit::Failed
    } else {
        Exit::Done
    })
}

/// How many files were saved.
#[derive(Debug, Default)]
struct Sum {
    saved: usize,
    there: usize,
    failed: usize,
}

impl Sum {
    /// Counts one file. What concerns it alone does not keep the others from being saved.
    fn add(&mut self, saved: Result<bool, Failure>) -> Result<(), Failure> {
        match saved {
            Ok(true) => self.saved += 1,
            Ok(false) => self.there += 1,
            Err(failure) if failure.exit == Exit::Unreachable => return Err(failure),
            Err(failure) => {
                complain(&failure.error, failure.hint.as_deref());
                self.failed += 1;
            }
        }
        Ok(())
    }

    fn words(&self, dir: &Path) -> String {
        let noun = if self.saved == 1 { "file" } else { "files" };
        // Writing to text cannot fail.
        let mut text = format!("{} {noun} saved in {}", self.saved, dir.display());
        if self.there > 0 {
            let _ = write!(text, ", {} there already", self.there);
        }
        if self.failed > 0 {
            let _ = write!(text, ", {} not saved", self.failed);
        }
        text
    }
}

/// Saves all dead letters that are chosen, page by page.
fn all_dead(api: &Api, args: &SaveArgs, dir: &Path, sum: &mut Sum) -> Result<(), Failure> {
    let common = args.which.common();
    let matcher = Selection {
        title: common.title.map(str::to_owned),
        user: common.user.map(str::to_owned),
        reason: common.reason.map(str::to_owned),
        ..Selection::all()
    }
    .matcher();
    let mut after = 0;
    loop {
        let page: FileList = api.get(&format!("dead?after={after}&limit={MAX_LISTED}"))?;
        let Some(last) = page.files.last() else {
            return Ok(());
        };
        after = last.number;
        for file in &page.files {
            let user = file.from.split_once('@').map(|(user, _)| user);
            if matcher.selects(&file.title, user, file.reason.as_deref()) {
                sum.add(save_in(api, file, dir, args))?;
            }
        }
    }
}

/// Saves a file under its own name in a directory. False if it is there already.
fn save_in(api: &Api, file: &FileReport, dir: &Path, args: &SaveArgs) -> Result<bool, Failure> {
    let path = dir.join(stored_name(file.number, &file.title));
    let is_there = match File::open(&path) {
        Ok(there) => {
            let sum = sum_of(there).map_err(|error| cannot_write(&path, &error))?;
            if sum != (file.size, file.crc32c.clone()) {
                return Err(taken(&path));
            }
            true
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            save_to(api, file, &path, args.damaged)?;
            false
        }
        Err(error) => return Err(cannot_write(&path, &error)),
    };
    let state = if is_there { "there" } else { "saved" };
    tell(file, &path, state, args)?;
    Ok(!is_there)
}

/// Saves one file under a name that was given.
fn save_as(api: &Api, number: u64, path: &Path, args: &SaveArgs) -> Result<Exit, Failure> {
    let file: FileReport = api.get(&format!("files/{number}"))?;
    if path == Path::new("-") {
        let content = api.content(number, args.damaged)?;
        let sum = copy(content, |piece| {
            output::print(piece);
            Ok(())
        })
        .map_err(|error| broke_off(number, &error))?;
        if !args.damaged {
            compare(&file, &sum)?;
        }
        return Ok(Exit::Done);
    }
    if path.symlink_metadata().is_ok() {
        return Err(taken(path));
    }
    save_to(api, &file, path, args.damaged)?;
    tell(&file, path, "saved", args)?;
    Ok(Exit::Done)
}

fn tell(
    file: &FileReport,
    path: &Path,
    state: &'static str,
    args: &SaveArgs,
) -> Result<(), Failure> {
    let FileReport { number, size, .. } = *file;
    if args.ask.json {
        return print_json(&Saved {
            number,
            path,
            size,
            state,
        });
    }
    let there = if state == "there" {
        ", there already"
    } else {
        ""
    };
    let shown = path.display();
    say(format_args!(
        "file {number}: {}, {size} bytes{there}",
        Printable(shown)
    ));
    Ok(())
}

/// Writes the content beside its place, and gives it its name when it is whole: nothing is
/// overwritten, and no name has half of a file.
fn save_to(api: &Api, file: &FileReport, path: &Path, accepts_damage: bool) -> Result<(), Failure> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let part = dir.join(format!(
        ".bilico-save-{}-{}.part",
        std::process::id(),
        file.number
    ));
    let saved = write_part(api, file, &part, accepts_damage)
        .and_then(|()| name_it(&part, path).map_err(|error| cannot_write(path, &error)));
    if saved.is_err() {
        // It may not be there.
        let _ = fs::remove_file(&part);
    }
    saved
}

fn write_part(
    api: &Api,
    file: &FileReport,
    part: &Path,
    accepts_damage: bool,
) -> Result<(), Failure> {
    // Whether it is damaged is found out here, too, so that the message has both checksums.
    let content = api.content(file.number, true)?;
    let mut to = File::create_new(part).map_err(|error| cannot_write(part, &error))?;
    let mut failed = None;
    let sum = copy(content, |piece| {
        to.write_all(piece)
            .inspect_err(|error| failed = Some(error.to_string()))
    });
    let sum = sum.map_err(|error| match failed.take() {
        Some(error) => cannot_write(part, &io::Error::other(error)),
        None => broke_off(file.number, &error),
    })?;
    if !accepts_damage {
        compare(file, &sum)?;
    }
    to.sync_all().map_err(|error| cannot_write(part, &error))
}

/// Gives the part its name, unless something has that.
fn name_it(part: &Path, path: &Path) -> io::Result<()> {
    match renameat_with(CWD, part, CWD, path, RenameFlags::NOREPLACE) {
        // Not every file system can do that.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            fs::hard_link(part, path)?;
            fs::remove_file(part)
        }
        renamed => Ok(renamed?),
    }
}

/// Copies content; gives its size and its CRC32C.
fn copy(
    mut content: impl Read,
    mut to: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(u64, String)> {
    let mut buffer = vec![0; STEP];
    let (mut size, mut crc32c) = (0, 0);
    loop {
        let read = match content.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let piece = buffer.get(..read).unwrap_or_default();
        if piece.is_empty() {
            return Ok((size, format!("{crc32c:08x}")));
        }
        to(piece)?;
        size += piece.len() as u64;
        crc32c = checksum::append(crc32c, piece);
    }
}

fn sum_of(file: File) -> io::Result<(u64, String)> {
    copy(file, |_| Ok(()))
}

/// An error if the content is not what the client sent.
fn compare(file: &FileReport, (size, crc32c): &(u64, String)) -> Result<(), Failure> {
    if *size == file.size && *crc32c == file.crc32c {
        return Ok(());
    }
    let error = format!(
        "file {}: its content is damaged in the journal: {size} bytes with crc32c {crc32c}, and it was \
         {} bytes with crc32c {}",
        file.number, file.size, file.crc32c
    );
    Err(Failure::new(Exit::Failed, error).hint("--damaged saves what is there"))
}

fn taken(path: &Path) -> Failure {
    let error = format!("{} is there already, with other content", path.display());
    Failure::new(Exit::Failed, error)
        .hint("nothing is overwritten: name another place, or move it away")
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::AlreadyExists {
        return taken(path);
    }
    Failure::new(
        Exit::Failed,
        format!("cannot write {}: {error}", path.display()),
    )
}

fn broke_off(number: u64, error: &io::Error) -> Failure {
    let error = format!("file {number}: its content broke off: {error}");
    Failure::new(Exit::Failed, error)
        .hint("the balancer has stopped, or cannot read the content: its log says so")
}
