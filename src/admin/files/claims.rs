//! What a request says of its content's integrity. All of it is checked while the content comes,
//! and what cannot be checked is refused: a client that names a digest relies on it.

use axum::http::{HeaderMap, StatusCode};
use base64ct::{Base64, Encoding};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use crate::admin::error::ApiError;
use crate::balancer::ingress::http::{Algorithm, Claim};
use crate::text::excerpt;

/// The digests that are checked, for the hints.
const KNOWN: &str = "md5, sha, sha-256, sha-512 and crc32c are checked";

/// Headers with a dictionary of digests (RFC 9530). There are no content codings here, so all of
/// them are about the same bytes.
const DICTIONARIES: [&str; 2] = ["Content-Digest", "Repr-Digest"];

/// The same in the older form (RFC 3230).
const DIGEST: &str = "Digest";

/// One MD5 (RFC 1864).
const CONTENT_MD5: &str = "Content-MD5";

/// One digest in hexadecimal, as clients of ownCloud send it.
const OC_CHECKSUM: &str = "OC-Checksum";

/// All that the headers claim.
pub(super) fn claims(headers: &HeaderMap) -> Result<Vec<Claim>, ApiError> {
    let mut claims = Vec::new();
    check_announced(headers)?;
    for header in DICTIONARIES {
        if let Some(value) = joined(headers, header)? {
            claims.extend(dictionary(header, &value)?);
        }
    }
    if let Some(value) = joined(headers, DIGEST)? {
        claims.extend(older(&value)?);
    }
    if let Some(value) = joined(headers, CONTENT_MD5)? {
        let digest = Base64::decode_vec(value.trim()).ok();
        claims.push(claim(CONTENT_MD5, Algorithm::Md5, digest, &value)?);
    }
    if let Some(value) = joined(headers, OC_CHECKSUM)? {
        claims.push(with_colon(&value)?);
    }
    // The same sum twice is made once; two that differ cannot both be true, which shows at the end.
    claims.dedup_by(|one, other| one.algorithm == other.algorithm && one.digest == other.digest);
    Ok(claims)
}

/// Refuses what would come too late: which digest is to be made must be known before the content.
fn check_announced(headers: &HeaderMap) -> Result<(), ApiError> {
    let announced = joined(headers, "Trailer")?.unwrap_or_default();
    match announced.split(',').find(|name| is_claim(name.trim())) {
        None => Ok(()),
        Some(name) => {
            let name = name.trim();
            let error = format!("`Trailer: {name}`: a digest behind the content is not checked");
            Err(ApiError::bad(error).hint(format!("send `{name}` as a header")))
        }
    }
}

/// Whether a header of this name claims something of the content.
pub(super) fn is_claim(name: &str) -> bool {
    let others = [DIGEST, CONTENT_MD5, OC_CHECKSUM];
    let mut all = DICTIONARIES.iter().chain(&others);
    all.any(|claim| claim.eq_ignore_ascii_case(name))
}

/// All values of a header, as if it had come once.
fn joined(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, ApiError> {
    let mut values = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            malformed(name, &value)
        })?;
        values.push(text);
    }
    Ok((!values.is_empty()).then(|| values.join(", ")))
}

fn dictionary(header: &'static str, value: &str) -> Result<Vec<Claim>, ApiError> {
    let parsed = Parser::new(value).parse::<Dictionary>();
    let parsed = parsed.map_err(|_| malformed(header, value))?;
    let mut claims = Vec::new();
    for (name, entry) in &parsed {
        let ListEntry::Item(item) = entry else {
            return Err(malformed(header, value));
        };
        let BareItem::ByteSequence(digest) = &item.bare_item else {
            return Err(malformed(header, value));
        };
        if let Some(algorithm) = algorithm(name.as_str()) {
            claims.push(claim(header, algorithm, Some(digest.clone()), value)?);
        }
    }
    some(claims, header, value)
}

fn older(value: &str) -> Result<Vec<Claim>, ApiError> {
    let mut claims = Vec::new();
    for entry in value.split(',') {
        let (name, digest) = entry
            .trim()
            .split_once('=')
            .ok_or_else(|| malformed(DIGEST, value))?;
        // CRC32C is in hexadecimal there.
        if let Some(algorithm) = algorithm(name).filter(|known| *known != Algorithm::Crc32c) {
            let digest = Base64::decode_vec(digest).ok();
            claims.push(claim(DIGEST, algorithm, digest, value)?);
        }
    }
    some(claims, DIGEST, value)
}

fn with_colon(value: &str) -> Result<Claim, ApiError> {
    let (name, digest) = value
        .trim()
        .split_once(':')
        .ok_or_else(|| malformed(OC_CHECKSUM, value))?;
    let algorithm = match algorithm(name) {
        Some(known) => known,
        None if name.eq_ignore_ascii_case("sha1") => Algorithm::Sha1,
        None if name.eq_ignore_ascii_case("sha256") => Algorithm::Sha256,
        None => return Err(unknown(OC_CHECKSUM, value)),
    };
    claim(OC_CHECKSUM, algorithm, unhex(digest), value)
}

fn algorithm(name: &str) -> Option<Algorithm> {
    let known = [
        ("md5", Algorithm::Md5),
        ("sha", Algorithm::Sha1),
        ("sha-256", Algorithm::Sha256),
        ("sha-512", Algorithm::Sha512),
        ("crc32c", Algorithm::Crc32c),
    ];
    let mut known = known.into_iter();
    let found = known.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, algorithm)| algorithm)
}

