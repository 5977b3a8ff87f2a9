//! What is told of members: their facts.

use std::time::Duration;

use super::action::Notice;
use super::member::{Key, WORDS_TO_STAY};
use super::table::Registry;
use crate::fleet::identity::Identity;
use crate::fleet::report::MemberState;
use crate::fleet::told::{Told, Trust};

/// There is no room for one more member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

impl Registry {
    /// Takes what is told of a member; [`Facts::check`](crate::fleet::Facts::check) has passed it.
    /// Gives the identity by which the member is known, or nothing for a claim about a member that is
    /// known better.
    ///
    /// A claim changes nothing but the claimed layer of the facts, unless claims are all that is
    /// known of the member.
    pub fn told(&mut self, told: &Told, now: Duration) -> Result<Option<Identity>, NoRoom> {
        let known = self.key_of(&told.who);
        let key = known.or_else(|| self.make_told(told, now)).ok_or(NoRoom)?;
        let counts = told.trust > Trust::Claimed || self.trust_of(key) == Trust::Claimed;
        self.hear(key, told, now);
        let member = self.members.get(&key).filter(|_| counts);
        Ok(member.map(|member| member.id.clone()))
    }

    /// Takes what whoever answers at a server's address tells of its host, with the identity of their
    /// directory. Gives the identity by which the member is known, or nothing if they are not known to
    /// be the member that has this server.
    ///
    /// Anybody can name a directory: whose it is was looked at if the member is known by it.
    pub fn measured(
        &mut self,
        told: &Told,
        directory: Option<&str>,
        now: Duration,
    ) -> Option<Identity> {
        let Identity::Address(address) = &told.who else {
            return None;
        };
        let service = self.services.get(address)?;
        let is_it = match &self.members.get(&service.owner)?.id {
            Identity::Directory(known) => match directory {
                Some(directory) => **known == *directory,
                None => service.is_given(),
            },
            _ => true,
        };
        if !is_it || service.is_other {
            return None;
        }
        self.told(told, now).ok().flatten()
    }

    fn make_told(&mut self, told: &Told, now: Duration) -> Option<Key> {
        let is_claim = told.trust == Trust::Claimed;
        let key = self.make(told.who.clone(), told.source, is_claim, now)?;
        if !is_claim {
            self.touch();
        }
        Some(key)
    }

    fn hear(&mut self, key: Key, told: &Told, now: Duration) {
        let known = self.trust_of(key);
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        member.layers.tell(told.trust, &told.facts, told.every, now);
        let is_server = !member.services.is_empty() || member.lease.is_some();
        if told.trust == Trust::Claimed && (known > Trust::Claimed || is_server) {
            return;
        }
        member.believed = member.believed.max(told.trust);
        // A server's greeting comes over its own address; the host of an agent is where it speaks
        // from.
        if told.trust >= known {
            member.host = told.peer.or(member.host);
        }
        let has_said_enough =
            member.is_claim && member.layers.words(Trust::Claimed) >= WORDS_TO_STAY;
        let mut is_news = has_said_enough && !member.has_said_enough;
        member.has_said_enough |= has_said_enough;
        if let Some(name) = &told.name
            && (member.name.is_none() || told.trust >= member.named)
            && member.name.as_ref() != Some(name)
            && !is_server
        {
            member.name = Some(name.clone());
            member.named = told.trust;
            is_news = true;
        }
        if told.trust > Trust::Claimed && member.is_claim {
            member.source = told.source;
            self.believe(key);
            is_news = true;
        }
        if is_news {
            self.touch();
        }
        let Some(member) = self.members.get(&key) else {
            return;
        };
        // While it is active, what is due next only moves into the future.
        if member.state != MemberState::Active || member.look_at.is_none() {
            let before = member.state;
            self.refresh(key, now);
            self.tell_return(key, before);
        }
    }

    /// A member that only tells something is heard of again.
    fn tell_return(&mut self, key: Key, before: MemberState) {
        let Some(member) = self.members.get(&key) else {
            return;
        };
        let is_agent = member.lease.is_none() && member.services.is_empty() && !member.is_claim;
        if is_agent && before == MemberState::Unknown && member.state == MemberState::Active {
            let member = member.name();
            self.notice(Notice::Back { member });
        }
    }
}
