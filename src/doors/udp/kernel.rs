//! What the kernel has thrown away because nobody read it in time.

use std::os::fd::AsFd;

use rustix::fs::fstat;

/// Where the kernel says it, for either family.
const TABLES: [&str; 2] = ["/proc/net/udp", "/proc/net/udp6"];

/// What was dropped at one socket.
pub(super) struct Dropped {
    inode: Option<u64>,
    counted: u64,
}

impl Dropped {
    pub(super) fn of(socket: &impl AsFd) -> Self {
        Self {
            inode: fstat(socket).ok().map(|stat| stat.st_ino),
            counted: 0,
        }
    }

    /// How many datagrams were dropped since the last time.
    pub(super) async fn more(&mut self) -> u64 {
        let Some(inode) = self.inode else { return 0 };
        for table in TABLES {
            let Ok(table) = tokio::fs::read_to_string(table).await else {
                continue;
            };
            if let Some(dropped) = dropped_at(&table, inode) {
                let more = dropped.saturating_sub(self.counted);
                self.counted = dropped;
                return more;
            }
        }
        0
    }
}

/// What a table says was dropped at the socket with this inode: the last column.
fn dropped_at(table: &str, inode: u64) -> Option<u64> {
    let inode = inode.to_string();
    let mut rows = table.lines().map(|row| row.split_ascii_whitespace());
    let row = rows.find(|row| row.clone().nth(9) == Some(inode.as_str()))?;
    row.last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_column_of_the_sockets_row_counts() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n  \
             467: 0100007F:138D 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 17 2 0000000000000000 5\n  \
             468: 0100007F:138E 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 18 2 0000000000000000 33\n";
        assert_eq!(dropped_at(table, 18), Some(33));
        assert_eq!(dropped_at(table, 19), None);
        assert_eq!(dropped_at("", 19), None);
    }

    /// Against the real kernel: a small buffer that nobody reads.
    #[tokio::test]
    async fn what_nobody_reads_is_counted_once() {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
        let mut dropped = Dropped::of(&socket);
        assert_eq!(dropped.more().await, 0);
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = socket.local_addr().unwrap();
        for _ in 0..100 {
            sender.send_to(&[0; 1000], to).unwrap();
        }
        let more = dropped.more().await;
        assert!((50..100).contains(&more), "{more}");
        assert_eq!(dropped.more().await, 0);
    }
}
