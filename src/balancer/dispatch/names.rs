//! Where a server's name leads. Names and addresses may change; the identity of a directory and the
//! instance of a process say what they lead to. A link that works stays, wherever its name leads by
//! now, until nothing is in flight over it.

use std::net::SocketAddr;
use std::sync::Arc;

/// Who a server says that it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Speaker {
    /// The identity of its directory; `None` if that has none, or cannot be used now.
    pub identity: Option<Arc<str>>,
    /// Which process it is of all that ever had this directory; `None` if it does not say.
    pub instance: Option<Arc<str>>,
}

/// Who answered a probe, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Who {
    /// Who the server says that it is.
    pub speaker: Speaker,
    /// The address that answered.
    pub address: Option<SocketAddr>,
    /// All addresses of its name; while that cannot be resolved, those that it had.
    pub named: Vec<SocketAddr>,
}

/// What a probe's answer means for the link that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The link is where it should be.
    Same,
    /// The server has another address now, and the link leads to the old one.
    Moved,
    /// The name leads to another server now.
    Replaced,
}

/// Why a link that was opened to `link` should lead elsewhere, if it should: the name's last probe
/// was answered by `answer`.
pub(super) fn why_elsewhere(link: &Who, answer: &Who) -> Option<String> {
    let what = match place(link, answer) {
        Place::Same => return None,
        Place::Moved => "the server has moved",
        Place::Replaced => "the name leads to another server now",
    };
    let shown = |at: Option<SocketAddr>| at.map_or_else(String::new, |at| at.to_string());
    let from = shown(link.address);
    let to = shown(answer.address);
    Some(format!("{what}, from {from} to {to}"))
}

/// Where the name leads, beside the link that was opened to `link`.
fn place(link: &Who, answer: &Who) -> Place {
    let is_elsewhere = match (link.address, answer.address) {
        (Some(ours), Some(theirs)) => ours != theirs && !answer.named.contains(&ours),
        _ => false,
    };
    let (ours, theirs) = (&link.speaker, &answer.speaker);
    let is_same_process = ours.instance.is_some() && ours.instance == theirs.instance;
    if !is_elsewhere || is_same_process {
        return Place::Same;
    }
    let is_same_directory = ours.identity.is_some() && ours.identity == theirs.identity;
    if is_same_directory {
        Place::Moved
    } else {
        Place::Replaced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(identity: &str, instance: &str, port: u16, named: &[u16]) -> Who {
        let text = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let named = named.iter().map(|port| at(*port)).collect();
        let speaker = Speaker {
            identity: text(identity),
            instance: text(instance),
        };
        Who {
            speaker,
            address: Some(at(port)),
            named,
        }
    }

    #[test]
    fn a_link_is_where_it_should_be_or_the_server_has_moved_or_was_replaced() {
        let link = who("d", "i", 1, &[1]);
        for (answer, expected) in [
            (who("d", "i", 1, &[1]), Place::Same),
            (who("d", "j", 2, &[2]), Place::Moved),
            (who("d", "", 2, &[2]), Place::Moved),
            (who("d", "i", 2, &[2]), Place::Same),
            (who("e", "j", 2, &[2]), Place::Replaced),
            (who("", "", 2, &[2]), Place::Replaced),
            (who("e", "j", 2, &[1, 2]), Place::Same),
            (who("e", "j", 1, &[1]), Place::Same),
            (Who::default(), Place::Same),
        ] {
            assert_eq!(place(&link, &answer), expected, "{answer:?}");
        }
        assert_eq!(
            place(&who("", "", 1, &[1]), &who("", "", 2, &[2])),
            Place::Replaced
        );
    }
}
