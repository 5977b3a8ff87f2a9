//! Parses a command line together with its configuration file.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::effective::{Effective, Origin};
use super::file::{self, Entry};
use super::keys::LOG;
use super::places::{self, Chosen, Place, origins, reaches, with_places};
use super::program::{Program, conflict, lenient};
use crate::cli::output::{self, Exit, Failure, complain};

/// The identity of the flag that names the file.
const CONFIG: &str = "config";

/// The command that reads what `[log]` has written.
const LOGS: &str = "logs";

/// A valid command line, with the values of the configuration file.
#[derive(Debug)]
pub(in crate::cli) struct Resolved {
    pub(in crate::cli) matches: ArgMatches,
    /// The configuration file, if one was given.
    pub(in crate::cli) file: Option<PathBuf>,
    /// The entries of the file that apply to the command.
    pub(in crate::cli) entries: Vec<Entry>,
    /// What other tables of the file say about the balancer.
    places: Vec<Place>,
    context: Option<Chosen>,
}

impl Resolved {
    /// The settings of the command that can be keys of a file, with their origins.
    pub(in crate::cli) fn effective(&self, program: &Program) -> Vec<Effective> {
        let Some((name, matches)) = self.matches.subcommand() else {
            return Vec::new();
        };
        let mut values = program.effective(name, matches, &self.entries);
        let origins = origins(&self.places, self.context.as_ref());
        for value in &mut values {
            let is_said = matches!(value.origin, Origin::Flag | Origin::Environment);
            let found = origins.iter().rev().find(|(key, _)| *key == value.key);
            if let Some((_, origin)) = found.filter(|_| !is_said) {
                value.origin = *origin;
            }
        }
        values
    }

    /// Lets messages of this process name the context.
    pub(in crate::cli) fn work_with_context(&self) {
        if let Some(chosen) = &self.context {
            chosen.work_with();
        }
    }
}

/// Why a command line is invalid.
#[derive(Debug)]
pub(in crate::cli) enum Refused {
    /// The flags or the environment are invalid, or `--help` was given.
    Flags(Box<clap::Error>),
    /// The configuration file is invalid: all of its problems.
    File(Vec<String>),
    /// Each value is valid; together they are not.
    Together(String),
}

/// How a role was started, so that a reload can do the same again.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Started {
    /// The words of its command line.
    pub(in crate::cli) args: Vec<OsString>,
    /// The configuration file, if one was given.
    pub(in crate::cli) file: Option<PathBuf>,
    /// The settings in force.
    pub(in crate::cli) values: Vec<Effective>,
    /// The command line's definition.
    pub(in crate::cli) program: fn() -> Program,
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            // clap prints its own message and exits; `--help` is not an error.
            Refused::Flags(error) => output::end_parsing(&error),
            Refused::File(mut problems) => {
                let last = problems.pop().unwrap_or_default();
                for problem in problems {
                    complain(&problem, None);
                }
                Self::new(Exit::Usage, last)
            }
            Refused::Together(problem) => Self::new(Exit::Usage, problem),
        }
    }
}

impl Program {
    /// Parses a command line, whose first word is the program's name, together with the
    /// configuration file that it names, if its command has keys in one.
    pub(in crate::cli) fn resolve(&self, args: &[OsString]) -> Result<Resolved, Refused> {
        // The file may hold required flags, so the first pass requires none.
        let lenient = self
            .command
            .clone()
            .mut_subcommands(|command| command.mut_args(|arg| lenient(arg, false)));
        let first = match lenient.try_get_matches_from(args) {
            Ok(matches) => matches,
            Err(_) => flags(self.command.clone(), args)?,
        };
        let file = first.get_one::<PathBuf>(CONFIG).cloned();
        let is_flag = first.value_source(CONFIG) == Some(ValueSource::CommandLine);
        let name = first.subcommand_name().unwrap_or_default();
        let context = Chosen::find(&first, name, is_flag).map_err(Refused::Together)?;
        let mut resolved = Resolved {
            matches: first.clone(),
            file,
            entries: Vec::new(),
            places: Vec::new(),
            context,
        };
        if let (Some(path), Some((name, given))) = (&resolved.file, first.subcommand())
            && (self.is_configurable(name) || reaches(name) || name == LOGS)
        {
            let entries = file::load(path, self).map_err(Refused::File)?;
            resolved.places = places::of_file(name, &entries);
            resolved.entries = self.for_command(name, given, entries);
        }
        resolved.matches = self.checked(args, name, &resolved)?;
        Ok(resolved)
    }

