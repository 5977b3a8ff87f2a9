//! The progress line at terminals of every width.

use bilico_testkit::{Farm, Terminal, sample_files};

use super::helpers::terminal;

/// What clears the line before it is drawn.
const CLEAR: &str = "\r\x1b[J";

/// The widths in characters of the lines that were drawn.
fn widths(output: &str) -> Vec<usize> {
    let drawn = output.split(CLEAR).skip(1);
    let drawn = drawn.map(|line| line.split('\r').next().unwrap());
    drawn.map(|line| line.chars().count()).collect()
}

/// It once wrapped in the middle of a server's address, into up to four rows.
#[test]
fn the_progress_line_fits_at_every_width() {
    let farm = Farm::without_servers(&[2, 1]);
    for columns in [40, 50, 60, 80, 100, 110, 200] {
        let script = format!(r#"stty cols {columns}; exec "$@""#);
        let args = ["client", "--balancer", &farm.balancer.address];
        let args = [
            &args[..],
            &["--files", sample_files(), "--timeout", "2500ms"],
        ]
        .concat();
        let mut terminal = Terminal::run(farm.dir.path(), &script, &args);
        terminal.expect(bilico_testkit::PROMPT);
        terminal.enter("FTP 3");
        let drawn = terminal.expect_raw("error: ");
        let widths = widths(&drawn);
        assert!(widths.len() > 5, "{drawn:?}");
        assert!(
            widths.iter().all(|width| *width < columns),
            "{columns}: {widths:?}"
        );
        assert!(drawn.contains("0/3 accepted 3"), "{drawn:?}");
        let has_reason = drawn.contains("no server");
        assert_eq!(has_reason, columns >= 50, "{columns}: {drawn:?}");
    }
}

#[test]
fn the_progress_line_follows_the_width_of_the_terminal() {
    let farm = Farm::without_servers(&[2, 1]);
    let mut terminal = terminal(&farm);
    terminal.enter("FTP 3");
    terminal.expect("accepted 3");
    terminal.expect(CLEAR);
    for columns in [50_u16, 160, 40, 90] {
        terminal.resize(columns);
        let mut next = || {
            let line = terminal.expect_raw(CLEAR);
            // The cursor waits at the beginning of the line.
            let (line, _) = line.split_once('\r').unwrap();
            line.chars().count()
        };
        // What was on its way is still of the old width.
        while next() >= usize::from(columns) {}
        for _ in 0..5 {
            let width = next();
            assert!(width < usize::from(columns), "{columns}: {width}");
        }
    }
}
