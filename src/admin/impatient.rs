//! A connection with a word for those who are not understood: peers that speak no HTTP, and requests
//! that the HTTP library refuses by itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::{BoxStream, Foreign, Heard, HttpStream, Words, hear};

/// Such a connection.
pub(super) struct Impatient {
    stream: HttpStream,
    /// Nothing has come yet.
    is_new: bool,
    /// What is written to a peer that speaks no HTTP, and how much of it is.
    farewell: Option<(Vec<u8>, usize)>,
    /// What is written instead of an answer of the library, and how much of it is.
    instead: Option<(Vec<u8>, usize)>,
}

/// What a peer is told that speaks no HTTP.
const ELSEWHERE: Words<'_> = Words {
    here: "this port speaks HTTP",
    hint: "Bilico's clients and old-style ones go to the balancer's --listen, 60002 by default; \
           files come in here with PUT /files/TITLE",
};

/// Answers of the library to what it does not understand: it has no body for them.
const BARE: [(&[u8], &str, &str); 4] = [
    (
        b"HTTP/1.1 400 ",
        "the request is not understood: expected HTTP/1.1, valid headers, and a body with either \
         `Content-Length` or `Transfer-Encoding: chunked`",
        "send a file as it is: codings such as `Transfer-Encoding: gzip` are not taken",
    ),
    (
        b"HTTP/1.1 414 ",
        "the path is too long",
        "a title has 4096 bytes at most",
    ),
    (
        b"HTTP/1.1 431 ",
        "the head of the request is too large: at most 16 KiB and 64 headers are taken",
        "leave out headers that are not needed",
    ),
    (
        b"HTTP/1.1 505 ",
        "the version of HTTP is not understood: expected HTTP/1.1",
        "send the request as HTTP/1.1",
    ),
];

/// The answer with a body, if these bytes are one of those without.
fn explained(bytes: &[u8]) -> Option<Vec<u8>> {
    const EMPTY: &[u8] = b"content-length: 0\r\n";
    let (start, error, hint) = BARE.iter().find(|(start, ..)| bytes.starts_with(start))?;
    let length = bytes
        .windows(EMPTY.len())
        .position(|part| part == EMPTY)
        .filter(|_| bytes.ends_with(b"\r\n\r\n") && bytes.len() > start.len())?;
    let mut body = serde_json::json!({"error": error, "hint": hint}).to_string();
    body.push('\n');
    let headers = format!(
        "content-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    let (before, rest) = bytes.split_at_checked(length)?;
    let after = rest.get(EMPTY.len()..)?;
    Some([before, headers.as_bytes(), after, body.as_bytes()].concat())
}

impl Impatient {
    pub(super) fn new(stream: BoxStream, write_stall: Duration) -> Self {
        Self {
            stream: HttpStream::new(stream, write_stall),
            is_new: true,
            farewell: None,
            instead: None,
        }
    }

    /// Looks at the first bytes of a peer: one that speaks no HTTP is told so.
    fn listen(&mut self, came: &[u8]) {
        if came.is_empty() || !std::mem::take(&mut self.is_new) {
            return;
        }
        // Whoever speaks FTP or SMTP is told by a line, others by HTTP's own refusal.
        if let Heard::Is(foreign) = hear(came)
            && foreign != Foreign::Http
        {
            self.farewell = Some((ELSEWHERE.to(foreign), 0));
        }
    }

    /// Writes the word to a peer that speaks no HTTP.
    fn part(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((word, written)) = &mut self.farewell {
            let rest = word.get(*written..).unwrap_or_default();
            if rest.is_empty() {
                self.farewell = Some((Vec::new(), 0));
                return Poll::Ready(Ok(()));
            }
            *written += ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes an answer with a body where the library has none.
    fn write_instead(&mut self, cx: &mut Context<'_>, replaced: usize) -> Poll<io::Result<usize>> {
        while let Some((answer, written)) = &mut self.instead {
            let rest = answer.get(*written..).unwrap_or_default();
            if rest.is_empty() {
                self.instead = None;
                break;
            }
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                some => *written += some,
            }
        }
        Poll::Ready(Ok(replaced))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.farewell.is_none() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
            this.listen(buffer.filled().get(before..).unwrap_or_default());
            if this.farewell.is_some() {
                buffer.set_filled(before);
            }
        }
        if this.farewell.is_some() {
            // Then it is as if the peer had said nothing.
            return this.part(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.instead.is_none() {
            this.instead = explained(bytes).map(|answer| (answer, 0));
        }
        if this.instead.is_some() {
            return this.write_instead(cx, bytes.len());
        }
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [one] = slices {
            return self.poll_write(cx, one);
        }
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_body_gets_one_and_all_others_stay() {
        let bare = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\
                     date: x\r\n\r\n";
        let text = String::from_utf8(explained(bare).unwrap()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\ndate: x", body.len())));
        assert!(body.contains("Transfer-Encoding: gzip") && body.ends_with("}\n"));
        for other in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 10\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\nx",
            b"",
        ] {
            assert_eq!(explained(other), None);
        }
    }
}
