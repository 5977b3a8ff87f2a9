//! Questions about a client's account.

use std::time::Duration;

use tokio::time::timeout;

use super::error::ClientError;
use super::session::{Answer, Session};
use super::way::Way;
use crate::access::{AccountAnswer, AccountRequest};

/// Asks about an account, and waits up to `limit` for the answer. What has a secret is not sent where
/// others could hear it.
pub async fn account(
    way: &Way,
    request: &AccountRequest,
    limit: Duration,
) -> Result<AccountAnswer, ClientError> {
    let (mut session, mut answers, _) = Session::greeted(way, request.has_secret(), limit).await?;
    let content =
        serde_json::to_vec(request).map_err(|error| ClientError::Lost(error.to_string()))?;
    session.ask_account(&content).await?;
    let late = ClientError::Lost(format!("no answer in {limit:?}"));
    let answer = async {
        loop {
            match answers.next().await? {
                Some(Answer::Account(answer)) => return Ok(answer),
                Some(_) => {}
                None => return Err(ClientError::Lost("closed without an answer".to_owned())),
            }
        }
    };
    timeout(limit, answer).await.unwrap_or(Err(late))
}
