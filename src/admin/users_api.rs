//! The routes for accounts, users and tokens.

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::credentials::set_cookie;
use super::error::{ApiError, ApiResult};
use super::extract::{ApiJson, ApiPath};
use super::json::Json;
use super::state::Api;
use crate::access::users::{Change, INVITATION_LIFE, NewCode, Quota, TokenId, UserName, UserOrder};
use crate::access::{
    AccountAnswer, AccountError, AccountRequest, Accounts, Allowed, At, MAX_TOKEN_LIFE, Pass,
    ToAdminister, TokenView, UserRole, UserView, Wanted,
};
use crate::secret::Secret;
use std::sync::Arc;

/// How long a browser stays logged in, in seconds.
const SESSION: u64 = 12 * 3600;

/// `GET /api/v1/users`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct UserList {
    /// By name.
    users: Vec<UserView>,
}

/// `GET /api/v1/tokens`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TokenList {
    /// The oldest first.
    tokens: Vec<TokenView>,
}

/// The body of `POST /api/v1/users/{name}/invitation`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewInvitation {
    role: UserRole,
    #[serde(default)]
    quota: Quota,
    seconds: Option<u64>,
}

/// Its answer: the code is told this once.
#[derive(Debug, Serialize)]
pub(super) struct Invited {
    user: UserName,
    #[serde(serialize_with = "Secret::send")]
    code: Secret,
    seconds: u64,
}

/// The body of `PATCH /api/v1/users/{name}`.
#[derive(Debug, Deserialize, PartialEq, Eq, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct PatchUser {
    disabled: Option<bool>,
    role: Option<UserRole>,
    quota: Option<Quota>,
}

/// The body of `POST /api/v1/session`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSession {
    user: String,
    password: Secret,
}

/// Anything about one's own account.
pub(super) async fn account(
    State(api): State<Api>,
    Extension(at): Extension<At>,
    Extension(pass): Extension<Pass>,
    ApiJson(request): ApiJson<AccountRequest>,
) -> ApiResult<AccountAnswer> {
    Ok(Json(api.lock().account(at, &pass, request).await?))
}

/// Logs a browser in.
pub(super) async fn log_in(
    State(api): State<Api>,
    Extension(at): Extension<At>,
    Extension(pass): Extension<Pass>,
    ApiJson(NewSession { user, password }): ApiJson<NewSession>,
) -> Result<Response, ApiError> {
    let request = AccountRequest::Login {
        user,
        password,
        token: Wanted {
            name: "page".to_owned(),
            seconds: Some(SESSION),
            ..Wanted::default()
        },
    };
    let answer = api.lock().account(at, &pass, request).await?;
    let AccountAnswer::Token { token, about } = answer else {
        return Err(ApiError::gone());
    };
    let cookie = set_cookie(at, &token, SESSION).ok_or_else(ApiError::gone)?;
    Ok(([(header::SET_COOKIE, cookie)], Json(about)).into_response())
}

/// Logs a browser out: its token ends.
pub(super) async fn log_out(
    State(api): State<Api>,
    Extension(at): Extension<At>,
    Extension(pass): Extension<Pass>,
) -> Result<Response, ApiError> {
    let answer = api
        .lock()
        .account(at, &pass, AccountRequest::Logout)
        .await?;
    let cookie = set_cookie(at, &Secret::from(""), 0).ok_or_else(ApiError::gone)?;
    Ok(([(header::SET_COOKIE, cookie)], Json(answer)).into_response())
}

pub(super) async fn users(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
) -> ApiResult<UserList> {
    let (accounts, allowed) = administer(&api, &pass)?;
    let users = accounts.users(&allowed).await;
    Ok(Json(UserList { users }))
}

pub(super) async fn tokens(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
) -> ApiResult<TokenList> {
    let (accounts, allowed) = administer(&api, &pass)?;
    let tokens = accounts.all_tokens(&allowed).await;
    Ok(Json(TokenList { tokens }))
}

