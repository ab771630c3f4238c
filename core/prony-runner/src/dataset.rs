//! Datasets on disk: a file, also packed, or a folder of texts.

mod inspection;

pub use inspection::{Inspection, Message, Sent, Spread, inspect};

use flate2::read::MultiGzDecoder;
use prony_config as config;
use prony_files::kind::{BEGINNING, Kind, NotText};
use prony_prompts::dataset::{Conversation, Format, Input, Length, Options, Selection};
use prony_prompts::{OfDataset, of_dataset};
use prony_tokenizer::Tokenizer;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

/// Maximum size of a text in a folder, in bytes.
const MAX_TEXT: u64 = 64 << 20;
/// Maximum number of files in a folder.
const MAX_FILES: usize = 1_000_000;
/// Endings of files that are datasets of their own and no prompts.
const DATASETS: [&str; 6] = ["csv", "gz", "json", "jsonl", "parquet", "tsv"];

/// Options of a pipeline's dataset. `is_timed` asks for a time of each conversation.
pub fn options(dataset: &config::Dataset, is_timed: bool, seed: u64) -> Result<Options, String> {
    let length = |it: config::Interval| Length {
        min: it.min.unwrap_or(0).into(),
        max: it.max.map_or(u64::MAX, u64::from),
    };
    let format = dataset.format.map(|format| {
        let name = format.name();
        Format::named(name).ok_or_else(|| format!("there is no format `{name}`"))
    });
    Ok(Options {
        format: format.transpose()?,
        column: dataset.column.clone(),
        selection: Selection {
            offset: dataset.offset,
            limit: dataset.limit,
            sample: dataset.sample,
            is_at_most: false,
            chars: dataset.input_chars.map(length),
            tokens: dataset.input_tokens.map(length),
            output: dataset.output_tokens.map(length),
        },
        block_tokens: dataset.block_tokens,
        is_timed,
        seed,
    })
}

/// Reads the prompts of the dataset at `path`, with the tokenizer at another path where one is
/// needed. `see` is called with each conversation that is read. The errors are for people and
/// follow the name of the dataset: `:line:column: message`.
pub fn read(
    path: &Path,
    options: &Options,
    max_tokens: u32,
    tokenizer: Option<&Path>,
    see: &mut dyn FnMut(&Conversation),
) -> Result<OfDataset, Vec<String>> {
    let told = |message: String| vec![format!(": {message}")];
    let open = || {
        let path = tokenizer.ok_or_else(|| {
            "it needs a tokenizer: add `tokenizer` or `path` to the model".to_owned()
        })?;
        Tokenizer::open(path).map_err(|error| error.to_string())
    };
    let mut name = String::new();
    let input = open_input(path, &mut name).map_err(told)?;
    of_dataset(input, options, max_tokens, open, see)
}

/// A path that stands for standard input. Paths in pipelines have a folder before them, so it is
/// none of theirs.
const STDIN: &str = "-";

/// Opens a dataset. `name` becomes that of the unpacked file.
fn open_input<'n>(path: &Path, name: &'n mut String) -> Result<Input<'n>, String> {
    if path.is_dir() {
        return Ok(Input::Folder(Box::new(texts(path)?)));
    }
    let file: Box<dyn Read> = if path == Path::new(STDIN) {
        Box::new(io::stdin())
    } else {
        Box::new(prony_files::open(path).map_err(|error| error.to_string())?)
    };
    let file_name = path.file_name().unwrap_or_default();
    *name = file_name.to_string_lossy().to_ascii_lowercase();
    let (head, rest) = beginning(file).map_err(|error| error.to_string())?;
    let packed: Box<dyn Read> = Box::new(Cursor::new(head.clone()).chain(rest));
    if Kind::of(&head) != Some(Kind::Gzip) {
        is_text(&head, path, "")?;
        return Ok(Input::File {
            name,
            bytes: packed,
        });
    }
    if let Some(unpacked) = name.strip_suffix(".gz") {
        name.truncate(unpacked.len());
    }
    let unpacked = MultiGzDecoder::new(BufReader::new(packed));
    let (head, rest) =
        beginning(unpacked).map_err(|error| format!("it cannot be unpacked: {error}"))?;
    is_text(&head, &path.with_extension(""), "unpacked by gzip, ")?;
    Ok(Input::File {
        name,
        bytes: Box::new(Cursor::new(head).chain(rest)),
    })
}