    /// Parses the command line with all that stands behind it.
    fn checked(
        &self,
        args: &[OsString],
        name: &str,
        behind: &Resolved,
    ) -> Result<ArgMatches, Refused> {
        let mut command = self.command.clone();
        // clap knows no command of an empty name, and makes one.
        if command.find_subcommand(name).is_some() {
            command = command.mut_subcommand(name, |command| {
                let command = with_places(command, &behind.places, false);
                let command = with_defaults(command, &behind.entries);
                match &behind.context {
                    Some(chosen) => with_places(command, &chosen.context.values(), chosen.is_flag),
                    None => command,
                }
            });
        }
        let matches = flags(command, args)?;
        if let Some((name, matches)) = matches.subcommand() {
            (self.check)(name, matches).map_err(|(_, what)| Refused::Together(what))?;
        }
        Ok(matches)
    }

    /// The entries that apply to a command, without those that conflict with a flag or a variable
    /// that was given.
    fn for_command(&self, name: &str, given: &ArgMatches, entries: Vec<Entry>) -> Vec<Entry> {
        let Some(command) = self.command.find_subcommand(name) else {
            return Vec::new();
        };
        let is_said = |id: &str| {
            matches!(
                given.value_source(id),
                Some(ValueSource::CommandLine | ValueSource::EnvVariable)
            )
        };
        let said: Vec<&str> = command
            .get_arguments()
            .map(|arg| arg.get_id().as_str())
            .filter(|id| is_said(id))
            .collect();
        let has = |id: &str| command.get_arguments().any(|arg| arg.get_id() == id);
        let holds = |entry: &Entry| {
            (entry.table == name || entry.table == LOG)
                && has(&entry.key.id)
                && !said
                    .iter()
                    .any(|said| conflict(command, said, &entry.key.id))
        };
        entries.into_iter().filter(holds).collect()
    }
}

fn flags(command: Command, args: &[OsString]) -> Result<ArgMatches, Refused> {
    // Only a refusal needs it.
    let definition = command.clone();
    command.try_get_matches_from(args).map_err(|mut error| {
        if error.get(ContextKind::Usage).is_some() {
            let usage = ContextValue::StyledStr(usage(definition, args));
            error.insert(ContextKind::Usage, usage);
        }
        Refused::Flags(Box::new(error))
    })
}

/// How the command is used that these words name, as its help says. What clap says of a refusal shows
/// options as needed because a variable has set them.
fn usage(mut program: Command, args: &[OsString]) -> StyledStr {
    program.build();
    let mut path = Vec::new();
    let mut command = &program;
    for word in args.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(found) = command.find_subcommand(word) {
            path.push(word);
            command = found;
        }
    }
    usage_of(&mut program, &path)
}

fn usage_of(command: &mut Command, path: &[&str]) -> StyledStr {
    match path.split_first() {
        None => command.render_usage(),
        Some((first, rest)) => command
            .find_subcommand_mut(first)
            .map_or_else(StyledStr::new, |command| usage_of(command, rest)),
    }
}

/// Replaces the defaults of flags by the values of a file.
fn with_defaults(command: Command, entries: &[Entry]) -> Command {
    entries.iter().fold(command, |command, entry| {
        command.mut_arg(&entry.key.id, |arg| {
            arg.required(false).default_values(entry.values.clone())
        })
    })
}
