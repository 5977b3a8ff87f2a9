//! The balancers that a user works with, by name: `contexts.toml` in the user's configuration, beside
//! the tokens that `bilico login` saves. It holds addresses and paths, and no secret.
//!
//! Invariant: the file is replaced as a whole, by one process at a time, and is for its user only.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// The name that stands for no context.
pub(super) const NONE: &str = "none";

/// The most bytes of a name.
const MAX_NAME: usize = 64;

/// The most bytes of the file.
const MAX_FILE: u64 = 1 << 20;

/// The context that this process works with.
static IN_USE: OnceLock<(String, Context)> = OnceLock::new();

/// A balancer, as commands reach it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Context {
    /// Where clients connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) balancer: Option<String>,
    /// Where it answers operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) admin: Option<String>,
    /// The authority that its certificate must be signed by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ca: Option<PathBuf>,
    /// The file with the token to show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_file: Option<PathBuf>,
}

impl Context {
    /// The flags that it has values for, by their identities.
    pub(super) fn values(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        [
            ("balancer", self.balancer.clone()),
            ("admin", self.admin.clone()),
            ("ca", path(&self.ca)),
            ("token_file", path(&self.token_file)),
        ]
        .into_iter()
        .filter_map(|(id, value)| Some((id, value?)))
        .collect()
    }
}

/// All contexts of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contexts {
    /// The one that commands work with if none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) current: Option<String>,
    /// Each by its name.
    #[serde(default)]
    pub(super) contexts: BTreeMap<String, Context>,
}

impl Contexts {
    /// Those of this user; none without a file.
    pub(super) fn read() -> Result<Self, String> {
        match path() {
            Some(path) => Self::read_from(&path),
            None => Ok(Self::default()),
        }
    }

    fn read_from(path: &Path) -> Result<Self, String> {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
        match read {
            Err(error) if is_missing(&error) => return Ok(Self::default()),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
            Ok(_) => {}
        }
        toml::from_str(&text).map_err(|error| {
            let text = error.to_string();
            format!("{}: {}", path.display(), text.trim_end())
        })
    }

    /// Changes the file of this user. If `change` fails, or nothing has changed, it stays as it is.
    pub(super) fn change<T>(
        change: impl FnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        let path = path().ok_or("there is no home directory: HOME is not set")?;
        let dir = path.parent().unwrap_or(Path::new("."));
        let failed = |error: io::Error| format!("cannot write {}: {error}", path.display());
        let mut made = DirBuilder::new();
        made.recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
        // Held until it is closed: two commands at once change it one after the other.
        let lock = File::open(dir).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let before = Self::read_from(&path)?;
        let mut contexts = before.clone();
        let answer = change(&mut contexts)?;
        if contexts != before {
            let text = toml::to_string(&contexts).map_err(|error| error.to_string())?;
            replace(&path, &text).map_err(failed)?;
        }
        Ok(answer)
    }

    /// The context of this name.
    pub(super) fn get(&self, name: &str) -> Result<&Context, String> {
        self.contexts.get(name).ok_or_else(|| self.unknown(name))
    }

    /// That there is no context of this name, and which there are.
    pub(super) fn unknown(&self, name: &str) -> String {
        let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
        if known.is_empty() {
            format!(
                "there is no context {name:?}: make it with `bilico context add NAME --balancer ADDR`"
            )
        } else {
            format!(
                "there is no context {name:?}: expected one of {}, or {NONE}",
                known.join(", ")
            )
        }
    }
}

/// A name that a context may have.
pub(super) fn check_name(name: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name == NONE {
        return Err(format!("`{NONE}` stands for no context"));
    }
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_plain) {
        return Err(format!(
            "expected up to {MAX_NAME} letters, digits, dots, hyphens and underscores"
        ));
    }
    Ok(name.to_owned())
}

/// Keeps the context that this process works with, for its messages.
pub(super) fn work_with(name: String, context: Context) {
    let _ = IN_USE.set((name, context));
}

/// ` (context NAME)` behind an address that the context has given; otherwise nothing.
pub(super) fn behind(address: &str) -> String {
    match IN_USE.get() {
        Some((name, context))
            if [&context.balancer, &context.admin].iter().any(|known| {
                known
                    .as_deref()
                    .is_some_and(|known| known.ends_with(address))
            }) =>
        {
            format!(" (context {name})")
        }
        _ => String::new(),
    }
}

/// The directory of what Bilico keeps for its user; `None` without a home.
pub(super) fn home() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let config = match set("XDG_CONFIG_HOME") {
        Some(config) => PathBuf::from(config),
        None => PathBuf::from(set("HOME")?).join(".config"),
    };
    Some(config.join("bilico"))
}

fn path() -> Option<PathBuf> {
    Some(home()?.join("contexts.toml"))
}

/// A home that cannot be entered has no contexts for this user.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
    )
}

/// Writes the file beside the old one and puts it in its place.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let part = path.with_extension("part");
    // Whoever holds the lock is alone: what is there was left by a process that was killed.
    let _ = fs::remove_file(&part);
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&part, path)
        });
    written.inspect_err(|_| {
        let _ = fs::remove_file(&part);
    })
}
