//! Dependencies run one way: between crates, between the rooms of the program, and among the files
//! of a room, where no circle of imports may be.
//!
//! Read as text, from `use` declarations and from paths that begin with `crate::` or `super::`.
//! Code under `#[cfg(test)]` and files of tests do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The rooms of the program, as `src/lib.rs` lists them: each may use those behind it only.
const ROOMS: [&str; 14] = [
    "cli", "load", "watch", "verify", "admin", "balancer", "doors", "server", "agent", "client",
    "fleet", "host", "certs", "logging",
];

/// The crates of ours that each crate may use.
const CRATES: [(&str, &[&str]); 3] = [
    ("core", &[]),
    ("queue", &["bilico-core"]),
    ("net", &["bilico-core"]),
];

/// What decides knows none of these: no sockets, tasks, clocks, disks, logs or command line.
const NOT_IN_CORE: [&str; 9] = [
    "clap",
    "tokio",
    "tokio-util",
    "rustix",
    "tracing",
    "axum",
    "hyper",
    "sysinfo",
    "chrono",
];

#[test]
fn crates_use_only_those_below_them() {
    for (name, allowed) in CRATES {
        let used = dependencies(name);
        let ours: Vec<_> = used
            .iter()
            .filter(|used| used.starts_with("bilico"))
            .collect();
        assert!(
            ours.iter().all(|used| allowed.contains(&used.as_str())),
            "crates/{name} uses {ours:?}, and may use {allowed:?}"
        );
    }
}

#[test]
fn cores_know_no_tasks_and_no_command_line() {
    let used = dependencies("core");
    let found: Vec<_> = NOT_IN_CORE
        .iter()
        .filter(|name| used.contains(**name))
        .collect();
    assert!(found.is_empty(), "crates/core uses {found:?}");
    for name in ["queue", "net"] {
        assert!(
            !dependencies(name).contains("clap"),
            "crates/{name} uses clap"
        );
    }
    assert!(
        !dependencies("queue").contains("tokio"),
        "crates/queue uses tokio"
    );
}

/// It decides as a core does, and is to move to one.
#[test]
fn dispatch_knows_no_tasks_and_no_log() {
    let mut files = Vec::new();
    walk(&Path::new(ROOT).join("src/balancer/dispatch"), &mut files);
    assert!(!files.is_empty());
    for path in files {
        let text = without_tests(&without_comments_and_strings(
            &fs::read_to_string(&path).unwrap(),
        ));
        for name in NOT_IN_CORE {
            let used = format!("{}::", name.replace('-', "_"));
            assert!(!text.contains(&used), "{} uses {used}", path.display());
        }
        assert!(
            !text.contains("crate::queue"),
            "{} uses the queue",
            path.display()
        );
    }
}

