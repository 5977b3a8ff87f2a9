use std::fs;

use super::super::directory::Directory;
use super::super::staged::{Staged, Taken};
use super::*;

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_file_has_its_final_name_or_none_that_counts() {
    let dir = tempfile::tempdir().unwrap();
    for directory in [
        Directory::new(dir.path()),
        Directory::with_names_only(dir.path()),
    ] {
        let opened = directory.now().unwrap();
        let mut staged = Staged::begin(&opened, 7).unwrap();
        staged.write(b"whole").unwrap();
        assert!(
            names(dir.path())
                .iter()
                .all(|name| super::super::name::is_part(name))
        );
        staged
            .publish(&opened, "7_x", |_| false, &mut Taken::default())
            .unwrap();
        assert_eq!(
            (names(dir.path()), fs::read(dir.path().join("7_x")).unwrap()),
            (vec!["7_x".into()], b"whole".into())
        );
        let (other, part) = opened.begin(8).unwrap();
        let error = opened
            .publish(&other, part.as_deref(), &opened, "7_x")
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        if let Some(part) = part {
            opened.remove(&part).unwrap();
        }
        opened.remove("7_x").unwrap();
        assert!(names(dir.path()).is_empty());
    }
}

#[test]
fn both_ways_to_name_a_file_do_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Directory::new(dir.path()).now().unwrap();
    if opened.naming.is_none() {
        return;
    }
    for naming in [Naming::ByDescriptor, Naming::ByProc] {
        let file = opened.unnamed().unwrap();
        let named = opened.name(&file, naming, "x");
        // Not everybody may do the first, and not everywhere is there a `/proc`; what was found
        // must work.
        assert!(named.is_ok() || opened.naming != Some(naming), "{named:?}");
        if named.is_ok() {
            opened.remove("x").unwrap();
        }
    }
    assert!(names(dir.path()).is_empty(), "trying leaves nothing");
}

/// Each would lead elsewhere, or keep whoever opens it waiting.
#[test]
fn only_regular_files_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    let opened = Directory::new(dir.path()).now().unwrap();
    fs::write(dir.path().join("file"), "content").unwrap();
    std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).unwrap();
    fs::create_dir(dir.path().join("directory")).unwrap();
    rustix::fs::mkfifoat(CWD, dir.path().join("pipe"), Mode::from_raw_mode(0o600)).unwrap();
    assert!(opened.read("file").is_ok() && opened.append("file").is_ok());
    for (name, what) in [
        ("link", "symbolic link"),
        ("dangling", "symbolic link"),
        ("directory", "directory"),
        ("pipe", "named pipe"),
    ] {
        for error in [
            opened.read(name).unwrap_err(),
            opened.append(name).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
            assert!(
                error.to_string().contains(&format!("{name} is a {what}")),
                "{error}"
            );
        }
        assert_eq!(
            opened.create(name).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
    }
    assert!(!dir.path().join("nowhere").exists());
}
