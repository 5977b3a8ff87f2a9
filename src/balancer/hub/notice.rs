//! Tells operators how servers fare, in one event for each change that matters to them: a server that
//! dies fails its link, its probes and the trust in it, and that is one death.

use std::sync::Arc;
use std::time::Duration;

use super::news::{GRACE, Outage};
use super::state::Hub;
use crate::balancer::happening::Happening;
use crate::schedule::{Flip, Trouble};

impl Hub {
    /// A fact about a server has changed: it is logged, and told if the server's state is another.
    pub(super) fn flipped(&mut self, server: &Arc<str>, flip: &Flip, now: Duration) {
        Happening::Flipped { server, flip }.log();
        self.news.is_stale = true;
        let Some(slot) = self.files.dispatcher.slot_of(server) else {
            return;
        };
        self.tell_fleet(slot);
        let trouble = self.files.dispatcher.trouble(slot);
        let before = self.news.servers.get(server).copied();
        match (before, trouble) {
            (None | Some(Some(_)), None) => {
                let since = before.flatten().map(|(_, since)| since);
                let after = since.map(|since| now.saturating_sub(since));
                self.report(&Happening::Up { server, after });
                self.news.servers.insert(server.clone(), None);
            }
            // That a server does not answer yet is no news.
            (None, Some((Trouble::Down, _))) => {}
            (before, Some((trouble, reason)))
                if before.flatten().is_none_or(|(told, _)| told != trouble) =>
            {
                let reason = if flip.good { &*reason } else { &*flip.reason };
                self.report(&Happening::Trouble {
                    server,
                    trouble,
                    reason,
                });
                let since = before.flatten().map_or(now, |(_, since)| since);
                self.news
                    .servers
                    .insert(server.clone(), Some((trouble, since)));
            }
            _ => {}
        }
    }

    /// Tells when no server can take files, and when one can again.
    pub(super) fn look_at_servers(&mut self, now: Duration) {
        if self.news.is_stale {
            self.news.is_stale = false;
            let dispatcher = &self.files.dispatcher;
            self.news
                .servers
                .retain(|server, _| dispatcher.slot_of(server).is_some());
            if !dispatcher.is_in_service() {
                self.news.outage.get_or_insert(Outage {
                    since: now,
                    is_told: false,
                });
            } else if let Some(Outage { since, is_told }) = self.news.outage.take()
                && is_told
            {
                let after = now.saturating_sub(since);
                self.report(&Happening::ServersAgain { after });
            }
        }
        if let Some(outage) = &mut self.news.outage
            && !outage.is_told
            && now >= outage.since + GRACE
        {
            outage.is_told = true;
            let why = self.files.dispatcher.why_no_service();
            self.report(&Happening::NoServer { why: &why });
        }
    }
}