/// The bytes of hexadecimal digits in either case; `None` if there is anything else.
fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2);
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    pairs.map(byte).collect()
}

fn claim(
    header: &'static str,
    algorithm: Algorithm,
    digest: Option<Vec<u8>>,
    value: &str,
) -> Result<Claim, ApiError> {
    let digest = digest
        .filter(|digest| digest.len() == algorithm.size())
        .ok_or_else(|| malformed(header, value))?;
    Ok(Claim {
        header,
        algorithm,
        digest,
    })
}

/// At least one digest must be one that is checked.
fn some(claims: Vec<Claim>, header: &'static str, value: &str) -> Result<Vec<Claim>, ApiError> {
    if claims.is_empty() {
        return Err(unknown(header, value));
    }
    Ok(claims)
}

fn unknown(header: &'static str, value: &str) -> ApiError {
    let error = format!(
        "`{header}: {}` names no digest that can be checked here",
        excerpt(value)
    );
    ApiError::new(StatusCode::BAD_REQUEST, error).hint(format!("{KNOWN}; or leave the header out"))
}

fn malformed(header: &'static str, value: &str) -> ApiError {
    let example = match header {
        CONTENT_MD5 => "the 16 bytes of the MD5 in Base64, e.g. 1B2M2Y8AsgTpgAmY7PhCfg==",
        DIGEST => "names and Base64, e.g. md5=1B2M2Y8AsgTpgAmY7PhCfg==",
        OC_CHECKSUM => {
            "a name and hexadecimal digits, e.g. SHA1:da39a3ee5e6b4b0d3255bfef95601890afd80709"
        }
        _ => "names and Base64 between colons, e.g. md5=:1B2M2Y8AsgTpgAmY7PhCfg==:",
    };
    let error = format!("invalid `{header}: {}`: expected {example}", excerpt(value));
    ApiError::bad(error).hint(format!("{KNOWN}; or leave the header out"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn read(headers: &[(&'static str, &str)]) -> Result<Vec<(Algorithm, usize)>, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        let of = |claim: &Claim| (claim.algorithm, claim.digest.len());
        let read = claims(&map).map(|claims| claims.iter().map(of).collect());
        read.map_err(|error| error.text().to_owned())
    }

    const MD5: &str = "1B2M2Y8AsgTpgAmY7PhCfg==";

    #[test]
    fn each_header_is_read_in_its_own_form() {
        use Algorithm::{Crc32c, Md5, Sha1, Sha256};
        let sha256 = format!("sha-256=:{}:", Base64::encode_string(&[1; 32]));
        let both = format!("md5=:{MD5}:, {sha256}");
        assert_eq!(read(&[]).unwrap(), []);
        assert_eq!(read(&[("content-md5", MD5)]).unwrap(), [(Md5, 16)]);
        let read_both = read(&[("content-digest", &both)]).unwrap();
        assert_eq!(read_both, [(Md5, 16), (Sha256, 32)]);
        let apart = [("repr-digest", both.as_str()), ("repr-digest", &sha256)];
        assert_eq!(read(&apart).unwrap().len(), 2, "the later one counts");
        let unknown_too = format!("blake3=:AAAA:, {both}");
        assert_eq!(read(&[("content-digest", &unknown_too)]).unwrap().len(), 2);
        let crc = read(&[("content-digest", "crc32c=:AAAAAA==:")]).unwrap();
        assert_eq!(crc, [(Crc32c, 4)]);
        let older = format!("MD5={MD5},unixsum=30637");
        assert_eq!(read(&[("digest", &older)]).unwrap(), [(Md5, 16)]);
        let oc = "SHA1:DA39a3ee5e6b4b0d3255bfef95601890afd80709";
        assert_eq!(read(&[("oc-checksum", oc)]).unwrap(), [(Sha1, 20)]);
    }

    #[test]
    fn what_cannot_be_read_or_checked_is_refused_by_its_name() {
        for (header, value) in [
            ("Content-MD5", "AAAA"),
            ("Content-MD5", "not base64"),
            ("Content-MD5", ""),
            ("Content-Digest", "sha-256=AAAA"),
            ("Content-Digest", "sha-256=:AAAA:"),
            ("Content-Digest", "sha-256"),
            ("Content-Digest", "="),
            ("Content-Digest", "blake3=:AAAA:"),
            ("Content-Digest", ""),
            ("Repr-Digest", "md5=:1B2M2Y8AsgTpgAmY7PhCfg==:;;"),
            ("Digest", "md5"),
            ("Digest", "adler32=03da0195"),
            ("OC-Checksum", "SHA1"),
            ("OC-Checksum", "SHA1:xyz"),
            ("OC-Checksum", "ADLER32:084b021f"),
        ] {
            let refused = read(&[(header, value)]).unwrap_err();
            assert!(refused.contains(header), "{refused}");
        }
        let twice = [("Content-MD5", MD5), ("Content-MD5", MD5)];
        read(&twice).unwrap_err();
    }

    #[test]
    fn digests_in_trailers_are_known_by_their_names() {
        assert!(is_claim("content-md5") && is_claim("repr-digest") && is_claim("digest"));
        assert!(!is_claim("etag"));
    }
}
