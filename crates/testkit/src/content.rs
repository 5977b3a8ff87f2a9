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

/// The JSON object with which an old-style balancer hands a file to a server.
pub fn old_style_store(number: u64, title: &str, content: &str) -> String {
    let put = old_style_put(title, content);
    let open = put.strip_suffix('}').unwrap();
    format!("{open}, \"numero_richiesta\": {number}}}")
}

/// Pseudo-random bytes: the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    // Whole words: tests are built without optimisation, and need hundreds of megabytes.
    let mut bytes = Vec::with_capacity(len + size_of::<u64>());
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
