//! Turns the text of a configuration file into entries, and collects its problems.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Key, Kind, LOG, Table, nearest};
use super::program::{Program, conflict};
use crate::watch;

/// A message lists at most this many keys of a table.
const LISTED: usize = 12;

/// A key of the file, with its values in the form that the flag takes.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Entry {
    pub(in crate::cli) table: String,
    pub(in crate::cli) key: Key,
    /// One value, or any number for a list.
    pub(in crate::cli) values: Vec<String>,
    /// Its line, from 1.
    pub(in crate::cli) line: usize,
}

/// A problem in a configuration file.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct Problem {
    /// The line, from 1; `None` if the problem concerns the whole file.
    pub(super) line: Option<usize>,
    pub(super) what: String,
}

impl Problem {
    pub(super) fn at(line: usize, what: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            what: what.into(),
        }
    }

    /// `FILE:LINE: WHAT`
    pub(super) fn of(&self, path: &Path) -> String {
        match self.line {
            Some(line) => format!("{}:{line}: {}", path.display(), self.what),
            None => format!("{}: {}", path.display(), self.what),
        }
    }
}

/// Parses the text of a file. Entries and problems are sorted by line.
pub(super) fn parse(text: &str, program: &Program) -> Result<Vec<Entry>, Vec<Problem>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reading = Reading {
        text,
        program,
        tables: keys::tables(&program.command),
        entries: vec![],
        problems: vec![],
    };
    if errors.is_empty() {
        for (name, value) in document.get_ref() {
            reading.table(name, value);
        }
        reading.contradictions();
    }
    for error in errors {
        let line = error.span().map(|span| reading.line(&span));
        // Only the message: the quoted line may hold a secret.
        reading.problems.push(Problem {
            line,
            what: error.message().to_owned(),
        });
    }
    let Reading {
        mut entries,
        mut problems,
        ..
    } = reading;
    entries.sort_by_key(|entry| entry.line);
    problems.sort_by_key(|problem| problem.line);
    if problems.is_empty() {
        Ok(entries)
    } else {
        Err(problems)
    }
}

