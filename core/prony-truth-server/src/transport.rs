//! Bytes to and from a client, with or without TLS.

use crate::clock::now_ns;
use rustls::ServerConnection;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

pub(crate) struct Transport {
    pub(crate) stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// Bytes not yet taken by the socket; always empty with TLS, which keeps them itself.
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
                // It gets at most one answer's piece before it is flushed.
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

    /// Starts sending `bytes`, with no others queued. Returns the time of the first
    /// system call, and `true` if all are sent.
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

    /// Sends queued bytes. Returns `true` if all are sent.
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

    /// Reads once and appends to `input`. Returns `false` at the end of the stream.
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
            // Sending the alert that reports it is worth a try.
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

    /// Ends the connection as the protocol requires.
    pub(crate) fn end(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = self.flush();
        }
    }

    /// Makes the connection end with a reset.
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
