//! `If-Match` and `If-None-Match` of an upload, by what came under its title lately.

use std::time::SystemTime;

use axum::http::{HeaderMap, HeaderName, StatusCode, header};

use super::doorway::Doorway;
use super::multistatus::etag;
use super::shelf::{Owner, Thing};
use crate::admin::error::ApiError;
use crate::text::excerpt;

/// Refuses a file that is wanted only if there is, or is not, one under its title, and it is not so.
pub(super) fn check_conditions(
    doorway: &Doorway,
    owner: &Owner,
    title: &str,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    let conditions = [header::IF_MATCH, header::IF_NONE_MATCH];
    if !conditions.iter().any(|name| headers.contains_key(name)) {
        return Ok(());
    }
    let found = doorway.shelf().find(owner, title, SystemTime::now());
    let tag = match &found {
        Some(Thing::File(known)) => Some(etag(known)),
        _ => None,
    };
    let names = |name: &HeaderName| {
        let values = headers.get_all(name).iter();
        let values = values.filter_map(|value| value.to_str().ok());
        let mut tags = values.flat_map(|value| value.split(','));
        tags.any(|named| match named.trim() {
            "*" => found.is_some(),
            named => Some(named) == tag.as_deref(),
        })
    };
    if headers.contains_key(header::IF_MATCH) && !names(&header::IF_MATCH) {
        return Err(not_as_wanted(
            title,
            "If-Match",
            "came under this title lately",
        ));
    }
    if names(&header::IF_NONE_MATCH) {
        let there = "is wanted under this title, and one came lately";
        return Err(not_as_wanted(title, "If-None-Match", there));
    }
    Ok(())
}

fn not_as_wanted(title: &str, header: &str, what: &str) -> ApiError {
    let error = format!("`{}`: no file as `{header}` has it {what}", excerpt(title));
    ApiError::new(StatusCode::PRECONDITION_FAILED, error)
        .hint("nothing is overwritten here: leave the header out to hand the file over")
}
