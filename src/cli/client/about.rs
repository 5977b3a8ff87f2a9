//! What `help` and Tab know of the commands of the prompt.

/// A command as `help` and Tab know it.
pub(super) struct About {
    pub(super) name: &'static str,
    pub(super) usage: &'static str,
    /// One line.
    summary: &'static str,
    /// What `help NAME` adds.
    more: &'static str,
}

/// All commands, in the order of `help`.
pub(super) const COMMANDS: [About; 9] = [
    About {
        name: "FTP",
        usage: "FTP [N]",
        summary: "send N files picked at random from the folder; asks how many without N",
        more: "The same file may be picked several times. It ends when all are delivered; Ctrl-C ends\n\
               only the waiting.",
    },
    About {
        name: "send",
        usage: "send NAME…",
        summary: "send these files from the folder, or by path; -r: those in directories, too",
        more: "Names with spaces need quotes: send 'two words.txt'. Patterns work: send *.json,\n\
               send ../up/*; so does ~/. `send -r DIR` sends all files in DIR and below it; links in\n\
               it are followed with --follow, and left out without an error with --skip-links.",
    },
    About {
        name: "ls",
        usage: "ls",
        summary: "list the files in the folder",
        more: "The list is read again, so that FTP picks from new files, too.",
    },
    About {
        name: "status",
        usage: "status",
        summary: "what the balancer and its servers do",
        more: "`bilico status --watch`, in another terminal, shows it live.",
    },
    About {
        name: "drain",
        usage: "drain S",
        summary: "send nothing new to server S: its name, or a part of it such as 5003",
        more: "Files in flight to it are still delivered. `undrain S` is the way back.",
    },
    About {
        name: "undrain",
        usage: "undrain S",
        summary: "send files to it again",
        more: "S is its name, or a part of it such as 5003.",
    },
    About {
        name: "weight",
        usage: "weight S N",
        summary: "give it the weight N",
        more: "A server of weight 6 gets twice as many files as one of weight 3; with 0 it gets none.",
    },
    About {
        name: "help",
        usage: "help [NAME]",
        summary: "this list, or more about one command",
        more: "`send --help` is the same as `help send`.",
    },
    About {
        name: "exit",
        usage: "exit",
        summary: "leave; so do Ctrl-D, and Ctrl-C twice. `clear` clears the screen",
        more: "Files that were accepted and are not delivered stay in the balancer's journal.",
    },
];

/// The names of all commands, for a hint.
pub(super) const NAMES: &str = "FTP, send, ls, status, drain S, undrain S, weight S N, help, exit";

/// What `help` shows: all commands, or more about one.
pub(super) fn help(about: Option<&About>) -> String {
    let line = |about: &About| format!("{:<13} {}", about.usage, about.summary);
    match about {
        Some(about) => format!("{}\n{}", line(about), about.more),
        None => COMMANDS.iter().map(line).collect::<Vec<_>>().join("\n"),
    }
}

/// The command of this name, in any case.
pub(super) fn about(name: &str) -> Option<&'static About> {
    let name = match name.to_lowercase().as_str() {
        "?" => "help".to_owned(),
        "quit" => "exit".to_owned(),
        name => name.to_owned(),
    };
    COMMANDS
        .iter()
        .find(|about| about.name.eq_ignore_ascii_case(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_help_of_its_own() {
        let all = help(None);
        for command in &COMMANDS {
            assert!(all.contains(command.summary), "{all}");
            let one = help(Some(command));
            assert!(one.starts_with(command.usage) && one.contains(command.more));
        }
    }
}
