use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Arg, Command};

use super::keys::{Key, Kind, LOG, tables};
use super::*;
use crate::cli::{program, reload};

const MANUAL: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/docs/configuration.md"
));

/// What the manual says of a key in the line below its heading.
fn facts(table: &str, key: &Key, arg: &Arg) -> String {
    let quoted = |text: &str| format!("`{text}`");
    let mut facts = match (key.kind, arg.get_possible_values()) {
        (Kind::Text, values) if !values.is_empty() => {
            let names: Vec<_> = values
                .iter()
                .map(PossibleValue::get_name)
                .map(quoted)
                .collect();
            names.join(" or ")
        }
        (kind, _) => kind.name().to_owned(),
    };
    let defaults = arg
        .get_default_values()
        .iter()
        .map(|value| quoted(&value.to_string_lossy()));
    let defaults: Vec<_> = if key.kind == Kind::Switch {
        vec![quoted("false")]
    } else {
        defaults.collect()
    };
    let default = match defaults.as_slice() {
        [] if arg.is_required_set() => "must be given".to_owned(),
        [] => "not set by default".to_owned(),
        values => format!("default {}", values.join(", ")),
    };
    let env = arg.get_env().map_or_else(
        || "no variable".to_owned(),
        |env| quoted(&env.to_string_lossy()),
    );
    let _ = write!(
        facts,
        " · {default} · {} · {env}",
        quoted(&format!("--{}", arg.get_long().unwrap()))
    );
    if ["balancer", "server", LOG].contains(&table) {
        facts += if reload::is_applied(table, &key.name) {
            " · a reload applies it"
        } else {
            " · needs a restart"
        };
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
            assert_eq!(
                found.insert((table.clone(), key.clone()), facts),
                None,
                "[{table}] {key} is there twice"
            );
        }
    }
    found
}

/// An operator works from the manual alone: what it does not have is not there, and what it has
/// must be true.
#[test]
fn the_manual_has_every_key_with_its_facts_and_no_other() {
    let program = program().command;
    let mut manual = in_manual();
    let mut wrong = String::new();
    for table in tables(&program) {
        for key in &table.keys {
            let command = program.find_subcommand(&key.command).unwrap();
            let arg = command
                .get_arguments()
                .find(|arg| arg.get_id() == key.id.as_str())
                .unwrap();
            let facts = facts(&table.name, key, arg);
            let (name, key) = (&table.name, &key.name);
            match manual.remove(&(name.clone(), key.clone())) {
                Some(known) if known == facts => {}
                Some(known) => {
                    writeln!(wrong, "[{name}] {key}\n  says  {known}\n  wants {facts}").unwrap();
                }
                None => writeln!(wrong, "[{name}] {key} is missing: {facts}").unwrap(),
            }
        }
    }
    for (table, key) in manual
        .into_keys()
        .filter(|(table, _)| tables(&program).iter().any(|known| known.name == *table))
    {
        writeln!(wrong, "[{table}] {key} does not exist").unwrap();
    }
    assert!(wrong.is_empty(), "docs/configuration.md:\n{wrong}");
}

/// Everything that is wrong with a file of this text.
fn problems(text: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.toml");
    std::fs::write(&path, text).unwrap();
    let found = file::load(&path, &program())
        .map(drop)
        .err()
        .unwrap_or_default();
    let prefix = format!("{}:", path.display());
    found
        .iter()
        .map(|problem| problem.strip_prefix(&prefix).unwrap().to_owned())
        .collect()
}

