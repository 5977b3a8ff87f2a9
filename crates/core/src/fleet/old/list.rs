//! The list from which a client picks a server.

/// The most that a program of the first system reads at once, in bytes. What is over would be taken
/// for its next message.
pub const MAX_READ: usize = 1024;

/// The line above and below the list.
const RULE: &str = "----------------------------------------------------------------------------";

/// The list with its question: at most [`MAX_READ`] bytes. Entries that do not fit are counted in
/// its last line.
pub fn list_text<'a>(entries: impl IntoIterator<Item = &'a str>) -> String {
    let head = format!("{RULE}\nServidores Disponiveis:");
    let foot = format!("\n{RULE}\nSelecione o número de uma porta:");
    let entries: Vec<_> = entries.into_iter().collect();
    let room = MAX_READ - head.len() - foot.len();
    let length = |entries: &[&str]| entries.iter().map(|entry| 1 + entry.len()).sum::<usize>();
    let more = |left_out: usize| format!("\n(+ {left_out})");
    let mut shown = entries.len();
    let mut last = String::new();
    let mut needed = length(&entries);
    while needed + last.len() > room && shown > 0 {
        shown -= 1;
        needed -= entries.get(shown).map_or(0, |entry| 1 + entry.len());
        last = more(entries.len() - shown);
    }
    let mut text = head;
    for entry in entries.iter().take(shown) {
        text.push('\n');
        text.push_str(entry);
    }
    text + &last + &foot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_that_of_the_original() {
        let empty = list_text([]);
        assert_eq!(empty.len(), 211);
        let hyphens = "-".repeat(76);
        assert_eq!(
            list_text(["127.0.0.1:5050", "127.0.0.1:5051"]),
            format!(
                "{hyphens}\nServidores Disponiveis:\n127.0.0.1:5050\n127.0.0.1:5051\n{hyphens}\n\
                 Selecione o número de uma porta:"
            )
        );
    }

    #[test]
    fn a_list_is_one_read_however_many_servers_there_are() {
        let entries: Vec<_> = (0..100)
            .map(|n| format!("127.0.0.1:{}", 5050 + n))
            .collect();
        for many in 0..=entries.len() {
            let text = list_text(entries.iter().take(many).map(String::as_str));
            assert!(text.len() <= MAX_READ, "{many}: {} bytes", text.len());
            // Those that fit are there: 54 of 14 characters.
            let shown = text.matches("127.0.0.1").count();
            if many <= 54 {
                assert_eq!(shown, many);
            } else {
                assert_eq!(shown, 53);
                let last = format!("\n(+ {})\n-", many - shown);
                assert!(text.contains(&last), "{text}");
            }
        }
    }

    #[test]
    fn a_name_that_is_longer_than_a_read_is_counted_only() {
        let long = "x".repeat(2000);
        let text = list_text(["127.0.0.1:5050", &long]);
        assert!(text.contains("\n127.0.0.1:5050\n(+ 1)\n-"), "{text}");
        let text = list_text([&*long]);
        assert!(text.contains("Disponiveis:\n(+ 1)\n-"), "{text}");
    }
}
