//! The vocabulary in a GGUF file's metadata. Weights are never read.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

/// First bytes of a GGUF file.
pub(crate) const MAGIC: &[u8] = b"GGUF";
/// Maximum length of a text, in bytes.
const MAX_TEXT: u64 = 16 << 20;
/// Maximum number of entries in a file or in a list.
const MAX_ITEMS: u64 = 1 << 24;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Integer(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    List(Vec<Value>),
}

/// Metadata by key.
#[derive(Debug, Default)]
pub(crate) struct Gguf(pub(crate) HashMap<String, Value>);

/// Reasons why metadata cannot be read.
#[derive(Debug)]
pub(crate) enum Problem {
    Io(std::io::Error),
    Malformed(String),
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            return malformed("the GGUF file ends within its metadata");
        }
        Self::Io(error)
    }
}

fn malformed(reason: impl Into<String>) -> Problem {
    Problem::Malformed(reason.into())
}

impl Value {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Gguf {
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.text()
    }

    pub(crate) fn integer(&self, key: &str) -> Option<i128> {
        match self.0.get(key) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        match self.0.get(key) {
            Some(Value::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }

    pub(crate) fn list(&self, key: &str) -> Option<&[Value]> {
        match self.0.get(key) {
            Some(Value::List(list)) => Some(list),
            _ => None,
        }
    }
}

/// Reads the metadata of a file.
pub(crate) fn read(path: &Path) -> Result<Gguf, Problem> {
    let mut reader = Reader(BufReader::with_capacity(1 << 20, prony_files::open(path)?));
    if reader.bytes::<4>()? != MAGIC {
        return Err(malformed("it is no GGUF file"));
    }
    let version = reader.u32()?;
    if !matches!(version, 2 | 3) {
        return Err(malformed(format!(
            "it is a GGUF file of version {version}; supported are 2 and 3"
        )));
    }
    let _tensors = reader.u64()?;
    let entries = reader.length(MAX_ITEMS, "metadata entries")?;
    let mut metadata = HashMap::new();
    for _ in 0..entries {
        let key = reader.text()?;
        let kind = reader.u32()?;
        let value = reader.value(kind, true)?;
        metadata.insert(key, value);
    }
    Ok(Gguf(metadata))
}

struct Reader(BufReader<File>);

impl Reader {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, Problem> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Problem> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn length(&mut self, most: u64, what: &str) -> Result<u64, Problem> {
        let length = self.u64()?;
        if length > most {
            return Err(malformed(format!("it claims {length} {what}")));
        }
        Ok(length)
    }

    fn text(&mut self) -> Result<String, Problem> {
        let length = self.length(MAX_TEXT, "bytes for a text")?;
        let mut text = Vec::new();
        self.0.by_ref().take(length).read_to_end(&mut text)?;
        if text.len() as u64 != length {
            return Err(malformed("the GGUF file ends within a text"));
        }
        String::from_utf8(text).map_err(|_| malformed("a text of its metadata is not UTF-8"))
    }

    /// Reads a value of a kind; the numbers are those of the format.
    fn value(&mut self, kind: u32, may_be_list: bool) -> Result<Value, Problem> {
        Ok(match kind {
            0 => Value::Integer(self.bytes::<1>().map(u8::from_le_bytes)?.into()),
            1 => Value::Integer(self.bytes::<1>().map(i8::from_le_bytes)?.into()),
            2 => Value::Integer(self.bytes().map(u16::from_le_bytes)?.into()),
            3 => Value::Integer(self.bytes().map(i16::from_le_bytes)?.into()),
            4 => Value::Integer(self.u32()?.into()),
            5 => Value::Integer(self.bytes().map(i32::from_le_bytes)?.into()),
            6 => Value::Float(self.bytes().map(f32::from_le_bytes)?.into()),
            7 => Value::Bool(self.bytes::<1>()? != [0]),
            8 => Value::Text(self.text()?),
            9 if may_be_list => {
                let kind = self.u32()?;
                let length = self.length(MAX_ITEMS, "entries for a list")?;
                let items = (0..length).map(|_| self.value(kind, false));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            10 => Value::Integer(self.u64()?.into()),
            11 => Value::Integer(self.bytes().map(i64::from_le_bytes)?.into()),
            12 => Value::Float(self.bytes().map(f64::from_le_bytes)?),
            _ => {
                return Err(malformed(format!(
                    "its metadata has a value of kind {kind}"
                )));
            }
        })
    }
}
