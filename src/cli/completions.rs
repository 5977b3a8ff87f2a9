//! `bilico completions` and `bilico man`.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::output::{self, Exit, Failure};

/// Print the completions for a shell
///
/// E.g. `bilico completions bash > ~/.local/share/bash-completion/completions/bilico`, or
/// `bilico completions zsh > ~/.zfunc/_bilico` with that directory in `fpath`, or
/// `bilico completions fish > ~/.config/fish/completions/bilico.fish`.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Print the manual page, or write those of all commands
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Print the page of this command, e.g. `bilico man queue ls`; without one, that of bilico
    /// itself
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Vec<String>,
    /// Write the pages of all commands into this directory, which is created if it is missing
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints completions for the command line.
pub(super) fn completions(args: &CompletionsArgs, mut command: Command) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "bilico", &mut script);
    output::print(&script);
    Exit::Done
}

/// Prints or writes manual pages of the command line.
pub(super) fn man(args: &ManArgs, mut root: Command) -> Result<Exit, Failure> {
    if let Some(dir) = &args.dir {
        let cannot = |error| {
            Failure::new(
                Exit::Failed,
                format!("cannot write to {}: {error}", dir.display()),
            )
        };
        std::fs::create_dir_all(dir).map_err(cannot)?;
        clap_mangen::generate_to(root, dir).map_err(cannot)?;
        return Ok(Exit::Done);
    }
    root.build();
    let mut command = &root;
    for name in &args.command {
        command = command.find_subcommand(name).ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!("unknown command {:?}", args.command.join(" ")),
            )
            .hint("`bilico help` lists the commands")
        })?;
    }
    let mut page = Vec::new();
    Man::new(command.clone())
        .render(&mut page)
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    output::print(&page);
    Ok(Exit::Done)
}
