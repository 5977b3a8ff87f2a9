//! `bilico user`: the users of a balancer, over its admin listener or in their file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};

use super::account::{date, tokens_table, until};
use super::api::{AdminArg, Api};
use super::output::{Exit, Failure, say, say_as_is, say_json};
use super::render::columns;
use super::secrets::PasswordArg;
use super::settings::values::positive;
use crate::access::users::{Change, NewCode, Quota, TokenId, UserName, UserOrder, Users};
use crate::access::{TokenView, UserRole, UserView, check_password, hash_password, user_views};
use crate::units::ByteSize;

/// Invite, list and change the users of a balancer
#[derive(Debug, Args)]
pub(super) struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
}

/// Where the users are.
#[derive(Debug, Args)]
struct WhereArgs {
    #[command(flatten)]
    admin: AdminArg,
    /// Change this users file itself, on the balancer's machine, instead of asking the balancer; a
    /// balancer that runs follows within a second
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Make a user with a password, on the balancer's machine: so the first administrator is made
    Add {
        /// The user's name
        name: UserName,
        /// What the user is there for: sender, viewer, operator, admin or metrics
        #[arg(long, default_value = "sender")]
        role: UserRole,
        /// The users file; it is made if there is none
        #[arg(long, value_name = "FILE")]
        users: PathBuf,
        #[command(flatten)]
        password: PasswordArg,
    },
    /// Invite a user: prints a code, once, by which the user registers or chooses a new password
    Invite {
        /// The user's name
        name: UserName,
        /// What a new user is there for: sender, viewer, operator, admin or metrics
        #[arg(long, default_value = "sender")]
        role: UserRole,
        /// How long the code holds
        #[arg(long, value_name = "TIME", value_parser = positive, default_value = "24h")]
        expires: Duration,
        #[command(flatten)]
        quota: QuotaArgs,
        #[command(flatten)]
        place: WhereArgs,
    },
    /// List the users and invitations
    List {
        #[command(flatten)]
        place: WhereArgs,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show a user and its tokens
    Show {
        /// The user's name
        name: UserName,
        #[command(flatten)]
        place: WhereArgs,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Let a user do nothing for now; its connections are closed
    Disable {
        /// The user's name
        name: UserName,
        #[command(flatten)]
        place: WhereArgs,
    },
    /// Let a disabled user go on
    Enable {
        /// The user's name
        name: UserName,
        #[command(flatten)]
        place: WhereArgs,
    },
    /// Give a user another role
    Role {
        /// The user's name
        name: UserName,
        /// sender, viewer, operator, admin or metrics
        role: UserRole,
        #[command(flatten)]
        place: WhereArgs,
    },
    /// Bound what a user may take up; bounds that are not named are lifted
    Quota {
        /// The user's name
        name: UserName,
        #[command(flatten)]
        quota: QuotaArgs,
        #[command(flatten)]
        place: WhereArgs,
    },
    /// Let those try again at once who guessed a user's password wrong
    Unlock {
        /// The user's name
        name: UserName,
        #[command(flatten)]
        admin: AdminArg,
    },
    /// End all tokens of a user, or one by its name in the list
    Revoke {
        /// The user's name, or with --token the token's
        #[arg(value_name = "NAME")]
        name: String,
        /// The name is that of a token
        #[arg(long)]
        token: bool,
        #[command(flatten)]
        place: WhereArgs,
    },
    /// Remove a user, its tokens and its invitation
    Remove {
        /// The user's name
        name: UserName,
        #[command(flatten)]
        place: WhereArgs,
    },
}

/// What a user may take up; without a flag, as much as all may.
#[derive(Debug, Args)]
struct QuotaArgs {
    /// Most connections at once
    #[arg(long, value_name = "N")]
    sessions: Option<u64>,
    /// Most files that wait in the queue
    #[arg(long, value_name = "N")]
    waiting_files: Option<u64>,
    /// Most bytes that wait in the queue
    #[arg(long, value_name = "SIZE")]
    waiting_bytes: Option<ByteSize>,
    /// Most files handed over a second
    #[arg(long, value_name = "N")]
    files_per_second: Option<u64>,
    /// Largest file
    #[arg(long, value_name = "SIZE")]
    largest_file: Option<ByteSize>,
}

impl QuotaArgs {
    fn quota(&self) -> Quota {
        Quota {
            sessions: self.sessions,
            waiting_files: self.waiting_files,
            waiting_bytes: self.waiting_bytes.map(|size| size.0),
            files_per_second: self.files_per_second,
            largest_file: self.largest_file.map(|size| size.0),
        }
    }
}

pub(super) fn run(args: UserArgs) -> Result<Exit, Failure> {
    match args.command {
        UserCommand::Add {
            name,
            role,
            users,
            password,
        } => {
            let password = password.choose(name.text())?;
            check_password(&name, &password).map_err(failed)?;
            let password = hash_password(&password).map_err(failed)?;
            let order = UserOrder::Add {
                name: name.clone(),
                role,
                password,
            };
            let file = Users::open_or_begin(&users).map_err(failed)?;
            file.order(order).map_err(failed)?;
            say(format_args!("{name} is a user with the role {role}"));
        }
        UserCommand::Invite {
            name,
            role,
            expires,
            quota,
            place,
        } => return place.invite(&name, role, expires, quota.quota()),
        UserCommand::List { place, json } => {
            let users = place.list()?;
            if json {
                say_json(text_of(&json!({ "users": users }))?);
            } else {
                say(users_table(&users));
            }
        }
        UserCommand::Show { name, place, json } => return place.show(&name, json),
        UserCommand::Disable { name, place } => {
            place.change(
                &name,
                json!({ "disabled": true }),
                Change {
                    disabled: Some(true),
                    ..Change::default()
                },
            )?;
            say(format_args!(
                "{name} may do nothing until `bilico user enable {name}`"
            ));
        }
        UserCommand::Enable { name, place } => {
            place.change(
                &name,
                json!({ "disabled": false }),
                Change {
                    disabled: Some(false),
                    ..Change::default()
                },
            )?;
            say(format_args!("{name} may go on"));
        }
        UserCommand::Role { name, role, place } => {
            place.change(
                &name,
                json!({ "role": role }),
                Change {
                    role: Some(role),
                    ..Change::default()
                },
            )?;
            say(format_args!("{name} has the role {role} now"));
        }
        UserCommand::Quota { name, quota, place } => {
            let quota = quota.quota();
            place.change(
                &name,
                json!({ "quota": quota }),
                Change {
                    quota: Some(quota),
                    ..Change::default()
                },
            )?;
            say(format_args!(
                "{name} has these bounds now: {}",
                bounds(&quota)
            ));
        }
        UserCommand::Unlock { name, admin } => {
            let path = format!("users/{name}/unlock");
            Api::new(&admin)?.order::<Value>("POST", &path, NOTHING)?;
            say(format_args!(
                "those who guessed wrong for {name} may try again"
            ));
        }
        UserCommand::Revoke { name, token, place } => {
            if token {
                let id: TokenId = name.parse().map_err(failed)?;
                let path = format!("tokens/{id}");
                place.order("DELETE", &path, UserOrder::Revoke { id })?;
                say(format_args!("the token {name} has ended"));
            } else {
                let name: UserName = name.parse().map_err(failed)?;
                let path = format!("users/{name}/tokens");
                place.order("DELETE", &path, UserOrder::RevokeAll { name: name.clone() })?;
                say(format_args!("all tokens of {name} have ended"));
            }
        }
        UserCommand::Remove { name, place } => {
            let path = format!("users/{name}");
            place.order("DELETE", &path, UserOrder::Remove { name: name.clone() })?;
            say(format_args!("{name} is removed, with all tokens"));
        }
    }
    Ok(Exit::Done)
}

const NOTHING: Option<&Value> = None;

impl WhereArgs {
    /// The file, if the command is to change that itself.
    fn file(&self) -> Result<Option<Users>, Failure> {
        let opened = self.users.as_deref().map(Users::open);
        opened.transpose().map_err(failed)
    }

    fn order(&self, method: &str, path: &str, order: UserOrder) -> Result<(), Failure> {
        match self.file()? {
            Some(file) => file.order(order).map_err(failed),
            None => Api::new(&self.admin)?
                .order::<Value>(method, path, NOTHING)
                .map(drop),
        }
    }

    fn change(&self, name: &UserName, body: Value, change: Change) -> Result<(), Failure> {
        match self.file()? {
            Some(file) => {
                let name = name.clone();
                let order = UserOrder::Change { name, change };
                file.order(order).map_err(failed)
            }
            None => Api::new(&self.admin)?
                .order::<Value>("PATCH", &format!("users/{name}"), Some(&body))
                .map(drop),
        }
    }

    fn invite(
        &self,
        name: &UserName,
        role: UserRole,
        expires: Duration,
        quota: Quota,
    ) -> Result<Exit, Failure> {
        let seconds = expires.as_secs().max(1);
        match self.file()? {
            Some(file) => {
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
            }
            None => {
                let body = json!({ "role": role, "quota": quota, "seconds": seconds });
                let path = format!("users/{name}/invitation");
                let invited: Value = Api::new(&self.admin)?.order("POST", &path, Some(&body))?;
                let code = invited.get("code").and_then(Value::as_str);
                say_as_is(code.unwrap_or_default());
            }
        }
        super::output::note(format_args!(
            "{name} registers with this code, within {}: bilico register --user {name}",
            crate::units::format_duration(expires)
        ));
        Ok(Exit::Done)
    }

    fn list(&self) -> Result<Vec<UserView>, Failure> {
        match self.file()? {
            Some(file) => Ok(file.book(user_views)),
            None => {
                let answer: Value = Api::new(&self.admin)?.get("users")?;
                part(answer, "users")
            }
        }
    }

    fn tokens(&self) -> Result<Vec<TokenView>, Failure> {
        match self.file()? {
            Some(file) => Ok(file.tokens()),
            None => {
                let answer: Value = Api::new(&self.admin)?.get("tokens")?;
                part(answer, "tokens")
            }
        }
    }

    fn show(&self, name: &UserName, as_json: bool) -> Result<Exit, Failure> {
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
            say_json(text_of(&json!({ "user": user, "tokens": tokens }))?);
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

fn part<T: serde::de::DeserializeOwned>(mut answer: Value, name: &str) -> Result<T, Failure> {
    let part = answer.get_mut(name).map(Value::take).unwrap_or_default();
    serde_json::from_value(part).map_err(failed)
}

fn text_of(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, error)
}

fn users_table(users: &[UserView]) -> String {
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
fn bounds(quota: &Quota) -> String {
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