pub(super) async fn invite(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiPath(name): ApiPath<String>,
    ApiJson(new): ApiJson<NewInvitation>,
) -> Result<Response, ApiError> {
    let (accounts, allowed) = administer(&api, &pass)?;
    let user = user_name(&name)?;
    let seconds = new.seconds.unwrap_or(INVITATION_LIFE);
    if !(1..=MAX_TOKEN_LIFE).contains(&seconds) {
        let error = format!("invalid `seconds` {seconds}: expected 1 to {MAX_TOKEN_LIFE}");
        return Err(ApiError::bad(error));
    }
    let code = NewCode::make();
    let order = UserOrder::Invite {
        name: user.clone(),
        role: new.role,
        quota: new.quota,
        code: code.hash,
        seconds,
    };
    accounts.order(&allowed, order).await?;
    let invited = Invited {
        user,
        code: code.text,
        seconds,
    };
    Ok((StatusCode::CREATED, Json(invited)).into_response())
}

pub(super) async fn change_user(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiPath(name): ApiPath<String>,
    ApiJson(patch): ApiJson<PatchUser>,
) -> ApiResult<AccountAnswer> {
    if patch == PatchUser::default() {
        return Err(ApiError::bad("the body changes nothing")
            .hint(r#"send e.g. {"disabled": true}, {"role": "viewer"} or {"quota": {}}"#));
    }
    let change = Change {
        disabled: patch.disabled,
        role: patch.role,
        quota: patch.quota,
    };
    let name = user_name(&name)?;
    order(&api, &pass, UserOrder::Change { name, change }).await
}

pub(super) async fn remove_user(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiPath(name): ApiPath<String>,
) -> ApiResult<AccountAnswer> {
    let name = user_name(&name)?;
    order(&api, &pass, UserOrder::Remove { name }).await
}

pub(super) async fn unlock_user(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiPath(name): ApiPath<String>,
) -> ApiResult<AccountAnswer> {
    let (accounts, allowed) = administer(&api, &pass)?;
    accounts.unlock(&allowed, &user_name(&name)?);
    Ok(Json(AccountAnswer::Done))
}

pub(super) async fn revoke_all(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiPath(name): ApiPath<String>,
) -> ApiResult<AccountAnswer> {
    let name = user_name(&name)?;
    order(&api, &pass, UserOrder::RevokeAll { name }).await
}

pub(super) async fn revoke(
    State(api): State<Api>,
    Extension(pass): Extension<Pass>,
    ApiPath(id): ApiPath<String>,
) -> ApiResult<AccountAnswer> {
    let id = TokenId::try_from(id).map_err(|_| {
        ApiError::not_found("there is no such token").hint("GET /api/v1/tokens lists the tokens")
    })?;
    order(&api, &pass, UserOrder::Revoke { id }).await
}

async fn order(api: &Api, pass: &Pass, order: UserOrder) -> ApiResult<AccountAnswer> {
    let (accounts, allowed) = administer(api, pass)?;
    accounts.order(&allowed, order).await?;
    Ok(Json(AccountAnswer::Done))
}

/// The accounts, for whoever may look after them.
fn administer<'a>(
    api: &'a Api,
    pass: &Pass,
) -> Result<(&'a Arc<Accounts>, Allowed<ToAdminister>), ApiError> {
    let allowed = pass.allow().map_err(|denied| ApiError::denied(&denied))?;
    let Some(accounts) = api.lock().accounts() else {
        let error = "there are no users here: this balancer runs without them";
        return Err(ApiError::new(StatusCode::CONFLICT, error)
            .hint("start it with `--auth required --users FILE`"));
    };
    Ok((accounts, allowed))
}

fn user_name(name: &str) -> Result<UserName, ApiError> {
    UserName::parse(name).map_err(|error| ApiError::bad(error.to_string()))
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        let text = error.to_string();
        match error {
            AccountError::Denied(denied) => Self::denied(&denied),
            AccountError::Book(_) => Self::new(StatusCode::CONFLICT, text),
            AccountError::Weak(_) | AccountError::Invalid(_) => Self::bad(text),
            AccountError::Failed(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, text),
        }
    }
}
