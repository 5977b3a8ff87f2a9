//! `bilico register`, `login`, `logout`, `whoami`, `password` and `token`: one's own account.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::output::{Exit, Failure, say, say_as_is, say_json};
use super::render::columns;
use super::secrets::{self, PasswordArg};
use super::send::BalancerArg;
use super::settings::values::positive;
use crate::access::users::{TokenId, UserName};
use crate::access::{AccountAnswer, AccountRequest, Right, Rights, TokenView, Wanted};
use crate::client::{self, Way};
use crate::protocol::RefusalCode;

/// How long an answer may take: passwords of others may be checked first.
const ANSWER: Duration = Duration::from_secs(20);

/// Become a user of a balancer, or get a new password, by the code of an invitation
#[derive(Debug, Args)]
pub(super) struct RegisterArgs {
    #[command(flatten)]
    balancer: BalancerArg,
    /// The user's name, as in the invitation
    #[arg(long, value_name = "NAME", env = "BILICO_USER")]
    user: UserName,
    /// File with the code of the invitation; `-` for the standard input. Without it, it is asked for
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    #[command(flatten)]
    password: PasswordArg,
}

/// Get a token for the commands on this machine, by name and password
#[derive(Debug, Args)]
pub(super) struct LoginArgs {
    #[command(flatten)]
    balancer: BalancerArg,
    /// The user's name
    #[arg(long, value_name = "NAME", env = "BILICO_USER")]
    user: UserName,
    #[command(flatten)]
    password: PasswordArg,
    #[command(flatten)]
    wanted: WantedArgs,
    /// Print the token instead of saving it
    #[arg(long)]
    print: bool,
}

/// What a token is to be.
#[derive(Debug, Args)]
struct WantedArgs {
    /// What the token is called in lists
    #[arg(long, value_name = "NAME", default_value = "")]
    name: String,
    /// What it is good for, such as `send,read-own`; without it, all that the user may do
    #[arg(long, value_name = "RIGHTS", value_delimiter = ',')]
    rights: Vec<Right>,
    /// How long it lives, such as 12h or 720h; 30 days without it, and 90 days at most
    #[arg(long, value_name = "TIME", value_parser = positive)]
    expires: Option<Duration>,
    /// A network that it may come from, such as 10.1.0.0/16; repeat the flag for each. Without it,
    /// from anywhere
    #[arg(long, value_name = "NETWORK")]
    from: Vec<ipnet::IpNet>,
}

impl WantedArgs {
    fn wanted(&self) -> Wanted {
        Wanted {
            name: self.name.clone(),
            rights: (!self.rights.is_empty()).then(|| Rights::of(&self.rights)),
            seconds: self.expires.map(|life| life.as_secs()),
            from: self.from.clone(),
        }
    }
}

/// End the token that `bilico login` saved
#[derive(Debug, Args)]
pub(super) struct LogoutArgs {
    #[command(flatten)]
    balancer: BalancerArg,
}

