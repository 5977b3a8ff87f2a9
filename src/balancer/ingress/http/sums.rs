//! Sums of a file's content, made while it comes: its hash, and those that its client has told.

use std::fmt::Write;

use bytes::Bytes;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use crate::checksum;
use crate::protocol::{Refusal, RefusalCode};
use crate::transport::ReadError;

/// How a digest is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// 16 bytes.
    Md5,
    /// 20 bytes.
    Sha1,
    /// 32 bytes.
    Sha256,
    /// 64 bytes.
    Sha512,
    /// 4 bytes, the highest first.
    Crc32c,
}

impl Algorithm {
    /// The length of its digests in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
            Self::Crc32c => 4,
        }
    }

    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha512 => "SHA-512",
            Self::Crc32c => "CRC32C",
        }
    }
}

/// What a client says of the content: the file is taken only if it is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Where the client says it, for the refusal.
    pub header: &'static str,
    /// How the digest was made.
    pub algorithm: Algorithm,
    /// The digest; its length is that of the algorithm.
    pub digest: Vec<u8>,
}

/// A digest that is being made.
enum Making {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Box<Sha512>),
    Crc32c(u32),
}

impl Making {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Box::default()),
            Algorithm::Crc32c => Self::Crc32c(0),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(md5) => md5.update(bytes),
            Self::Sha1(sha1) => sha1.update(bytes),
            Self::Sha256(sha256) => sha256.update(bytes),
            Self::Sha512(sha512) => sha512.update(bytes),
            Self::Crc32c(sum) => *sum = checksum::append(*sum, bytes),
        }
    }

    fn end(self) -> Vec<u8> {
        match self {
            Self::Md5(md5) => md5.finalize().to_vec(),
            Self::Sha1(sha1) => sha1.finalize().to_vec(),
            Self::Sha256(sha256) => sha256.finalize().to_vec(),
            Self::Sha512(sha512) => sha512.finalize().to_vec(),
            Self::Crc32c(sum) => sum.to_be_bytes().to_vec(),
        }
    }
}

/// All sums of one file. What nobody has claimed is not computed, but for the hash.
pub(super) struct Sums {
    hash: Box<blake3::Hasher>,
    claims: Vec<(Claim, Making)>,
}

impl Sums {
    /// Sums of nothing yet, which are to be as claimed.
    pub(super) fn of(claims: Vec<Claim>) -> Self {
        let making = |claim: Claim| {
            let making = Making::new(claim.algorithm);
            (claim, making)
        };
        Self {
            hash: Box::default(),
            claims: claims.into_iter().map(making).collect(),
        }
    }

    /// Adds the next piece of the content.
    pub(super) fn add(&mut self, piece: &Bytes) {
        self.hash.update(piece);
        for (_, making) in &mut self.claims {
            making.update(piece);
        }
    }

    /// All of the content came: is it what its client says?
    pub(super) fn check(&mut self) -> Result<(), ReadError> {
        for (claim, making) in std::mem::take(&mut self.claims) {
            let came = making.end();
            if came != claim.digest {
                let Claim {
                    header,
                    algorithm,
                    digest,
                } = claim;
                let reason = format!(
                    "the content is not what `{header}` says: its {} is {}, expected {}; send the \
                     file again",
                    algorithm.name(),
                    hex(&came),
                    hex(&digest)
                );
                return Err(ReadError::Refused(Refusal::new(
                    RefusalCode::Checksum,
                    reason,
                )));
            }
        }
        Ok(())
    }

    /// The BLAKE3 hash of what came.
    pub(super) fn hash(&self) -> blake3::Hash {
        self.hash.finalize()
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The key of a file that its client gave none: the same title with the same content is the same
/// file, since HTTP lets clients repeat a `PUT` as they like.
pub(super) fn key_of_content(title: &str, hash: &blake3::Hash) -> String {
    let mut both = blake3::Hasher::new();
    both.update(hash.as_bytes()).update(title.as_bytes());
    let [short @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *both.finalize().as_bytes();
    format!("put:{}", hex(&short))
}
