//! The keys of the whole-screen view.

use std::io::{self, IsTerminal, Read};
use std::thread;

use tokio::sync::mpsc;

/// A key with a meaning in the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

/// Reads keys on a thread of its own, if standard input is a terminal.
pub(super) fn read_keys(to: mpsc::Sender<Key>) -> io::Result<()> {
    if !io::stdin().is_terminal() {
        return Ok(());
    }
    let read = move || {
        let (mut input, mut bytes) = (io::stdin().lock(), [0; 64]);
        while let Ok(read @ 1..) = input.read(&mut bytes) {
            for key in keys(bytes.get(..read).unwrap_or_default()) {
                if to.blocking_send(key).is_err() {
                    return;
                }
            }
        }
    };
    thread::Builder::new()
        .name("keys".to_owned())
        .spawn(read)
        .map(drop)
}

/// The keys in a terminal's input; other input is skipped.
fn keys(mut bytes: &[u8]) -> Vec<Key> {
    const SEQUENCES: [(&[u8], Key); 19] = [
        (b"q", Key::Quit),
        (b"Q", Key::Quit),
        (b"\x03", Key::Quit),
        (b"k", Key::Up),
        (b"j", Key::Down),
        (b"g", Key::Home),
        (b"G", Key::End),
        (b" ", Key::PageDown),
        (b"\x1b[A", Key::Up),
        (b"\x1bOA", Key::Up),
        (b"\x1b[B", Key::Down),
        (b"\x1bOB", Key::Down),
        (b"\x1b[5~", Key::PageUp),
        (b"\x1b[6~", Key::PageDown),
        (b"\x1b[H", Key::Home),
        (b"\x1bOH", Key::Home),
        (b"\x1b[1~", Key::Home),
        (b"\x1b[F", Key::End),
        (b"\x1bOF", Key::End),
    ];
    let mut keys = Vec::new();
    while let Some((first, rest)) = bytes.split_first() {
        match SEQUENCES
            .iter()
            .find_map(|(sequence, key)| Some((bytes.strip_prefix(*sequence)?, *key)))
        {
            Some((after, key)) => {
                keys.push(key);
                bytes = after;
            }
            // An unknown escape sequence: skip it with the letter that ends it, which is not a key.
            None if *first == 0x1b => {
                let end = rest
                    .iter()
                    .skip(1)
                    .position(|byte| byte.is_ascii_alphabetic() || *byte == b'~');
                bytes = end.and_then(|end| rest.get(end + 2..)).unwrap_or_default();
            }
            None => bytes = rest,
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_terminals() {
        assert_eq!(
            keys(b"\x1b[A\x1b[Bj\x1b[5~q"),
            [Key::Up, Key::Down, Key::Down, Key::PageUp, Key::Quit]
        );
        assert_eq!(keys(b"\x1b[1;5Ax\x1b[3~G\x1b"), [Key::End]);
        assert_eq!(keys(b"\xff\x1b["), []);
    }
}
