//! The banner: which role listens where, and where its files and its log are.

use std::path::Path;

use super::paths::show;
use super::roles::Role;
use crate::cli::output::say;
use crate::config::ServerSpec;
use crate::logging::Destination;

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

    /// Says where everything is, and how to start `over`; `more` says what else there is to say.
    pub(super) fn print(&self, scheme: &str, over: &str, more: impl FnOnce(&Role)) {
        for (place, (role, server)) in self.roles.iter().zip(self.servers).enumerate() {
            self.server(place + 1, role, server);
        }
        if let Some(balancer) = self.roles.last() {
            self.balancer(balancer, scheme);
            more(balancer);
        }
        let victim = self.roles.first().map_or(0, |role| role.pid);
        say(format_args!(
            "Each is a process of its own: try `kill -9 {victim}` from another terminal, and go on \
             sending."
        ));
        // With TLS it would need certificates, too.
        if let (Some(balancer), "http") = (self.roles.last(), scheme) {
            let dir = show(&self.dir.join(format!("json_files_{}", self.roles.len())));
            say(format_args!(
                "One more: bilico server --listen 127.0.0.1:0 --dir {dir} --register {}",
                balancer.address
            ));
        }
        say(format_args!("To start over: exit, then {over}"));
        say("");
    }

    fn server(&self, place: usize, role: &Role, server: &ServerSpec) {
        let port = role.address.rsplit_once(':').map_or("", |(_, port)| port);
        let dir = show(&self.dir.join(format!("json_files_{place}")));
        let log = self.log(&format!("server-{port}.log"));
        say(format_args!(
            "server    {:<15}  weight {}  pid {:<7}  files in {dir}  log {log}",
            role.address, server.weight, role.pid,
        ));
    }

    fn log(&self, file: &str) -> String {
        match Destination::from(self.logs) {
            Destination::Directory(dir) => dir.join(file).display().to_string(),
            Destination::Stdout | Destination::Nowhere => "none".to_owned(),
        }
    }

    fn balancer(&self, role: &Role, scheme: &str) {
        let log = self.log("balancer.log");
        say(format_args!(
            "balancer  {:<15}            pid {:<7}  log {log}",
            role.address, role.pid
        ));
        if let Some(admin) = &role.admin {
            say(format_args!("page      {scheme}://{admin}/"));
        }
    }
}
