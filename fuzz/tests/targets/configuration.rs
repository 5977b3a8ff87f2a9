//! The configuration file.

use bilico::cli::configuration_problems;

use crate::TIME;

const WORDS: [&str; 24] = [
    "[balancer]\n",
    "[server]\n",
    "[log]\n",
    "[",
    "]",
    "=",
    " = ",
    "\n",
    "\"",
    "servers",
    "listen",
    "queue-bytes",
    "level",
    "\"127.0.0.1:5001=3\"",
    "\"64MiB\"",
    "\"warn\"",
    "1",
    "-1",
    "1e99",
    "true",
    "#",
    "'''",
    "{}",
    "\u{0}",
];

/// Each problem names a line, and none is empty.
fn holds(text: &str) {
    for problem in configuration_problems(text) {
        assert!(!problem.trim().is_empty(), "{text:?}");
    }
}

#[test]
fn any_text() {
    bolero::check!()
        .with_test_time(TIME)
        .for_each(|bytes: &[u8]| {
            holds(&String::from_utf8_lossy(bytes));
        });
}

#[test]
fn fragments_of_files() {
    bolero::check!()
        .with_test_time(TIME)
        .with_type::<Vec<u8>>()
        .for_each(|choices| {
            let words = choices
                .iter()
                .map(|choice| WORDS[usize::from(*choice) % WORDS.len()]);
            holds(&words.collect::<String>());
        });
}
