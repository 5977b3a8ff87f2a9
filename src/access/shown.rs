//! The token that a request over HTTP shows.

use crate::secret::Secret;

/// The token behind `Bearer`, from the values of all headers `Authorization` of a request, of which
/// each is `None` if it is no text; `None` if there is no such header. Two of them, or what is no such
/// token, are no token at all: they are refused as one that is misspelt.
pub fn shown_token<'a>(mut values: impl Iterator<Item = Option<&'a str>>) -> Option<Secret> {
    let token = match (values.next()?, values.next()) {
        (Some(value), None) => bearer(value).unwrap_or_default(),
        _ => "",
    };
    Some(Secret::from(token))
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_header_shows_a_token_and_what_is_none_is_misspelt() {
        for (values, expected) in [
            (&[][..], None),
            (&[Some("Bearer abc")], Some("abc")),
            (&[Some("bearer  abc ")], Some("abc")),
            (&[Some("Basic abc")], Some("")),
            (&[Some("abc")], Some("")),
            (&[None], Some("")),
            (&[Some("Bearer a"), Some("Bearer b")], Some("")),
            (&[Some("Bearer a"), None], Some("")),
        ] {
            let shown = shown_token(values.iter().copied());
            let shown = shown.as_ref().map(Secret::reveal);
            assert_eq!(shown, expected, "{values:?}");
        }
    }
}
