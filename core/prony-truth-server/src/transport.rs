//! Bytes to and from a client, with TLS or without.

use crate::clock::now_ns;
use rustls::ServerConnection;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

pub(crate) struct Transport {
    pub(crate) stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// What the socket did not take yet; always empty with TLS, which keeps it itself.
    unsent: Vec<u8>,
}

impl Transport {
    pub(crate) fn new(
        stream: TcpStream,
        tls: Option<&Arc<rustls::ServerConfig>>,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let tls = tls
            .map(|config| ServerConnection::new(config.clone()).map_err(io::Error::other))
            .transpose()?
            .map(|mut tls| {
                // One answer's piece at most is given to it before it is flushed.
                tls.set_buffer_limit(None);
                Box::new(tls)
            });
        let unsent = Vec::new();
        Ok(Self {
            stream,
            tls,
            unsent,
        })
    }

    /// Begins to send `bytes`, which no others are in the way of: when the first system
    /// call was made, and whether all are sent.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<(u64, bool)> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(bytes)?;
            let stamp = now_ns();
            return Ok((stamp, self.flush()?));
        }
        let stamp = now_ns();
        let sent = write(&mut self.stream, bytes)?;
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok((stamp, self.unsent.is_empty()))
    }

    /// Sends what could not be sent yet; tells whether all is.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                match tls.write_tls(&mut self.stream) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                    _ => {}
                }
            }
            return Ok(true);
        }
        if !self.unsent.is_empty() {
            let sent = write(&mut self.stream, &self.unsent)?;
            self.unsent.drain(..sent);
        }
        Ok(self.unsent.is_empty())
    }

    /// Reads once and adds it to `input`; tells whether there may be more, ever.
    pub(crate) fn read(&mut self, room: &mut [u8], input: &mut Vec<u8>) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else {
            return match self.stream.read(room) {
                Ok(length) => {
                    input.extend_from_slice(&room[..length]);
                    Ok(length > 0)
                }
                Err(error) if nothing_now(&error) => Ok(true),
                Err(error) => Err(error),
            };
        };
        match tls.read_tls(&mut self.stream) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) if nothing_now(&error) => return Ok(true),
            Err(error) => return Err(error),
        }
        if let Err(error) = tls.process_new_packets() {
            // The alert that says so is worth a try.
            let _ = self.flush();
            return Err(io::Error::other(error));
        }
        loop {
            match tls.reader().read(room) {
                Ok(0) => return Ok(false),
                Ok(length) => input.extend_from_slice(&room[..length]),
                Err(error) if nothing_now(&error) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends the connection as the protocol wants it.
    pub(crate) fn end(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = self.flush();
        }
    }

    /// Makes the end of the connection a reset.
    pub(crate) fn reset(&self) {
        let none = Some(std::time::Duration::ZERO);
        let _ = rustix::net::sockopt::set_socket_linger(&self.stream, none);
    }
}

fn nothing_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Writes as much as the socket takes.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(length) => sent += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
