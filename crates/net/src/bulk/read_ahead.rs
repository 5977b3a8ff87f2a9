//! Reads content ahead of the peer that it is sent to.

use std::io;

use tokio::task::{JoinHandle, spawn_blocking};

/// What a [`ReadAhead`] reads. It is called, and dropped, on threads that may block.
pub trait Fill: Send + 'static {
    /// A part of the content.
    type Piece: Default + Send;
    /// Why it cannot be read.
    type Error: From<io::Error> + Send;

    /// Replaces what is in `piece` by what comes next; false at the end.
    fn fill(&mut self, piece: &mut Self::Piece) -> Result<bool, Self::Error>;
}

/// Content piece by piece, of which the next one is read while the one before it is sent.
pub struct ReadAhead<S: Fill> {
    job: Option<JoinHandle<Filled<S>>>,
    /// Memory to read into.
    free: S::Piece,
}

/// What a job leaves: the source, and the piece that it has filled.
type Filled<S> = (S, <S as Fill>::Piece, Result<bool, <S as Fill>::Error>);

impl<S: Fill> ReadAhead<S> {
    /// Begins to read.
    pub fn new(source: S) -> Self {
        Self {
            job: Some(start(source, S::Piece::default())),
            free: S::Piece::default(),
        }
    }

    /// The next piece; `None` at the end, and after an error.
    pub async fn next(&mut self) -> Option<Result<S::Piece, S::Error>> {
        let ended = self.job.as_mut()?.await;
        self.job = None;
        match ended {
            Ok((source, piece, Ok(true))) => {
                self.job = Some(start(source, std::mem::take(&mut self.free)));
                Some(Ok(piece))
            }
            Ok((_, _, Ok(false))) => None,
            Ok((_, _, Err(error))) => Some(Err(error)),
            Err(error) => Some(Err(io::Error::other(error).into())),
        }
    }

    /// Gives the memory of a piece back, to be used again.
    pub fn reuse(&mut self, piece: S::Piece) {
        self.free = piece;
    }
}

fn start<S: Fill>(mut source: S, mut piece: S::Piece) -> JoinHandle<Filled<S>> {
    spawn_blocking(move || {
        let filled = source.fill(&mut piece);
        (source, piece, filled)
    })
}
