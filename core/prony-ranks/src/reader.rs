//! The thread of rank 0 that reads what another rank sends.

use crate::wire::{MAX_HEAD, ToLeader, read};
use prony_loadgen::clock::now_ns;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::UnboundedSender;

/// A message of a rank, or the end of its connection.
#[derive(Debug)]
pub(crate) enum Message {
    Told(ToLeader, u64),
    /// Its answers are in their file, or could not be written.
    Answers(io::Result<()>),
    Gone(String),
}

/// The thread that reads what a rank sends.
pub(crate) struct Reader {
    pub(crate) rank: u32,
    pub(crate) stream: TcpStream,
    pub(crate) heard_ns: Arc<AtomicU64>,
    pub(crate) answers: Arc<Mutex<Option<Wanted>>>,
    pub(crate) to_us: UnboundedSender<(u32, Message)>,
}

impl Reader {
    pub(crate) fn read(self) {
        let mut stream = BufReader::new(Heard {
            stream: &self.stream,
            heard_ns: &self.heard_ns,
        });
        let mut told = 0;
        loop {
            let message = match read::<ToLeader>(&mut stream, MAX_HEAD) {
                // A sign of life that says nothing new: while engines load there are many.
                Ok((ToLeader::Beat { answers }, 0)) if answers == told => continue,
                Ok((ToLeader::Beat { answers }, 0)) => {
                    told = answers;
                    Message::Told(ToLeader::Beat { answers }, now_ns())
                }
                Ok((ToLeader::Answers, body)) => {
                    let wanted = self
                        .answers
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .take();
                    match wanted.filter(|wanted| wanted.bytes == body) {
                        Some(wanted) => Message::Answers(keep(&mut stream, &wanted)),
                        None => Message::Gone("it sent answers that nobody asked for".to_owned()),
                    }
                }
                Ok((message, 0)) => Message::Told(message, now_ns()),
                Ok(_) => Message::Gone("it sent a message with an unexpected body".to_owned()),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Message::Gone("its connection was closed".to_owned())
                }
                Err(error) => Message::Gone(error.to_string()),
            };
            let is_last = matches!(message, Message::Gone(_));
            if self.to_us.send((self.rank, message)).is_err() || is_last {
                return;
            }
        }
    }
}

/// A file of answers that is to come.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

/// What a rank sends, with the time at which something came.
struct Heard<'s> {
    stream: &'s TcpStream,
    heard_ns: &'s AtomicU64,
}

impl io::Read for Heard<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.heard_ns.store(now_ns(), Ordering::Relaxed);
        Ok(count)
    }
}

/// Writes a file of answers as it comes.
fn keep(from: &mut impl io::Read, wanted: &Wanted) -> io::Result<()> {
    let mut from = from.take(wanted.bytes);
    let mut options = File::options();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&wanted.path);
    let written = file.and_then(|mut file| io::copy(&mut from, &mut file));
    // What follows is the next message.
    io::copy(&mut from, &mut io::sink())?;
    if written? != wanted.bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}
