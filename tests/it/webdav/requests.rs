//! Each method, with input that makes sense and input that makes none.

use bilico_testkit::{Farm, Response, Role};

use super::ask;

const ALLOWED: &str = "OPTIONS, PUT, HEAD, PROPFIND, MKCOL";

fn find(role: &Role, path: &str, depth: &str) -> Response {
    ask(role, "PROPFIND", path, &format!("Depth: {depth}\r\n"), b"")
}

/// The paths that an answer tells of.
fn paths(answer: &Response) -> Vec<String> {
    assert_eq!(answer.status, 207, "{}", answer.text());
    let parts = answer.text().split("<D:href>").skip(1);
    let path = |part: &str| part.split_once("</D:href>").unwrap().0.to_owned();
    parts.map(path).collect()
}

#[test]
fn what_was_put_is_found_with_its_size_and_folders_are_where_titles_go_through_them() {
    let farm = Farm::start(&[1]);
    let role = &farm.balancer;
    for path in ["/files/", "/files", "/files/a/b.txt"] {
        let answer = ask(role, "OPTIONS", path, "", b"");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["dav"], "1");
        assert_eq!(answer.headers["allow"], ALLOWED);
    }
    assert_eq!(paths(&find(role, "/files/", "1")), ["/files/"]);
    assert_eq!(find(role, "/files/a", "0").status, 404);
    assert_eq!(ask(role, "HEAD", "/files/a/b%20c.txt", "", b"").status, 404);
    let mtime = "X-OC-Mtime: 1000000000\r\n";
    let put = ask(role, "PUT", "/files/a/b%20c.txt", mtime, b"hello");
    assert_eq!(put.status, 202, "{}", put.text());
    assert_eq!(put.headers["x-oc-mtime"], "accepted");
    assert_eq!(put.json()["hash"], blake3::hash(b"hello").to_hex().as_str());
    ask(role, "PUT", "/files/a/d/e", "", b"");
    ask(role, "PUT", "/files/top", "", b"0123456789");
    let head = ask(role, "HEAD", "/files/a/b%20c.txt", "", b"");
    assert_eq!(
        (head.status, head.headers["content-length"].as_str()),
        (200, "5")
    );
    assert_eq!(
        head.headers["last-modified"],
        "Sun, 09 Sep 2001 01:46:40 GMT"
    );
    assert_eq!(head.headers["etag"], put.headers["etag"]);
    let found = find(role, "/files/a/b%20c.txt", "0");
    assert_eq!(paths(&found), ["/files/a/b%20c.txt"]);
    assert!(
        found
            .text()
            .contains("<D:getcontentlength>5</D:getcontentlength>"),
        "{}",
        found.text()
    );
    assert!(found.text().ends_with("</D:multistatus>\n"));
    assert_eq!(
        paths(&find(role, "/files/", "1")),
        ["/files/", "/files/a/", "/files/top"]
    );
    for folder in ["/files/a", "/files/a/"] {
        let below = paths(&find(role, folder, "1"));
        assert_eq!(below, ["/files/a/", "/files/a/b%20c.txt", "/files/a/d/"]);
        assert_eq!(paths(&find(role, folder, "0")), ["/files/a/"]);
    }
    // One that is changed later is found as it is then.
    ask(role, "PUT", "/files/top", "", b"changed");
    let found = find(role, "/files/top", "1");
    assert!(found.text().contains(">7</D:getcontentlength>"));
    let some =
        br#"<propfind xmlns="DAV:"><prop><getcontentlength/><x xmlns="y"/></prop></propfind>"#;
    let found = ask(role, "PROPFIND", "/files/top", "Depth: 0\r\n", some);
    for part in [">7</D:getcontentlength>", "404 Not Found", "xmlns:x=\"y\""] {
        assert!(found.text().contains(part), "{part}: {}", found.text());
    }
}

#[test]
fn folders_can_be_made_once() {
    let farm = Farm::start(&[1]);
    let role = &farm.balancer;
    let make = |path: &str| ask(role, "MKCOL", path, "", b"").status;
    assert_eq!(make("/files/new"), 201);
    assert_eq!(make("/files/new/"), 405);
    assert_eq!(make("/files/"), 405);
    assert_eq!(make("/files/not/there/yet/"), 201, "parents are there");
    assert_eq!(
        paths(&find(role, "/files/", "1")),
        ["/files/", "/files/new/", "/files/not/"]
    );
    assert_eq!(ask(role, "HEAD", "/files/new", "", b"").status, 200);
    let body = ask(role, "MKCOL", "/files/x", "", b"<x/>");
    assert_eq!(body.status, 415, "{}", body.text());
    assert_eq!(make(&format!("/files/{}", "x".repeat(5000))), 400);
    assert_eq!(farm.status().accepted, 0);
}

