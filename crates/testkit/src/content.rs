//! Files to send: the sample files, and bytes of no meaning.

use std::collections::BTreeMap;
use std::fs;

/// The directory of the sample files.
pub fn sample_files() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../sample_files")
}

/// The sample files: title and content.
pub fn samples() -> BTreeMap<String, String> {
    let paths = fs::read_dir(sample_files())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .map(|path| {
            let payload: serde_json::Value =
                serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            let text = |keys: [&str; 2]| {
                keys.iter()
                    .find_map(|key| payload[key].as_str())
                    .unwrap()
                    .to_owned()
            };
            (text(["title", "titolo"]), text(["content", "contenuto"]))
        })
        .collect()
}

/// The JSON object with which an old-style client hands a file over.
pub fn old_style_put(title: &str, content: &str) -> String {
    let (title, content) = (serde_json::json!(title), serde_json::json!(content));
    format!(r#"{{"titolo": {title}, "contenuto": {content}, "request_type": "file_di_testo"}}"#)
}

/// Pseudo-random bytes: the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(&mut next).take(len).collect()
}
