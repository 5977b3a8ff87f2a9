//! What users have typed on the hosts of members, where a balancer was told to keep it: in memory only.
//!
//! An agent sends a shell's whole history again and again. A round is recognised by the time that all
//! of its lines have; a line is new if it stands more often in this round than in any before. So lines
//! may be added anywhere, and old ones may go, and none is kept twice.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::fleet_core::Identity;

/// The most commands that are kept of a member.
pub const MAX_COMMANDS: usize = 100_000;

/// The longest part of a command that is kept, in bytes.
pub const MAX_COMMAND: usize = 1024;

/// The longest name of a user, and the longest time, in bytes.
const MAX_NAME: usize = 64;

/// The most different lines that are recognised, of all members.
const MAX_KNOWN: usize = 1_000_000;

/// The most bytes of commands that are kept, of all members.
const MAX_BYTES: usize = 64 << 20;

/// A command that a user has typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Command {
    /// The time as the agent told it; it has no zone.
    pub time: Box<str>,
    /// Who typed it.
    pub user: Box<str>,
    /// What was typed; its first [`MAX_COMMAND`] bytes.
    pub command: Box<str>,
}

impl Command {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.time.len() + self.user.len() + self.command.len()
    }
}

/// There is no place for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPlace;

/// What users have typed, by member.
#[derive(Debug, Default)]
pub struct Commands(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The most that are kept of a member.
    most: usize,
    hashes: RandomState,
    hosts: BTreeMap<Identity, Host>,
    /// Different lines that are recognised, of all members.
    known: usize,
    /// Bytes that are kept, of all members.
    bytes: usize,
}

#[derive(Debug, Default)]
struct Host {
    /// The time of the round, by which it is recognised.
    round: Box<str>,
    /// Rounds so far.
    rounds: u32,
    /// How often each line stood in the fullest round, and how often in the last one it was in.
    lines: HashMap<u64, Line>,
    kept: VecDeque<Command>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Line {
    most: u32,
    now: u32,
    round: u32,
}

impl Commands {
    /// Keeps the last so many of each member from now on.
    pub fn keep(&self, most: usize) {
        self.state().most = most.min(MAX_COMMANDS);
    }

    /// Takes a line of a member. Says whether it is new.
    pub fn told(
        &self,
        of: &Identity,
        user: &str,
        command: &str,
        time: &str,
    ) -> Result<bool, NoPlace> {
        let mut state = self.state();
        let state = &mut *state;
        if state.most == 0 {
            return Err(NoPlace);
        }
        let mut hasher = state.hashes.build_hasher();
        hasher.write(user.as_bytes());
        hasher.write_u8(0);
        hasher.write(command.as_bytes());
        let hash = hasher.finish();
        let time = cut(time, MAX_NAME);
        if !state.hosts.contains_key(of) {
            state.hosts.insert(of.clone(), Host::default());
        }
        let Some(host) = state.hosts.get_mut(of) else {
            return Err(NoPlace);
        };
        if *host.round != *time {
            host.round = time.into();
            host.rounds = host.rounds.wrapping_add(1);
        }
        if !host.lines.contains_key(&hash) {
            if state.known >= MAX_KNOWN {
                return Err(NoPlace);
            }
            state.known += 1;
        }
        let line = host.lines.entry(hash).or_default();
        if line.round != host.rounds {
            (line.round, line.now) = (host.rounds, 0);
        }
        line.now += 1;
        if line.now <= line.most {
            return Ok(false);
        }
        line.most = line.now;
        let command = Command {
            time: time.into(),
            user: cut(user, MAX_NAME).into(),
            command: cut(command, MAX_COMMAND).into(),
        };
        state.bytes += command.bytes();
        host.kept.push_back(command);
        // A member makes room among its own: nobody can move out what others have told.
        while host.kept.len() > state.most || state.bytes > MAX_BYTES {
            let Some(oldest) = host.kept.pop_front() else {
                break;
            };
            state.bytes -= oldest.bytes();
        }
        Ok(true)
    }

