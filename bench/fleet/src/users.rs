//! Users of a balancer, one for each agent: each has a token to report with, and the password of all
//! of them is known to nobody.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use bilico::access::users::{Book, NewToken, Quota, Token, User, UserName};
use bilico::access::{UserRole, hash_password};

use super::{Failure, needed};

/// The file for the balancer, in the directory that is named.
const USERS: &str = "users.json";

/// The tokens, one a line.
const TOKENS: &str = "tokens";

/// Makes so many, all at once: a user of `bilico user` takes tens of milliseconds for its password.
pub(super) fn make(users: u32) -> Result<(), Failure> {
    let dir = needed("--to")?;
    let dir = Path::new(&dir);
    fs::create_dir_all(dir)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let password = hash_password(&NewToken::make().text)?;
    let mut book = Book::default();
    let mut tokens = String::new();
    for number in 0..users {
        let name = UserName::parse(&format!("agent-{number:05}"))?;
        let user = User {
            password: password.clone(),
            role: UserRole::Agent,
            disabled: false,
            created: now,
            quota: Quota::default(),
        };
        book.add(name.clone(), user)?;
        let NewToken { id, text, hash } = NewToken::make();
        let token = Token {
            user: name,
            name: "agent".to_owned(),
            hash,
            rights: UserRole::Agent.rights(),
            created: now,
            expires: None,
            from: Vec::new(),
        };
        book.issue(id, token, now)?;
        tokens.push_str(text.reveal());
        tokens.push('\n');
    }
    write(&dir.join(USERS), &serde_json::to_vec(&book)?)?;
    write(&dir.join(TOKENS), tokens.as_bytes())?;
    println!("users {users}");
    Ok(())
}

/// Writes a new file that nobody else reads.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| format!("cannot make {}: {error}", path.display()))?;
    Ok(file.write_all(bytes)?)
}