/// Say who the balancer takes you for, and what you may do
#[derive(Debug, Args)]
pub(super) struct WhoamiArgs {
    #[command(flatten)]
    balancer: BalancerArg,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Choose another password; all tokens end
#[derive(Debug, Args)]
pub(super) struct PasswordArgs {
    #[command(flatten)]
    balancer: BalancerArg,
    /// The user's name
    #[arg(long, value_name = "NAME", env = "BILICO_USER")]
    user: UserName,
}

/// Make, list and revoke tokens of your own
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print it, once. It can do no more and lives no longer than the one you show
    Create {
        #[command(flatten)]
        balancer: BalancerArg,
        #[command(flatten)]
        wanted: WantedArgs,
    },
    /// List your tokens
    List {
        #[command(flatten)]
        balancer: BalancerArg,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// End a token: connections that were opened with it are closed
    Revoke {
        /// The token, by the first column of the list
        id: TokenId,
        #[command(flatten)]
        balancer: BalancerArg,
    },
}

pub(super) async fn register(args: RegisterArgs) -> Result<Exit, Failure> {
    let user = args.user.to_string();
    let code = match &args.code_file {
        Some(path) => secrets::read_file(path, "code")?,
        None => secrets::ask("code of the invitation: ")?,
    };
    let password = args.password.choose(&user)?;
    let request = AccountRequest::Register {
        user,
        password,
        code,
    };
    ask(&args.balancer.way_without_token()?, request).await?;
    let user = args.user;
    say(format_args!(
        "{user} is registered; `bilico login --user {user}` gets a token"
    ));
    Ok(Exit::Done)
}

pub(super) async fn login(args: LoginArgs) -> Result<Exit, Failure> {
    let user = args.user.to_string();
    let password = args.password.get(&user)?;
    let request = AccountRequest::Login {
        user,
        password,
        token: args.wanted.wanted(),
    };
    let answer = ask(&args.balancer.way_without_token()?, request).await?;
    let AccountAnswer::Token { token, about } = answer else {
        return Err(strange());
    };
    if args.print {
        say_as_is(token.reveal());
        return Ok(Exit::Done);
    }
    let path = secrets::save(&args.balancer.balancer, &token)?;
    say(format_args!(
        "logged in as {} until {}; the token {} is saved in {}",
        about.user,
        until(about.expires),
        about.id,
        path.display()
    ));
    Ok(Exit::Done)
}

pub(super) async fn logout(args: LogoutArgs) -> Result<Exit, Failure> {
    let way = args.balancer.way()?;
    if way.token.is_none() {
        return Err(Failure::new(Exit::Failed, "nobody is logged in here"));
    }
    let asked = ask(&way, AccountRequest::Logout).await;
    // A token that has ended already is of no use to anybody.
    let ended = asked
        .as_ref()
        .err()
        .is_none_or(|failure| failure.exit != Exit::Unreachable);
    if ended {
        secrets::forget(&args.balancer.balancer)?;
    }
    asked?;
    say("logged out: the token has ended");
    Ok(Exit::Done)
}

pub(super) async fn whoami(args: WhoamiArgs) -> Result<Exit, Failure> {
    let answer = ask(&args.balancer.way()?, AccountRequest::Whoami).await?;
    if args.json {
        say_json(json(&answer)?);
        return Ok(Exit::Done);
    }
    let AccountAnswer::You {
        user,
        rights,
        token,
        expires,
    } = answer
    else {
        return Err(strange());
    };
    match (user, token) {
        (Some(user), Some(token)) => say(format_args!(
            "{user}, with the token {token} until {}: {rights}",
            until(expires)
        )),
        _ => say(format_args!(
            "nobody in particular: this balancer has no users. You may: {rights}"
        )),
    }
    Ok(Exit::Done)
}

pub(super) async fn password(args: PasswordArgs) -> Result<Exit, Failure> {
    let user = args.user.to_string();
    let password = secrets::ask(&format!("password of {user}: "))?;
    let new_password = secrets::ask("new password: ")?;
    if new_password != secrets::ask("once more: ")? {
        return Err(Failure::new(Exit::Failed, "the two passwords differ").hint("nothing was sent"));
    }
    let request = AccountRequest::ChangePassword {
        user,
        password,
        new_password,
    };
    ask(&args.balancer.way_without_token()?, request).await?;
    say("the password is changed, and all tokens have ended: log in again");
    Ok(Exit::Done)
}

pub(super) async fn token(args: TokenArgs) -> Result<Exit, Failure> {
    match args.command {
        TokenCommand::Create { balancer, wanted } => {
            let token = wanted.wanted();
            let request = AccountRequest::CreateToken { token };
            match ask(&balancer.way()?, request).await? {
                AccountAnswer::Token { token, .. } => say_as_is(token.reveal()),
                _ => return Err(strange()),
            }
        }
        TokenCommand::List { balancer, json } => {
            let answer = ask(&balancer.way()?, AccountRequest::Tokens).await?;
            match answer {
                answer if json => say_json(self::json(&answer)?),
                AccountAnswer::Tokens { tokens } => say(tokens_table(&tokens)),
                _ => return Err(strange()),
            }
        }
        TokenCommand::Revoke { id, balancer } => {
            let request = AccountRequest::RevokeToken { id: id.clone() };
            ask(&balancer.way()?, request).await?;
            say(format_args!("the token {id} has ended"));
        }
    }
    Ok(Exit::Done)
}

async fn ask(way: &Way, request: AccountRequest) -> Result<AccountAnswer, Failure> {
    match client::account(way, &request, ANSWER).await? {
        AccountAnswer::Refused { code, error } => {
            let failure = Failure::new(Exit::Failed, error);
            Err(match code {
                RefusalCode::Unauthorized if !request.has_secret() => {
                    failure.hint("`bilico login --user NAME` gets a token")
                }
                _ => failure,
            })
        }
        answer => Ok(answer),
    }
}

fn json(answer: &AccountAnswer) -> Result<String, Failure> {
    serde_json::to_string(answer).map_err(|error| Failure::new(Exit::Failed, error))
}

fn strange() -> Failure {
    let error = "the balancer answered something else: is it of another version?";
    Failure::new(Exit::Failed, error)
}

/// A list of tokens for people.
pub(super) fn tokens_table(tokens: &[TokenView]) -> String {
    let head = [
        "TOKEN",
        "USER",
        "NAME",
        "RIGHTS",
        "EXPIRES",
        "LAST USED",
        "FROM",
    ];
    let rows = tokens.iter().map(|token| {
        let networks: Vec<String> = token.from.iter().map(ToString::to_string).collect();
        [
            token.id.to_string(),
            token.user.to_string(),
            token.name.clone(),
            token.rights.to_string(),
            until(token.expires),
            token.last_used.map_or_else(|| "-".to_owned(), date),
            if networks.is_empty() {
                "anywhere".to_owned()
            } else {
                networks.join(", ")
            },
        ]
    });
    columns(head, rows)
}

/// When something ends.
pub(super) fn until(expires: Option<u64>) -> String {
    expires.map_or_else(|| "for ever".to_owned(), date)
}

/// A time in seconds since 1970, in this machine's time zone.
pub(super) fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok();
    let time = time.and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0));
    time.map_or_else(
        || seconds.to_string(),
        |time| {
            let local = time.with_timezone(&chrono::Local);
            local.format("%Y-%m-%d %H:%M").to_string()
        },
    )
}
