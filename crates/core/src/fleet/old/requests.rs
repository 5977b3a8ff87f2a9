//! What a client sends for a line of status: `status`, again and again, with nothing in between.

/// What a client asks for a line of status with.
pub const STATUS: &[u8] = b"status";

/// Something else came than `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("something else came than `status`")]
pub struct NoRequest;

/// Counts the requests for a line as their bytes come, in one piece or many.
#[derive(Debug, Default)]
pub struct Requests {
    /// The bytes of a request that have come.
    came: usize,
}

impl Requests {
    /// Takes the next bytes and returns how many requests they have made whole. White space may be
    /// between two.
    pub fn push(&mut self, bytes: &[u8]) -> Result<usize, NoRequest> {
        let mut whole = 0;
        for byte in bytes {
            if STATUS.get(self.came) == Some(byte) {
                self.came += 1;
            } else if self.came > 0 || !byte.is_ascii_whitespace() {
                return Err(NoRequest);
            }
            if self.came == STATUS.len() {
                self.came = 0;
                whole += 1;
            }
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_however_they_come() {
        for (pieces, whole) in [
            (&["status"][..], 1),
            (&["statusstatus"], 2),
            (&["sta", "tus", "s", "tatus"], 2),
            (&["status\r\n", " status\n"], 2),
            (&["", "statu"], 0),
        ] {
            let mut requests = Requests::default();
            let counts = pieces.iter().map(|piece| requests.push(piece.as_bytes()));
            assert_eq!(counts.sum::<Result<usize, _>>(), Ok(whole), "{pieces:?}");
        }
        for wrong in ["Status", "stat us", "status!", "{", "statestatus"] {
            assert_eq!(
                Requests::default().push(wrong.as_bytes()),
                Err(NoRequest),
                "{wrong}"
            );
        }
    }
}
