//! The HTTP doorway as clients of WebDAV use it, and what becomes of requests that are repeated.

mod digests;
mod rclone;
mod repeats;
mod requests;

use bilico_testkit::{Response, Role, http_raw};

/// Sends a request of any method, with these lines in its head.
#[track_caller]
fn ask(role: &Role, method: &str, path: &str, headers: &str, body: &[u8]) -> Response {
    let admin = role.admin.as_ref().unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n{headers}\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    http_raw(admin, &[head.as_bytes(), body].concat())
}

/// Hands a file over in chunks, with these lines in the head and these trailers.
#[track_caller]
fn ask_chunked(role: &Role, path: &str, headers: &str, body: &[u8], trailers: &str) -> Response {
    let admin = role.admin.as_ref().unwrap();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n{headers}\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    let mut request = head.into_bytes();
    for piece in body.chunks(30_000) {
        request.extend(format!("{:x}\r\n", piece.len()).as_bytes());
        request.extend(piece);
        request.extend(b"\r\n");
    }
    request.extend(format!("0\r\n{trailers}\r\n").as_bytes());
    http_raw(admin, &request)
}
