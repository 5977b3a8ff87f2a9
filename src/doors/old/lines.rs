//! The lines of status that a server pushes, as whoever connects to it gets them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::timeout;

use crate::fleet_core::Facts;
use crate::fleet_core::old::{MAX_READ, STATUS, next_line, parse_line};
use crate::transport::{BoxStream, Connect, Tcp};

/// Why no line comes.
pub(super) type NoLine = &'static str;

/// A connection to a server.
pub(super) struct Lines {
    read: ReadHalf<BoxStream>,
    write: WriteHalf<BoxStream>,
    came: Vec<u8>,
    patience: Duration,
    /// Whether the server reads nothing of what it is sent, as the first system's do: then there is
    /// no room for more at some time.
    is_deaf: bool,
}

impl Lines {
    pub(super) async fn connect(at: SocketAddr, patience: Duration) -> Result<Self, NoLine> {
        let address = at.to_string();
        let connected = timeout(patience, Tcp.connect(&address)).await;
        let stream = connected
            .map_err(|_| "the server does not answer")?
            .map_err(|_| "the server cannot be reached")?;
        let (read, write) = split(stream);
        Ok(Self {
            read,
            write,
            came: Vec::new(),
            patience,
            is_deaf: false,
        })
    }

    /// Asks for a line and waits for it. If several have come, it is the last one.
    pub(super) async fn next(&mut self) -> Result<(String, Facts), NoLine> {
        let line = timeout(self.patience, self.line()).await;
        let line = line.map_err(|_| "the server tells nothing")??;
        let facts = parse_line(&line).map_err(|_| "a line of status with impossible figures")?;
        Ok((line, facts))
    }

    async fn line(&mut self) -> Result<String, NoLine> {
        if !self.is_deaf {
            let asked = timeout(self.patience / 10, self.write.write_all(STATUS)).await;
            self.is_deaf = asked.is_err();
        }
        let mut bytes = [0; MAX_READ];
        loop {
            let length = self.read.read(&mut bytes).await.unwrap_or(0);
            if length == 0 {
                return Err("the server closed the connection");
            }
            self.came.extend(bytes.iter().take(length));
            let mut last = None;
            while let Some(line) = next_line(&mut self.came).map_err(|_| "no line of status")? {
                last = Some(line);
            }
            if let Some(line) = last {
                return Ok(line);
            }
        }
    }
}
