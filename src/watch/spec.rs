//! A rule as it is written on a command line: `include=*.pdf after=delete`.

use std::path::PathBuf;
use std::str::FromStr;

use super::rules::{After, Globs};
use crate::client::Wait;

/// The words that say what happens to files that were handed over.
pub const AFTER: [(&str, After); 3] = [
    ("move", After::Move),
    ("delete", After::Delete),
    ("leave", After::Leave),
];

/// The words that say which receipt is waited for.
const UNTIL: [(&str, Wait); 2] = [("accepted", Wait::Accepted), ("delivered", Wait::Delivered)];

/// The keys of a rule.
pub const KEYS: [&str; 5] = ["include", "until", "after", "to", "failed-to"];

/// A rule as it is written: what it does not say is as for all other files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleSpec {
    /// The patterns of its files.
    pub include: Vec<String>,
    /// The receipt that is waited for.
    pub until: Option<Wait>,
    /// What happens then.
    pub after: Option<After>,
    /// Where files are moved to.
    pub to: Option<PathBuf>,
    /// Where files go that cannot be handed over.
    pub failed_to: Option<PathBuf>,
}

impl FromStr for RuleSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words =
            shlex::split(text).ok_or_else(|| format!("{text:?} has a quote without its end"))?;
        let mut spec = Self::default();
        for word in words {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| format!("{word:?} is no KEY=VALUE, such as include=*.pdf"))?;
            match key {
                _ if value.is_empty() => return Err(format!("`{key}` has no value")),
                "include" => spec.include.push(value.to_owned()),
                "until" => spec.until = Some(word_of(key, value, &UNTIL)?),
                "after" => spec.after = Some(word_of(key, value, &AFTER)?),
                "to" => spec.to = Some(value.into()),
                "failed-to" => spec.failed_to = Some(value.into()),
                _ => {
                    return Err(format!(
                        "unknown key {key:?}: expected one of {}",
                        KEYS.join(", ")
                    ));
                }
            }
        }
        if spec.include.is_empty() {
            return Err("a rule needs `include`: the pattern of its files".to_owned());
        }
        Globs::new(&spec.include).map(|_| spec)
    }
}

fn word_of<T: Copy>(key: &str, value: &str, words: &[(&str, T)]) -> Result<T, String> {
    let known = words.iter().find(|(word, _)| *word == value);
    known.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!(
            "`{key}` cannot be {value:?}: expected {}",
            words.join(" or ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_and_what_is_wrong_with_it_is_named() {
        let spec: RuleSpec =
            "include=*.pdf include='scan *.tif' until=accepted after=move to=done/pdf"
                .parse()
                .unwrap();
        let expected = RuleSpec {
            include: vec!["*.pdf".to_owned(), "scan *.tif".to_owned()],
            until: Some(Wait::Accepted),
            after: Some(After::Move),
            to: Some("done/pdf".into()),
            failed_to: None,
        };
        assert_eq!(spec, expected);
        for (text, wanted) in [
            ("after=delete", "needs `include`"),
            ("include=* after=burn", "expected move or delete or leave"),
            ("include=* until=never", "expected accepted or delivered"),
            ("include=* colour=red", "unknown key \"colour\""),
            ("include=", "`include` has no value"),
            ("*.pdf", "no KEY=VALUE"),
            ("include='*", "a quote without its end"),
            ("include=[a", "\"[a\" is no pattern"),
        ] {
            let error = text.parse::<RuleSpec>().unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
