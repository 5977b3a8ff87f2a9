//! What TLS refuses, in words for people.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// Why a handshake ended, in words that say what to look at.
pub fn words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::NoCertificatesPresented => {
            "it shows no certificate, and only holders of one of this cluster may come".to_owned()
        }
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "it offers no TLS 1.3, and older versions are not accepted".to_owned(),
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            "it offers none of the suites that are accepted here".to_owned()
        }
        Error::NoApplicationProtocol => {
            "it asks for another application protocol than is spoken here".to_owned()
        }
        other => other.to_string(),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is not signed by the authority that is trusted here (`bilico certs show \
             HOST:PORT` tells who has signed it)"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: are the clocks right?".to_owned()
        }
        CertificateError::NotValidForName => "its certificate is for another address".to_owned(),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let expected = expected.to_str();
            let presented = if presented.is_empty() {
                "no address".to_owned()
            } else {
                presented.join(", ")
            };
            format!(
                "its certificate is not for {expected}: it is for {presented} (`--san` of \
                 `bilico certs issue` names the addresses)"
            )
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is for another role".to_owned()
        }
        other => format!("its certificate cannot be used: {other}"),
    }
}

fn of_alert(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::CertificateRequired => "it wants a certificate of its cluster",
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it does not trust the authority of the certificate that was shown to it"
        }
        AlertDescription::CertificateExpired => "it takes the certificate shown to it for expired",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "it does not accept the certificate that was shown to it"
        }
        AlertDescription::UnsupportedCertificate | AlertDescription::AccessDenied => {
            "the certificate that was shown to it is for another role"
        }
        AlertDescription::ProtocolVersion => "it accepts no version of TLS that was offered",
        AlertDescription::HandshakeFailure => {
            "it accepts nothing that was offered: is TLS off there?"
        }
        AlertDescription::NoApplicationProtocol => "it speaks another application protocol",
        other => return format!("it ended the handshake: {other:?}"),
    };
    why.to_owned()
}
