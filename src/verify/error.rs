//! Why receipts and files cannot be compared.

use std::io;
use std::path::PathBuf;

/// Why receipts and files cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file of receipts cannot be read.
    #[error("cannot read the receipts in {path}: {error}")]
    Receipts {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// A line is not a valid receipt.
    #[error("{path}, line {line}: {reason}")]
    Line {
        /// The file of receipts.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The problem.
        reason: String,
    },
    /// A directory cannot be read.
    #[error("cannot read the directory {path}: {error}")]
    Dir {
        /// The directory.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// A directory is named twice: every file in it would count as double.
    #[error("the directory {0} is named twice")]
    Twice(PathBuf),
    /// A stored file cannot be read.
    #[error("cannot read the stored file {path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
}