struct Reading<'a> {
    text: &'a str,
    program: &'a Program,
    tables: Vec<Table>,
    entries: Vec<Entry>,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        bytecount::count(before, b'\n') + 1
    }

    fn wrong(&mut self, span: &Range<usize>, what: impl Into<String>) {
        let line = self.line(span);
        self.problems.push(Problem::at(line, what));
    }

    fn table(&mut self, name: &Spanned<impl AsRef<str>>, value: &Spanned<DeValue<'_>>) {
        let (span, name) = (name.span(), name.get_ref().as_ref());
        let known = self.tables.iter().find(|table| table.name == name);
        match (known, value.get_ref()) {
            (Some(_), DeValue::Table(keys)) => {
                for (key, value) in keys {
                    self.key(name, key, value);
                }
            }
            (Some(_), other) => {
                self.wrong(
                    &span,
                    format!("`{name}` is {}, expected a table: [{name}]", type_of(other)),
                );
            }
            (None, DeValue::Table(_)) => {
                let unknown = format!("unknown table [{name}]");
                let near = nearest(name, self.tables.iter().map(|table| &*table.name));
                let remedy = near.map_or_else(
                    || {
                        let names: Vec<_> = self
                            .tables
                            .iter()
                            .map(|table| format!("[{}]", table.name))
                            .collect();
                        format!("expected one of {}", names.join(", "))
                    },
                    |near| format!("did you mean [{near}]?"),
                );
                self.wrong(&span, format!("{unknown}; {remedy}"));
            }
            (None, _) => {
                let has = |table: &&Table| table.keys.iter().any(|key| key.name == name);
                let homes: Vec<_> = self
                    .tables
                    .iter()
                    .filter(has)
                    .map(|table| format!("[{}]", table.name))
                    .collect();
                let remedy = match homes.as_slice() {
                    [] => "every key belongs in a table, such as [balancer]".to_owned(),
                    homes => format!("it belongs in {}", homes.join(" or ")),
                };
                self.wrong(&span, format!("`{name}` is outside of a table; {remedy}"));
            }
        }
    }

    fn key(&mut self, table: &str, name: &Spanned<impl AsRef<str>>, value: &Spanned<DeValue<'_>>) {
        let (span, name) = (name.span(), name.get_ref().as_ref());
        let Some(known) = self.tables.iter().find(|known| known.name == table) else {
            return;
        };
        let Some(key) = known.keys.iter().find(|key| key.name == name).cloned() else {
            let remedy = self.remedy(known, name);
            return self.wrong(
                &span,
                format!("unknown key `{name}` in [{table}]; {remedy}"),
            );
        };
        let values = match (key.kind.is_list(), value.get_ref()) {
            (true, DeValue::Array(items)) => items
                .iter()
                .filter_map(|item| self.value(table, &key, item))
                .collect::<Vec<_>>(),
            (true, other) => {
                let what = format!(
                    "[{table}] {name}: expected {}, not {}",
                    key.kind.expected(),
                    type_of(other)
                );
                return self.wrong(&span, what);
            }
            (false, _) => self.value(table, &key, value).into_iter().collect(),
        };
        if key.kind.is_list()
            && values.is_empty()
            && value
                .get_ref()
                .as_array()
                .is_some_and(|array| array.is_empty())
        {
            return self.wrong(&span, format!("[{table}] {name}: the list is empty"));
        }
        if !values.is_empty() {
            let line = self.line(&span);
            self.entries.push(Entry {
                table: table.to_owned(),
                key,
                values,
                line,
            });
        }
    }

    /// What to write instead of an unknown key.
    fn remedy(&self, table: &Table, name: &str) -> String {
        if keys::is_of_log(name) && self.tables.iter().any(|known| known.name == LOG) {
            return format!(
                "write `{}` in [{LOG}], which applies to all roles",
                keys::name_in_log(name)
            );
        }
        let homes = self
            .tables
            .iter()
            .filter(|other| other.keys.iter().any(|key| key.name == name));
        let homes: Vec<_> = homes.map(|home| format!("[{}]", home.name)).collect();
        if !homes.is_empty() {
            return format!("it is a key of {}", homes.join(" and "));
        }
        if let Some(near) = nearest(name, table.keys.iter().map(|key| &*key.name)) {
            return format!("did you mean `{near}`?");
        }
        if table.keys.len() > LISTED {
            return format!("`bilico config show {}` lists the known keys", table.name);
        }
        let names: Vec<_> = table
            .keys
            .iter()
            .map(|key| format!("`{}`", key.name))
            .collect();
        format!("expected one of {}", names.join(", "))
    }

    /// The value in the form that its flag takes; `None` if the flag refuses it.
    fn value(&mut self, table: &str, key: &Key, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let (span, name) = (value.span(), &key.name);
        let text = match (key.kind, value.get_ref()) {
            (Kind::Servers | Kind::Rules, DeValue::String(text)) => text.to_string(),
            (Kind::Servers, DeValue::Table(server)) => self.server(table, name, &span, server)?,
            (Kind::Rules, DeValue::Table(rule)) => self.rule(table, name, rule)?,
            (kind, value) => {
                let Some(text) = kind.text(value) else {
                    let what = format!(
                        "[{table}] {name}: expected {}, not {}",
                        kind.expected(),
                        type_of(value)
                    );
                    self.wrong(&span, what);
                    return None;
                };
                text
            }
        };
        match self.program.refusal(key, &text) {
            None => Some(text),
            Some(reason) => {
                self.wrong(&span, format!("[{table}] {name}: {reason}"));
                None
            }
        }
    }

    /// A server written as a table, as `ADDRESS=WEIGHT`.
    fn server(
        &mut self,
        table: &str,
        name: &str,
        span: &Range<usize>,
        server: &DeTable<'_>,
    ) -> Option<String> {
        let before = self.problems.len();
        let (mut address, mut weight) = (None, "1".to_owned());
        for (key, value) in server {
            let (at, key) = (key.span(), key.get_ref().as_ref());
            let expected = match (key, value.get_ref()) {
                ("address", DeValue::String(text)) => {
                    address = Some(text.to_string());
                    continue;
                }
                ("weight", DeValue::Integer(number)) => {
                    weight = keys::decimal(number);
                    continue;
                }
                ("address", _) => "expected a text like \"127.0.0.1:5001\"".to_owned(),
                ("weight", _) => "expected a whole number".to_owned(),
                _ => {
                    let near = nearest(key, ["address", "weight"]);
                    let remedy = near.map_or_else(
                        || "expected `address` or `weight`".to_owned(),
                        |near| format!("did you mean `{near}`?"),
                    );
                    self.wrong(
                        &at,
                        format!("unknown key `{key}` of a server in [{table}] {name}; {remedy}"),
                    );
                    continue;
                }
            };
            self.wrong(
                &at,
                format!(
                    "[{table}] {name}: `{key}`: {expected}, not {}",
                    type_of(value.get_ref())
                ),
            );
        }
        if address.is_none() && self.problems.len() == before {
            self.wrong(
                span,
                format!("[{table}] {name}: the `address` of a server is missing"),
            );
        }
        address
            .filter(|_| self.problems.len() == before)
            .map(|address| format!("{address}={weight}"))
    }

    /// A rule written as a table, as words `KEY=VALUE`.
    fn rule(&mut self, table: &str, name: &str, rule: &DeTable<'_>) -> Option<String> {
        let before = self.problems.len();
        let mut words = Vec::new();
        for (key, value) in rule {
            let (at, key) = (key.span(), key.get_ref().as_ref());
            if !watch::KEYS.contains(&key) {
                let near = nearest(key, watch::KEYS);
                let remedy = near.map_or_else(
                    || format!("expected one of {}", watch::KEYS.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                let what = format!("unknown key `{key}` of a rule in [{table}] {name}; {remedy}");
                self.wrong(&at, what);
                continue;
            }
            let values: Vec<_> = match value.get_ref() {
                DeValue::Array(values) if key == "include" => values.iter().collect(),
                _ => vec![value],
            };
            for value in values {
                match value.get_ref() {
                    DeValue::String(text) => words.push(format!("{key}={text}")),
                    other => {
                        let what = format!(
                            "[{table}] {name}: `{key}`: expected a text in quotes, not {}",
                            type_of(other)
                        );
                        self.wrong(&at, what);
                    }
                }
            }
        }
        // Text with a NUL cannot be quoted, and no path has one.
        let text = shlex::try_join(words.iter().map(String::as_str)).ok()?;
        (self.problems.len() == before).then_some(text)
    }

    /// Checks the values of each table against each other.
    fn contradictions(&mut self) {
        for table in &self.tables {
            let own: Vec<&Entry> = self
                .entries
                .iter()
                .filter(|entry| entry.table == table.name)
                .collect();
            let Some(command) = self
                .program
                .command
                .find_subcommand(&table.name)
                .filter(|_| !own.is_empty())
            else {
                continue;
            };
            for (place, entry) in own.iter().enumerate() {
                let others = own.get(place + 1..).unwrap_or_default();
                for other in others
                    .iter()
                    .filter(|other| conflict(command, &entry.key.id, &other.key.id))
                {
                    let (one, two) = (&entry.key.name, &other.key.name);
                    let what = format!(
                        "[{}]: `{one}` and `{two}` cannot be used together",
                        table.name
                    );
                    self.problems
                        .push(Problem::at(entry.line.max(other.line), what));
                }
            }
            let values: Vec<_> = own
                .iter()
                .map(|entry| (entry.key.id.clone(), entry.values.clone()))
                .collect();
            if let Err((key, what)) = self.program.check_together(command, &values) {
                let line = own
                    .iter()
                    .find(|entry| entry.key.name == key)
                    .or(own.first())
                    .map(|entry| entry.line);
                self.problems.push(Problem {
                    line,
                    what: format!("[{}] {key}: {what}", table.name),
                });
            }
        }
    }
}

fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or a time of day",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
