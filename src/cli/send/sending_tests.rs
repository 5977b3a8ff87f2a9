use serde_json::json;

use super::*;
use crate::protocol::status::ServerState;

fn server(state: ServerState, reason: &str) -> ServerReport {
    serde_json::from_value(json!({
        "name": "127.0.0.1:5001",
        "weight": 1,
        "dialect": null,
        "eligible": state == ServerState::Up,
        "state": state,
        "reason": reason,
        "since_s": 0.0,
        "overloaded": false,
        "in_flight": 0,
        "in_flight_bytes": 0,
        "delivered": 0,
        "delivered_bytes": 0,
        "returned": 0,
    }))
    .unwrap()
}

fn judged(servers: &[ServerReport]) -> Failure {
    why_unfinished(Some(servers), "1 file is".to_owned(), Place::Shell)
}

/// The command used to match the text of the reason. A reworded reason made a busy server look
/// like a missing one, with exit code 4 instead of 5.
#[test]
fn a_server_with_a_full_window_is_available_however_its_reason_is_worded() {
    let full = server(ServerState::Full, "1,024 files are in flight");
    assert_eq!(judged(&[full]).exit, Exit::TimedOut);
    let down = server(ServerState::Down, "window: no answer to the last 2 probes");
    assert_eq!(judged(&[down]).exit, Exit::NoServer);
    assert_eq!(
        why_unfinished(None, String::new(), Place::Shell).exit,
        Exit::TimedOut,
        "the balancer did not answer"
    );
}

/// The hint sent users to an interactive prompt although a command of its own exists.
#[test]
fn the_hint_for_missing_servers_names_the_command_that_shows_them() {
    let down = server(ServerState::Down, "no answer to the last 2 probes");
    let hint = judged(&[down]).hint.unwrap();
    assert!(hint.contains("`bilico status`"), "{hint}");
    let down = server(ServerState::Down, "no answer to the last 2 probes");
    let failure = why_unfinished(Some(&[down]), "1 file is".to_owned(), Place::Prompt);
    assert_eq!(failure.hint.as_deref(), Some("`status` shows why"));
    assert_eq!(failure.error, "no server is available: 1 file is");
}