#[test]
fn rooms_use_only_those_below_them() {
    let house = House::read(&Path::new(ROOT).join("src"));
    let row = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut wrong = Vec::new();
    for (from, to) in house.edges() {
        let (Some(here), Some(there)) = (row(room(&from)), row(room(&to))) else {
            continue;
        };
        if there < here {
            wrong.push(format!("{from} uses {to}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "up the map of src/lib.rs:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn no_circle_of_imports() {
    for part in [
        "src",
        "crates/core/src",
        "crates/queue/src",
        "crates/net/src",
        "crates/testkit/src",
    ] {
        let house = House::read(&Path::new(ROOT).join(part));
        assert!(house.files.len() > 1, "{part} has no files");
        let circles = house.circles();
        assert!(
            circles.is_empty(),
            "circles in {part}:\n{}",
            circles.join("\n")
        );
    }
}

/// The lint sees what it is for.
#[test]
fn circles_and_parents_are_seen() {
    let house = House::of(&[
        ("", "mod a; mod b;"),
        ("a", "use super::b::B; pub struct A;"),
        ("b", "pub struct B; fn f() { crate::a::A; }"),
    ]);
    assert_eq!(house.circles(), ["a, b"]);
    let parent = House::of(&[
        ("", "mod a;"),
        ("a", "mod c; use c::C; pub struct P;"),
        ("a::c", "use super::P; pub struct C;"),
    ]);
    assert_eq!(parent.circles(), ["a, a::c"]);
    let passed_on = House::of(&[
        ("", "mod a;"),
        ("a", "mod c; mod d; pub use d::{D, E};"),
        (
            "a::c",
            "use super::D; #[cfg(test)] mod tests { use crate::a::P; }",
        ),
        ("a::d", "pub struct D;"),
    ]);
    assert!(passed_on.circles().is_empty(), "{:?}", passed_on.circles());
}

/// The names of the crates that a crate of ours needs to be built.
fn dependencies(name: &str) -> BTreeSet<String> {
    let path = Path::new(ROOT).join("crates").join(name).join("Cargo.toml");
    let text = fs::read_to_string(path).unwrap();
    let lines = text
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split(['.', ' ', '=']).next());
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The first part of a module's path.
fn room(module: &str) -> &str {
    module.split("::").next().unwrap()
}

/// The modules of a crate, by their paths (`""` is the crate's root), and what stands in them.
struct House {
    files: BTreeMap<String, Source>,
}

/// What a file says of other modules.
struct Source {
    /// The paths that it names.
    paths: BTreeSet<Vec<String>>,
    /// What it passes on: the name, and the path that it stands for.
    exports: BTreeMap<String, Vec<String>>,
}

impl House {
    fn read(root: &Path) -> Self {
        let mut found = Vec::new();
        walk(root, &mut found);
        let sources = found.iter().map(|path| {
            let module = module_of(path.strip_prefix(root).unwrap());
            (module, fs::read_to_string(path).unwrap())
        });
        Self::from_sources(sources.collect())
    }

    fn of(sources: &[(&str, &str)]) -> Self {
        let owned = sources
            .iter()
            .map(|(module, text)| ((*module).to_owned(), (*text).to_owned()));
        Self::from_sources(owned.collect())
    }

    fn from_sources(sources: Vec<(String, String)>) -> Self {
        let files = sources.into_iter().map(|(module, text)| {
            let source = Source::of(&module, &text);
            (module, source)
        });
        Self {
            files: files.collect(),
        }
    }

    /// Which module uses which, by the paths that it names.
    fn edges(&self) -> BTreeSet<(String, String)> {
        let mut edges = BTreeSet::new();
        for (module, source) in &self.files {
            for path in &source.paths {
                let to = self.home(path, 8);
                if to.as_ref().is_some_and(|to| to != module) {
                    edges.insert((module.clone(), to.unwrap()));
                }
            }
        }
        edges
    }

    /// The module that has what this path names: through what others pass on.
    fn home(&self, path: &[String], hops: usize) -> Option<String> {
        let len = (0..=path.len())
            .rev()
            .find(|len| self.files.contains_key(&path[..*len].join("::")))?;
        let module = path[..len].join("::");
        let Some(name) = path.get(len) else {
            // The module itself is named, not what is in it.
            return (len > 0).then_some(module);
        };
        match self.files[&module].exports.get(name) {
            Some(target) if hops > 0 => {
                let rest = path[len + 1..].iter();
                let target: Vec<_> = target.iter().chain(rest).cloned().collect();
                self.home(&target, hops - 1).or(Some(module))
            }
            _ => Some(module),
        }
    }

    /// The groups of modules that use each other in a circle.
    fn circles(&self) -> Vec<String> {
        let mut next: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (from, to) in self.edges() {
            next.entry(from).or_default().push(to);
        }
        let reached: BTreeMap<_, _> = self
            .files
            .keys()
            .map(|module| (module.clone(), reach(&next, module)))
            .collect();
        let mut seen = BTreeSet::new();
        let mut circles = Vec::new();
        for module in self.files.keys() {
            let circle: Vec<_> = reached[module]
                .iter()
                .filter(|other| reached[*other].contains(module))
                .cloned()
                .collect();
            if circle.len() > 1 && seen.insert(circle.clone()) {
                circles.push(circle.join(", "));
            }
        }
        circles
    }
}

/// All modules that can be reached from this one.
fn reach(next: &BTreeMap<String, Vec<String>>, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(module) = open.pop() {
        for to in next.get(&module).into_iter().flatten() {
            if reached.insert(to.clone()) {
                open.push(to.clone());
            }
        }
    }
    reached
}

impl Source {
    fn of(module: &str, text: &str) -> Self {
        let text = without_tests(&without_comments_and_strings(text));
        let here: Vec<String> = module
            .split("::")
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect();
        let mut source = Self {
            paths: BTreeSet::new(),
            exports: BTreeMap::new(),
        };
        let children = declared(&text);
        for (is_public, tree) in uses(&text) {
            for (path, name) in flatten(&tree) {
                let Some(full) = absolute(&here, &path, &children) else {
                    continue;
                };
                if is_public {
                    source.exports.insert(name, full);
                } else {
                    source.paths.insert(full);
                }
            }
        }
        for path in inline_paths(&text) {
            source.paths.extend(absolute(&here, &path, &children));
        }
        source
    }
}

/// The modules that a file declares.
fn declared(text: &str) -> BTreeSet<String> {
    let words: Vec<_> = text.split_whitespace().collect();
    let declared = words
        .windows(2)
        .filter(|pair| pair[0] == "mod" || pair[0].ends_with(")mod"));
    declared
        .filter_map(|pair| pair[1].strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

/// The path from the crate's root, if it leads into this crate.
fn absolute(here: &[String], path: &[String], children: &BTreeSet<String>) -> Option<Vec<String>> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    let (base, rest) = match path.first()?.as_str() {
        "crate" => (&[][..], &path[1..]),
        "self" => (here, &path[1..]),
        "super" => (
            here.get(..here.len().checked_sub(supers)?)?,
            &path[supers..],
        ),
        first if children.contains(first) => (here, path),
        _ => return None,
    };
    Some(base.iter().chain(rest).cloned().collect())
}

/// The `use` declarations: whether they pass on, and their trees.
fn uses(text: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    for part in text.split_inclusive(';') {
        let Some(at) = part.rfind("use ") else {
            continue;
        };
        let before = part[..at].trim_end();
        if !before.is_empty()
            && before.ends_with(|last: char| last.is_alphanumeric() || last == '_')
            && !before.ends_with("pub")
        {
            continue;
        }
        let is_public = before.ends_with("pub")
            || before.rsplit_once("pub(").is_some_and(|(_, scope)| {
                scope.ends_with(')') && !scope.contains(';') && !scope.contains('{')
            });
        let tree = part[at + 4..].trim_end_matches(';').replace(" as ", "@");
        found.push((
            is_public,
            tree.chars().filter(|c| !c.is_whitespace()).collect(),
        ));
    }
    found
}

/// Each path of a tree such as `a::{b, c::D as E}`, with the name that it gets here.
fn flatten(tree: &str) -> Vec<(Vec<String>, String)> {
    let Some(open) = tree.find('{') else {
        let (path, alias) = tree.split_once('@').unwrap_or((tree, ""));
        let path: Vec<_> = path
            .split("::")
            .filter(|part| *part != "*")
            .map(str::to_owned)
            .collect();
        let name = if alias.is_empty() {
            path.last().cloned().unwrap_or_default()
        } else {
            alias.to_owned()
        };
        return vec![(path, name)];
    };
    let prefix: Vec<_> = tree[..open]
        .split("::")
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    let inner = &tree[open + 1..tree.len() - 1];
    let branches = split_at_commas(inner);
    let flat = branches.iter().flat_map(|branch| flatten(branch));
    flat.map(|(path, name)| {
        let path: Vec<_> = path.into_iter().filter(|part| part != "self").collect();
        let name = if path.is_empty() {
            prefix.last().cloned().unwrap_or_default()
        } else {
            name
        };
        (prefix.iter().cloned().chain(path).collect(), name)
    })
    .collect()
}

/// The branches of a tree, without those of its branches.
fn split_at_commas(inner: &str) -> Vec<&str> {
    let mut branches = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                branches.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    branches.push(&inner[start..]);
    branches.retain(|branch| !branch.is_empty());
    branches
}

/// The paths in code that begin with `crate::` or `super::`.
fn inline_paths(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in text.match_indices(start) {
            // `pub(in crate::cli)` says who may look, and takes nothing from there.
            if text[..at].ends_with("(in ") {
                continue;
            }
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let path: String = text[at..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':')
                .collect();
            let parts = path.split("::").filter(|part| !part.is_empty());
            found.push(parts.map(str::to_owned).collect());
        }
    }
    found
}

/// The text without comments, and with nothing in its strings.
fn without_comments_and_strings(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if c == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            out.push_str("\"\"");
            rest = end.map_or("", |end| &rest[end + 2..]);
        } else if rest.starts_with("'\"'") {
            rest = &rest[3..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// The text without items under `#[cfg(test)]`.
fn without_tests(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        rest = after_item(&rest[at..]);
    }
    out + rest
}

/// What comes behind the first item: behind its `;` or its closing brace.
fn after_item(text: &str) -> &str {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && (c == '}' || c == ';') {
            return &text[at + 1..];
        }
    }
    ""
}

/// The path of the module in this file.
fn module_of(path: &Path) -> String {
    let parts = path.with_extension("");
    let parts = parts.iter().map(|part| part.to_str().unwrap());
    parts
        .filter(|part| !["mod", "lib"].contains(part))
        .collect::<Vec<_>>()
        .join("::")
}

/// All files of code below a directory, but for tests and programs.
fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let is_test =
            name == "tests" || name.ends_with("_tests") || name == "proof" || name == "bin";
        if is_test {
            continue;
        }
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}
