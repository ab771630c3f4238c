//! Records of a journal that are read once more.
//!
//! A result cannot keep everything that it needs of all records, so it reads some again: the
//! answers of two engines to one request, and the gaps between texts if there are very many.

use crate::journal::Event;
use crate::{Error, Result};
use prony_metrics::credit::{Overlap, Pairs};
use prony_metrics::facts::{Facts, Requests, Streams};
use prony_record::Record;
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;

/// Records by their place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RecordSource<'a> {
    /// At hand: the place is an index.
    Events(&'a [Event]),
    /// In a journal: the place is the number of bytes before the line.
    File(&'a Path),
}

/// A source that is being read.
#[derive(Debug)]
enum Open<'a> {
    Events(&'a [Event]),
    File {
        path: &'a Path,
        file: BufReader<File>,
        /// Bytes before what is read next.
        at: u64,
        line: Vec<u8>,
    },
}

impl<'a> RecordSource<'a> {
    /// Pairs the requests of two engines.
    pub(crate) fn pairs(self, baseline: &Requests, candidate: &Requests) -> Result<Pairs> {
        let (mut one, mut other) = (self.open()?, self.open()?);
        Pairs::new(baseline.facts(), candidate.facts(), |a, b| {
            Ok(Overlap::new(&*one.record(a)?, &*other.record(b)?))
        })
    }

    /// Times of the texts of requests.
    pub(crate) fn streams(self, requests: &Requests) -> Result<Streams> {
        requests.streams(|see| self.each(requests.facts(), see))
    }

    /// Reads the records of requests again.
    pub(crate) fn each(self, requests: &[Facts], see: &mut dyn FnMut(&Record)) -> Result<()> {
        let mut open = self.open()?;
        for request in requests {
            see(&*open.record(request.position)?);
        }
        Ok(())
    }

    fn open(self) -> Result<Open<'a>> {
        Ok(match self {
            Self::Events(events) => Open::Events(events),
            Self::File(path) => {
                let file = prony_files::open(path).map_err(Error::io(path))?;
                Open::File {
                    path,
                    file: BufReader::with_capacity(1 << 16, file),
                    at: 0,
                    line: Vec::new(),
                }
            }
        })
    }
}

impl Open<'_> {
    fn record(&mut self, position: u64) -> Result<Cow<'_, Record>> {
        match self {
            Self::Events(events) => match &events[position as usize] {
                Event::Request(record) => Ok(Cow::Borrowed(record)),
                other => {
                    unreachable!("a request's position is that of its event, not of {other:?}")
                }
            },
            Self::File {
                path,
                file,
                at,
                line,
            } => {
                let io = || Error::io(*path);
                let step = position.wrapping_sub(*at).cast_signed();
                // A short way leaves what is read ahead.
                let there = file.seek_relative(step);
                there
                    .or_else(|_| file.seek(SeekFrom::Start(position)).map(drop))
                    .map_err(io())?;
                line.clear();
                file.read_until(b'\n', line).map_err(io())?;
                *at = position + line.len() as u64;
                match serde_json::from_slice(line) {
                    Ok(Event::Request(record)) => Ok(Cow::Owned(*record)),
                    _ => Err(Error::Changed {
                        path: path.to_owned(),
                    }),
                }
            }
        }
    }
}
