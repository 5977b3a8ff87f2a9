//! Where the users are: at a balancer, or in their file.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::show::{bounds, failed, users_table};
use crate::access::users::{Change, NewCode, Quota, UserName, UserOrder, Users};
use crate::access::{TokenView, UserRole, UserView, user_views};
use crate::cli::account::tokens_table;
use crate::cli::api::{AdminArg, Api};
use crate::cli::output::{Exit, Failure, note, say, say_as_is, say_json};
use crate::units::format_duration;

/// Where the users are.
#[derive(Debug, Args)]
pub(super) struct WhereArgs {
    #[command(flatten)]
    admin: AdminArg,
    /// Change this users file itself, on the balancer's machine, instead of asking the balancer; a
    /// balancer that runs follows within a second
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
}

/// An order without a body.
pub(super) const NOTHING: Option<&Value> = None;

impl WhereArgs {
    /// The file, if the command is to change that itself.
    pub(super) fn file(&self) -> Result<Option<Users>, Failure> {
        let opened = self.users.as_deref().map(Users::open);
        opened.transpose().map_err(failed)
    }

    pub(super) fn order(&self, method: &str, path: &str, order: UserOrder) -> Result<(), Failure> {
        match self.file()? {
            Some(file) => file.order(order).map_err(failed),
            None => Api::new(&self.admin)?
                .order::<Value>(method, path, NOTHING)
                .map(drop),
        }
    }

    pub(super) fn change(
        &self,
        name: &UserName,
        body: &Value,
        change: Change,
    ) -> Result<(), Failure> {
        match self.file()? {
            Some(file) => {
                let name = name.clone();
                let order = UserOrder::Change { name, change };
                file.order(order).map_err(failed)
            }
            None => Api::new(&self.admin)?
                .order::<Value>("PATCH", &format!("users/{name}"), Some(body))
                .map(drop),
        }
    }

    pub(super) fn invite(
        &self,
        name: &UserName,
        role: UserRole,
        expires: Duration,
        quota: Quota,
    ) -> Result<Exit, Failure> {
        let seconds = expires.as_secs().max(1);
        if let Some(file) = self.file()? {
            let code = NewCode::make();
            let order = UserOrder::Invite {
                name: name.clone(),
                role,
                quota,
                code: code.hash,
                seconds,
            };
            file.order(order).map_err(failed)?;
            say_as_is(code.text.reveal());
        } else {
            let body = json!({ "role": role, "quota": quota, "seconds": seconds });
            let path = format!("users/{name}/invitation");
            let invited: Value = Api::new(&self.admin)?.order("POST", &path, Some(&body))?;
            let code = invited.get("code").and_then(Value::as_str);
            say_as_is(code.unwrap_or_default());
        }
        note(format_args!(
            "{name} registers with this code, within {}: bilico register --user {name}",
            format_duration(expires)
        ));
        Ok(Exit::Done)
    }

    pub(super) fn list(&self) -> Result<Vec<UserView>, Failure> {
        if let Some(file) = self.file()? {
            return Ok(file.book(user_views));
        }
        part(Api::new(&self.admin)?.get("users")?, "users")
    }

    pub(super) fn tokens(&self) -> Result<Vec<TokenView>, Failure> {
        if let Some(file) = self.file()? {
            return Ok(file.tokens());
        }
        part(Api::new(&self.admin)?.get("tokens")?, "tokens")
    }

    pub(super) fn show(&self, name: &UserName, as_json: bool) -> Result<Exit, Failure> {
        let users = self.list()?;
        let Some(user) = users.into_iter().find(|user| user.name == *name) else {
            return Err(
                Failure::new(Exit::Failed, format!("there is no user `{name}`"))
                    .hint("`bilico user list` lists them"),
            );
        };
        let mut tokens = self.tokens()?;
        tokens.retain(|token| token.user == *name);
        if as_json {
            say_json(json!({ "user": user, "tokens": tokens }));
            return Ok(Exit::Done);
        }
        say(users_table(std::slice::from_ref(&user)));
        say(format_args!("bounds: {}", bounds(&user.quota)));
        if !tokens.is_empty() {
            say(tokens_table(&tokens));
        }
        Ok(Exit::Done)
    }
}

fn part<T: DeserializeOwned>(mut answer: Value, name: &str) -> Result<T, Failure> {
    let part = answer.get_mut(name).map(Value::take).unwrap_or_default();
    serde_json::from_value(part).map_err(failed)
}
