//! The banner: which role listens where, and where its files and its log are.

use std::path::Path;

use super::roles::Role;
use super::secure::Secured;
use crate::cli::output::say;
use crate::config::ServerSpec;

pub(super) struct Banner<'a> {
    dir: &'a Path,
    logs: &'a Path,
    servers: &'a [ServerSpec],
    /// The servers in their order, then the balancer.
    roles: &'a [Role],
}

impl<'a> Banner<'a> {
    pub(super) fn new(
        dir: &'a Path,
        logs: &'a Path,
        servers: &'a [ServerSpec],
        roles: &'a [Role],
    ) -> Self {
        Self {
            dir,
            logs,
            servers,
            roles,
        }
    }

    pub(super) fn print(&self, secured: Option<&Secured>) {
        for (place, (role, server)) in self.roles.iter().zip(self.servers).enumerate() {
            self.server(place + 1, role, server);
        }
        if let Some(balancer) = self.roles.last() {
            self.balancer(balancer, secured.is_some());
            if let Some(secured) = secured {
                secured.print(&balancer.address, balancer.admin.as_deref());
            }
        }
        let victim = self.roles.first().map_or(0, |role| role.pid);
        say(format_args!(
            "Each is a process of its own: try `kill -9 {victim}` from another terminal, and go on \
             sending."
        ));
        say("");
    }

    fn server(&self, place: usize, role: &Role, server: &ServerSpec) {
        let port = role.address.rsplit_once(':').map_or("", |(_, port)| port);
        let dir = show(&self.dir.join(format!("json_files_{place}")));
        let logs = self.logs.display();
        say(format_args!(
            "server    {:<15}  weight {}  pid {:<7}  files in {dir}  log {logs}/server-{port}.log",
            role.address, server.weight, role.pid,
        ));
    }

    fn balancer(&self, role: &Role, is_secure: bool) {
        let logs = self.logs.display();
        say(format_args!(
            "balancer  {:<15}            pid {:<7}  log {logs}/balancer.log",
            role.address, role.pid
        ));
        if let Some(admin) = &role.admin {
            let scheme = if is_secure { "https" } else { "http" };
            say(format_args!("page      {scheme}://{admin}/"));
        }
    }
}

/// A path without a leading `./`.
pub(super) fn show(path: &Path) -> String {
    let shown = path.display().to_string();
    shown.strip_prefix("./").unwrap_or(&shown).to_owned()
}
