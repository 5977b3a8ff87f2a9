//! `bilico config`: checks a configuration file, and shows the settings in force.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde_json::{Map, Value, json};

use super::output::{Exit, Failure, say, say_json};
use super::settings::keys::TABLES;
use super::settings::{Effective, Origin, Program, Refused, file};

/// Check a configuration file, or show the settings in force
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Read a file and report all of its problems. Exit code 0 if it has none, else 2
    Check {
        /// The file; by default the one that --config or `BILICO_CONFIG` names
        file: Option<PathBuf>,
    },
    /// Show the settings that a command would have now, and whether each comes from a flag, the
    /// environment, the file or a default
    Show {
        /// The command; by default those with a table in the file, or the balancer and the server
        #[arg(value_name = "COMMAND", value_parser = TABLES)]
        role: Option<String>,
        /// Print a JSON object instead of text
        #[arg(long)]
        json: bool,
        /// Flags for the command, e.g. `bilico config show balancer -- --queue-files 1000`
        #[arg(last = true, value_name = "FLAG", requires = "role")]
        flags: Vec<OsString>,
    },
}

pub(super) fn run(
    args: &ConfigArgs,
    config: Option<&Path>,
    context: Option<&str>,
    program: fn() -> Program,
) -> Result<Exit, Failure> {
    match &args.command {
        ConfigCommand::Check { file } => check(file.as_deref().or(config), &program()),
        ConfigCommand::Show { role, json, flags } => {
            let shown = shown(role.as_deref(), flags, config, context, program)?;
            show(config, &shown, *json);
            Ok(Exit::Done)
        }
    }
}

fn check(path: Option<&Path>, program: &Program) -> Result<Exit, Failure> {
    let Some(path) = path else {
        let failure = Failure::new(Exit::Usage, "no configuration file is named");
        return Err(failure.hint("name it: `bilico config check FILE`, --config or BILICO_CONFIG"));
    };
    file::load(path, program).map_err(Refused::File)?;
    say(format_args!("{} is fine", path.display()));
    Ok(Exit::Done)
}

/// A command, and its settings in force.
type Shown = (&'static str, Vec<Effective>);

fn shown(
    role: Option<&str>,
    flags: &[OsString],
    config: Option<&Path>,
    context: Option<&str>,
    program: fn() -> Program,
) -> Result<Vec<Shown>, Failure> {
    // What the environment names is found there again.
    let is_said = |value: &OsStr, variable| std::env::var_os(variable).as_deref() != Some(value);
    let said_file = config.filter(|path| is_said(path.as_os_str(), "BILICO_CONFIG"));
    let said_context = context.filter(|name| is_said(name.as_ref(), "BILICO_CONTEXT"));
    let mut shown = Vec::new();
    for role in roles(role, config, &program())? {
        let mut args: Vec<OsString> = vec!["bilico".into()];
        args.extend(
            said_file
                .iter()
                .flat_map(|path| ["--config".into(), path.as_os_str().to_owned()]),
        );
        args.extend(
            said_context
                .iter()
                .flat_map(|name| ["--context".into(), name.into()]),
        );
        args.push(role.into());
        args.extend(flags.iter().cloned());
        let program = program().undemanding();
        let resolved = program.resolve(&args)?;
        shown.push((role, resolved.effective(&program)));
    }
    Ok(shown)
}

fn show(config: Option<&Path>, shown: &[Shown], json: bool) {
    if json {
        say_json(object(config, shown));
    } else {
        say(config.map_or_else(
            || "no file".to_owned(),
            |path| format!("file: {}", path.display()),
        ));
        for (role, values) in shown {
            say(text(role, values));
        }
    }
}

/// The commands to show.
fn roles(
    role: Option<&str>,
    config: Option<&Path>,
    program: &Program,
) -> Result<Vec<&'static str>, Failure> {
    let known = |name: &str| TABLES.into_iter().find(|known| *known == name);
    if let Some(role) = role {
        return Ok(known(role).into_iter().collect());
    }
    let Some(path) = config else {
        return Ok(vec!["balancer", "server"]);
    };
    let entries = file::load(path, program).map_err(Refused::File)?;
    let named = TABLES
        .into_iter()
        .filter(|table| entries.iter().any(|entry| entry.table == *table));
    let named: Vec<_> = named.collect();
    Ok(if named.is_empty() {
        vec!["balancer", "server"]
    } else {
        named
    })
}

fn text(role: &str, values: &[Effective]) -> String {
    let mut text = format!("\n{role}");
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for value in values {
        let shown = value.shown();
        let shown = if shown.is_empty() {
            "-".to_owned()
        } else {
            shown.join("\n")
        };
        table.add_row([
            format!("[{}] {}", value.table, value.key),
            shown,
            origin(value.origin).to_owned(),
        ]);
    }
    for line in table.to_string().lines() {
        text.push('\n');
        text.push_str(line.trim_end());
    }
    text
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Flag => "flag",
        Origin::Environment => "environment",
        Origin::Context => "context",
        Origin::File => "file",
        Origin::Default => "default",
    }
}

fn object(config: Option<&Path>, shown: &[Shown]) -> Value {
    let mut commands = Map::new();
    for (role, values) in shown {
        let mut tables = Map::new();
        for value in values {
            let table = tables
                .entry(value.table.clone())
                .or_insert_with(|| json!({}));
            let shown = match value.shown().as_slice() {
                values if value.is_list => json!(values),
                [] => Value::Null,
                [value, ..] => json!(value),
            };
            if let Some(table) = table.as_object_mut() {
                table.insert(
                    value.key.clone(),
                    json!({ "value": shown, "from": value.origin }),
                );
            }
        }
        commands.insert((*role).to_owned(), Value::Object(tables));
    }
    json!({ "file": config.map(|path| path.display().to_string()), "commands": commands })
}
