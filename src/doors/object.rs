//! JSON objects of agents, read without trust.

use serde_json::{Map, Value};

use super::refused::Refused;

/// How deeply objects and lists may stand in each other.
const MAX_DEPTH: usize = 8;

/// An object that an agent has sent.
pub(super) struct Object(pub(super) Map<String, Value>);

impl Object {
    /// Reads an object, whose size whoever calls this has bounded.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Refused> {
        if !is_shallow(bytes) {
            return Err(Refused::TOO_DEEP);
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            _ => Err(Refused::NO_JSON),
        }
    }

    /// An object in this one, if it is there. What is `null` is not there.
    pub(super) fn object(&mut self, key: &str) -> Result<Option<Self>, Refused> {
        match self.0.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self(map))),
            Some(_) => Err(Refused::WRONG_TYPE),
        }
    }

    /// A number of 0 or more.
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, Refused> {
        self.0.get(key).map_or(Ok(None), number)
    }

    /// The first numbers of a list, each 0 or more. All of it is looked at.
    pub(super) fn numbers(&self, key: &str, most: usize) -> Result<Vec<f64>, Refused> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(values)) => {
                let mut numbers = Vec::with_capacity(values.len().min(most));
                for value in values {
                    let number = number(value)?.ok_or(Refused::WRONG_TYPE)?;
                    if numbers.len() < most {
                        numbers.push(number);
                    }
                }
                Ok(numbers)
            }
            Some(_) => Err(Refused::WRONG_TYPE),
        }
    }

    /// A text.
    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, Refused> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Refused::WRONG_TYPE),
        }
    }
}

fn number(value: &Value) -> Result<Option<f64>, Refused> {
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => match number.as_f64() {
            Some(number) if number.is_finite() && number >= 0.0 => Ok(Some(number)),
            _ => Err(Refused::IMPOSSIBLE),
        },
        _ => Err(Refused::WRONG_TYPE),
    }
}

/// Whether no bracket stands in more than [`MAX_DEPTH`] others. Brackets in strings do not count.
pub(super) fn is_shallow(bytes: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return false;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_bounded_and_brackets_in_strings_do_not_count() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(is_shallow(nested(8).as_bytes()));
        assert!(!is_shallow(nested(9).as_bytes()));
        assert!(is_shallow(
            format!("{{\"a\":\"{}\"}}", nested(1000)).as_bytes()
        ));
        assert!(is_shallow(br#"{"a":"\"[[[[[[[[[[\\","b":[]}"#));
        assert!(!is_shallow(br#"{"a":"\\",[[[[[[[[[["#));
    }

    #[test]
    fn only_objects_are_read() {
        for bad in [
            "",
            "{",
            "[]",
            "1",
            "null",
            "\"{}\"",
            "{\"a\":NaN}",
            "{}{}",
            "\u{0}",
        ] {
            let read = Object::read(bad.as_bytes()).err();
            assert_eq!(read, Some(Refused::NO_JSON), "{bad}");
        }
        assert_eq!(Object::read(b"\xff{}").err(), Some(Refused::NO_JSON));
        let deep = "[".repeat(1000);
        assert_eq!(Object::read(deep.as_bytes()).err(), Some(Refused::TOO_DEEP));
    }
}
