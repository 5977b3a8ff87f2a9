//! Where commands get passwords, codes and tokens from: never from the command line, which everybody
//! on the machine can see.

use std::fs::{self, File};
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;

use super::contexts;
use super::output::{Exit, Failure};
use super::prompt::Hush;
use crate::protocol::limits::MAX_TOKEN;
use crate::secret::Secret;

/// The most bytes of a secret's file that are read.
const MAX_FILE: u64 = 4096;

/// The name of a token among a service's credentials.
const CREDENTIAL: &str = "bilico-token";

/// The token that a command shows.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct TokenArg {
    /// File with the token that says who you are, for a balancer with users. Without it: what
    /// `bilico login` has saved
    #[arg(long, value_name = "FILE", env = "BILICO_TOKEN_FILE")]
    pub(super) token_file: Option<PathBuf>,
}

impl TokenArg {
    /// The token for the balancer at this address, if there is one.
    pub(super) fn find(&self, address: &str) -> Result<Option<Secret>, Failure> {
        match given(self.token_file.as_deref())? {
            Some(token) => Ok(Some(token)),
            None => saved(address),
        }
    }
}

/// The token that a command was given: in this file, as a credential of its service, or in the
/// environment.
pub(super) fn given(file: Option<&Path>) -> Result<Option<Secret>, Failure> {
    if let Some(path) = file {
        return read_file(path, "token").map(Some);
    }
    if let Some(dir) = std::env::var_os("CREDENTIALS_DIRECTORY") {
        let path = Path::new(&dir).join(CREDENTIAL);
        if path.exists() {
            // The service manager decides who may read it.
            let file = File::open(&path);
            return file
                .and_then(first_line)
                .map(Some)
                .map_err(|error| cannot_read("token", &path, &error));
        }
    }
    let token = std::env::var("BILICO_TOKEN").ok();
    Ok(token.filter(|token| !token.is_empty()).map(Secret::from))
}

/// Where a password comes from.
#[derive(Debug, Clone, Args)]
pub(super) struct PasswordArg {
    /// File with the password; `-` for the standard input. Without it, it is asked for
    #[arg(long, value_name = "FILE", env = "BILICO_PASSWORD_FILE")]
    password_file: Option<PathBuf>,
    /// Command that prints the password
    #[arg(long, value_name = "COMMAND", conflicts_with = "password_file")]
    password_command: Option<String>,
}

impl PasswordArg {
    /// The password of a user who has one.
    pub(super) fn get(&self, user: &str) -> Result<Secret, Failure> {
        match self.given()? {
            Some(password) => Ok(password),
            None => ask(&format!("password of {user}: ")),
        }
    }

    /// A new password; whoever types it types it twice.
    pub(super) fn choose(&self, user: &str) -> Result<Secret, Failure> {
        if let Some(password) = self.given()? {
            return Ok(password);
        }
        let password = ask(&format!("new password of {user}: "))?;
        if password == ask("once more: ")? {
            Ok(password)
        } else {
            Err(Failure::new(Exit::Failed, "the two passwords differ").hint("nothing was sent"))
        }
    }

    fn given(&self) -> Result<Option<Secret>, Failure> {
        if let Some(command) = &self.password_command {
            return printed_by(command).map(Some);
        }
        let path = self.password_file.as_deref();
        path.map(|path| read_file(path, "password")).transpose()
    }
}

/// The first line of a file that nobody else may read; `-` is the standard input.
pub(super) fn read_file(path: &Path, what: &str) -> Result<Secret, Failure> {
    let failed = |error: io::Error| cannot_read(what, path, &error);
    if path == Path::new("-") {
        return first_line(io::stdin().lock()).map_err(failed);
    }
    let file = File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let shown = path.display();
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o7777;
        let error = format!("the {what} in {shown} may be read by others (mode {mode:04o})");
        let failure = Failure::new(Exit::Failed, error);
        return Err(failure.hint(format!("chmod 600 {shown}")));
    }
    first_line(file).map_err(failed)
}