    /// What is kept of a member, the oldest first.
    pub fn of(&self, member: &Identity) -> Vec<Command> {
        let state = self.state();
        let host = state.hosts.get(member);
        host.map_or_else(Vec::new, |host| host.kept.iter().cloned().collect())
    }

    /// Throws away what is kept of a member.
    pub fn forget(&self, member: &Identity) {
        let mut state = self.state();
        if let Some(host) = state.hosts.remove(member) {
            state.known -= host.lines.len();
            state.bytes -= host.kept.iter().map(Command::bytes).sum::<usize>();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The beginning of a text, in whole characters.
fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Identity {
        Identity::Agent(name.into())
    }

    fn texts(commands: &Commands, of: &Identity) -> Vec<String> {
        let kept = commands.of(of).into_iter();
        kept.map(|command| format!("{}: {}", command.user, command.command))
            .collect()
    }

    #[test]
    fn nothing_is_kept_unless_it_is_wanted() {
        let commands = Commands::default();
        let told = commands.told(&host("a"), "root", "ls", "1");
        assert_eq!(told, Err(NoPlace));
        assert!(commands.of(&host("a")).is_empty());
        assert!(commands.state().hosts.is_empty());
    }

    #[test]
    fn a_hundred_rounds_of_ten_thousand_lines_are_stored_once() {
        let commands = Commands::default();
        commands.keep(20_000);
        let a = host("a");
        let mut new = 0;
        for round in 0..100 {
            for line in 0..10_000 {
                let told =
                    commands.told(&a, "root", &format!("command {line}"), &format!("{round}"));
                new += usize::from(told.unwrap());
            }
        }
        assert_eq!((new, commands.of(&a).len()), (10_000, 10_000));
        assert_eq!(commands.state().known, 10_000);
    }

    #[test]
    fn lines_that_are_added_anywhere_are_new_and_others_are_not() {
        let commands = Commands::default();
        commands.keep(100);
        let a = host("a");
        let tell = |time: &str, lines: &[(&str, &str)]| {
            let new = lines
                .iter()
                .filter(|(user, command)| commands.told(&a, user, command, time).unwrap());
            new.count()
        };
        assert_eq!(
            tell("1", &[("anna", "ls"), ("anna", "ls"), ("root", "ls")]),
            3
        );
        assert_eq!(
            tell("2", &[("anna", "ls"), ("anna", "ls"), ("root", "ls")]),
            0
        );
        // One in the middle, the same as before, and the first one has gone from the file.
        let lines = [
            ("anna", "ls"),
            ("anna", "pwd"),
            ("root", "ls"),
            ("root", "ls"),
        ];
        assert_eq!(tell("3", &lines), 2);
        assert_eq!(tell("4", &lines), 0);
        assert_eq!(
            texts(&commands, &a),
            ["anna: ls", "anna: ls", "root: ls", "anna: pwd", "root: ls"]
        );
    }

    #[test]
    fn what_is_kept_is_bounded_and_others_keep_theirs() {
        let commands = Commands::default();
        commands.keep(3);
        let (a, b) = (host("a"), host("b"));
        commands.told(&b, "root", "stays", "1").unwrap();
        for line in 0..1000 {
            let command = format!("{line} {}", "é".repeat(5000));
            commands.told(&a, &"u".repeat(5000), &command, "1").unwrap();
        }
        let kept = commands.of(&a);
        assert_eq!(kept.len(), 3);
        assert!(kept[2].command.starts_with("999 é"));
        assert!(kept.iter().all(|kept| kept.bytes() < 1200));
        assert_eq!(texts(&commands, &b), ["root: stays"]);
        commands.forget(&a);
        let state = commands.state();
        assert_eq!(state.known, 1);
        assert!(state.bytes < 100, "{}", state.bytes);
    }
}
