//! The status on the whole screen: drawn each second, scrolled with the keys, and taken away again
//! however it ends.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write};
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::api::{self, Api, Heard};
use super::{Exit, Failure, events, status};
use crate::admin::types::State;
use crate::balancer::events::Event;
use crate::text::{Printable, is_printable};

/// After so long without a word what is shown is stale.
const STALE: Duration = Duration::from_secs(3);

/// The longest time between two looks at the clock.
const TICK: Duration = Duration::from_secs(1);

/// How many seconds a line of the table draws.
const DRAWN: usize = 20;

/// How many notices are kept for the foot of the screen.
const NOTICES: usize = 100;

/// The fewest servers that are shown before there is room for notices, and the fewest of those if
/// there are more servers.
const FEWEST_ROWS: usize = 4;
const FEWEST_NOTICES: usize = 5;

/// What cannot be drawn into is taken for a screen of this size.
const SIZE: (usize, usize) = (24, 80);

/// Goes to another screen without a cursor, and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Whether there is a screen to draw on.
pub(super) fn is_possible() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Draws until it is told to stop.
pub(super) async fn run(api: Api, colour: bool) -> Result<Exit, Failure> {
    let cannot = |error| Failure::new(Exit::Failed, format!("cannot use this terminal: {error}"));
    // Before the screen is taken: whoever asks for a balancer that is not there reads why.
    api.overview()?;
    let mut signals = Signals::catch().map_err(cannot)?;
    let (to_us, mut happenings) = mpsc::channel(16);
    let (keys_to_us, mut keys) = mpsc::channel(16);
    listen(api, to_us).map_err(cannot)?;
    let _screen = Screen::enter().map_err(cannot)?;
    read_keys(keys_to_us).map_err(cannot)?;
    let mut view = View::new(colour);
    loop {
        draw(&mut view).map_err(cannot)?;
        let key = tokio::select! {
            heard = happenings.recv() => match heard {
                Some(Ok(heard)) => { view.hear(heard); continue }
                Some(Err(failure)) => return Err(failure),
                None => return Ok(Exit::Done),
            },
            Some(key) = keys.recv() => key,
            ended = signals.next() => match ended {
                Some(exit) => return Ok(exit),
                None => continue,
            },
            () = tokio::time::sleep(TICK) => continue,
        };
        if key == Key::Quit {
            return Ok(Exit::Done);
        }
        view.press(key);
    }
}

/// Listens to the balancer on a thread of its own.
fn listen(api: Api, to: mpsc::Sender<Result<Heard, Failure>>) -> io::Result<()> {
    let listen = move || {
        let tell = |heard| match to.blocking_send(Ok(heard)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        if let Err(failure) = api::listen(&api, true, 0, tell) {
            let _ = to.blocking_send(Err(failure));
        }
    };
    thread::Builder::new()
        .name("events".to_owned())
        .spawn(listen)
        .map(drop)
}

/// What ends the view from outside, or changes its screen.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    resize: tokio::signal::unix::Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            resize: signal(SignalKind::window_change())?,
        })
    }

    /// The exit code of a signal to end; `None` for one to draw again.
    async fn next(&mut self) -> Option<Exit> {
        tokio::select! {
            _ = self.interrupt.recv() => Some(Exit::Interrupted),
            _ = self.terminate.recv() => Some(Exit::Interrupted),
            _ = self.hangup.recv() => Some(Exit::Interrupted),
            _ = self.resize.recv() => None,
        }
    }
}

/// A key that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Quit,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