/// The first bytes of a file, and the rest.
fn beginning<R: Read>(mut file: R) -> io::Result<(Vec<u8>, R)> {
    let mut head = Vec::new();
    file.by_ref()
        .take(BEGINNING as u64)
        .read_to_end(&mut head)?;
    Ok((head, file))
}

/// Fails unless a file may be UTF-8 text, and says what it is and how to make text of it.
fn is_text(head: &[u8], path: &Path, how: &str) -> Result<(), String> {
    match Kind::of(head) {
        None => Ok(()),
        Some(kind) => {
            let not = NotText { kind, at: 0 };
            Err(format!("{how}{not}: {}", not.help(path)))
        }
    }
}

/// The texts of a folder, in the order of their names; hidden files are none of them.
fn texts(
    folder: &Path,
) -> Result<impl Iterator<Item = (String, Result<String, String>)> + use<>, String> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        if DATASETS.contains(&&*ending.to_ascii_lowercase()) {
            return Err(format!(
                "it is a folder, of which each file would be a prompt, and `{name}` in it is a dataset of its own: name that file"
            ));
        }
        paths.push(path);
        if paths.len() > MAX_FILES {
            return Err(format!("it has more than {MAX_FILES} files"));
        }
    }
    if paths.is_empty() {
        return Err("it is a folder without files".to_owned());
    }
    paths.sort();
    Ok(paths.into_iter().map(|path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = prony_files::read_text(&path, MAX_TEXT);
        (name.into_owned(), text.map_err(|error| error.to_string()))
    }))
}

