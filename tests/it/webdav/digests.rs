//! What a client says of its content is checked before the file is accepted.

use base64ct::{Base64, Encoding};
use bilico_testkit::{Farm, names_with, noise, wait_until};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::{ask, ask_chunked};

/// The headers that tell of this content, each in its own form.
fn truths(content: &[u8]) -> Vec<String> {
    let base64 = |bytes: &[u8]| Base64::encode_string(bytes);
    let md5 = base64(&Md5::digest(content));
    let sha1 = Sha1::digest(content);
    let sha256 = base64(&Sha256::digest(content));
    let sha512 = base64(&Sha512::digest(content));
    let crc = base64(&crc32c::crc32c(content).to_be_bytes());
    let hex = sha1
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    vec![
        format!("Content-MD5: {md5}"),
        format!("Content-Digest: sha-256=:{sha256}:"),
        format!("Content-Digest: sha-512=:{sha512}:, crc32c=:{crc}:, new=:AAAA:"),
        format!("Repr-Digest: md5=:{md5}:"),
        format!("Digest: SHA-256={sha256},sha={}", base64(&sha1)),
        format!("OC-Checksum: SHA1:{hex}"),
    ]
}

#[test]
fn what_is_not_as_its_client_says_is_refused_and_nothing_of_it_is_kept() {
    let farm = Farm::start(&[1]);
    let role = &farm.balancer;
    let mut sent = 0;
    for (n, size) in [0, 1, 65_536, 65_537, 1 << 20].into_iter().enumerate() {
        let content = noise(n as u64, size);
        let other = noise(100 + n as u64, size + 1);
        for (header, lie) in truths(&content).into_iter().zip(truths(&other)) {
            for is_known in [true, false] {
                sent += 1;
                let put = |header: &str| {
                    let headers = format!("{header}\r\nIdempotency-Key: {sent}\r\n");
                    if is_known {
                        ask(role, "PUT", "/files/x", &headers, &content)
                    } else {
                        ask_chunked(role, "/files/x", &headers, &content, "")
                    }
                };
                let refused = put(&lie);
                assert_eq!(refused.status, 400, "{lie}: {}", refused.text());
                let name = lie.split(':').next().unwrap();
                let words = format!("the content is not what `{name}` says");
                assert!(refused.text().contains(&words), "{}", refused.text());
                let taken = put(&header);
                assert_eq!(taken.status, 202, "{header}: {}", taken.text());
            }
        }
    }
    wait_until("all to be delivered", || farm.status().delivered == sent);
    assert_eq!(farm.status().accepted, sent);
    let journal = farm.dir.path().join("journal");
    wait_until("nothing to be left", || {
        names_with(&journal, "part-").is_empty() && names_with(&journal, "content-").is_empty()
    });
    assert_eq!(farm.stored(0).len() as u64, sent);
}

#[test]
fn what_cannot_be_checked_is_refused_before_the_content() {
    let farm = Farm::start(&[1]);
    let role = &farm.balancer;
    for header in [
        "Content-MD5: AAAA",
        "Content-Digest: sha-256=AAAA",
        "Content-Digest: unheard=:AAAA:",
        "Repr-Digest: ",
        "Digest: adler32=03da0195",
        "OC-Checksum: ADLER32:084b021f",
        "Trailer: Content-Digest",
    ] {
        let answer = ask(role, "PUT", "/files/x", &format!("{header}\r\n"), b"x");
        assert_eq!(answer.status, 400, "{header}: {}", answer.text());
        let name = header.split(':').next().unwrap();
        assert!(answer.text().contains(name), "{header}: {}", answer.text());
    }
    for size in [1, 100_000] {
        let behind = "Content-MD5: 1B2M2Y8AsgTpgAmY7PhCfg==\r\n";
        let answer = ask_chunked(role, "/files/x", "", &noise(1, size), behind);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains("as a header"), "{}", answer.text());
    }
    assert_eq!(farm.status().accepted, 0);
}
