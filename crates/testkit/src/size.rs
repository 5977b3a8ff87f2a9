//! How large a proof is.

/// Whether the long proofs run at full size, as `BILICO_PROOF=full` orders.
pub fn is_full_proof() -> bool {
    std::env::var("BILICO_PROOF").is_ok_and(|proof| proof == "full")
}

/// `full` in a full proof, otherwise `short`.
pub fn sized<T>(short: T, full: T) -> T {
    if is_full_proof() { full } else { short }
}