#[test]
fn what_makes_no_sense_is_refused_and_what_there_is_not_is_named() {
    let farm = Farm::start(&[1]);
    let role = &farm.balancer;
    ask(role, "PUT", "/files/a", "", b"x");
    for (depth, body, status, words) in [
        ("Depth: 1\r\n", &b"garbage"[..], 400, "is invalid"),
        (
            "Depth: 1\r\n",
            b"<propfind xmlns=\"DAV:\"><prop>",
            400,
            "is invalid",
        ),
        ("Depth: 1\r\n", b"\xff\xfe", 400, "UTF-8"),
        ("Depth: 2\r\n", b"", 400, "expected 0 or 1"),
        ("Depth: infinity\r\n", b"", 403, "propfind-finite-depth"),
        ("", b"", 403, "propfind-finite-depth"),
        ("Depth: 0\r\n", &vec![b' '; 65 << 10], 413, "at most 65536"),
    ] {
        let answer = ask(role, "PROPFIND", "/files/", depth, body);
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.text().contains(words), "{}", answer.text());
        assert!(answer.text().ends_with('\n'), "{:?}", answer.text());
    }
    for method in [
        "GET",
        "DELETE",
        "MOVE",
        "COPY",
        "LOCK",
        "UNLOCK",
        "PROPPATCH",
        "POST",
        "X",
    ] {
        let answer = ask(role, method, "/files/a", "", b"");
        assert_eq!(answer.status, 405, "{}", answer.text());
        assert_eq!(answer.headers["allow"], ALLOWED);
        assert!(answer.json()["hint"].is_string() && answer.text().ends_with('\n'));
    }
    for (header, words) in [
        ("If-None-Match: *\r\n", "one came lately"),
        ("If-Match: \"other\"\r\n", "If-Match"),
    ] {
        let answer = ask(role, "PUT", "/files/a", header, b"y");
        assert_eq!(answer.status, 412, "{}", answer.text());
        assert!(answer.text().contains(words), "{}", answer.text());
    }
    let missing = ask(role, "PUT", "/files/b", "If-Match: *\r\n", b"y");
    assert_eq!(missing.status, 412, "{}", missing.text());
    let new = ask(role, "PUT", "/files/b", "If-None-Match: *\r\n", b"y");
    assert_eq!(new.status, 202, "{}", new.text());
    let folder = ask(role, "PUT", "/files/b/", "", b"y");
    assert_eq!(folder.status, 400, "{}", folder.text());
    assert_eq!(farm.status().accepted, 2);
}

/// What a shell's prompt stands behind ends with a newline, whatever it is.
#[test]
fn each_answer_ends_with_a_newline_and_each_error_says_what_was_expected() {
    let farm = Farm::start(&[1]);
    let role = &farm.balancer;
    for (method, path, status, words) in [
        ("GET", "/api/v1/overview", 200, ""),
        ("GET", "/api/v1/servers", 200, ""),
        ("GET", "/api/v1/queue", 200, ""),
        ("GET", "/api/v1/notices", 200, ""),
        ("GET", "/api/v1/openapi.json", 200, ""),
        ("GET", "/live", 200, ""),
        ("GET", "/ready", 200, ""),
        ("GET", "/metrics", 200, ""),
        ("GET", "/api/v1/files/9", 404, "file 9 is not known"),
        ("GET", "/nowhere", 404, "openapi.json"),
        ("POST", "/live", 405, "does not take POST"),
        ("PUT", "/files/", 400, "no title"),
        (
            "PUT",
            "/files/a?foo=1",
            400,
            "invalid query `?foo=1`: unknown parameter `foo`, expected `wait` or `timeout`",
        ),
        (
            "PUT",
            "/files/a?wait=later",
            400,
            "invalid parameter `wait` in `?wait=later`: unknown value `later`, expected `accepted` or `delivered`",
        ),
        (
            "GET",
            "/api/v1/queue?limit=x",
            400,
            "invalid parameter `limit` in `?limit=x`: expected a whole number",
        ),
        (
            "GET",
            "/api/v1/queue?limit=",
            400,
            "expected a whole number",
        ),
        (
            "GET",
            "/api/v1/queue?after=-1",
            400,
            "expected a whole number",
        ),
        (
            "GET",
            "/api/v1/queue?limit=99999999999999999999999",
            400,
            "the number is too large",
        ),
        ("GET", "/api/v1/files", 400, "missing parameter `title`"),
        (
            "GET",
            "/api/v1/queue?limit=1&limit=2",
            400,
            "twice: `limit`",
        ),
        (
            "GET",
            "/api/v1/files/abc",
            400,
            "invalid number `abc` in the path `/api/v1/files/abc`: expected a whole number",
        ),
        ("GET", "/api/v1/files/-1", 400, "expected a whole number"),
        (
            "PUT",
            "/files/a%ff",
            400,
            "invalid title in the path `/files/a%ff`: expected UTF-8",
        ),
    ] {
        let answer = ask(role, method, path, "", b"");
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert!(
            answer.text().contains(words),
            "{method} {path}: {}",
            answer.text()
        );
        assert!(answer.text().ends_with('\n'), "{method} {path}");
        if status >= 400 {
            assert!(answer.json()["error"].is_string());
        }
    }
}
