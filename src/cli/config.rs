//! `bilico config`: is a configuration file sound, and what is in force?

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde_json::{Map, Value, json};

use super::settings::keys::TABLES;
use super::settings::{Effective, Origin, file};
use super::{Exit, Failure, Refused, program, say, say_json};

/// Check a configuration file, or show what is in force
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Read a file and tell everything that is wrong with it. Exit code 0 if nothing is, else 2
    Check {
        /// The file; without it the one that --config or `BILICO_CONFIG` names
        file: Option<PathBuf>,
    },
    /// Show the values that a command would have now, and where each comes from: flag, environment,
    /// file or default
    Show {
        /// The command; without it those that the file speaks of, or the balancer and the server
        #[arg(value_name = "COMMAND", value_parser = TABLES)]
        role: Option<String>,
        /// Print a JSON object instead of text
        #[arg(long)]
        json: bool,
        /// Flags that the command would be given, e.g. `bilico config show balancer --
        /// --queue-files 1000`
        #[arg(last = true, value_name = "FLAG", requires = "role")]
        flags: Vec<OsString>,
    },
}

/// Checks, or shows.
pub(super) fn run(args: &ConfigArgs, config: Option<&Path>) -> Result<Exit, Failure> {
    match &args.command {
        ConfigCommand::Check { file } => check(file.as_deref().or(config)),
        ConfigCommand::Show { role, json, flags } => show(role.as_deref(), flags, config, *json),
    }
}

fn check(path: Option<&Path>) -> Result<Exit, Failure> {
    let Some(path) = path else {
        let failure = Failure::new(Exit::Usage, "which file?");
        return Err(
            failure.hint("`bilico config check FILE`, or name it with --config or BILICO_CONFIG")
        );
    };
    file::load(path, &program()).map_err(Refused::File)?;
    say(format_args!("{} is fine", path.display()));
    Ok(Exit::Done)
}

fn show(
    role: Option<&str>,
    flags: &[OsString],
    config: Option<&Path>,
    json: bool,
) -> Result<Exit, Failure> {
    let mut shown = Vec::new();
    for role in roles(role, config)? {
        let mut args: Vec<OsString> = vec!["bilico".into()];
        args.extend(
            config
                .iter()
                .flat_map(|path| ["--config".into(), path.as_os_str().to_owned()]),
        );
        args.push(role.into());
        args.extend(flags.iter().cloned());
        let program = program().undemanding();
        let resolved = program.resolve(&args)?;
        if let Some((name, matches)) = resolved.matches.subcommand() {
            shown.push((role, program.effective(name, matches, &resolved.entries)));
        }
    }
    if json {
        say_json(object(config, &shown));
    } else {
        say(config.map_or_else(
            || "no file".to_owned(),
            |path| format!("file: {}", path.display()),
        ));
        for (role, values) in &shown {
            say(text(role, values));
        }
    }
    Ok(Exit::Done)
}

/// The commands to show.
fn roles(role: Option<&str>, config: Option<&Path>) -> Result<Vec<&'static str>, Failure> {
    let known = |name: &str| TABLES.into_iter().find(|known| *known == name);
    if let Some(role) = role {
        return Ok(known(role).into_iter().collect());
    }
    let Some(path) = config else {
        return Ok(vec!["balancer", "server"]);
    };
    let entries = file::load(path, &program()).map_err(Refused::File)?;
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
        Origin::File => "file",
        Origin::Default => "default",
    }
}

fn object(config: Option<&Path>, shown: &[(&str, Vec<Effective>)]) -> Value {
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
