//! `bilico user`: the users of a balancer, over its admin listener or in their file.

mod place;
mod show;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::place::{NOTHING, WhereArgs};
use self::show::{bounds, failed, users_table};
use super::api::{AdminArg, Api};
use super::output::{Exit, Failure, say, say_json};
use super::secrets::PasswordArg;
use super::settings::values::{positive, whole};
use crate::access::users::{Change, Quota, TokenId, UserName, UserOrder, Users};
use crate::access::{UserRole, check_password, hash_password};
use crate::units::ByteSize;

/// Invite, list and change the users of a balancer
#[derive(Debug, Args)]
pub(super) struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Make a user with a password, on the balancer's machine: so the first administrator is made
    Add {
        /// The user's name
        name: UserName,
        /// What the user is there for: sender, viewer, operator, admin, metrics or agent
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
        /// What a new user is there for: sender, viewer, operator, admin, metrics or agent
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
        /// sender, viewer, operator, admin, metrics or agent
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
    #[arg(long, value_name = "N", value_parser = whole::<u64>(..))]
    sessions: Option<u64>,
    /// Most files that wait in the queue
    #[arg(long, value_name = "N", value_parser = whole::<u64>(..))]
    waiting_files: Option<u64>,
    /// Most bytes that wait in the queue
    #[arg(long, value_name = "SIZE")]
    waiting_bytes: Option<ByteSize>,
    /// Most files handed over a second
    #[arg(long, value_name = "N", value_parser = whole::<u64>(..))]
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
        } => add(name, role, &users, &password)?,
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
                say_json(json!({ "users": users }));
            } else {
                say(users_table(&users));
            }
        }
        UserCommand::Show { name, place, json } => return place.show(&name, json),
        UserCommand::Disable { name, place } => {
            place.change(
                &name,
                &json!({ "disabled": true }),
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
                &json!({ "disabled": false }),
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
                &json!({ "role": role }),
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
                &json!({ "quota": quota }),
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
        UserCommand::Revoke { name, token, place } => revoke(&name, token, &place)?,
        UserCommand::Remove { name, place } => {
            let path = format!("users/{name}");
            place.order("DELETE", &path, UserOrder::Remove { name: name.clone() })?;
            say(format_args!("{name} is removed, with all tokens"));
        }
    }
    Ok(Exit::Done)
}

/// Makes a user in the file.
fn add(
    name: UserName,
    role: UserRole,
    users: &Path,
    password: &PasswordArg,
) -> Result<(), Failure> {
    let password = password.choose(name.text())?;
    check_password(&name, &password).map_err(failed)?;
    let password = hash_password(&password).map_err(failed)?;
    let said = format!("{name} is a user with the role {role}");
    let order = UserOrder::Add {
        name,
        role,
        password,
    };
    let file = Users::open_or_begin(users).map_err(failed)?;
    file.order(order).map_err(failed)?;
    say(said);
    Ok(())
}

/// Ends one token, or all of a user.
fn revoke(name: &str, is_token: bool, place: &WhereArgs) -> Result<(), Failure> {
    if is_token {
        let id: TokenId = name.parse().map_err(failed)?;
        let path = format!("tokens/{id}");
        place.order("DELETE", &path, UserOrder::Revoke { id })?;
        say(format_args!("the token {name} has ended"));
    } else {
        let name: UserName = name.parse().map_err(failed)?;
        let path = format!("users/{name}/tokens");
        let said = format!("all tokens of {name} have ended");
        place.order("DELETE", &path, UserOrder::RevokeAll { name })?;
        say(said);
    }
    Ok(())
}
