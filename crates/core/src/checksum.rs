//! CRC32C (Castagnoli), the checksum of contents, frames and records.

use crc_fast::{CrcAlgorithm, Digest, checksum_combine};

const KIND: CrcAlgorithm = CrcAlgorithm::Crc32Iscsi;

/// The checksum of these bytes.
pub fn crc32c(bytes: &[u8]) -> u32 {
    append(0, bytes)
}

/// The checksum of what has the checksum `before`, and then these bytes.
pub fn append(before: u32, bytes: &[u8]) -> u32 {
    // The checksum is the register with all its bits inverted.
    let mut digest = Digest::new_with_init_state(KIND, u64::from(!before));
    digest.update(bytes);
    narrow(digest.finalize())
}

/// The checksum of two contents in a row, from the checksum of each and the length of the second in
/// bytes. Takes tens of microseconds, whatever the length.
pub fn combine(first: u32, second: u32, second_len: u64) -> u32 {
    narrow(checksum_combine(
        KIND,
        first.into(),
        second.into(),
        second_len,
    ))
}

/// The library has one type for checksums of all widths.
fn narrow(checksum: u64) -> u32 {
    let [.., a, b, c, d] = checksum.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The check value of RFC 3720, appendix B.4, and the one that catalogues of checksums give.
    #[test]
    fn known_values() {
        assert_eq!(crc32c(b""), 0);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    proptest! {
        /// Another library agrees, wherever the bytes begin in memory and however they are cut.
        #[test]
        fn it_is_what_another_library_computes(
            bytes in proptest::collection::vec(any::<u8>(), 0..5000),
            cuts in any::<[prop::sample::Index; 2]>(),
            before: u32,
        ) {
            let [mut from, mut to] = cuts.map(|cut| cut.index(bytes.len() + 1));
            if from > to {
                std::mem::swap(&mut from, &mut to);
            }
            let (head, tail) = (&bytes[from..to], &bytes[to..]);
            prop_assert_eq!(crc32c(head), ::crc32c::crc32c(head));
            prop_assert_eq!(append(before, head), ::crc32c::crc32c_append(before, head));
            let whole = crc32c(&bytes[from..]);
            prop_assert_eq!(append(crc32c(head), tail), whole);
            prop_assert_eq!(combine(crc32c(head), crc32c(tail), tail.len() as u64), whole);
        }
    }
}
