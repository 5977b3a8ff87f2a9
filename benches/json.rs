//! The JSON doorway: objects that hand over a text file, in both languages and both spellings of
//! what is not ASCII.

use std::hint::black_box;

use bilico::protocol::json::{Splitter, parse};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ITALIAN: [&str; 3] = ["titolo", "contenuto", "file_di_testo"];
const ENGLISH: [&str; 3] = ["title", "content", "file"];

/// Text of `len` bytes with a line break and an accent in every 40.
fn text(len: usize) -> String {
    let line = "Perché la città è così lontana da qui?\n";
    let mut text = line.repeat(len / line.len());
    text.push_str(&"x".repeat(len - text.len()));
    text
}

/// An object as Python writes it: with `\u` for all that is not ASCII, or without.
fn object([title, content, kind]: [&str; 3], text: &str, is_escaped: bool) -> Bytes {
    let spell = |letter: char| match letter {
        '\n' => "\\n".to_owned(),
        _ if is_escaped && !letter.is_ascii() => format!("\\u{:04x}", u32::from(letter)),
        _ => letter.to_string(),
    };
    let spelled: String = text.chars().map(spell).collect();
    format!(
        r#"{{"{title}": "lettera-0017.json", "{content}": "{spelled}", "request_type": "{kind}"}}"#
    )
    .into()
}

/// One iteration is one object: its end is found, and it is parsed.
fn doorway(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("object");
    for (size, len) in [("1 KiB", 1024), ("64 KiB", 64 * 1024)] {
        let text = text(len);
        for (language, keys) in [("italian", ITALIAN), ("english", ENGLISH)] {
            for (spelling, is_escaped) in [("escaped", true), ("utf-8", false)] {
                let object = object(keys, &text, is_escaped);
                group.throughput(Throughput::Bytes(object.len() as u64));
                group.bench_function(format!("{size} {language} {spelling}"), |bencher| {
                    bencher.iter(|| {
                        let end = Splitter::default().find_end(black_box(&object));
                        black_box((end, parse(&object)))
                    });
                });
            }
        }
    }
}

criterion_group!(benches, doorway);
criterion_main!(benches);