/// Reads keys on a thread of its own, if there is a terminal to read them from.
fn read_keys(to: mpsc::Sender<Key>) -> io::Result<()> {
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

/// The keys that a terminal sent; those of others are skipped.
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
            // The letter that ends an unknown sequence is no key.
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

/// What is shown.
struct View {
    colour: bool,
    state: Option<State>,
    heard: Instant,
    /// Why the balancer is away, if it is.
    lost: Option<String>,
    notices: VecDeque<Event>,
    /// How many servers are above the first that is shown.
    above: usize,
    /// How many were shown.
    rows: usize,
}

impl View {
    fn new(colour: bool) -> Self {
        let (state, lost, notices) = (None, None, VecDeque::new());
        Self {
            colour,
            state,
            heard: Instant::now(),
            lost,
            notices,
            above: 0,
            rows: 1,
        }
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::State(state, _) => {
                self.state = Some(*state);
                (self.heard, self.lost) = (Instant::now(), None);
            }
            Heard::Event(notice, _) => {
                if self.notices.len() == NOTICES {
                    self.notices.pop_front();
                }
                self.notices.push_back(notice);
            }
            Heard::Lost(why) => self.lost = Some(why),
            Heard::Back { .. } => self.lost = None,
        }
    }

    fn press(&mut self, key: Key) {
        self.above = match key {
            Key::Quit => self.above,
            Key::Up => self.above.saturating_sub(1),
            Key::Down => self.above + 1,
            Key::PageUp => self.above.saturating_sub(self.rows),
            Key::PageDown => self.above + self.rows,
            Key::Home => 0,
            Key::End => usize::MAX,
        };
    }

    /// The lines of a screen of this size.
    fn lines(&mut self, height: usize, width: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let warning = self.stale();
        let Some(state) = &self.state else {
            return vec![warning.unwrap_or_else(|| "waiting for the balancer …".to_owned())];
        };
        lines.extend(status::overview(&state.overview));
        lines.push(warning.unwrap_or_default());
        let mut table = status::table(&state.servers, Some(DRAWN), self.colour).into_iter();
        lines.extend(table.next());
        // The last line is the foot.
        let room = height.saturating_sub(lines.len() + 1).max(1);
        let servers = state.servers.len();
        // Notices get what the servers leave, and a few lines in any case.
        let most = room
            .saturating_sub(servers)
            .max(room.saturating_sub(FEWEST_ROWS).min(FEWEST_NOTICES + 1));
        let for_notices = (self.notices.len() + 1).min(most);
        let for_notices = if for_notices < 2 { 0 } else { for_notices };
        self.rows = (room - for_notices).max(1);
        self.above = self.above.min(servers.saturating_sub(self.rows));
        lines.extend(table.skip(self.above).take(self.rows));
        if for_notices > 0 {
            lines.push(String::new());
            let skipped = self.notices.len().saturating_sub(for_notices - 1);
            lines.extend(self.notices.iter().skip(skipped).map(events::line));
        }
        lines.truncate(height.saturating_sub(1));
        lines.resize(height.saturating_sub(1), String::new());
        let scroll = if servers > self.rows {
            format!(
                "   servers {} to {} of {servers}: ↑ ↓",
                self.above + 1,
                (self.above + self.rows).min(servers)
            )
        } else {
            String::new()
        };
        lines.push(format!("q quits{scroll}"));
        lines.iter().map(|line| cut(line, width)).collect()
    }

    /// Says so when what is shown is not what is.
    fn stale(&self) -> Option<String> {
        let silent = self.heard.elapsed();
        let why = match &self.lost {
            Some(why) => format!("the balancer is away ({})", Printable(why)),
            None if silent >= STALE => "the balancer says nothing".to_owned(),
            None => return None,
        };
        let mark = if self.colour {
            "\x1b[1;31mSTALE\x1b[0m"
        } else {
            "STALE"
        };
        Some(format!(
            "{mark} for {} s: {why}; trying again",
            silent.as_secs()
        ))
    }
}

/// As much of a line as fits, its colours not counted. Whatever else a terminal would act upon is
/// left out.
fn cut(line: &str, width: usize) -> String {
    let (mut text, mut used, mut chars) = (String::new(), 0, line.chars());
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            text.push(c);
            for c in chars.by_ref() {
                text.push(c);
                if c == 'm' {
                    break;
                }
            }
            continue;
        }
        if used < width && is_printable(c) {
            text.push(c);
            used += 1;
        }
    }
    text
}

/// The terminal while it is ours. Dropping it gives it back as it was.
struct Screen;

/// How the terminal was before.
static BEFORE: OnceLock<Option<Termios>> = OnceLock::new();

impl Screen {
    fn enter() -> io::Result<Self> {
        let before = BEFORE.get_or_init(|| tcgetattr(io::stdin()).ok());
        if let Some(before) = before {
            let mut ours = before.clone();
            ours.local_modes
                .remove(LocalModes::ICANON | LocalModes::ECHO);
            // Whoever is stopped leaves the screen to others without giving it back.
            ours.special_codes[SpecialCodeIndex::VSUSP] = 0;
            ours.special_codes[SpecialCodeIndex::VQUIT] = 0;
            tcsetattr(io::stdin(), OptionalActions::Now, &ours)?;
        }
        // From here on it is given back.
        let screen = Self;
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            earlier(panic);
        }));
        write(ENTER)?;
        Ok(screen)
    }
}

fn draw(view: &mut View) -> io::Result<()> {
    let size = tcgetwinsize(io::stdout()).map_or((0, 0), |size| {
        (usize::from(size.ws_row), usize::from(size.ws_col))
    });
    let (height, width) = if size.0 == 0 || size.1 == 0 {
        SIZE
    } else {
        size
    };
    // All at once, where the terminal knows how: no half a frame is seen.
    let mut frame = "\x1b[?2026h\x1b[H".to_owned();
    for (place, line) in view.lines(height, width).iter().enumerate() {
        let next = if place == 0 { "" } else { "\r\n" };
        let _ = write!(frame, "{next}{line}\x1b[K");
    }
    frame.push_str("\x1b[J\x1b[?2026l");
    write(&frame)
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    // Nobody can be told, and the rest is to be tried in any case.
    let _ = write(LEAVE);
    if let Some(Some(before)) = BEFORE.get() {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, before);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
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

    #[test]
    fn lines_are_cut_and_harmless() {
        assert_eq!(cut("a\x1b[31mbcd\x1b[0mef", 3), "a\x1b[31mbc\x1b[0m");
        assert_eq!(cut("▁▂\u{9b}2J\rx", 4), "▁▂2J");
        assert_eq!(cut("", 4), "");
    }
}
