use std::collections::BTreeMap;
use std::fmt::Write;

use clap::Arg;
use clap::builder::PossibleValue;

use super::keys::{Kind, tables};
use super::*;
use crate::cli::{program, reload};

const MANUAL: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md"));

/// What the manual says of a key in the line below its heading.
fn facts(table: &str, key: &Key, arg: &Arg) -> String {
    let quoted = |text: &str| format!("`{text}`");
    let mut facts = match (key.kind, arg.get_possible_values()) {
        (Kind::Text, values) if !values.is_empty() => {
            let names: Vec<_> = values.iter().map(PossibleValue::get_name).map(quoted).collect();
            names.join(" or ")
        }
        (kind, _) => kind.name().to_owned(),
    };
    let defaults = arg.get_default_values().iter().map(|value| quoted(&value.to_string_lossy()));
    let defaults: Vec<_> = if key.kind == Kind::Switch { vec![quoted("false")] } else { defaults.collect() };
    let default = match defaults.as_slice() {
        [] if arg.is_required_set() => "must be given".to_owned(),
        [] => "not set by default".to_owned(),
        values => format!("default {}", values.join(", ")),
    };
    let env = arg.get_env().map_or_else(|| "no variable".to_owned(), |env| quoted(&env.to_string_lossy()));
    let _ = write!(facts, " · {default} · {} · {env}", quoted(&format!("--{}", arg.get_long().unwrap())));
    if ["balancer", "server", LOG].contains(&table) {
        facts += if reload::is_applied(table, &key.name) { " · a reload applies it" } else { " · needs a restart" };
    }
    facts
}

/// The line below the heading of each key, by table and key.
fn in_manual() -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    let mut table = String::new();
    let mut lines = MANUAL.lines().filter(|line| !line.is_empty());
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("## ") {
            table = name.trim_matches(['`', '[', ']']).to_owned();
        } else if let Some(key) = line.strip_prefix("### ") {
            let key = key.trim_matches('`').to_owned();
            let facts = lines.next().unwrap_or_default().to_owned();
            assert_eq!(found.insert((table.clone(), key.clone()), facts), None, "[{table}] {key} is there twice");
        }
    }
    found
}

/// An operator works from the manual alone: what it does not have is not there, and what it has must be true.
#[test]
fn the_manual_has_every_key_with_its_facts_and_no_other() {
    let program = program().command;
    let mut manual = in_manual();
    let mut wrong = String::new();
    for table in tables(&program) {
        for key in &table.keys {
            let command = program.find_subcommand(&key.command).unwrap();
            let arg = command.get_arguments().find(|arg| arg.get_id() == key.id.as_str()).unwrap();
            let facts = facts(&table.name, key, arg);
            let (name, key) = (&table.name, &key.name);
            match manual.remove(&(name.clone(), key.clone())) {
                Some(known) if known == facts => {}
                Some(known) => writeln!(wrong, "[{name}] {key}\n  says  {known}\n  wants {facts}").unwrap(),
                None => writeln!(wrong, "[{name}] {key} is missing: {facts}").unwrap(),
            }
        }
    }
    for (table, key) in
        manual.into_keys().filter(|(table, _)| tables(&program).iter().any(|known| known.name == *table))
    {
        writeln!(wrong, "[{table}] {key} does not exist").unwrap();
    }
    assert!(wrong.is_empty(), "docs/configuration.md:\n{wrong}");
}
