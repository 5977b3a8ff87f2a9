//! A prompt over a farm.

use std::fs;
use std::path::Path;
use std::process::Command;

use bilico_testkit::{Ended, Farm, PROMPT, Terminal, bilico, run, sample_files, samples};

/// The prompt with this balancer and the sample files.
pub(super) fn client(address: &str) -> Command {
    bilico(&["client", "--balancer", address, "--files", sample_files()])
}

/// The answers of the prompt with a farm and the sample files to a script.
pub(super) fn script(farm: &Farm, input: &str) -> Ended {
    run(&mut client(&farm.balancer.address), input)
}

/// The prompt with a farm and the sample files at a terminal, ready for the first command.
pub(super) fn terminal(farm: &Farm) -> Terminal {
    terminal_with(farm, &[])
}

/// The same with more flags.
pub(super) fn terminal_with(farm: &Farm, flags: &[&str]) -> Terminal {
    let args = [
        "client",
        "--balancer",
        &farm.balancer.address,
        "--files",
        sample_files(),
    ];
    let mut terminal = Terminal::start(farm.dir.path(), &[&args, flags].concat());
    terminal.expect(PROMPT);
    terminal
}

/// Checks that so many sample files are stored, each with the content of its payload.
pub(super) fn check_stored(farm: &Farm, count: usize) {
    let (stored, samples) = (farm.all_stored(), samples());
    assert_eq!(stored.len(), count);
    for (name, content) in stored {
        let title = name.split_once('_').unwrap().1;
        assert_eq!(
            String::from_utf8(content).unwrap(),
            samples[title],
            "{name}"
        );
    }
}

pub(super) fn write(dir: &Path, name: &str, content: impl AsRef<[u8]>) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(name), content).unwrap();
}
