//! The servers as a table that fits: one line each, troubles first. Pure.
//!
//! Invariant: whatever the width, a line has the server's name, its state and why it is in it, cut if
//! need be. Everything else gives way to that, figures that explain nothing first.

use crate::admin::types::Server;
use crate::balancer::standing::Held;
use crate::cli::render::{age, millis};
use crate::protocol::status::{Dialect, Memory, ServerState};
use crate::text::Printable;
use crate::units::ByteSize;

/// A column of the table.
struct Column {
    name: &'static str,
    is_number: bool,
    /// The higher, the sooner it is left out; 0 stays.
    gives_way: u8,
}

const fn column(name: &'static str, is_number: bool, gives_way: u8) -> Column {
    Column {
        name,
        is_number,
        gives_way,
    }
}

const COLUMNS: [Column; 13] = [
    column("server", false, 0),
    column("state", false, 0),
    column("since", true, 1),
    column("weight", true, 4),
    column("share", true, 3),
    column("wanted", true, 6),
    column("in flight", true, 2),
    column("memory", true, 9),
    column("probe", true, 8),
    column("delivered", true, 5),
    column("files/s", true, 7),
    column("why", false, 0),
    column("last seconds", false, 10),
];

/// The places of the columns that stay.
const NAME: usize = 0;
const STATE: usize = 1;
const WHY: usize = 11;
const DRAWING: usize = 12;

/// A name and a reason that are cut keep at least so much, if there is room.
const LEAST_NAME: usize = 10;
const LEAST_WHY: usize = 12;

/// So much of a name or a reason is worth a column of figures.
const GOOD_NAME: usize = 24;
const GOOD_WHY: usize = 36;

/// Room between two columns.
const GAP: usize = 2;

/// How a table is made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    /// What a line may take; `None` where nothing has to fit.
    pub(super) width: Option<usize>,
    /// How many of the last seconds are drawn, if any.
    pub(super) drawn: Option<usize>,
    pub(super) colour: bool,
}

/// A table of servers: its head, then one line per server, those with a trouble first.
pub(super) fn table(servers: &[Server], look: Look) -> Vec<String> {
    let mut servers: Vec<&Server> = servers.iter().collect();
    servers.sort_by_key(|server| rank(server.report.state));
    let tallest = servers
        .iter()
        .flat_map(|server| last(&server.history, look.drawn))
        .copied()
        .max()
        .unwrap_or(0);
    let rows: Vec<_> = servers
        .iter()
        .map(|server| cells(server, look.drawn, tallest))
        .collect();
    let widths = widths(&rows, look);
    let head = COLUMNS.map(|column| column.name.to_owned());
    let mut lines = vec![line(&head, &widths, None)];
    for (server, cells) in servers.iter().zip(&rows) {
        let colour = look.colour.then(|| colour(server.report.state));
        lines.push(line(cells, &widths, colour));
    }
    lines
}

/// What of these servers comes behind the first `shown` lines, in words.
pub(super) fn rest(servers: &[Server], shown: usize) -> String {
    let mut states: Vec<_> = servers.iter().map(|server| server.report.state).collect();
    states.sort_by_key(|state| rank(*state));
    let states = states.get(shown..).unwrap_or_default();
    let mut counts: Vec<(ServerState, usize)> = Vec::new();
    for state in states {
        match counts.iter_mut().find(|(known, _)| known == state) {
            Some((_, count)) => *count += 1,
            None => counts.push((*state, 1)),
        }
    }
    let more = crate::numbers::Grouped(states.len() as u64);
    match counts.as_slice() {
        [] => String::new(),
        [(state, _)] => format!("and {more} more, all {}", state.name()),
        several => {
            let of_each: Vec<_> = several
                .iter()
                .map(|(state, count)| format!("{count} {}", state.name()))
                .collect();
            format!("and {more} more: {}", of_each.join(", "))
        }
    }
}

/// Who needs an operator comes first.
fn rank(state: ServerState) -> u8 {
    match state {
        ServerState::Down => 0,
        ServerState::Overloaded => 1,
        ServerState::Paused => 2,
        ServerState::Connecting => 3,
        ServerState::Unknown => 4,
        ServerState::Removing => 5,
        ServerState::Drained => 6,
        ServerState::Full | ServerState::Up => 7,
    }
}

/// The width of each column; 0 leaves it out.
fn widths(rows: &[[String; COLUMNS.len()]], look: Look) -> [usize; COLUMNS.len()] {
    let mut widths: [usize; COLUMNS.len()] = std::array::from_fn(|place| {
        let of_rows = rows.iter().filter_map(|row| row.get(place));
        let widest = of_rows.map(|cell| cell.chars().count()).max().unwrap_or(0);
        let head = COLUMNS.get(place).map_or(0, |column| column.name.len());
        // Without a reason there is no column of reasons.
        if widest == 0 { 0 } else { widest.max(head) }
    });
    if look.drawn.is_none() {
        set(&mut widths, DRAWING, 0);
    }
    let Some(width) = look.width else {
        return widths;
    };
    let name = at(&widths, NAME);
    let why = at(&widths, WHY);
    // Figures give way until names and reasons have what makes them readable.
    let mut wanted = widths;
    set(&mut wanted, NAME, name.min(GOOD_NAME));
    set(&mut wanted, WHY, why.min(GOOD_WHY));
    let mut order: Vec<(u8, usize)> = COLUMNS
        .iter()
        .enumerate()
        .map(|(place, column)| (column.gives_way, place))
        .filter(|(gives_way, _)| *gives_way > 0)
        .collect();
    order.sort_unstable();
    while whole(&wanted) > width {
        let Some((_, place)) = order.pop() else {
            break;
        };
        set(&mut wanted, place, 0);
    }
    // What is left over goes to the names, then to the reasons; what is missing, both lack.
    let others = whole(&wanted) - at(&wanted, NAME) - at(&wanted, WHY);
    let room = width.saturating_sub(others);
    let for_why = why
        .min(GOOD_WHY)
        .min(room.saturating_sub(name.min(LEAST_NAME)));
    let for_why = for_why.max(why.min(LEAST_WHY)).min(room);
    let for_name = name.min(room - for_why);
    let for_name = if why == 0 || for_name >= name.min(GOOD_NAME) {
        for_name
    } else {
        // Half of what there is for both.
        for_name.max(name.min(room / 2))
    };
    set(&mut wanted, NAME, for_name);
    set(&mut wanted, WHY, why.min(room - for_name));
    wanted
}

