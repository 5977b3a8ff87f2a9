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
use crate::text::start;

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

/// The part of both that one member may have, so that it keeps nobody else out.
const SHARE: usize = 8;

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
    /// Bytes that are kept.
    bytes: usize,
    /// The round in which it was looked for lines that stand in the file no more.
    looked: u32,
}

impl Host {
    /// Throws away what is known of lines that were in neither this round nor the one before: they
    /// have left the file, and are new if they come again. Once a round, since it goes over all
    /// lines. Says how many went.
    fn forget_lines(&mut self) -> usize {
        if self.looked == self.rounds {
            return 0;
        }
        self.looked = self.rounds;
        let before = self.lines.len();
        let rounds = self.rounds;
        self.lines
            .retain(|_, line| rounds.wrapping_sub(line.round) <= 1);
        before - self.lines.len()
    }
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
        let time = start(time, MAX_NAME);
        if state.known >= MAX_KNOWN && !state.hosts.contains_key(of) {
            return Err(NoPlace);
        }
        let host = state.hosts.entry(of.clone()).or_default();
        if *host.round != *time {
            host.round = time.into();
            host.rounds = host.rounds.wrapping_add(1);
        }
        if !host.lines.contains_key(&hash) {
            let is_full =
                |known, host: &Host| known >= MAX_KNOWN || host.lines.len() >= MAX_KNOWN / SHARE;
            if is_full(state.known, host) {
                state.known -= host.forget_lines();
                if is_full(state.known, host) {
                    return Err(NoPlace);
                }
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
            user: start(user, MAX_NAME).into(),
            command: start(command, MAX_COMMAND).into(),
        };
        state.bytes += command.bytes();
        host.bytes += command.bytes();
        host.kept.push_back(command);
        // A member makes room among its own: nobody can move out what others have told.
        while host.kept.len() > state.most
            || host.bytes > MAX_BYTES / SHARE
            || state.bytes > MAX_BYTES
        {
            let Some(oldest) = host.kept.pop_front() else {
                break;
            };
            state.bytes -= oldest.bytes();
            host.bytes -= oldest.bytes();
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
            state.bytes -= host.bytes;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

    /// One token could keep all others out until the balancer was started again.
    #[test]
    fn one_member_has_its_share_of_the_place_and_no_more() {
        let commands = Commands::default();
        commands.keep(MAX_COMMANDS);
        let (a, b) = (host("a"), host("b"));
        let tell = |line: usize, time: &str| commands.told(&a, "root", &line.to_string(), time);
        let most = MAX_KNOWN / SHARE;
        for line in 0..most {
            tell(line, "1").unwrap();
        }
        assert_eq!(tell(most, "1"), Err(NoPlace));
        assert_eq!(tell(0, "1"), Ok(true), "a known one, once more");
        assert_eq!(commands.told(&b, "root", "ls", "1"), Ok(true));
        // In later rounds other lines are in the file, and those that have left it make room.
        assert_eq!(tell(0, "2"), Ok(false));
        assert_eq!(tell(most, "2"), Err(NoPlace), "the round before counts");
        assert_eq!(tell(0, "3"), Ok(false));
        assert_eq!(tell(most, "3"), Ok(true));
        assert_eq!(tell(0, "3"), Ok(false));
        let state = commands.state();
        assert_eq!(state.known, 3);
        assert!(state.hosts[&a].bytes <= MAX_BYTES / SHARE);
    }

    #[test]
    fn the_bytes_of_one_member_are_its_share() {
        let commands = Commands::default();
        commands.keep(MAX_COMMANDS);
        let a = host("a");
        for line in 0..10_000 {
            let command = format!("{line} {}", "x".repeat(MAX_COMMAND));
            commands.told(&a, "root", &command, "1").unwrap();
        }
        let kept = commands.of(&a);
        assert!(kept.last().unwrap().command.starts_with("9999 "));
        let bytes: usize = kept.iter().map(Command::bytes).sum();
        assert!((MAX_BYTES / SHARE - 2048..=MAX_BYTES / SHARE).contains(&bytes));
        assert_eq!(commands.state().bytes, bytes);
    }

    #[test]
    fn who_has_no_place_leaves_nothing() {
        let commands = Commands::default();
        commands.keep(1);
        commands.state().known = MAX_KNOWN;
        assert_eq!(commands.told(&host("a"), "root", "ls", "1"), Err(NoPlace));
        assert!(commands.state().hosts.is_empty());
    }
}
