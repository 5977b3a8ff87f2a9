use serde_json::json;

use super::*;
use crate::protocol::status::ServerState;

/// The word used to be read from the start of the reason, so that a reworded reason showed a
/// server in a state that does not exist.
#[test]
fn the_word_for_a_server_is_that_of_its_state_however_the_reason_is_worded() {
    let server = |state: ServerState, fact: Option<&str>, reason: &str| -> ServerReport {
        serde_json::from_value(json!({
            "name": "127.0.0.1:5001", "weight": 1, "dialect": null, "eligible": false,
            "state": state, "fact": fact, "reason": reason, "since_s": 0.0,
            "overloaded": false, "in_flight": 0, "in_flight_bytes": 0, "delivered": 0,
            "delivered_bytes": 0, "returned": 0,
        }))
        .unwrap()
    };
    let down = server(
        ServerState::Down,
        Some("connection"),
        "refused: port closed",
    );
    assert_eq!(state(&down), "down: refused: port closed");
    let down = server(ServerState::Down, Some("connection"), "connection: refused");
    assert_eq!(state(&down), "down: refused");
    let twin = server(ServerState::Paused, Some("identity"), "identity: a copy");
    assert_eq!(state(&twin), "paused: a copy");
    let full = server(ServerState::Full, None, "window: full");
    assert_eq!(state(&full), "window: full");
}