fn at(widths: &[usize; COLUMNS.len()], place: usize) -> usize {
    widths.get(place).copied().unwrap_or(0)
}

fn set(widths: &mut [usize; COLUMNS.len()], place: usize, width: usize) {
    if let Some(of_column) = widths.get_mut(place) {
        *of_column = width;
    }
}

/// The width of a line, with the space before it.
fn whole(widths: &[usize; COLUMNS.len()]) -> usize {
    let columns = widths.iter().filter(|width| **width > 0).count();
    1 + widths.iter().sum::<usize>() + GAP * columns.saturating_sub(1)
}

fn line(
    cells: &[String; COLUMNS.len()],
    widths: &[usize; COLUMNS.len()],
    colour: Option<&str>,
) -> String {
    let mut text = String::new();
    for (place, ((cell, width), column)) in cells.iter().zip(widths).zip(&COLUMNS).enumerate() {
        let width = *width;
        if width == 0 {
            continue;
        }
        let cell = match place {
            NAME => cut_in_the_middle(cell, width),
            _ => cut(cell, width),
        };
        text.push_str(if text.is_empty() { " " } else { "  " });
        let room = " ".repeat(width.saturating_sub(cell.chars().count()));
        let cell = match colour {
            Some(colour) if place == STATE => format!("\x1b[{colour}m{cell}\x1b[0m"),
            _ => cell,
        };
        if column.is_number {
            text = text + &room + &cell;
        } else {
            text = text + &cell + &room;
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// As much of the text as fits.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

/// The start and the end: hosts of one domain differ at the start, ports at the end.
fn cut_in_the_middle(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let (start, end) = (kept.div_ceil(2), kept / 2);
    let start: String = text.chars().take(start).collect();
    let end: String = text.chars().skip(length - end).collect();
    format!("{start}…{end}")
}

fn last(history: &[u64], width: Option<usize>) -> &[u64] {
    history
        .get(history.len().saturating_sub(width.unwrap_or(0))..)
        .unwrap_or_default()
}

fn cells(server: &Server, drawn: Option<usize>, tallest: u64) -> [String; COLUMNS.len()] {
    let report = &server.report;
    let old_style = if report.dialect == Some(Dialect::OldStyle) {
        " (old-style)"
    } else {
        ""
    };
    let share = |share: f64| format!("{:.1} %", share * 100.0);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let reason = report.reason.as_deref().map(Printable);
    [
        format!("{}{old_style}", Printable(&report.name)),
        report.state.name().to_owned(),
        age(report.since_s),
        weight(server),
        or_dash(server.share_had.map(share)),
        share(server.share_wanted),
        format!("{}/{}", report.in_flight, report.window_files),
        or_dash(report.memory.map(memory)),
        or_dash(report.probe_ms.map(millis)),
        report.delivered.to_string(),
        format!("{:.1}", server.files_per_s),
        reason.map_or_else(String::new, |reason| reason.to_string()),
        sparkline(last(&server.history, drawn), tallest),
    ]
}

/// Whether its weight comes from an order, and not from the configuration: it has a mark.
pub(super) fn is_marked(server: &Server) -> bool {
    let is_ordered = |held: &Held| held.weight.is_some() || held.added.is_some();
    server.ordered.as_ref().is_some_and(is_ordered)
}

fn weight(server: &Server) -> String {
    let mark = if is_marked(server) { "*" } else { "" };
    format!("{}{mark}", server.report.weight)
}

fn memory(memory: Memory) -> String {
    format!("{}/{}", ByteSize(memory.used), ByteSize(memory.limit))
}

fn colour(state: ServerState) -> &'static str {
    match state {
        ServerState::Up => "32",
        ServerState::Full | ServerState::Overloaded | ServerState::Paused => "33",
        ServerState::Down => "31",
        ServerState::Unknown
        | ServerState::Connecting
        | ServerState::Drained
        | ServerState::Removing => "36",
    }
}

/// Numbers as bars. `tallest` is the maximum of all servers, so that their bars compare.
fn sparkline(numbers: &[u64], tallest: u64) -> String {
    let bar = |number: &u64| match u128::from(*number) * 4 / u128::from(tallest.max(1)) {
        _ if *number == 0 => '▁',
        0 | 1 => '▂',
        2 => '▃',
        3 => '▅',
        _ => '▇',
    };
    numbers.iter().map(bar).collect()
}

#[cfg(test)]
mod tests;
