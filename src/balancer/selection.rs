//! Which files an order about many files is about, and what became of it.

use std::fmt::{self, Display, Formatter};

use wildmatch::WildMatch;

use crate::file::Meta;

/// The most files that one order about many files is carried out on, so that its answer comes in
/// time.
pub const MAX_BULK: usize = 20_000;

/// Of so many files that an order left alone the answer says why.
pub const MAX_LEFT: usize = 100;

/// What is done with many files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bulk {
    /// Dead letters go to the servers again.
    Replay,
    /// Dead letters are thrown away.
    Drop,
    /// Waiting files end.
    Cancel,
}

impl Bulk {
    /// Which files it is about, in words.
    pub(super) fn files(self) -> &'static str {
        match self {
            Self::Replay | Self::Drop => "dead letters",
            Self::Cancel => "waiting files",
        }
    }
}

/// Which files an order is about: those that all of this applies to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// A pattern for the whole title: `*` stands for any text, `?` for any character.
    pub title: Option<String>,
    /// Who sent it.
    pub user: Option<String>,
    /// Part of the reason why it is a dead letter, in any case.
    pub reason: Option<String>,
    /// Only files with higher numbers,
    pub after: u64,
    /// up to this one.
    pub up_to: Option<u64>,
    /// The most files that the order is carried out on.
    pub limit: usize,
}

impl Selection {
    /// All files.
    pub fn all() -> Self {
        Self {
            limit: usize::MAX,
            ..Self::default()
        }
    }

    /// What decides about each file.
    pub fn matcher(&self) -> Matcher {
        Matcher {
            title: self.title.as_deref().map(WildMatch::new),
            user: self.user.clone(),
            reason: self.reason.as_ref().map(|reason| reason.to_lowercase()),
        }
    }
}

/// Decides whether a file is selected.
#[derive(Debug, Clone)]
pub struct Matcher {
    title: Option<WildMatch>,
    user: Option<String>,
    /// In lower case.
    reason: Option<String>,
}

impl Matcher {
    /// Whether every file is selected.
    pub(super) fn takes_all(&self) -> bool {
        self.title.is_none() && self.user.is_none() && self.reason.is_none()
    }

    /// Whether this file is selected.
    pub(super) fn takes(&self, meta: &Meta, reason: Option<&str>) -> bool {
        self.selects(&meta.title, meta.user(), reason)
    }

    /// Whether a file of this title, that this user sent and that died for this reason, is selected.
    pub fn selects(&self, title: &str, user: Option<&str>, reason: Option<&str>) -> bool {
        let has = |wanted: &String| {
            reason.is_some_and(|reason| reason.to_lowercase().contains(wanted.as_str()))
        };
        self.title
            .as_ref()
            .is_none_or(|wanted| wanted.matches(title))
            && self
                .user
                .as_deref()
                .is_none_or(|wanted| user == Some(wanted))
            && self.reason.as_ref().is_none_or(has)
    }
}

/// In words that follow the files' name.
impl Display for Matcher {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let title = self
            .title
            .as_ref()
            .map(|title| format!("with titles like {:?}", title.to_string()));
        let user = self
            .user
            .as_ref()
            .map(|user| format!("of the user {user:?}"));
        let reason = self
            .reason
            .as_ref()
            .map(|reason| format!("with {reason:?} in their reason"));
        let parts: Vec<String> = [title, user, reason].into_iter().flatten().collect();
        if parts.is_empty() {
            return Ok(());
        }
        write!(f, " {}", parts.join(" and "))
    }
}

/// What became of an order about many files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BulkDone {
    /// How many files it was carried out on.
    pub files: usize,
    /// How many selected files it left alone.
    pub left_files: usize,
    /// The first of these, and why.
    pub left: Vec<Left>,
    /// It ended at its limit: the next order goes on behind this number.
    pub after: Option<u64>,
    /// Files with higher numbers came later, and were not looked at.
    pub up_to: u64,
}

/// A file that was left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Its request number.
    pub number: u64,
    /// Why.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(which: &Selection, title: &str, user: Option<&str>, reason: Option<&str>) -> bool {
        which.matcher().selects(title, user, reason)
    }

    #[test]
    fn what_is_given_has_to_fit_and_what_is_not_given_does_not_matter() {
        let all = Selection::all();
        assert!(all.matcher().takes_all() && takes(&all, "", None, None));
        let some = Selection {
            title: Some("*.t?p".to_owned()),
            user: Some("ann".to_owned()),
            reason: Some("Too Large".to_owned()),
            ..Selection::all()
        };
        assert!(takes(
            &some,
            "a/b.tmp",
            Some("ann"),
            Some("it is too large")
        ));
        assert!(!takes(
            &some,
            "a.tmpx",
            Some("ann"),
            Some("it is too large")
        ));
        assert!(!takes(
            &some,
            "a.tmp",
            Some("anna"),
            Some("it is too large")
        ));
        assert!(!takes(&some, "a.tmp", None, Some("it is too large")));
        assert!(!takes(&some, "a.tmp", Some("ann"), Some("a conflict")));
        assert!(!takes(&some, "a.tmp", Some("ann"), None));
        assert_eq!(
            format!("dead letters{}", some.matcher()),
            "dead letters with titles like \"*.t?p\" and of the user \"ann\" and with \"too large\" \
             in their reason"
        );
    }

    /// A pattern of many stars must not take exponential time.
    #[test]
    fn a_hostile_pattern_is_decided_soon() {
        let hostile = Selection {
            title: Some("*a".repeat(500)),
            ..Selection::all()
        };
        assert!(!takes(&hostile, &"a".repeat(400), None, None));
        assert!(!takes(&hostile, &"ab".repeat(4000), None, None));
    }
}
