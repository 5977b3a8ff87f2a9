//! Signed datagrams of agents.

use bilico::access::users::NewToken;
use bilico::access::{DatagramKey, MAC_HEX};
use bilico::fleet::datagram::{Datagram, Sealed};
use bilico::fleet_core::Facts;

use crate::TIME;

/// Whether bytes are read, and proven by this key. What is read has possible fields.
fn is_by(key: &DatagramKey, bytes: &[u8]) -> bool {
    let Ok(sealed) = Sealed::read(bytes) else {
        return false;
    };
    assert!(Sealed::is_meant(bytes));
    let (token, is_by) = (sealed.token().clone(), sealed.is_by(key));
    let datagram = sealed.into_datagram();
    assert_eq!(datagram.token, token);
    assert!(datagram.v == 1 && datagram.time >= 0.0);
    is_by
}

/// The bytes of a datagram from the first one of its MAC on.
const AROUND_MAC: usize = MAC_HEX + 2;

#[test]
fn any_bytes() {
    let (_, key) = DatagramKey::of_token(&NewToken::make().text).unwrap();
    bolero::check!()
        .with_test_time(TIME)
        .for_each(|bytes: &[u8]| assert!(!is_by(&key, bytes)));
}

/// A sealed one is read and proven, and with any other bytes in it it is neither, or not proven.
#[test]
fn sealed_ones_that_are_changed() {
    let NewToken { text, .. } = NewToken::make();
    let (token, key) = DatagramKey::of_token(&text).unwrap();
    bolero::check!()
        .with_test_time(TIME)
        .with_type::<(u64, u32, u16, Vec<u8>)>()
        .for_each(|(seq, time, at, bytes)| {
            let datagram = Datagram {
                v: 1,
                token: token.clone(),
                boot: "5f0c".to_owned(),
                seq: *seq,
                time: f64::from(*time),
                every_s: 5.0,
                facts: Facts {
                    cpu: Some(0.5),
                    ..Facts::default()
                },
            };
            let sealed = datagram.seal(&key).unwrap();
            assert!(is_by(&key, &sealed));
            assert_eq!(Sealed::read(&sealed).unwrap().into_datagram(), datagram);
            let mut changed = sealed.clone();
            let at = usize::from(*at) % sealed.len();
            for (place, byte) in changed.iter_mut().skip(at).zip(bytes) {
                *place = *byte;
            }
            // The digits of the MAC may be of either case.
            let mac = sealed.len() - AROUND_MAC;
            let is_same = changed[..mac] == sealed[..mac]
                && changed[mac..].eq_ignore_ascii_case(&sealed[mac..]);
            assert!(is_same || !is_by(&key, &changed));
        });
}
