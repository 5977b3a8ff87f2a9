use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use super::*;

/// A folder with a file, a folder with a file, and one of each thing that is no file.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("top/sub")).unwrap();
    fs::create_dir_all(at("other/deep")).unwrap();
    for file in ["top/a", "top/sub/b", "other/c", "other/deep/d"] {
        fs::write(at(file), file).unwrap();
    }
    for (to, link) in [
        ("../other", "top/folder"),
        ("a", "top/link"),
        ("nowhere", "top/dangling"),
        ("myself", "top/myself"),
        ("..", "top/sub/up"),
    ] {
        symlink(to, at(link)).unwrap();
    }
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("top/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    drop(UnixListener::bind(at("top/socket")).unwrap());
    dir
}

fn find(dir: &Path, name: &str, links: Links) -> (Vec<String>, Vec<(String, Kind, bool)>) {
    let mut found = Found::default();
    found.add_folder(&dir.join(name), Form::Raw, links);
    let titles = found.sources.iter().map(|source| source.title.clone());
    let left_out = found.left_out.iter().map(|entry| {
        let path = entry.path.strip_prefix(dir).unwrap().display().to_string();
        (path, entry.kind, entry.is_fine)
    });
    (titles.collect(), left_out.collect())
}

/// Whatever was no file and no folder was once left out without a word.
#[test]
fn every_entry_is_among_the_files_or_told() {
    let dir = folder();
    let (titles, left_out) = find(dir.path(), "top", Links::Tell);
    assert_eq!(titles, ["a", "sub/b"]);
    let expected = [
        ("top/dangling", Kind::Link, false),
        ("top/folder", Kind::Link, false),
        ("top/link", Kind::Link, false),
        ("top/myself", Kind::Link, false),
        ("top/pipe", Kind::Fifo, false),
        ("top/socket", Kind::Socket, false),
        ("top/sub/up", Kind::Link, false),
    ];
    assert_eq!(
        left_out,
        expected.map(|(path, kind, fine)| (path.to_owned(), kind, fine))
    );
    let mut found = Found::default();
    found.add_folder(&dir.path().join("top"), Form::Raw, Links::Tell);
    assert_eq!(count(found.missed()), "5 links, 1 fifo and 1 socket");
}

#[test]
fn links_that_are_skipped_on_purpose_are_fine_and_nothing_else_is() {
    let dir = folder();
    let (titles, left_out) = find(dir.path(), "top", Links::Skip);
    assert_eq!(titles, ["a", "sub/b"]);
    for (path, kind, is_fine) in &left_out {
        assert_eq!(*is_fine, *kind == Kind::Link, "{path}");
    }
    let mut found = Found::default();
    for name in ["top/link", "top/folder"] {
        let path = dir.path().join(name);
        found.add(&path, Form::Raw, Links::Skip, false).unwrap();
        found.add(&path, Form::Raw, Links::Skip, true).unwrap();
    }
    assert_eq!((found.sources.len(), found.left_out.len()), (0, 4));
    assert_eq!(found.missed().count(), 0);
}

#[test]
fn links_are_followed_when_that_is_wanted_and_circles_end() {
    let dir = folder();
    let (titles, left_out) = find(dir.path(), "top", Links::Follow);
    assert_eq!(titles, ["a", "folder/c", "folder/deep/d", "link", "sub/b"]);
    let expected = [
        ("top/dangling", Kind::Link, false),
        ("top/myself", Kind::Link, false),
        ("top/pipe", Kind::Fifo, false),
        ("top/socket", Kind::Socket, false),
        ("top/sub/up", Kind::Circle, true),
    ];
    assert_eq!(
        left_out,
        expected.map(|(path, kind, fine)| (path.to_owned(), kind, fine))
    );
}

/// Somebody named it: a link is followed, whatever is said of links in folders.
#[test]
fn what_is_named_is_followed_unless_links_are_skipped() {
    let dir = folder();
    for links in [Links::Tell, Links::Follow] {
        let mut found = Found::default();
        let (link, folder) = (dir.path().join("top/link"), dir.path().join("top/folder"));
        found.add(&link, Form::Raw, links, false).unwrap();
        let refused = found.add(&folder, Form::Raw, links, false);
        assert_eq!(refused, Err(IsFolder(folder.clone())));
        found.add(&folder, Form::Raw, links, true).unwrap();
        let titles = found.sources.iter().map(|source| &*source.title);
        assert_eq!(titles.collect::<Vec<_>>(), ["link", "c", "deep/d"]);
        assert_eq!(found.left_out, []);
    }
}

/// One unreadable folder was once enough that nothing was sent at all.
#[test]
fn a_folder_that_cannot_be_read_is_told_and_the_rest_goes_on() {
    let dir = folder();
    let closed = dir.path().join("other/deep");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o0)).unwrap();
    let is_closed = fs::read_dir(&closed).is_err();
    let (titles, left_out) = find(dir.path(), "other", Links::Tell);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    // Whoever may do everything can read it.
    if is_closed {
        assert_eq!(titles, ["c"]);
        assert_eq!(left_out, [("other/deep".to_owned(), Kind::Folder, false)]);
    }
    let (titles, left_out) = find(dir.path(), "vanished", Links::Tell);
    assert_eq!(titles, [""; 0]);
    assert_eq!(left_out, [("vanished".to_owned(), Kind::Entry, false)]);
}

#[test]
fn names_that_differ_have_titles_that_differ() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        &b"bad\xff"[..],
        b"bad\xfe",
        br"bad\xff",
        "bad\u{fffd}".as_bytes(),
    ] {
        fs::write(dir.path().join(OsStr::from_bytes(name)), name).unwrap();
    }
    let (mut titles, _) = find(dir.path(), "", Links::Tell);
    titles.sort();
    assert_eq!(
        titles,
        [r"bad\x5cxff", r"bad\xfe", r"bad\xff", "bad\u{fffd}"]
    );
}
