//! The routes that ask about the members of the fleet, and the orders about them.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::error::{ApiError, ApiResult};
use super::extract::{ApiJson, ApiPath, ApiQuery};
use super::json::Json;
use super::need::{Need, Route};
use super::state::Api;
use super::types::{AverageList, CommandList, MemberList};
use crate::access::{Pass, Right, audit};
use crate::fleet::Fleet;
use crate::fleet_core::history::{LONGEST, MAX_ROWS};
use crate::fleet_core::{Columns, Figure, MemberReport, MemberState};
use crate::text::excerpt;
use crate::units::{format_duration, parse_duration};

/// The stretch of time that is told of, unless the request says another.
const OVER: Duration = Duration::from_mins(10);

/// Which members are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    state: Option<MemberState>,
}

/// What is wanted of a member's history.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    figures: Option<String>,
    over: Option<String>,
    step: Option<String>,
}

/// The stretch of time that averages are wanted of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stretch {
    over: Option<String>,
}

/// The body of `PATCH /api/v1/fleet/{name}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchMember {
    protected: bool,
}

/// All routes about members.
pub(super) fn table() -> Vec<Route<Api>> {
    let read = Need::Right(Right::Read);
    let operate = Need::Right(Right::Operate);
    let admin = Need::Right(Right::Admin);
    vec![
        Route::new("GET", "/api/v1/fleet", read, get(members)),
        Route::new("GET", "/api/v1/fleet/averages", read, get(averages)),
        Route::new("GET", "/api/v1/fleet/{name}", read, get(member)),
        Route::new("PATCH", "/api/v1/fleet/{name}", operate, patch(protect)),
        Route::new("DELETE", "/api/v1/fleet/{name}", admin, delete(forget)),
        Route::new("GET", "/api/v1/fleet/{name}/history", read, get(history)),
        Route::new("GET", "/api/v1/fleet/{name}/commands", admin, get(commands)),
    ]
}

async fn members(
    State(api): State<Api>,
    ApiQuery(which): ApiQuery<Which>,
) -> Result<Response, ApiError> {
    let list = ask(&api, move |fleet| {
        let mut members = fleet.members();
        members.retain(|member| which.state.is_none_or(|state| member.state == state));
        Ok(MemberList { members })
    });
    api.members.answer(list).await
}

async fn member(State(api): State<Api>, ApiPath(name): ApiPath<String>) -> ApiResult<MemberReport> {
    let member = ask(&api, move |fleet| Ok(fleet.find(&name)?));
    member.await.map(Json)
}

async fn history(
    State(api): State<Api>,
    ApiPath(name): ApiPath<String>,
    ApiQuery(wanted): ApiQuery<Wanted>,
) -> Result<Response, ApiError> {
    let figures = named(wanted.figures.as_deref())?;
    let over = stretch(wanted.over.as_deref())?;
    let step = wanted.step.as_deref().map(time("step")).transpose()?;
    if let Some(step) = step {
        check_step(step, over)?;
    }
    let columns = ask(&api, move |fleet| {
        let id = fleet.id_of(&name)?;
        // A member of which nothing is known yet has a history without rows.
        let columns = fleet.history(&id, &figures, over, step);
        Ok(columns.unwrap_or_else(Columns::default))
    });
    api.members.answer(columns).await
}

/// What users have typed on a member's host. Whoever looks is written down, too.
async fn commands(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiPath(name): ApiPath<String>,
) -> Result<Response, ApiError> {
    let list = ask(&api, move |fleet| {
        let id = fleet.id_of(&name)?;
        let list = CommandList {
            id: id.to_string(),
            commands: fleet.commands().of(&id),
        };
        audit::done("member.commands", &pass, &list.id);
        Ok(list)
    });
    api.members.answer(list).await
}

async fn averages(
    State(api): State<Api>,
    ApiQuery(wanted): ApiQuery<Stretch>,
) -> Result<Response, ApiError> {
    let over = stretch(wanted.over.as_deref())?;
    let list = ask(&api, move |fleet| {
        Ok(AverageList {
            over_s: over.as_secs(),
            members: fleet.averages(over),
        })
    });
    api.members.answer(list).await
}

