//! Recognises content that is not UTF-8 text by its bytes, and names the command that makes
//! text of it.
//!
//! [`text`] is the one way from bytes to text: it takes a byte order mark off and says of
//! anything else what it is. Whoever reads a file in parts asks [`Kind::of`] about its
//! beginning.

use std::fmt;
use std::path::Path;

/// Bytes of a beginning that are enough for [`Kind::of`].
pub const BEGINNING: usize = 512;

/// The byte order mark of UTF-8.
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// Content that is not UTF-8 text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text of two bytes a character, the low one first.
    Utf16Le,
    /// Text of two bytes a character, the high one first.
    Utf16Be,
    /// Text of four bytes a character, with a byte order mark.
    Utf32,
    /// Text of one byte a character, as of ISO 8859-1 and Windows-1252.
    Latin1,
    /// Compressed by gzip.
    Gzip,
    /// Compressed by Zstandard.
    Zstd,
    /// Compressed by bzip2.
    Bzip2,
    /// Compressed by xz.
    Xz,
    /// A ZIP archive.
    Zip,
    /// A workbook or document of an office program: a ZIP archive by its form.
    Office,
    /// A 7-Zip archive.
    SevenZip,
    /// A tar archive.
    Tar,
    /// A table of Apache Parquet.
    Parquet,
    /// A table of Apache Arrow or Feather.
    Arrow,
    /// A database of `SQLite`.
    Sqlite,
    /// An array of `NumPy`.
    Npy,
    /// A model in GGUF.
    Gguf,
    /// A PDF document.
    Pdf,
    /// An image: PNG, JPEG, GIF or WebP.
    Image,
    /// A program or library: ELF, Mach-O or WASM.
    Program,
    /// None of the others, with bytes that no text has.
    Binary,
}

/// Signatures at the beginning of a file.
const SIGNATURES: &[(&[u8], Kind)] = &[
    (b"\x1f\x8b", Kind::Gzip),
    (b"\x28\xb5\x2f\xfd", Kind::Zstd),
    (b"BZh", Kind::Bzip2),
    (b"\xfd7zXZ\0", Kind::Xz),
    (b"PK\x03\x04", Kind::Zip),
    (b"PK\x05\x06", Kind::Zip),
    (b"7z\xbc\xaf\x27\x1c", Kind::SevenZip),
    (b"PAR1", Kind::Parquet),
    (b"PARE", Kind::Parquet),
    (b"ARROW1", Kind::Arrow),
    (b"FEA1", Kind::Arrow),
    (b"SQLite format 3\0", Kind::Sqlite),
    (b"\x93NUMPY", Kind::Npy),
    (b"GGUF", Kind::Gguf),
    (b"%PDF-", Kind::Pdf),
    (b"\x89PNG\r\n", Kind::Image),
    (b"\xff\xd8\xff", Kind::Image),
    (b"GIF8", Kind::Image),
    (b"\x7fELF", Kind::Program),
    (b"\0asm", Kind::Program),
    (b"\xcf\xfa\xed\xfe", Kind::Program),
    (b"\xca\xfe\xba\xbe", Kind::Program),
    // UTF-32 before UTF-16, whose mark is the beginning of the other's.
    (b"\xff\xfe\0\0", Kind::Utf32),
    (b"\0\0\xfe\xff", Kind::Utf32),
    (b"\xff\xfe", Kind::Utf16Le),
    (b"\xfe\xff", Kind::Utf16Be),
];

impl Kind {
    /// Recognises the content of a file by its beginning, of which [`BEGINNING`] bytes are
    /// enough. `None` if it may be UTF-8 text; a beginning may end inside a character.
    pub fn of(beginning: &[u8]) -> Option<Self> {
        let signed = SIGNATURES
            .iter()
            .find(|(sign, _)| beginning.starts_with(sign));
        if let Some((_, kind)) = signed {
            let is_office = *kind == Self::Zip
                && [&b"[Content_Types].xml"[..], b"mimetypeapplication/vnd"]
                    .iter()
                    .any(|name| beginning.get(30..).is_some_and(|at| at.starts_with(name)));
            return Some(if is_office { Self::Office } else { *kind });
        }
        if beginning.starts_with(b"RIFF") && beginning.get(8..12) == Some(b"WEBP") {
            return Some(Self::Image);
        }
        if beginning.get(257..262) == Some(b"ustar") {
            return Some(Self::Tar);
        }
        if beginning.contains(&0) {
            return Some(without_mark(beginning).unwrap_or(Self::Binary));
        }
        let Err(error) = std::str::from_utf8(beginning) else {
            return None;
        };
        // A character that is cut off is not wrong.
        error.error_len()?;
        let is_control = |byte: &u8| *byte < 0x20 && !b"\t\n\r\x0c\x1b".contains(byte);
        let controls = beginning.iter().filter(|byte| is_control(byte)).count();
        Some(if controls > 0 {
            Self::Binary
        } else {
            Self::Latin1
        })
    }