/// Format of a dataset by its first record, and the signs of it.
/// The error follows the name of the dataset.
pub fn recognise(path: &Path, dataset: &config::Dataset) -> Result<(Format, String), String> {
    let first = config::Dataset {
        offset: 0,
        limit: Some(1),
        sample: None,
        input_chars: None,
        input_tokens: None,
        output_tokens: None,
        ..dataset.clone()
    };
    let mut name = String::new();
    let options = options(&first, false, 0)?;
    let input = open_input(path, &mut name).map_err(|message| format!(": {message}"))?;
    let no_tokens = &mut |_: &str| Err("no tokens are counted".to_owned());
    let read = prony_prompts::dataset::read(input, &options, no_tokens, &mut |_| ());
    match read {
        Ok(read) => Ok((read.format, read.recognised)),
        Err(problems) => Err(prony_prompts::dataset::describe(&problems)
            .into_iter()
            .next()
            .unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    fn read_at(path: &Path, limit: Option<u32>) -> Result<Vec<String>, Vec<String>> {
        let options = Options {
            selection: Selection {
                limit,
                ..Selection::default()
            },
            ..Options::default()
        };
        let read = read(path, &options, 9, None, &mut |_| ())?;
        Ok(read.prompts.into_iter().map(|it| it.text).collect())
    }

    #[test]
    fn both_lists_of_formats_are_the_same() {
        for format in config::DatasetFormat::ALL {
            let name = format.name();
            assert!(Format::named(name).is_some(), "{name}");
            let json = serde_json::to_value(format).expect("a name");
            assert_eq!(json, name);
        }
        assert_eq!(Format::all().count(), config::DatasetFormat::ALL.len());
    }

    #[test]
    fn packed_files_are_read_as_plain_ones() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let lines = b"{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}\n";
        let marked = [b"\xef\xbb\xbf", &lines[..]].concat();
        for (name, content) in [
            ("plain.jsonl", lines.to_vec()),
            ("packed.jsonl.gz", packed(lines)),
            ("marked.jsonl", marked.clone()),
            ("marked.jsonl.gz", packed(&marked)),
            // Of two members, as `cat a.gz b.gz` makes them.
            (
                "two.gz",
                [packed(&lines[..15]), packed(&lines[15..])].concat(),
            ),
            ("noname", packed(lines)),
        ] {
            std::fs::write(at(name), content).expect("a file");
            assert_eq!(
                read_at(&at(name), None),
                Ok(vec!["a".to_owned(), "b".to_owned()]),
                "{name}"
            );
        }
        std::fs::write(at("c.txt.gz"), packed(b"one\n\ntwo\n")).expect("a file");
        assert_eq!(read_at(&at("c.txt.gz"), None).map(|it| it.len()), Ok(2));
        let cut = packed(&lines.repeat(1000));
        std::fs::write(at("cut.gz"), &cut[..cut.len() / 2]).expect("a file");
        assert!(read_at(&at("cut.gz"), None).is_err());
    }

    #[test]
    fn what_is_no_text_is_told_with_the_command_that_converts() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let utf16: Vec<u8> = "\u{feff}{\"prompt\":\"a\"}"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        for (name, content, words) in [
            ("a.jsonl", utf16.clone(), "iconv -f UTF-16LE"),
            ("a.jsonl.gz", packed(&utf16), "text in UTF-16"),
            (
                "b.txt",
                b"Gr\xfcn ist die Farbe".to_vec(),
                "iconv -f WINDOWS-1252",
            ),
            ("c.parquet", b"PAR1\x15\x04".to_vec(), "a Parquet table"),
            ("d.zip", b"PK\x03\x04rest".to_vec(), "a ZIP archive"),
            (
                "e.xlsx",
                b"PK\x03\x04aaaaaaaaaaaaaaaaaaaaaaaaaa[Content_Types].xml".to_vec(),
                "workbook",
            ),
            ("f.zst", b"\x28\xb5\x2f\xfd".to_vec(), "zstd -dc"),
        ] {
            std::fs::write(at(name), content).expect("a file");
            let problems = read_at(&at(name), None).expect_err(name);
            assert!(problems[0].contains(words), "{problems:?}");
            assert!(problems[0].starts_with(": "), "{problems:?}");
        }
    }

    #[test]
    fn a_folder_is_a_prompt_each_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("b.txt"), "two\nlines").expect("a file");
        std::fs::write(at("a.md"), b"\xef\xbb\xbfone").expect("a file");
        std::fs::write(at(".hidden"), "no").expect("a file");
        let texts = vec!["one".to_owned(), "two\nlines".to_owned()];
        assert_eq!(read_at(folder.path(), None), Ok(texts));
        std::fs::write(at("c.txt"), b"\xff\xfea\0").expect("a file");
        let problems = read_at(folder.path(), None).expect_err("a file in UTF-16");
        assert!(
            problems[0].starts_with("/c.txt: it is not UTF-8 text"),
            "{problems:?}"
        );
        std::fs::write(at("d.jsonl"), "{}").expect("a file");
        let problems = read_at(folder.path(), None).expect_err("a dataset");
        assert!(problems[0].contains("name that file"), "{problems:?}");
    }

    #[test]
    fn bombs_and_endless_lines_are_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bomb.jsonl.gz");
        for byte in [b"a", b" ", b"\n"] {
            std::fs::write(&path, packed(&byte.repeat(80 << 20))).expect("a file");
            let problems = read_at(&path, Some(1)).expect_err("nothing in it");
            assert!(problems[0].contains("64 MiB"), "{problems:?}");
        }
        // What lies behind the limit is not unpacked.
        let mut lines = b"{\"prompt\":\"a\"}\n".to_vec();
        lines.extend(b"x".repeat(80 << 20));
        std::fs::write(&path, packed(&lines)).expect("a file");
        assert_eq!(read_at(&path, Some(1)), Ok(vec!["a".to_owned()]));
    }

    #[test]
    fn a_file_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("none.jsonl");
        let problems = read_at(&path, None).expect_err("it is not there");
        assert!(problems[0].contains("No such file"), "{problems:?}");
    }
}