async fn protect(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiPath(name): ApiPath<String>,
    ApiJson(PatchMember { protected }): ApiJson<PatchMember>,
) -> ApiResult<MemberReport> {
    let changed = ask(&api, move |fleet| {
        Ok(fleet.protect(&pass, &name, protected)?)
    });
    changed.await.map(Json)
}

async fn forget(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiPath(name): ApiPath<String>,
) -> Result<Response, ApiError> {
    ask(&api, move |fleet| Ok(fleet.forget(&pass, &name)?)).await?;
    Ok(Json(serde_json::json!({})).into_response())
}

/// Asks the fleet on a thread that may take its time: the figures of ten thousand members are many.
async fn ask<T: Send + 'static>(
    api: &Api,
    question: impl FnOnce(&Fleet) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let fleet = api.fleet.clone();
    let answer = spawn_blocking(move || question(&fleet)).await;
    answer.map_err(|_| ApiError::gone())?
}

/// The figures with these names, all if none are named.
fn named(names: Option<&str>) -> Result<Vec<Figure>, ApiError> {
    let Some(names) = names else {
        return Ok(Figure::ALL.to_vec());
    };
    let mut figures = Vec::new();
    for name in names.split(',') {
        let figure = Figure::named(name.trim()).ok_or_else(|| {
            let all: Vec<_> = Figure::ALL.into_iter().map(Figure::name).collect();
            ApiError::bad(format!("there is no figure `{}`", excerpt(name)))
                .hint(format!("the figures are {}", all.join(", ")))
        })?;
        if !figures.contains(&figure) {
            figures.push(figure);
        }
    }
    Ok(figures)
}

fn time(parameter: &'static str) -> impl Fn(&str) -> Result<Duration, ApiError> {
    move |text| {
        let time = parse_duration(text);
        time.map_err(|error| ApiError::bad(format!("invalid `{parameter}`: {error}")))
    }
}

fn stretch(text: Option<&str>) -> Result<Duration, ApiError> {
    let over = text.map_or(Ok(OVER), time("over"))?;
    if (Duration::from_secs(1)..=LONGEST).contains(&over) {
        return Ok(over);
    }
    Err(ApiError::bad(format!(
        "invalid `over` {}: expected 1 s to {}",
        format_duration(over),
        format_duration(LONGEST)
    )))
}

fn check_step(step: Duration, over: Duration) -> Result<(), ApiError> {
    let shown = format_duration(step);
    if step.as_secs() == 0 || step > over {
        let most = format_duration(over);
        let error = format!("invalid `step` {shown}: expected 1 s to `over`, which is {most}");
        return Err(ApiError::bad(error));
    }
    if over.as_secs().div_ceil(step.as_secs()) > MAX_ROWS {
        let error = format!("invalid `step` {shown}: it makes more than {MAX_ROWS} rows");
        return Err(ApiError::bad(error).hint("ask for a longer step, or a shorter time"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_named_once_each_and_those_that_are_none_are_refused() {
        assert_eq!(named(None).unwrap(), Figure::ALL);
        let two = named(Some("memory, cpu,memory")).unwrap();
        assert_eq!(two, [Figure::Memory, Figure::Cpu]);
        for bad in ["", "cpu,", "CPU", "cpu;memory"] {
            let refused = named(Some(bad)).unwrap_err();
            assert!(refused.text().starts_with("there is no figure"), "{bad}");
        }
    }

    #[test]
    fn a_history_has_a_bounded_number_of_rows() {
        let seconds = Duration::from_secs;
        assert!(check_step(seconds(5), seconds(600)).is_ok());
        assert!(check_step(seconds(1), seconds(2000)).is_ok());
        for (step, over) in [(0, 600), (601, 600), (1, 2001), (2, 4001), (5, 86_400)] {
            assert!(check_step(seconds(step), seconds(over)).is_err(), "{step}");
        }
        assert_eq!(stretch(None).unwrap(), OVER);
        assert_eq!(stretch(Some("7d")).unwrap(), seconds(7 * 86_400));
        for bad in ["", "0", "10", "367d", "604801s", "-1s", "999ms"] {
            assert!(stretch(Some(bad)).is_err(), "{bad}");
        }
    }
}