    /// Its name, to stand after `it is`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf16Le | Self::Utf16Be => "text in UTF-16",
            Self::Utf32 => "text in UTF-32",
            Self::Latin1 => "text in an encoding of one byte a character, such as Latin-1",
            Self::Gzip => "compressed with gzip",
            Self::Zstd => "compressed with zstd",
            Self::Bzip2 => "compressed with bzip2",
            Self::Xz => "compressed with xz",
            Self::Zip => "a ZIP archive",
            Self::Office => "a document or workbook of an office program",
            Self::SevenZip => "a 7-Zip archive",
            Self::Tar => "a tar archive",
            Self::Parquet => "a Parquet table",
            Self::Arrow => "an Arrow table",
            Self::Sqlite => "a SQLite database",
            Self::Npy => "a NumPy array",
            Self::Gguf => "a GGUF model",
            Self::Pdf => "a PDF document",
            Self::Image => "an image",
            Self::Program => "a program or library",
            Self::Binary => "binary data",
        }
    }

    /// The command that makes a file of UTF-8 text of this one; `None` if there is no such
    /// command.
    pub fn command(self, path: &Path) -> Option<String> {
        let file = shell_word(&path.display().to_string());
        let bare = |extension: &str| {
            let is_named = path.extension().is_some_and(|it| it == extension);
            let bare = if is_named {
                path.with_extension("")
            } else {
                path.with_extension("txt")
            };
            shell_word(&bare.display().to_string())
        };
        let convert = |from: &str| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let new = path.with_file_name(format!("utf8-{name}"));
            let new = shell_word(&new.display().to_string());
            Some(format!("iconv -f {from} -t UTF-8 {file} > {new}"))
        };
        let frame = |read: &str| {
            let new = path.with_extension("jsonl").display().to_string();
            let path = path.display().to_string();
            let program = format!(
                "import pandas; pandas.{read}({path:?}).to_json({new:?}, orient=\"records\", lines=True)"
            );
            Some(format!("python3 -c {}", shell_word(&program)))
        };
        match self {
            // The mark says which of the two it is; without one the name has to.
            Self::Utf16Le => convert("UTF-16LE"),
            Self::Utf16Be => convert("UTF-16BE"),
            Self::Utf32 => convert("UTF-32"),
            Self::Latin1 => convert("WINDOWS-1252"),
            Self::Gzip => Some(format!("gunzip -c {file} > {}", bare("gz"))),
            Self::Zstd => Some(format!("zstd -dc {file} > {}", bare("zst"))),
            Self::Bzip2 => Some(format!("bunzip2 -c {file} > {}", bare("bz2"))),
            Self::Xz => Some(format!("xz -dc {file} > {}", bare("xz"))),
            Self::Zip => Some(format!("unzip {file}")),
            Self::SevenZip => Some(format!("7z x {file}")),
            Self::Tar => Some(format!("tar xf {file}")),
            Self::Parquet => frame("read_parquet"),
            Self::Arrow => frame("read_feather"),
            Self::Office
            | Self::Sqlite
            | Self::Npy
            | Self::Gguf
            | Self::Pdf
            | Self::Image
            | Self::Program
            | Self::Binary => None,
        }
    }
}

/// Recognises UTF-16 without a byte order mark: text of ASCII letters has a zero beside each.
fn without_mark(beginning: &[u8]) -> Option<Kind> {
    let pairs = beginning.as_chunks::<2>().0;
    let is_ascii = |byte: u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let are = |low: usize| {
        let ascii = |pair: &&[u8; 2]| is_ascii(pair[low]) && pair[1 - low] == 0;
        pairs.len() >= 2 && pairs.iter().filter(ascii).count() * 10 >= pairs.len() * 9
    };
    match (are(0), are(1)) {
        (true, _) => Some(Kind::Utf16Le),
        (_, true) => Some(Kind::Utf16Be),
        _ => None,
    }
}

/// A word of a shell's command line.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Bytes that are not UTF-8 text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotText {
    /// Their kind.
    pub kind: Kind,
    /// Offset of the first byte that no UTF-8 text has; 0 if the beginning says it all.
    pub at: usize,
}

impl NotText {
    /// The way out, in words.
    pub fn help(&self, path: &Path) -> String {
        match self.kind.command(path) {
            Some(command) => format!("make UTF-8 text of it: `{command}`"),
            None => "name a file with UTF-8 text in it".to_owned(),
        }
    }
}

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is not UTF-8 text: it is {}", self.kind.name())?;
        match self.at {
            0 => Ok(()),
            at => write!(f, " (byte {at})"),
        }
    }
}

