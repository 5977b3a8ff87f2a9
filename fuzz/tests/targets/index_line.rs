//! The lines of a server's index, as a server reads them at its start.

use std::fs;
use std::path::Path;

use bilico::queue::Durability;
use bilico::server::{Server, ServerConfig};

use crate::TIME;

/// A server starts on any index, or says why it does not; and what it has made of it, another
/// server reads.
fn holds(index: &[u8]) {
    if let Some(rewritten) = start(index) {
        start(&rewritten).expect("a server reads what a server wrote");
    }
}

/// The index as a server leaves it that has started on this one, if it starts.
fn start(index: &[u8]) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".bilico-index");
    fs::write(&path, index).unwrap();
    let config = ServerConfig {
        dir: dir.path().to_owned(),
        durability: Durability::Os,
        ..ServerConfig::default()
    };
    let _server = Server::open(config).ok()?;
    Some(fs::read(path).unwrap())
}

#[test]
fn any_bytes() {
    bolero::check!().with_test_time(TIME).for_each(holds);
}

#[test]
fn an_index_with_changed_bytes() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/index-v1/.bilico-index");
    let sample = fs::read(path).unwrap();
    bolero::check!()
        .with_test_time(TIME)
        .with_type::<Vec<(u16, u8)>>()
        .for_each(|changes| {
            let mut index = sample.clone();
            for (at, byte) in changes.iter().take(8) {
                let at = usize::from(*at) % index.len();
                index[at] = *byte;
            }
            holds(&index);
        });
}