#[test]
fn names_that_are_unknown_are_refused_with_the_nearest_known_one() {
    for (text, wanted) in [
        (
            "[balancer]\nmax-jsn = 3",
            "2: unknown key `max-jsn` in [balancer]; did you mean `max-json`?",
        ),
        (
            "[balancer]\nmax_json = 3",
            "2: unknown key `max_json` in [balancer]; did you mean `max-json`?",
        ),
        (
            "[balancer]\nserver = []",
            "2: unknown key `server` in [balancer]; did you mean `servers`?",
        ),
        (
            "[balancer]\n\nclean = true",
            "3: unknown key `clean` in [balancer]; it is a key of [server]",
        ),
        (
            "[balancer]\nlog-dir = \"x\"",
            "2: unknown key `log-dir` in [balancer]; write `dir` in [log]",
        ),
        (
            "[balancer]\nxyzzy = 1",
            "2: unknown key `xyzzy` in [balancer]; `bilico config show balancer` lists the known keys",
        ),
        (
            "[client]\nxyzzy = 1",
            "2: unknown key `xyzzy` in [client]; expected one of `balancer`, ",
        ),
        (
            "[balancr]\n",
            "1: unknown table [balancr]; did you mean [balancer]?",
        ),
        (
            "[q]\nlisten = 1",
            "1: unknown table [q]; expected one of [balancer], [server]",
        ),
        (
            "queue-files = 3",
            "1: `queue-files` is outside of a table; it belongs in [balancer]",
        ),
        ("x = 3", "1: `x` is outside of a table; every key"),
        (
            "balancer = 3",
            "1: `balancer` is a whole number, expected a table: [balancer]",
        ),
        (
            "[server]\nwith-parent = true",
            "2: unknown key `with-parent` in [server]",
        ),
        (
            "[server]\nconfig = \"x\"",
            "2: unknown key `config` in [server]",
        ),
        ("[server]\nhelp = true", "2: unknown key `help` in [server]"),
        (
            "[send]\npaths = [\"x\"]",
            "2: unknown key `paths` in [send]",
        ),
    ] {
        let found = problems(text);
        assert!(
            found.len() == 1 && found[0].starts_with(wanted),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn values_that_make_no_sense_are_refused_with_the_reason() {
    for (line, wanted) in [
        ("queue-files = \"5\"", "expected a whole number, not a text"),
        (
            "queue-files = 0",
            "invalid value \"0\": expected a whole number from 1 to 4,294,967,295",
        ),
        ("queue-files = -1", "expected a whole number from 1 to"),
        (
            "queue-files = 99999999999999999999999999999999999999999999",
            "expected a whole number from 1 to",
        ),
        ("queue-bytes = \"5 parsecs\"", r#"invalid size "5 parsecs""#),
        (
            "queue-bytes = 1.5",
            "expected a size like \"64MiB\", or a whole number of bytes, not a number with a fraction",
        ),
        (
            "stall-timeout = 30",
            r#"duration "30" has no unit: write e.g. 30s or 30ms"#,
        ),
        (
            "stall-timeout = true",
            "expected a time like \"10s\", in quotes, not true or false",
        ),
        ("probe-interval = \"1ms\"", "expected at least 10ms"),
        (
            "durability = \"dsk\"",
            r#"invalid value "dsk": expected disk, os"#,
        ),
        ("listen = \"\"", r#"invalid address """#),
        ("journal = \"\"", "the value is empty"),
        (
            "journal = 2026-11-21",
            "expected a text in quotes, not a date",
        ),
        ("servers = \"a:1\"", "expected a list like"),
        ("servers = []", "the list is empty"),
        ("servers = [\"a:1\", 7]", "expected a list like"),
        (
            "servers = [\"a:1=1,b:2=2\"]",
            "write each server as an item of its own",
        ),
        ("servers = [\"a:1=1000001\"]", "invalid weight"),
        (
            "servers = [\"a:1\", \"a:1=2\"]",
            "server a:1 is named twice",
        ),
        (
            "servers = [{ weight = 3 }]",
            "the `address` of a server is missing",
        ),
        (
            "servers = [{ address = \"a:1\", weight = -1 }]",
            r#"invalid weight "-1""#,
        ),
        (
            "servers = [{ address = \"a:1\", weight = \"1\" }]",
            "`weight`: expected a whole number, not a text",
        ),
        (
            "servers = [{ adress = \"a:1\" }]",
            "did you mean `address`?",
        ),
        (
            "max-json = \"1GiB\"\nqueue-bytes = \"1GiB\"",
            "--queue-bytes",
        ),
    ] {
        let found = problems(&format!("[balancer]\n{line}"));
        assert!(
            !found.is_empty() && found.iter().any(|problem| problem.contains(wanted)),
            "{line}: {found:?}"
        );
        assert!(
            found.iter().all(|problem| problem.starts_with("2: ")),
            "{line}: {found:?}"
        );
    }
    assert_eq!(problems("[bench]\nfiles = 3\nduration = \"1s\"").len(), 1);
    assert!(
        problems("[server]\nclean = 1")[0].contains("expected true or false, not a whole number")
    );
    assert!(
        problems("[log]\nlevel = \"loud\"")[0]
            .starts_with(r#"2: [log] level: invalid log level "loud""#)
    );
    assert!(problems("[demo]\nservers = [\"a:1\", \"a:1\"]")[0].contains("named twice"));
}

#[test]
fn all_problems_of_a_file_are_told_in_their_order() {
    let found = problems("[balancer]\nx = 1\nfall = 0\n[server]\nclean = 3\n[log]\nkeep = \"\"\n");
    let lines: Vec<_> = found
        .iter()
        .map(|problem| problem.split(':').next().unwrap())
        .collect();
    assert_eq!(lines, ["2", "3", "5", "7"], "{found:?}");
    let broken = problems("[balancer]\nlisten = \n[server]\nclean = maybe\n[server\n");
    assert!(
        broken.len() >= 3 && broken[0].starts_with("2: "),
        "{broken:?}"
    );
    let endless = (0..5000)
        .map(|n| format!("[t{n}]\n"))
        .collect::<Vec<_>>()
        .concat();
    let endless = problems(&endless);
    assert!(
        endless.len() == 101 && endless[100].contains("4900 more problems"),
        "{:?}",
        endless.last()
    );
}

#[test]
fn what_is_no_file_of_text_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.toml");
    let refused = |path: &std::path::Path| file::load(path, &program()).unwrap_err().concat();
    assert!(
        refused(&path).contains("cannot read the file: No such file"),
        "{}",
        refused(&path)
    );
    assert!(refused(dir.path()).contains("not a regular file"));
    assert!(refused("/dev/zero".as_ref()).contains("not a regular file"));
    std::fs::write(&path, b"[log]\n# \xff\n").unwrap();
    assert!(refused(&path).ends_with("x.toml:2: invalid UTF-8"));
    std::fs::write(&path, "#".repeat(1 << 20)).unwrap();
    assert!(file::load(&path, &program()).unwrap().is_empty());
    std::fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    assert!(refused(&path).contains("larger than 1 MiB"));
    // Neither depth nor strange bytes end the process.
    std::fs::write(&path, format!("x = {}", "[".repeat(500_000))).unwrap();
    assert!(!refused(&path).is_empty());
    std::fs::write(&path, "\u{feff}[log]\r\nlevel = \"info\"\r\n").unwrap();
    assert_eq!(file::load(&path, &program()).unwrap().len(), 1);
}

/// The values that a command would have with this file.
fn with_file(text: &str, args: &[&str]) -> BTreeMap<String, (Vec<String>, Origin)> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.toml");
    std::fs::write(&path, text).unwrap();
    let mut words: Vec<OsString> = vec!["bilico".into(), "--config".into(), path.into()];
    words.extend(args.iter().map(Into::into));
    let program = program();
    let resolved = program.resolve(&words).unwrap();
    let (name, matches) = resolved.matches.subcommand().unwrap();
    let values = program.effective(name, matches, &resolved.entries);
    values
        .into_iter()
        .map(|value| {
            (
                format!("{}.{}", value.table, value.key),
                (value.shown(), value.origin),
            )
        })
        .collect()
}

#[test]
fn every_kind_of_value_can_be_written_in_a_file() {
    let text = r#"
        [balancer]
        servers = ["a:1=3", { address = "b:2", weight = 2 }, { address = "c:3" }]
        queue-files = 0x10
        queue-bytes = 1_000_000_000
        max-json = "1MiB"
        remember = 0
        in-doubt = "wait"
        [server]
        clean = true
        [bench]
        rate = 0.5
        [log]
        level = "warn,bilico::queue=debug"
    "#;
    let balancer = with_file(text, &["balancer"]);
    for (key, value) in [
        ("balancer.servers", &["a:1=3", "b:2=2", "c:3=1"][..]),
        ("balancer.queue-files", &["16"]),
        ("balancer.queue-bytes", &["1000000000"]),
        ("balancer.max-json", &["1MiB"]),
        ("balancer.remember", &["0"]),
        ("balancer.in-doubt", &["wait"]),
        ("log.level", &["warn,bilico::queue=debug"]),
    ] {
        let value = value.iter().map(|value| (*value).to_owned()).collect();
        assert_eq!(balancer[key], (value, Origin::File), "{key}");
    }
    assert_eq!(balancer["balancer.fall"].1, Origin::Default);
    assert_eq!(
        with_file(text, &["server"])["server.clean"],
        (vec!["true".to_owned()], Origin::File)
    );
    assert_eq!(with_file(text, &["server"])["log.level"].1, Origin::File);
    let array = "[[balancer.servers]]\naddress = \"a:1\"\n[[balancer.servers]]\naddress = \"b:1\"\nweight = 7\n";
    assert_eq!(
        with_file(array, &["balancer"])["balancer.servers"].0,
        ["a:1=1", "b:1=7"]
    );
}

#[test]
fn flags_win_over_the_file_and_over_what_they_exclude() {
    let text = "[balancer]\nservers = [\"a:1\", \"b:1\"]\nfall = 7\n[bench]\nrate = 5\nfiles = 3\n[send]\nquiet = true\n";
    let balancer = with_file(text, &["balancer", "--server", "c:1=4", "--rise", "3"]);
    assert_eq!(
        balancer["balancer.servers"],
        (vec!["c:1=4".to_owned()], Origin::Flag)
    );
    assert_eq!(
        balancer["balancer.fall"],
        (vec!["7".to_owned()], Origin::File)
    );
    assert_eq!(
        balancer["balancer.rise"],
        (vec!["3".to_owned()], Origin::Flag)
    );
    let bench = with_file(text, &["bench", "--in-flight", "9"]);
    assert_eq!(bench["bench.rate"], (vec![], Origin::Default));
    let bench = with_file(text, &["bench", "--duration", "1s"]);
    assert_eq!(
        (&bench["bench.files"], &bench["bench.rate"].1),
        (&(vec![], Origin::Default), &Origin::File)
    );
    assert_eq!(
        with_file(text, &["send", "x", "--json"])["send.quiet"].0,
        ["false"]
    );
}

#[test]
fn limits_that_contradict_each_other_only_together_with_a_flag_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.toml");
    std::fs::write(
        &path,
        "[balancer]\nservers = [\"a:1\"]\nqueue-bytes = \"1GiB\"\n",
    )
    .unwrap();
    let flags = ["bilico", "balancer", "--max-json", "1GiB", "--config"].map(OsString::from);
    let words: Vec<OsString> = flags.into_iter().chain([path.into()]).collect();
    let refused = program().resolve(&words).unwrap_err();
    assert!(
        matches!(&refused, Refused::Together(what) if what.contains("max-json")),
        "{refused:?}"
    );
}

/// A program with a secret.
fn with_secret() -> Program {
    let token = Arg::new("token")
        .long("token")
        .env("BILICO_TEST_NO_TOKEN")
        .hide_env_values(true);
    let token = token.value_parser(|text: &str| {
        if text.starts_with('t') {
            Ok(text.to_owned())
        } else {
            Err(format!("`{text}` is no token"))
        }
    });
    let config = Arg::new("config")
        .long("config")
        .global(true)
        .value_parser(clap::value_parser!(PathBuf));
    let command = Command::new("bilico")
        .arg(config)
        .subcommand(Command::new("server").arg(token));
    Program {
        command,
        check: |_, _| Ok(()),
    }
}

#[test]
fn a_secret_is_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.toml");
    std::fs::write(&path, "[server]\ntoken = \"tops3cr3t\"\n").unwrap();
    let program = with_secret();
    let args: Vec<OsString> = vec![
        "bilico".into(),
        "server".into(),
        "--config".into(),
        path.clone().into(),
    ];
    let resolved = program.resolve(&args).unwrap();
    let (name, matches) = resolved.matches.subcommand().unwrap();
    assert_eq!(matches.get_one::<String>("token").unwrap(), "tops3cr3t");
    let values = program.effective(name, matches, &resolved.entries);
    assert_eq!(
        values.iter().map(Effective::shown).collect::<Vec<_>>(),
        [["********"]]
    );
    for text in [
        "[server]\ntoken = \"s3cr3t\"\n",
        "[server]\ntoken = 's3cr3t\n",
    ] {
        std::fs::write(&path, text).unwrap();
        let problems = file::load(&path, &program).unwrap_err();
        assert!(
            !problems.is_empty() && problems.iter().all(|problem| !problem.contains("s3cr3t")),
            "{problems:?}"
        );
    }
}

#[test]
fn every_example_is_sound() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let paths = ["docs/examples", "packaging/etc"]
        .into_iter()
        .flat_map(|dir| std::fs::read_dir(root.join(dir)).unwrap())
        .map(|entry| entry.unwrap().path());
    let files: Vec<_> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    assert!(files.len() >= 5, "{files:?}");
    for path in files {
        let entries =
            file::load(&path, &program()).unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert!(!entries.is_empty(), "{}", path.display());
    }
}

#[test]
fn every_sample_in_the_manual_is_sound() {
    let samples: Vec<&str> = MANUAL
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(!samples.is_empty());
    for sample in samples {
        assert_eq!(problems(sample), Vec::<String>::new(), "{sample}");
    }
}

/// What a reload applies must be there to be applied.
#[test]
fn the_keys_that_a_reload_applies_exist() {
    let tables = tables(&program().command);
    let balancer = tables
        .iter()
        .find(|table| table.name == "balancer")
        .unwrap();
    for key in reload::BALANCER {
        assert!(balancer.keys.iter().any(|known| known.name == key), "{key}");
    }
}
