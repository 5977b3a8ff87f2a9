//! Tables whose lines fit into the terminal, whatever its width. Pure.
//!
//! Invariant: a line has the name, the state and why it is so, cut if need be. Everything else gives way
//! to that, figures that explain nothing first.

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Column {
    pub(super) name: &'static str,
    kind: Kind,
    /// The higher, the sooner it is left out; 0 stays.
    gives_way: u8,
    /// So much of a name or a reason is worth a column of figures.
    good: usize,
}

/// What stands in a column. A table has one of names, and at most one each of states and reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Stays, and is cut in the middle.
    Name,
    /// Stays, and has the colour of its row.
    State,
    /// Stays, and is cut at the end.
    Why,
    Figure,
    Text,
}

impl Column {
    pub(in crate::cli) const fn name(name: &'static str) -> Self {
        Self::new(name, Kind::Name, 0).good(24)
    }

    pub(in crate::cli) const fn state(name: &'static str) -> Self {
        Self::new(name, Kind::State, 0)
    }

    pub(in crate::cli) const fn why(name: &'static str) -> Self {
        Self::new(name, Kind::Why, 0).good(36)
    }

    /// A number; the higher `gives_way`, the sooner it is left out.
    pub(in crate::cli) const fn figure(name: &'static str, gives_way: u8) -> Self {
        Self::new(name, Kind::Figure, gives_way)
    }

    /// A word, or what is drawn.
    pub(in crate::cli) const fn text(name: &'static str, gives_way: u8) -> Self {
        Self::new(name, Kind::Text, gives_way)
    }

    const fn new(name: &'static str, kind: Kind, gives_way: u8) -> Self {
        Self {
            name,
            kind,
            gives_way,
            good: 0,
        }
    }

    /// So much of it is worth a column of figures.
    pub(in crate::cli) const fn good(self, good: usize) -> Self {
        Self { good, ..self }
    }
}

/// A row of a table: a cell for each column. Printable, and a column without a text in any row is left
/// out.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Row {
    pub(in crate::cli) cells: Vec<String>,
    pub(in crate::cli) colour: Option<&'static str>,
}

/// A name and a reason that are cut keep at least so much, if there is room.
const LEAST_NAME: usize = 10;
const LEAST_WHY: usize = 12;

/// Room between two columns.
const GAP: usize = 2;

/// The head, then a line for each row. `width` is what a line may take; `None` where nothing has to fit.
pub(in crate::cli) fn lines(columns: &[Column], rows: &[Row], width: Option<usize>) -> Vec<String> {
    let mut widths: Vec<usize> = (0..columns.len())
        .map(|place| {
            let of_rows = rows.iter().filter_map(|row| row.cells.get(place));
            let widest = of_rows.map(|cell| cell.chars().count()).max().unwrap_or(0);
            let head = columns.get(place).map_or(0, |column| column.name.len());
            if widest == 0 { 0 } else { widest.max(head) }
        })
        .collect();
    if let Some(width) = width {
        fit(columns, &mut widths, width);
    }
    let head = Row {
        cells: columns
            .iter()
            .map(|column| column.name.to_owned())
            .collect(),
        colour: None,
    };
    [&head]
        .into_iter()
        .chain(rows)
        .map(|row| line(columns, row, &widths))
        .collect()
}

/// Makes the widths fit; 0 leaves a column out.
fn fit(columns: &[Column], widths: &mut [usize], width: usize) {
    let of = |kind: Kind| columns.iter().position(|column| column.kind == kind);
    let (at_name, at_why) = (of(Kind::Name), of(Kind::Why));
    let good = |place: Option<usize>| {
        let column = place.and_then(|place| columns.get(place));
        column.map_or(0, |column| column.good)
    };
    let (good_name, good_why) = (good(at_name), good(at_why));
    let name = at(widths, at_name);
    let why = at(widths, at_why);
    // Figures give way until names and reasons have what makes them readable.
    set(widths, at_name, name.min(good_name));
    set(widths, at_why, why.min(good_why));
    let mut order: Vec<(u8, usize)> = columns
        .iter()
        .enumerate()
        .map(|(place, column)| (column.gives_way, place))
        .filter(|(gives_way, _)| *gives_way > 0)
        .collect();
    order.sort_unstable();
    while whole(widths) > width {
        let Some((_, place)) = order.pop() else {
            break;
        };
        set(widths, Some(place), 0);
    }
    // What is left over goes to the names, then to the reasons; what is missing, both lack.
    let others = whole(widths) - at(widths, at_name) - at(widths, at_why);
    let room = width.saturating_sub(others);
    let for_why = why
        .min(good_why)
        .min(room.saturating_sub(name.min(LEAST_NAME)));
    let for_why = for_why.max(why.min(LEAST_WHY)).min(room);
    let for_name = name.min(room - for_why);
    let for_name = if why == 0 || for_name >= name.min(good_name) {
        for_name
    } else {
        // Half of what there is for both.
        for_name.max(name.min(room / 2))
    };
    set(widths, at_name, for_name);
    set(widths, at_why, why.min(room - for_name));
}

fn at(widths: &[usize], place: Option<usize>) -> usize {
    place
        .and_then(|place| widths.get(place))
        .copied()
        .unwrap_or(0)
}

fn set(widths: &mut [usize], place: Option<usize>, width: usize) {
    if let Some(of_column) = place.and_then(|place| widths.get_mut(place)) {
        *of_column = width;
    }
}

/// The width of a line, with the space before it.
fn whole(widths: &[usize]) -> usize {
    let columns = widths.iter().filter(|width| **width > 0).count();
    1 + widths.iter().sum::<usize>() + GAP * columns.saturating_sub(1)
}

fn line(columns: &[Column], row: &Row, widths: &[usize]) -> String {
    let mut text = String::new();
    for ((cell, width), column) in row.cells.iter().zip(widths).zip(columns) {
        let width = *width;
        if width == 0 {
            continue;
        }
        let cell = match column.kind {
            Kind::Name => cut_in_the_middle(cell, width),
            _ => cut(cell, width),
        };
        text.push_str(if text.is_empty() { " " } else { "  " });
        let room = " ".repeat(width.saturating_sub(cell.chars().count()));
        let cell = match row.colour {
            Some(colour) if column.kind == Kind::State => format!("\x1b[{colour}m{cell}\x1b[0m"),
            _ => cell,
        };
        if column.kind == Kind::Figure {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_both_ends() {
        assert_eq!(
            cut_in_the_middle("fileserver-01.example.com:5001", 11),
            "files…:5001"
        );
        assert_eq!(cut_in_the_middle("a:1", 11), "a:1");
        assert_eq!(cut_in_the_middle("abc", 1), "…");
    }

    #[test]
    fn a_table_without_reasons_has_no_column_of_them() {
        let columns = [
            Column::name("host"),
            Column::figure("cpu", 1),
            Column::why("why"),
        ];
        let row = Row {
            cells: ["a".to_owned(), "12 %".to_owned(), String::new()].to_vec(),
            colour: Some("31"),
        };
        let lines = lines(&columns, &[row], Some(40));
        assert_eq!(lines, [" host   cpu", " a     12 %"]);
    }
}
