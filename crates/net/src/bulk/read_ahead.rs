//! Reads content ahead of the peer that it is sent to.

use std::io;

use tokio::task::JoinHandle;

use super::job;
use super::straight::{TURN, send};
use crate::Direct;

/// What a [`ReadAhead`] reads. It is called, and dropped, on threads that may block.
pub trait Fill: Send + 'static {
    /// A part of the content.
    type Piece: Default + Send;
    /// Why it cannot be read.
    type Error: From<io::Error> + Send;

    /// Replaces what is in `piece` by what comes next; false at the end.
    fn fill(&mut self, piece: &mut Self::Piece) -> Result<bool, Self::Error>;

    /// The bytes of a piece that may be sent at once; `None` if whoever sends the content has to
    /// look at the piece first.
    fn ready(piece: &Self::Piece) -> Option<&[u8]>;
}

/// A piece that is to be sent.
pub struct Next<P> {
    /// The piece.
    pub piece: P,
    /// How many of its bytes were sent already, behind all pieces before it.
    pub sent: usize,
}

/// Content piece by piece.
///
/// The next piece is read while the one before it is sent. Where the direct way is known
/// ([`Self::send_over`]), a job reads and sends piece by piece for as long as the peer takes them,
/// and gives the first that the peer does not take whole.
pub struct ReadAhead<S: Fill> {
    job: Option<JoinHandle<Filled<S>>>,
    /// `None` while a job has it, and at the end.
    source: Option<S>,
    /// The source, once it has come to its end.
    ended: Option<S>,
    /// Memory to read into.
    free: S::Piece,
    direct: Option<Direct>,
}

/// What a job leaves: the source, the piece that it has filled, and how much of that it has sent.
type Filled<S> = (
    S,
    Next<<S as Fill>::Piece>,
    Result<bool, <S as Fill>::Error>,
);

impl<S: Fill> ReadAhead<S> {
    /// Begins to read.
    pub fn new(source: S) -> Self {
        Self {
            job: Some(start(source, S::Piece::default(), None)),
            source: None,
            ended: None,
            free: S::Piece::default(),
            direct: None,
        }
    }

    /// Content of which nothing is there yet: [`Self::go_on`] begins to read. It goes directly over
    /// this connection, and all that was to be sent before it is sent.
    pub fn empty(source: S, direct: Option<Direct>) -> Self {
        Self {
            job: None,
            source: None,
            ended: Some(source),
            free: S::Piece::default(),
            direct,
        }
    }

    /// After the end: goes on with a source that has more now, as `extend` says.
    pub fn go_on(&mut self, extend: impl FnOnce(&mut S)) {
        if let Some(mut source) = self.ended.take() {
            extend(&mut source);
            self.start(source);
        }
    }

    /// From now on a piece is asked for only once all before it are written to this connection, so
    /// what comes behind them may be sent over it.
    pub fn send_over(&mut self, direct: Option<Direct>) {
        self.direct = direct;
    }

    /// The next piece; `None` at the end, and after an error.
    pub async fn next(&mut self) -> Option<Result<Next<S::Piece>, S::Error>> {
        if let Some(source) = self.source.take() {
            self.start(source);
        }
        let ended = self.job.as_mut()?.await;
        self.job = None;
        match ended {
            Ok((source, piece, Ok(true))) => {
                if self.direct.is_some() {
                    self.source = Some(source);
                } else {
                    self.start(source);
                }
                Some(Ok(piece))
            }
            Ok((source, Next { piece, .. }, Ok(false))) => {
                self.ended = Some(source);
                self.free = piece;
                None
            }
            Ok((_, _, Err(error))) => Some(Err(error)),
            Err(error) => Some(Err(io::Error::other(error).into())),
        }
    }

    /// Gives the memory of a piece back, to be used again.
    pub fn reuse(&mut self, piece: S::Piece) {
        self.free = piece;
    }

    fn start(&mut self, source: S) {
        let free = std::mem::take(&mut self.free);
        self.job = Some(start(source, free, self.direct.clone()));
    }
}

fn start<S: Fill>(mut source: S, piece: S::Piece, direct: Option<Direct>) -> JoinHandle<Filled<S>> {
    job::spawn(move || {
        let mut next = Next { piece, sent: 0 };
        let filled = fill(&mut source, &mut next, direct.as_ref());
        (source, next, filled)
    })
}

/// Fills pieces, and sends them for as long as the peer takes them.
fn fill<S: Fill>(
    source: &mut S,
    next: &mut Next<S::Piece>,
    direct: Option<&Direct>,
) -> Result<bool, S::Error> {
    let mut sent = 0;
    loop {
        next.sent = 0;
        if !source.fill(&mut next.piece)? {
            return Ok(false);
        }
        let (Some(direct), Some(bytes)) = (direct, S::ready(&next.piece)) else {
            return Ok(true);
        };
        next.sent = send(direct, bytes, sent);
        sent += next.sent as u64;
        if next.sent < bytes.len() || sent >= TURN {
            return Ok(true);
        }
    }
}

/// A source that nobody has a use for is dropped where that may block.
impl<S: Fill> Drop for ReadAhead<S> {
    fn drop(&mut self) {
        if let Some(source) = self.source.take().or(self.ended.take())
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            drop(runtime.spawn_blocking(move || drop(source)));
        }
    }
}
