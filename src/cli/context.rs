//! `bilico context`: names for the balancers that somebody works with.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::contexts::{Context, Contexts, NONE, check_name};
use super::output::{Exit, Failure, say, say_json};
use super::render::columns;
use super::settings::values::{ADMIN, BALANCER, address};

/// Name the balancers that you work with, and choose one for all commands
///
/// A context has the addresses of a balancer, for clients and for operators, the authority of its
/// certificate and the file with your token. `--context NAME`, `BILICO_CONTEXT` and `bilico context
/// use NAME` choose one; `none` chooses none. It holds no secret.
#[derive(Debug, Args)]
pub(super) struct ContextArgs {
    #[command(subcommand)]
    command: ContextCommand,
}

#[derive(Debug, Subcommand)]
enum ContextCommand {
    /// List the contexts; a star marks the one in use
    #[command(visible_alias = "list")]
    Ls {
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Add a context, or change the given values of one
    Add {
        /// Its name
        #[arg(value_parser = check_name)]
        name: String,
        /// Where clients connect
        #[arg(id = "to", long = "balancer", value_name = "ADDR", value_parser = address)]
        balancer: Option<String>,
        /// Where the balancer answers operators; without it, port 60080 of the same host
        #[arg(id = "operators", long = "admin", value_name = "ADDR", value_parser = admin_address)]
        admin: Option<String>,
        /// The authority that the balancer's certificate must be signed by, as PEM
        #[arg(id = "authority", long = "ca", value_name = "FILE")]
        ca: Option<PathBuf>,
        /// File with the token to show; without it, what `bilico login` has saved
        #[arg(id = "token", long = "token-file", value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
    /// Choose the context that commands work with from now on; `none` for none
    Use {
        /// Its name
        name: String,
    },
    /// Show a context
    Show {
        /// Its name; by default the one in use
        name: Option<String>,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Remove a context; the token that `bilico login` saved stays (`bilico logout` ends it)
    Rm {
        /// Its name
        name: String,
    },
}

fn admin_address(text: &str) -> Result<String, String> {
    address(text.strip_prefix("https://").unwrap_or(text)).map(|_| text.to_owned())
}

/// `named` is what the flag or the environment chooses.
pub(super) fn run(args: &ContextArgs, named: Option<&str>) -> Result<Exit, Failure> {
    let done = match &args.command {
        ContextCommand::Ls { json } => list(named, *json),
        ContextCommand::Show { name, json } => show(name.as_deref().or(named), *json),
        ContextCommand::Use { name } => choose(name),
        ContextCommand::Rm { name } => remove(name),
        ContextCommand::Add {
            name,
            balancer,
            admin,
            ca,
            token_file,
        } => add(
            name,
            Context {
                balancer: balancer.clone(),
                admin: admin.clone(),
                ca: ca.clone(),
                token_file: token_file.clone(),
            },
        ),
    };
    done.map(|()| Exit::Done)
        .map_err(|error| Failure::new(Exit::Failed, error))
}

fn list(named: Option<&str>, json: bool) -> Result<(), String> {
    let all = Contexts::read()?;
    let in_use = named.or(all.current.as_deref());
    if json {
        let contexts: Map<_, _> = all
            .contexts
            .iter()
            .map(|(name, context)| (name.clone(), as_json(context)))
            .collect();
        say_json(json!({ "in_use": in_use, "contexts": contexts }));
        return Ok(());
    }
    if all.contexts.is_empty() {
        say("no contexts: make one with `bilico context add NAME --balancer ADDR`");
        return Ok(());
    }
    let rows = all.contexts.iter().map(|(name, context)| {
        let star = if in_use == Some(name) { "*" } else { "" };
        let value = |id: &str| {
            let values = context.values();
            let found = values.into_iter().find(|(known, _)| *known == id);
            found.map_or_else(|| "-".to_owned(), |(_, value)| value)
        };
        [
            star.to_owned(),
            name.clone(),
            value("balancer"),
            value("admin"),
            value("ca"),
            value("token_file"),
        ]
    });
    let headings = ["", "name", "balancer", "admin", "ca", "token file"];
    say(columns(headings, rows));
    Ok(())
}

fn show(name: Option<&str>, json: bool) -> Result<(), String> {
    let all = Contexts::read()?;
    let name = name.or(all.current.as_deref()).filter(|name| *name != NONE);
    let Some(name) = name else {
        if json {
            say_json(json!({ "name": null }));
        } else {
            say("no context is in use: choose one with `bilico context use NAME`");
        }
        return Ok(());
    };
    let context = all.get(name)?;
    if json {
        let mut object = as_json(context);
        if let Some(object) = object.as_object_mut() {
            object.insert("name".to_owned(), json!(name));
        }
        say_json(object);
        return Ok(());
    }
    say(format_args!("context {name}"));
    for (id, value) in context.values() {
        say(format_args!("  {:<10}  {value}", id.replace('_', "-")));
    }
    Ok(())
}

fn as_json(context: &Context) -> Value {
    let values = context.values().into_iter();
    values
        .map(|(id, value)| (id.to_owned(), json!(value)))
        .collect::<Map<_, _>>()
        .into()
}

fn choose(name: &str) -> Result<(), String> {
    let name = (name != NONE).then(|| name.to_owned());
    Contexts::change(|all| {
        if let Some(name) = &name {
            all.get(name)?;
        }
        all.current.clone_from(&name);
        Ok(())
    })?;
    match name {
        Some(name) => say(format_args!("commands work with the context {name} now")),
        None => say("commands work with no context now"),
    }
    Ok(())
}

fn remove(name: &str) -> Result<(), String> {
    let was_current = Contexts::change(|all| {
        if all.contexts.remove(name).is_none() {
            return Err(all.unknown(name));
        }
        let was_current = all.current.as_deref() == Some(name);
        all.current.take_if(|_| was_current);
        Ok(was_current)
    })?;
    say(format_args!("context {name} removed"));
    if was_current {
        say("commands work with no context now");
    }
    Ok(())
}

fn add(name: &str, given: Context) -> Result<(), String> {
    let absolute = |path: Option<PathBuf>| {
        // Commands run in any directory.
        path.map(std::path::absolute)
            .transpose()
            .map_err(|error| error.to_string())
    };
    let (ca, token_file) = (absolute(given.ca)?, absolute(given.token_file)?);
    let is_first = Contexts::change(|all| {
        let is_first = all.contexts.is_empty();
        let old = all.contexts.get(name).cloned().unwrap_or_default();
        let mut context = Context {
            balancer: given.balancer.or(old.balancer),
            admin: given.admin.or(old.admin),
            ca: ca.or(old.ca),
            token_file: token_file.or(old.token_file),
        };
        match (&context.balancer, &context.admin) {
            (None, None) => {
                return Err("name the balancer: --balancer ADDR, or --admin ADDR".to_owned());
            }
            // A command for operators must not go to another balancer than one for clients.
            (Some(balancer), None) => context.admin = Some(same_host(balancer, ADMIN)),
            (None, Some(admin)) => context.balancer = Some(same_host(admin, BALANCER)),
            (Some(_), Some(_)) => {}
        }
        all.contexts.insert(name.to_owned(), context);
        if is_first {
            all.current = Some(name.to_owned());
        }
        Ok(is_first)
    })?;
    show(Some(name), false)?;
    if is_first {
        say("commands work with it now, because it is the first one");
    }
    Ok(())
}

/// The host of one address with the port of another.
fn same_host(address: &str, port_of: &str) -> String {
    let place = address.strip_prefix("https://").unwrap_or(address);
    let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
    let port = port_of.rsplit_once(':').map_or("", |(_, port)| port);
    format!("{host}:{port}")
}
