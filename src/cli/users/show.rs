//! Users as text, and why something about them failed.

use std::fmt::Display;

use crate::access::UserView;
use crate::access::users::Quota;
use crate::cli::account::{date, until};
use crate::cli::output::{Exit, Failure};
use crate::cli::render::columns;
use crate::units::ByteSize;

/// A failure of this command.
pub(super) fn failed(error: impl Display) -> Failure {
    Failure::new(Exit::Failed, error)
}

/// Users for people.
pub(super) fn users_table(users: &[UserView]) -> String {
    let head = ["USER", "ROLE", "STATE", "TOKENS", "SINCE"];
    let rows = users.iter().map(|user| {
        let state = match (user.disabled, user.created, user.invited_until) {
            (true, ..) => "disabled".to_owned(),
            (_, Some(_), None) => "active".to_owned(),
            (_, Some(_), Some(until)) => format!("active, new password by {}", date(until)),
            (_, None, _) => format!("invited until {}", until(user.invited_until)),
        };
        [
            user.name.to_string(),
            user.role.to_string(),
            state,
            user.tokens.to_string(),
            user.created.map_or_else(|| "-".to_owned(), date),
        ]
    });
    columns(head, rows)
}

/// The bounds of a user in words.
pub(super) fn bounds(quota: &Quota) -> String {
    let number = |what: &str, most: Option<u64>| most.map(|most| format!("{what} {most}"));
    let size =
        |what: &str, most: Option<u64>| most.map(|most| format!("{what} {}", ByteSize(most)));
    let all = [
        number("sessions", quota.sessions),
        number("waiting files", quota.waiting_files),
        size("waiting bytes", quota.waiting_bytes),
        number("files a second", quota.files_per_second),
        size("largest file", quota.largest_file),
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    if all.is_empty() {
        "none of its own".to_owned()
    } else {
        all.join(", ")
    }
}
