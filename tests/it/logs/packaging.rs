//! Completions and manual pages.

use std::fs;
use std::process::Command;

use bilico_testkit::{bilico, run};

/// The subcommands that a help text lists.
fn subcommands(path: &[&str]) -> Vec<String> {
    let help = run(bilico(path).arg("--help"), "").stdout;
    let Some((_, list)) = help.split_once("Commands:\n") else {
        return Vec::new();
    };
    let names = list
        .lines()
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "));
    names
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect()
}

#[test]
fn every_command_has_completions_and_a_manual_page() {
    let commands = subcommands(&[]);
    assert!(
        ["demo", "queue", "logs", "man", "completions"]
            .iter()
            .all(|name| commands.iter().any(|c| c == name))
    );
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = run(&mut bilico(&["completions", shell]), "");
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{shell}"
        );
        for command in &commands {
            assert!(
                ended.stdout.contains(command.as_str()),
                "{command} for {shell}"
            );
        }
    }
    let script = run(&mut bilico(&["completions", "bash"]), "").stdout;
    // It is too long for an argument.
    let asked = format!(
        "{script}\nCOMP_WORDS=(bilico que); COMP_CWORD=1; _bilico bilico que bilico; echo \"${{COMPREPLY[@]}}\""
    );
    assert_eq!(
        run(&mut Command::new("bash"), &asked).stdout.trim(),
        "queue",
        "bash completes by it"
    );

    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("share/man1");
    let ended = run(&mut bilico(&["man", "--dir", pages.to_str().unwrap()]), "");
    assert_eq!(
        (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
        (Some(0), "", "")
    );
    let page = |name: &str| fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
    assert!(page("bilico").contains(".TH"), "a page of man");
    for command in &commands {
        assert!(
            page(&format!("bilico-{command}")).contains("SYNOPSIS"),
            "{command}"
        );
        for below in subcommands(&[command]) {
            assert!(
                page(&format!("bilico-{command}-{below}")).contains("SYNOPSIS"),
                "{command} {below}"
            );
        }
        let printed = run(&mut bilico(&["man", command]), "");
        assert!(
            printed.code == Some(0) && printed.stdout.contains("SYNOPSIS"),
            "{command}: {printed:?}"
        );
    }
    let unknown = run(&mut bilico(&["man", "frobnicate"]), "");
    assert!(
        unknown.code == Some(2) && unknown.stderr.contains("hint: "),
        "{unknown:?}"
    );
    assert_eq!(run(&mut bilico(&["completions", "tcsh"]), "").code, Some(2));
}
