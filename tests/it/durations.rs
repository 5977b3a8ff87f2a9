//! Durations in flags and settings: values that no clock can add are refused when they are read.

use bilico_testkit::{bilico, run};

/// Every command with a flag for a duration, and the arguments that it needs.
const COMMANDS: [&[&str]; 9] = [
    &["demo"],
    &["balancer", "--server", "127.0.0.1:1=1"],
    &["server"],
    &["client"],
    &["send", "file"],
    &["bench"],
    &["servers", "remove", "127.0.0.1:1"],
    &["drain", "127.0.0.1:1"],
    &["logs"],
];

/// The flags of a command that take a duration.
fn flags(command: &[&str]) -> Vec<String> {
    let words = command
        .iter()
        .take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()) && **word != "file");
    let asked: Vec<&str> = words.copied().chain(["--help"]).collect();
    let help = run(&mut bilico(&asked), "").stdout;
    let words: Vec<&str> = help.split_whitespace().collect();
    words
        .windows(2)
        .filter(|pair| pair[1] == "<TIME>")
        .map(|pair| pair[0].to_owned())
        .collect()
}

/// `--idle-timeout`, `--stall-timeout` and `--shutdown-timeout` of 5000000000000000h were accepted,
/// and whatever waited for such a time panicked: each connection, or the balancer at its end.
#[test]
fn a_time_that_is_too_long_is_refused_by_every_flag() {
    let mut tried = 0;
    for command in COMMANDS {
        for flag in flags(command) {
            for time in ["5000000000000000h", "18446744073709551615s", "87601h"] {
                // Times in the past have another message and other bounds.
                if flag == "--since" && time == "87601h" {
                    continue;
                }
                let args = [command, &[&*flag, time]].concat();
                let ended = run(&mut bilico(&args), "");
                assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
                assert!(
                    ended.stderr.contains(time) && !ended.stderr.contains("panicked"),
                    "{args:?}: {ended:?}"
                );
                assert!(
                    flag == "--since" || ended.stderr.contains("the longest is 87600h"),
                    "{args:?}: {ended:?}"
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 60, "only {tried} were tried");
}

/// The same in a configuration file.
#[test]
fn a_time_that_is_too_long_is_refused_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[balancer]\nservers = [\"127.0.0.1:1=1\"]\nidle-timeout = \"584942417355h\"\n";
    std::fs::write(dir.path().join("bilico.toml"), config).unwrap();
    let mut command = bilico(&["--config", "bilico.toml", "balancer"]);
    let ended = run(command.current_dir(dir.path()), "");
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stderr.contains("idle-timeout") && ended.stderr.contains("87600h"),
        "{ended:?}"
    );
}