impl std::error::Error for NotText {}

/// Makes text of the content of a whole file, without its byte order mark.
pub fn text(mut bytes: Vec<u8>) -> Result<String, NotText> {
    let beginning = &bytes[..bytes.len().min(BEGINNING)];
    if let Some(kind) = Kind::of(beginning).filter(|kind| *kind != Kind::Latin1) {
        // NUL is UTF-8; who reads the text says where it must not be.
        let is_text = kind == Kind::Binary && std::str::from_utf8(&bytes).is_ok();
        if !is_text {
            return Err(NotText { kind, at: 0 });
        }
    }
    if bytes.starts_with(UTF8_MARK) {
        bytes.drain(..UTF8_MARK.len());
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let is_control = |byte: &u8| *byte < 0x20 && !b"\t\n\r\x0c\x1b".contains(byte);
        let kind = if bytes.iter().any(is_control) {
            Kind::Binary
        } else {
            Kind::Latin1
        };
        NotText { kind, at }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn kind(bytes: &[u8]) -> Kind {
        text(bytes.to_vec()).expect_err("it is no UTF-8 text").kind
    }

    fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    }

    #[test]
    fn a_byte_order_mark_is_taken_off() {
        for (bytes, wanted) in [
            (&b"\xef\xbb\xbfname: a"[..], "name: a"),
            (b"name: a", "name: a"),
            (b"\xef\xbb\xbf", ""),
            (b"", ""),
            ("é\0".as_bytes(), "é\0"),
        ] {
            assert_eq!(text(bytes.to_vec()).as_deref(), Ok(wanted));
        }
    }

    #[test]
    fn text_in_other_encodings_is_told() {
        let words = "version: 1\nname: grün\n";
        let marked = |order| utf16(&format!("\u{feff}{words}"), order);
        assert_eq!(kind(&marked(u16::to_le_bytes)), Kind::Utf16Le);
        assert_eq!(kind(&marked(u16::to_be_bytes)), Kind::Utf16Be);
        assert_eq!(kind(&utf16(words, u16::to_le_bytes)), Kind::Utf16Le);
        assert_eq!(kind(&utf16(words, u16::to_be_bytes)), Kind::Utf16Be);
        assert_eq!(kind(b"\xff\xfe\0\0a\0\0\0"), Kind::Utf32);
        let latin = b"name: gr\xfcn";
        assert_eq!(kind(latin), Kind::Latin1);
        let found = text(latin.to_vec()).expect_err("it is Latin-1");
        assert_eq!(found.at, 8);
        // Also where it is not in the beginning.
        let late = [&[b'a'; 2 * BEGINNING][..], b"\xfc\n"].concat();
        assert_eq!(kind(&late), Kind::Latin1);
    }

    #[test]
    fn a_beginning_may_end_inside_a_character() {
        let long = "ü".repeat(BEGINNING);
        assert_eq!(Kind::of(&long.as_bytes()[..BEGINNING - 1]), None);
        assert_eq!(text(long.clone().into_bytes()), Ok(long));
    }

    #[test]
    fn other_files_are_told() {
        for (bytes, wanted) in [
            (&b"\x1f\x8b\x08\0"[..], Kind::Gzip),
            (b"PAR1\x15\x04", Kind::Parquet),
            (b"PK\x03\x04\x14\0", Kind::Zip),
            (b"SQLite format 3\0", Kind::Sqlite),
            (b"GGUF\x03\0\0\0", Kind::Gguf),
            (b"a\0\x01\x02\xff\xfe", Kind::Binary),
            (b"ab\x01\xff", Kind::Binary),
        ] {
            assert_eq!(kind(bytes), wanted, "{bytes:?}");
        }
    }

    #[test]
    fn the_command_makes_text_of_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let words = "name: grün\n";
        let gzip = |bytes: &[u8]| {
            let mut child = Command::new("gzip")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("gzip");
            std::io::Write::write_all(&mut child.stdin.take().expect("piped"), bytes)
                .expect("it reads");
            child.wait_with_output().expect("it ends").stdout
        };
        for (name, bytes, made) in [
            (
                "it's 16.yaml",
                utf16(words, u16::to_be_bytes),
                "utf8-it's 16.yaml",
            ),
            ("latin.yaml", b"name: gr\xfcn\n".to_vec(), "utf8-latin.yaml"),
            ("some.yaml.gz", gzip(words.as_bytes()), "some.yaml"),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, &bytes).expect("a file");
            let found = text(bytes).expect_err(name);
            let command = found.kind.command(&path).expect(name);
            let done = Command::new("sh").args(["-c", &command]).status();
            assert!(done.expect("a shell").success(), "{command}");
            let made = std::fs::read_to_string(folder.path().join(made));
            assert_eq!(made.expect(&command), words);
        }
    }
}
