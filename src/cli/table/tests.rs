use serde_json::json;

use super::*;

fn server(name: &str, state: &str, reason: Option<&str>) -> Server {
    let server = json!({
        "name": name, "weight": 3, "dialect": "native", "eligible": reason.is_none(),
        "state": state, "fact": null, "reason": reason, "since_s": 20.0, "overloaded": false,
        "in_flight": 12, "in_flight_bytes": 9, "delivered": 123_456, "delivered_bytes": 99,
        "returned": 0, "drained": false, "removing": false,
        "memory": { "used": 123_456_789, "limit": 1_234_567_890 }, "probe_ms": 1.234,
        "window_files": 682, "window_bytes": 99, "share_wanted": 0.333, "share_had": 0.104,
        "files_per_s": 1234.5, "bytes_per_s": 1.0, "history": vec![1; 60],
    });
    serde_json::from_value(server).unwrap()
}

/// A list with a long name in it, as large installations have them.
fn servers() -> Vec<Server> {
    vec![
        server("127.0.0.1:5001", "up", None),
        server(
            "ingest-a.warehouse-07.eu-central-1.internal.example.com:5001",
            "up",
            None,
        ),
        server(
            "ingest-b.warehouse-07.eu-central-1.internal.example.com:5002",
            "down",
            Some("connection refused: Connection refused (os error 111)"),
        ),
        server(
            "fileserver-01.internal.example.com:5001",
            "overloaded",
            Some("the overload byte is 1"),
        ),
        server("127.0.0.1:5004", "drained", Some("drained by an operator")),
    ]
}

fn fitted(servers: &[Server], width: usize) -> Vec<String> {
    let look = Look {
        width: Some(width),
        drawn: Some(20),
        colour: false,
    };
    table(servers, look)
}

/// Once at 80 columns the reason was gone, and with one long name the state, too.
#[test]
fn name_state_and_reason_are_there_at_every_width() {
    for width in [40, 60, 80, 100, 110, 140, 200] {
        let lines = fitted(&servers(), width);
        let shown = lines.join("\n");
        assert_eq!(lines.len(), 6, "{width}");
        for line in &lines {
            assert!(line.chars().count() <= width, "{width}:\n{shown}");
        }
        let [head, down, overloaded, drained, up, _] = lines.as_slice() else {
            panic!("{shown}");
        };
        assert!(
            head.contains("server") && head.contains("why"),
            "{width}:\n{shown}"
        );
        assert!(
            down.contains(" down ") && down.contains("connec"),
            "{width}:\n{shown}"
        );
        assert!(
            down.starts_with(" ing") && down.contains("02 "),
            "{width}:\n{shown}"
        );
        assert!(overloaded.contains(" overloaded ") && overloaded.contains("the over"));
        assert!(
            drained.contains("127.0.0.1:5004") || width < 60,
            "{width}:\n{shown}"
        );
        assert!(
            drained.contains("drained  ") && up.contains("up"),
            "{width}:\n{shown}"
        );
    }
    // The reasons are whole as soon as there is room, before any figure of less use.
    let at_80 = fitted(&servers(), 80).join("\n");
    assert!(
        !at_80.contains("memory") && !at_80.contains("probe"),
        "{at_80}"
    );
    assert!(
        at_80.contains("connection refused: Connection ref"),
        "{at_80}"
    );
}

#[test]
fn all_columns_are_there_where_there_is_room() {
    let wide = fitted(&servers(), 300);
    for column in COLUMNS {
        assert!(wide[0].contains(column.name), "{}", column.name);
    }
    assert!(
        wide.iter()
            .any(|line| line.contains("ingest-b.warehouse-07.eu-central-1.internal."))
    );
    // Off a terminal nothing is cut and nothing left out but the drawing.
    let whole = table(&servers(), Look::default());
    assert!(
        whole[1].ends_with("Connection refused (os error 111)"),
        "{whole:?}"
    );
    assert!(!whole[0].contains("last seconds") && whole[0].contains("memory"));
    // Where all is well, no column is empty.
    let well = [server("127.0.0.1:5001", "up", None)];
    assert!(!table(&well, Look::default())[0].contains("why"));
}

#[test]
fn only_the_state_is_painted() {
    let servers = [server("down:1", "down", Some("down to earth"))];
    let look = Look {
        width: Some(60),
        drawn: None,
        colour: true,
    };
    let line = table(&servers, look).pop().unwrap();
    assert!(line.starts_with(" down:1  \x1b[31mdown\x1b[0m"), "{line:?}");
    assert_eq!(line.matches('\x1b').count(), 2, "{line:?}");
}

#[test]
fn what_is_left_out_is_told_by_state() {
    let mut many = vec![server("a:1", "up", None); 1000];
    assert_eq!(rest(&many, 30), "and 970 more, all up");
    many.extend(vec![server("b:1", "down", Some("x")); 500]);
    assert_eq!(rest(&many, 30), "and 1,470 more: 470 down, 1000 up");
    assert_eq!(rest(&many, 1500), "");
}

#[test]
fn bars_compare() {
    assert_eq!(sparkline(&[0, 1, 25, 50, 75, 100], 100), "▁▂▂▃▅▇");
    assert_eq!(sparkline(&[0, 0], 0), "▁▁");
    assert_eq!(sparkline(&[u64::MAX], u64::MAX), "▇");
    assert_eq!(last(&[1, 2, 3], Some(2)), [2, 3]);
    assert_eq!(last(&[1, 2, 3], Some(9)), [1, 2, 3]);
}