/// Asks on the terminal, without an echo.
pub(super) fn ask(prompt: &str) -> Result<Secret, Failure> {
    if !io::stdin().is_terminal() {
        let error = "a password or a code is needed, and there is no terminal to ask on";
        return Err(Failure::new(Exit::Usage, error)
            .hint("pass --password-file FILE, or --code-file FILE; `-` is the standard input"));
    }
    // If standard error is closed, nobody can be asked: then what is typed is read all the same.
    let _ = write!(io::stderr().lock(), "{prompt}");
    let hush = Hush::new();
    let line = first_line(io::stdin().lock());
    drop(hush);
    let _ = writeln!(io::stderr().lock());
    line.map_err(|error| Failure::new(Exit::Failed, error))
}

/// Writes a secret to a file that only its owner may read, in the place of another one.
pub(super) fn write(path: &Path, secret: &str) -> Result<(), Failure> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let part = dir.join(format!(".{}.part", std::process::id()));
    let written = || {
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)?;
        writeln!(file, "{secret}")?;
        fs::rename(&part, path)
    };
    written().map_err(|error| {
        let _ = fs::remove_file(&part);
        Failure::new(
            Exit::Failed,
            format!("cannot write {}: {error}", path.display()),
        )
    })
}

/// Saves the token for the balancer at this address; says where.
pub(super) fn save(address: &str, token: &Secret) -> Result<PathBuf, Failure> {
    let path = place(address)
        .ok_or_else(|| Failure::new(Exit::Failed, "there is no home directory: HOME is not set"))?;
    let failed = |error: io::Error| {
        Failure::new(
            Exit::Failed,
            format!("cannot save the token in {}: {error}", path.display()),
        )
    };
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut made = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(made.recursive(true), 0o700);
    made.create(dir).map_err(failed)?;
    write(&path, token.reveal())?;
    Ok(path)
}

/// Removes the saved token for the balancer at this address.
pub(super) fn forget(address: &str) -> Result<(), Failure> {
    let Some(path) = place(address) else {
        return Ok(());
    };
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let error = format!("cannot remove {}: {error}", path.display());
            Err(Failure::new(Exit::Failed, error))
        }
        _ => Ok(()),
    }
}

/// The saved token for the balancer at this address. Its admin listener has another port: then the
/// token that was saved last for that host.
fn saved(address: &str) -> Result<Option<Secret>, Failure> {
    let Some(exact) = place(address) else {
        return Ok(None);
    };
    if exact.exists() {
        return read_file(&exact, "token").map(Some);
    }
    let host = |address: &str| Some(address.rsplit_once(':')?.0.to_owned());
    let of_host = host(address);
    let Some(dir) = exact.parent().and_then(|dir| fs::read_dir(dir).ok()) else {
        return Ok(None);
    };
    let same_host = dir.flatten().filter(|entry| {
        let name = entry.file_name();
        of_host.is_some() && name.to_str().and_then(host) == of_host
    });
    let newest = same_host.max_by_key(|entry| entry.metadata().and_then(|of| of.modified()).ok());
    newest
        .map(|entry| read_file(&entry.path(), "token"))
        .transpose()
}

/// The file of the token for the balancer at this address.
fn place(address: &str) -> Option<PathBuf> {
    let name = address.replace('/', "_");
    Some(contexts::home()?.join("tokens").join(name))
}

fn printed_by(command: &str) -> Result<Secret, Failure> {
    let failed = |why: String| {
        let error = format!("the command for the password failed: {why}");
        Failure::new(Exit::Failed, error)
    };
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    first_line(&*output.stdout).map_err(|error| failed(error.to_string()))
}

fn cannot_read(what: &str, path: &Path, error: &io::Error) -> Failure {
    let error = format!("cannot read the {what} in {}: {error}", path.display());
    Failure::new(Exit::Failed, error)
}

/// The first line, without its end.
fn first_line(from: impl Read) -> io::Result<Secret> {
    let mut line = Vec::new();
    io::BufReader::new(from.take(MAX_FILE)).read_until(b'\n', &mut line)?;
    let text = String::from_utf8(line).map_err(|_| io::Error::other("it is no text"))?;
    let secret = Secret::from(text);
    let line = secret.reveal().trim_end_matches(['\r', '\n']);
    if line.is_empty() {
        return Err(io::Error::other("its first line is empty"));
    }
    if line.len() > MAX_TOKEN {
        let error = format!("its first line has more than {MAX_TOKEN} bytes");
        return Err(io::Error::other(error));
    }
    Ok(Secret::from(line))
}
