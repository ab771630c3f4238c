//! Secrets: values that no text of prony shows, and their removal from it.
//!
//! A secret is found by its value, wherever it comes from: a server that echoes a key tells
//! as much as a configuration that holds it.

mod gather;
mod names;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use gather::{Gathered, Literal, in_texts};
pub(crate) use names::check as check_names;

/// Least length of a value that is masked, in bytes: a shorter one, such as `1` or `true`,
/// occurs in many words.
pub(crate) const MIN_SECRET: usize = 6;

/// Least length of a part of a secret that is masked: the half of it, and at least this.
const MIN_PART: usize = 8;

/// Length of a value beyond which its beginning and its end are looked for, in bytes.
const LONG: usize = 1024;
/// Length of these, in bytes.
const MARGIN: usize = 256;
/// Maximum number of secrets, and of their bytes of which no more than [`LONG`] count each.
pub(crate) const MAX_SECRETS: (usize, usize) = (1000, 32 << 10);

/// Maximum length of a lower-case word that may belong to the format of a document.
const MAX_WORD: usize = 24;

/// The secrets of a pipeline.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Name and value of each, also of those that are too short to be masked.
    values: Vec<(String, String)>,
    finder: Option<Arc<Finder>>,
}

/// Names only.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.values.iter().map(|(name, _)| name))
            .finish()
    }
}

impl PartialEq for Secrets {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

struct Finder {
    automaton: AhoCorasick,
    forms: Vec<Form>,
}

/// A text by which a secret is found.
struct Form {
    name: String,
    value: String,
    how: How,
}

#[derive(Clone, Copy, PartialEq)]
enum How {
    /// The value, in any case.
    Plain,
    /// An encoding of it.
    Encoded(&'static str),
    /// Its beginning, as where a text is cut.
    Head,
    /// Its end.
    Tail,
}

impl Secrets {
    /// Secrets by name and value. Of values that are equal the first counts.
    pub(crate) fn new(values: Vec<(String, String)>) -> Self {
        let mut forms = Vec::new();
        let mut patterns: Vec<String> = Vec::new();
        let mut known = BTreeSet::new();
        for (name, value) in &values {
            if value.len() < MIN_SECRET {
                continue;
            }
            for (how, pattern) in forms_of(value) {
                if pattern.len() >= MIN_SECRET && known.insert(pattern.to_ascii_lowercase()) {
                    patterns.push(pattern);
                    forms.push(Form {
                        name: name.clone(),
                        value: value.clone(),
                        how,
                    });
                }
            }
        }
        let automaton = (!patterns.is_empty()).then(|| {
            AhoCorasick::builder()
                .ascii_case_insensitive(true)
                .match_kind(MatchKind::LeftmostLongest)
                .build(&patterns)
                .expect("an environment is too small for an automaton that is too large")
        });
        Self {
            values,
            finder: automaton.map(|automaton| Arc::new(Finder { automaton, forms })),
        }
    }

    /// The value of a secret by the name that it has in a written pipeline.
    pub fn value(&self, name: &str) -> Option<&str> {
        let mut values = self.values.iter();
        values
            .find_map(|(known, value)| (known == name).then_some(value))
            .map(String::as_str)
    }

    /// A text with every secret in it replaced by its name, as in `(secret HF_TOKEN)`.
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut masked = String::new();
        let mut at = 0;
        self.each(text.as_bytes(), |form, found| {
            let start = text.ceil_char_boundary(found.start).max(at);
            let end = text.floor_char_boundary(found.end).max(start);
            masked.push_str(&text[at..start]);
            masked.push_str(&form.mark(&text[start..end]));
            at = end;
        });
        if at == 0 && masked.is_empty() {
            return Cow::Borrowed(text);
        }
        masked.push_str(&text[at..]);
        Cow::Owned(masked)
    }

    /// A part of a file name without secrets.
    pub fn file_name<'t>(&self, name: &'t str) -> Cow<'t, str> {
        match self.mask(name) {
            Cow::Borrowed(name) => Cow::Borrowed(name),
            Cow::Owned(name) => {
                let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
                Cow::Owned(name.replace(|c| !is_plain(c), "_"))
            }
        }
    }

    /// As [`Self::mask`] for JSON: its strings are masked, so it stays JSON.
    pub fn mask_json<'t>(&self, json: &'t str) -> Cow<'t, str> {
        self.mask_strings(json, false)
    }

    /// A value as it may be written. Fails if it cannot be written and read as JSON.
    pub fn masked<'v, T>(&self, value: &'v T) -> serde_json::Result<Cow<'v, T>>
    where
        T: Serialize + DeserializeOwned + Clone,
    {
        if self.finder.is_none() {
            return Ok(Cow::Borrowed(value));
        }
        let json = serde_json::to_string(value)?;
        let masked = match self.mask_strings(&json, false) {
            Cow::Borrowed(_) => return Ok(Cow::Borrowed(value)),
            Cow::Owned(masked) => serde_json::from_str(&masked),
        };
        // A secret that is a word of the format, such as `engine`, cannot be masked there.
        let masked = masked.or_else(|_| serde_json::from_str(&self.mask_strings(&json, true)));
        masked.map(Cow::Owned)
    }

    /// Overwrites every secret with `*`, so that places stay the same. Returns `true` if there
    /// was one.
    pub fn blank(&self, text: &mut [u8]) -> bool {
        let mut places = Vec::new();
        self.each(text, |_, found| places.push(found));
        for place in &places {
            text[place.clone()].fill(b'*');
        }
        !places.is_empty()
    }

    /// Length of the longest text by which a secret is found, in bytes; 0 if nothing is masked.
    pub fn longest(&self) -> usize {
        let finder = self.finder.as_ref();
        finder.map_or(0, |finder| finder.automaton.max_pattern_len())
    }

    /// Calls `found` with every place of a secret, in order.
    fn each(&self, text: &[u8], mut found: impl FnMut(&Form, Range<usize>)) {
        let Some(finder) = &self.finder else {
            return;
        };
        let mut end = 0;
        for matched in finder.automaton.find_iter(text) {
            let form = &finder.forms[matched.pattern()];
            let range = form.extended(text, matched.range(), end);
            if range.start < range.end {
                end = range.end;
                found(form, range);
            }
        }
    }

    /// Masks the strings of a JSON text. Keys that are words, and with `spare_words` values
    /// that are, may belong to the format and stay.
    fn mask_strings<'t>(&self, json: &'t str, spare_words: bool) -> Cow<'t, str> {
        let mut any = false;
        self.each(json.as_bytes(), |_, _| any = true);
        if !any {
            return Cow::Borrowed(json);
        }
        let mut masked = String::with_capacity(json.len());
        let mut at = 0;
        while let Some(open) = json[at..].find('"').map(|open| at + open) {
            let close = closing_quote(json, open);
            masked.push_str(&json[at..open]);
            let written = &json[open..close];
            let is_key = json[close..].trim_start().starts_with(':');
            let text: Option<String> = serde_json::from_str(written).ok();
            let stays = |text: &String| (is_key || spare_words) && is_word(text);
            match text
                .filter(|text| !stays(text))
                .as_deref()
                .map(|text| self.mask(text))
            {
                Some(Cow::Owned(text)) => {
                    masked.push_str(&serde_json::Value::from(text).to_string());
                }
                _ => masked.push_str(written),
            }
            at = close;
        }
        masked.push_str(&json[at..]);
        Cow::Owned(masked)
    }
}

/// The end of the JSON string that opens at `open`, behind its quotation mark.
fn closing_quote(json: &str, open: usize) -> usize {
    let mut escaped = false;
    for (at, byte) in json.bytes().enumerate().skip(open + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    json.len()
}

/// Returns `true` if a text may be a key or a word of a format.
fn is_word(text: &str) -> bool {
    let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
    text.len() <= MAX_WORD && text.bytes().all(is_plain)
}

impl Form {
    /// The text in place of `found`. Other spellings get other texts, so that what differs
    /// still does.
    fn mark(&self, found: &str) -> String {
        let name = &self.name;
        match self.how {
            How::Plain if found == self.value => format!("(secret {name})"),
            How::Plain if found == self.value.to_uppercase() => {
                format!("(secret {name}, upper case)")
            }
            How::Plain if found == self.value.to_lowercase() => {
                format!("(secret {name}, lower case)")
            }
            How::Plain => format!("(secret {name}, in another case)"),
            How::Encoded(encoding) => format!("(secret {name}, {encoding})"),
            How::Head | How::Tail => format!("(secret {name}, in part)"),
        }
    }

    /// The place of a part of the secret, with as much more of it as is there behind `from`.
    fn extended(&self, text: &[u8], found: Range<usize>, from: usize) -> Range<usize> {
        let value = self.value.as_bytes();
        let start = found.start.max(from);
        match self.how {
            How::Plain | How::Encoded(_) => start..found.end,
            How::Head => {
                let rest = value.iter().skip(found.len()).zip(&text[found.end..]);
                let more = rest.take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
                start..found.end + more
            }
            How::Tail => {
                let before = value.iter().rev().skip(found.len());
                let there = text[from.min(found.start)..found.start].iter().rev();
                let pairs = before.zip(there);
                let more = pairs.take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
                (found.start - more).max(from)..found.end
            }
        }
    }
}

/// Characters that RFC 3986 leaves as they are.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// The same, and `/`.
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// The texts by which a value is found, in any ASCII case.
fn forms_of(value: &str) -> Vec<(How, String)> {
    if value.len() <= LONG {
        return forms_of_short(value);
    }
    let head = &value[..value.floor_char_boundary(MARGIN)];
    let tail = &value[value.ceil_char_boundary(value.len() - MARGIN)..];
    let of = |part: &str, plain: How| {
        let forms = forms_of_short(part).into_iter();
        let forms = forms.filter(|(how, _)| !matches!(how, How::Head | How::Tail));
        let part = part.to_owned();
        let whole = std::iter::once((plain, part));
        whole.chain(forms.filter(|(how, _)| *how != How::Plain))
    };
    of(head, How::Head).chain(of(tail, How::Tail)).collect()
}

fn forms_of_short(value: &str) -> Vec<(How, String)> {
    let mut forms = vec![
        (How::Plain, value.to_owned()),
        (How::Plain, value.to_uppercase()),
        (How::Plain, value.to_lowercase()),
    ];
    let mut encoded = |encoding, text: String| forms.push((How::Encoded(encoding), text));
    let json = in_json(value);
    encoded("JSON", in_json(&json));
    encoded("JSON", json);
    encoded("JSON", value.replace('/', "\\/"));
    encoded("JSON", in_ascii(value));
    encoded("debug", value.escape_debug().to_string());
    encoded("debug", value.escape_default().to_string());
    for set in [UNRESERVED, PATH, NON_ALPHANUMERIC] {
        let url = utf8_percent_encode(value, set).to_string();
        encoded("URL", url.replace("%20", "+"));
        encoded("URL", utf8_percent_encode(&url, UNRESERVED).to_string());
        encoded("URL", url);
    }
    encoded("HTML", in_html(value, "&#39;"));
    encoded("HTML", in_html(value, "&#x27;"));
    encoded("HTML", in_html(value, "'"));
    encoded("shell", value.replace('\'', "'\\''"));
    encoded("YAML", value.replace('\'', "''"));
    encoded("hexadecimal", in_hexadecimal(value));
    // Wherever it stands in what is encoded, as `user:KEY` is: bits are shared with what is
    // around it at either end, at most.
    for before in 0..3 {
        let bytes = [&b"\0\0"[..before], value.as_bytes()].concat();
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let text = engine.encode(&bytes);
            let shared_start = (before * 8).div_ceil(6);
            let shared_end = usize::from(bytes.len() % 3 != 0);
            let end = text.len() - shared_end;
            encoded("base64", text[shared_start.min(end)..end].to_owned());
        }
    }
    // Where texts are cut.
    let part = value.len().div_ceil(2);
    if part >= MIN_PART {
        let head = value.ceil_char_boundary(part);
        let tail = value.floor_char_boundary(value.len() - part);
        forms.push((How::Head, value[..head].to_owned()));
        forms.push((How::Tail, value[tail..].to_owned()));
    }
    forms
}

/// A text as within a JSON string.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// The same with everything but ASCII escaped.
fn in_ascii(text: &str) -> String {
    let escaped = |unit: u16| match u8::try_from(unit) {
        Ok(byte) if byte.is_ascii() => in_json(&char::from(byte).to_string()),
        _ => format!("\\u{unit:04x}"),
    };
    text.encode_utf16().map(escaped).collect()
}

fn in_hexadecimal(text: &str) -> String {
    let digits = text.bytes().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.filter_map(|digit| char::from_digit(digit.into(), 16));
    digits.collect()
}

fn in_html(text: &str, apostrophe: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', apostrophe)
}

/// Returns `true` if the name of an option, a header or an environment variable says that its
/// value is a secret: a word of it is `password`, `secret` or the like, or its last is `key`,
/// `token`, `auth` or `cookie`. `eos_token` and the like are texts of a model.
pub(crate) fn is_secret_name(name: &str) -> bool {
    const ANYWHERE: [&str; 9] = [
        "apikey",
        "authorization",
        "credential",
        "credentials",
        "passphrase",
        "passwd",
        "password",
        "secret",
        "secrets",
    ];
    const AT_THE_END: [&str; 6] = ["auth", "cookie", "key", "pat", "pwd", "token"];
    const OF_MODELS: [&str; 16] = [
        "additional",
        "bos",
        "cls",
        "end",
        "eos",
        "eot",
        "image",
        "mask",
        "pad",
        "per",
        "sep",
        "special",
        "start",
        "stop",
        "think",
        "unk",
    ];
    let mut words = words(name);
    // `HF_TOKEN_2`
    while words
        .last()
        .is_some_and(|it| it.bytes().all(|c| c.is_ascii_digit()))
    {
        words.pop();
    }
    if words.iter().any(|it| ANYWHERE.contains(&it.as_str())) {
        return true;
    }
    match words.as_slice() {
        [.., before, last] if last == "token" => !OF_MODELS.contains(&before.as_str()),
        [.., last] => AT_THE_END.contains(&last.as_str()),
        [] => false,
    }
}

/// The words of a name, in lower case: `X-Api-Key` and `xApiKey` have three.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && was_lower) {
            words.push(String::new());
        }
        was_lower = c.is_lowercase();
        if let (true, Some(word)) = (c.is_alphanumeric(), words.last_mut()) {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The secrets written in a text, such as a command or a URL, by name and place: `--api-key X`,
/// `token=X`, `?key=X`, `authorization: Bearer X`, `http://user:X@host`. A reference such as `$X`
/// is none.
pub(crate) fn in_text(text: &str) -> Vec<(String, Range<usize>)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find(is_name).map(|start| at + start) {
        let length = text[start..].find(|c| !is_name(c));
        let end = length.map_or(text.len(), |length| start + length);
        at = end;
        let name = text[start..end].trim_matches('-');
        if !is_secret_name(name) {
            continue;
        }
        let rest = text[end..].trim_start_matches(['"', '\'']);
        let is_option = text[start..end].starts_with("--");
        let rest = match rest
            .trim_start_matches([' ', '\t'])
            .strip_prefix(['=', ':'])
        {
            Some(rest) => rest,
            None if is_option && rest.starts_with([' ', '\t', ',']) => &rest[1..],
            None => continue,
        };
        let rest = rest.trim_start_matches([' ', '\t', '"', '\'']);
        let scheme = SCHEMES.iter().find_map(|scheme| {
            let is_it = rest.get(..scheme.len())?.eq_ignore_ascii_case(scheme);
            is_it.then_some(scheme.len())
        });
        let value = &rest[scheme.unwrap_or_default()..];
        let ends = |c: char| c.is_whitespace() || "\"',&;|)}]#".contains(c);
        let value = &value[..value.find(ends).unwrap_or(value.len())];
        let value_at = text.len() - rest.len() + scheme.unwrap_or_default();
        if !value.is_empty() && !value.starts_with(['$', '-', '{', '[', '&', '*', '|', '>']) {
            found.push((name.to_owned(), value_at..value_at + value.len()));
            at = at.max(value_at + value.len());
        }
    }
    found.extend(passwords(text));
    found
}

/// The passwords in the URLs of a text.
fn passwords(text: &str) -> impl Iterator<Item = (String, Range<usize>)> {
    let urls = text.match_indices("://").map(|(at, mark)| at + mark.len());
    urls.filter_map(|start| {
        let ends = |c: char| c.is_whitespace() || "/?#\"'`".contains(c);
        let rest = &text[start..];
        let authority = &rest[..rest.find(ends).unwrap_or(rest.len())];
        let (user, _) = authority.rsplit_once('@')?;
        let (name, password) = user.split_once(':')?;
        let at = start + name.len() + 1;
        let is_written = !password.is_empty() && !password.starts_with('$');
        is_written.then(|| ("password".to_owned(), at..at + password.len()))
    })
}

/// Schemes of an `authorization` header, which are no part of the secret.
const SCHEMES: [&str; 4] = ["bearer ", "basic ", "token ", "digest "];

/// The secrets that a value holds: itself, itself without the scheme of a header, and its long
/// lines.
pub(crate) fn parts_of(value: &str) -> Vec<&str> {
    const MIN_LINE: usize = 16;
    let value = value.trim();
    let mut parts = vec![value];
    for scheme in SCHEMES {
        let head = value.get(..scheme.len());
        if head.is_some_and(|head| head.eq_ignore_ascii_case(scheme)) {
            parts.push(value[scheme.len()..].trim());
        }
    }
    if value.contains('\n') {
        let lines = value.lines().map(str::trim);
        parts.extend(lines.filter(|line| line.len() >= MIN_LINE));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(value: &str) -> Secrets {
        Secrets::new(vec![("KEY".to_owned(), value.to_owned())])
    }

    #[test]
    fn a_secret_is_found_in_any_form() {
        let value = "sk-Ab/3\"ü=&x y'";
        let secrets = secrets(value);
        let json = serde_json::Value::from(value).to_string();
        let forms = [
            value.to_owned(),
            value.to_uppercase(),
            value.to_lowercase(),
            json.clone(),
            serde_json::Value::from(json).to_string(),
            "sk-Ab/3\\\"\\u00fc=&x y'".to_owned(),
            format!("{value:?}"),
            "sk-Ab%2F3%22%C3%BC%3D%26x%20y%27".to_owned(),
            "sk-Ab%2f3%22%c3%bc%3d%26x+y%27".to_owned(),
            "sk-Ab/3%22%C3%BC%3D%26x%20y%27".to_owned(),
            "sk-Ab/3&quot;ü=&amp;x y&#39;".to_owned(),
            STANDARD_NO_PAD.encode(value),
            STANDARD_NO_PAD.encode(format!("u:{value}")),
            URL_SAFE_NO_PAD.encode(format!("user:{value}, more")),
            "736B2D41622F3322C3BC3D2678207927".to_owned(),
        ];
        for form in forms {
            let text = format!("before {form} after");
            let masked = secrets.mask(&text);
            assert!(masked.contains("(secret KEY"), "{form}: {masked}");
            assert!(
                masked.len() < text.len() + 30 && masked.starts_with("before "),
                "{masked}"
            );
        }
    }

    #[test]
    fn a_part_of_a_secret_is_found_where_a_text_is_cut() {
        let secrets = secrets("sk-0123456789abcdefXYZ");
        for (text, masked) in [
            ("key sk-0123456789ab…", "key (secret KEY, in part)…"),
            ("…456789ABCDEFxyz!", "…(secret KEY, in part)!"),
            ("sk-01234", "sk-01234"),
            (
                "sk-0123456789abcdefXYZsk-0123456789abcdefxyz",
                "(secret KEY)(secret KEY, lower case)",
            ),
        ] {
            assert_eq!(secrets.mask(text), masked, "{text}");
        }
    }

    #[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Outcome {
        Completed(String),
    }

    #[test]
    fn json_stays_json() {
        let secrets = Secrets::new(vec![
            ("NUMBER".to_owned(), "12345678".to_owned()),
            ("WORD".to_owned(), "completed".to_owned()),
        ]);
        let json = r#"{"completed":"12345678 \"completed\"","n":12345678,"x-completed":[]}"#;
        assert_eq!(
            secrets.mask_json(json),
            r#"{"completed":"(secret NUMBER) \"(secret WORD)\"","n":12345678,"x-(secret WORD)":[]}"#
        );
        // Words of a format stay where nothing else can be read.
        let value = Outcome::Completed("it is 12345678".to_owned());
        let masked = secrets.masked(&value).expect("JSON").into_owned();
        assert_eq!(
            masked,
            Outcome::Completed("it is (secret NUMBER)".to_owned())
        );
    }

    #[test]
    fn long_secrets_are_found_by_their_beginning_and_end() {
        let numbers: Vec<String> = (0..999).map(|it: u32| it.to_string()).collect();
        let value = numbers.join("-");
        let secrets = secrets(&value);
        assert_eq!(
            secrets.mask(&format!("a {value} b")),
            "a (secret KEY, in part) b"
        );
        let end = &value[value.len() - 500..];
        assert_eq!(
            secrets.mask(&format!("a …{end} b")),
            "a …(secret KEY, in part) b"
        );
    }

    #[test]
    fn places_stay_where_they_are() {
        let secrets = secrets("ünsäglich");
        let mut text = "a: ünsäglich # b".to_owned().into_bytes();
        let length = text.len();
        assert!(secrets.blank(&mut text));
        assert_eq!(String::from_utf8(text).expect("text").len(), length);
    }

    #[test]
    fn short_values_are_no_secrets() {
        for value in ["", "1", "true", "false", "12345"] {
            let text = format!("a {value} b");
            assert_eq!(secrets(value).mask(&text), text);
            assert_eq!(secrets(value).value("KEY"), Some(value));
        }
        assert_eq!(secrets("123456").mask("a 123456 b"), "a (secret KEY) b");
    }

    #[test]
    fn names_tell_secrets() {
        for name in [
            "HF_TOKEN",
            "api_key",
            "X-Api-Key",
            "xApiKey",
            "key",
            "Authorization",
            "set-cookie",
            "DB_PASSWORD_FILE",
            "secret",
            "authToken",
            "PROXY_AUTH",
            "HF_TOKEN_2",
            "GITHUB_PAT",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "eos_token",
            "max_tokens",
            "tokenizer",
            "keys",
            "key_cache",
            "time-to-first-token-ms",
            "monkey",
            "author",
            "path",
            "eosToken",
            "time_per_token",
            "special_token",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn secrets_in_commands_and_urls() {
        for (text, values) in [
            ("serve --api-key sk-1 --port 80", vec!["sk-1"]),
            ("serve --api-key=sk-1", vec!["sk-1"]),
            (
                "TOKEN='sk-1' curl -H \"authorization: Bearer sk-2\" x",
                vec!["sk-1", "sk-2"],
            ),
            ("http://a/v1?key=sk-1&x=2", vec!["sk-1"]),
            ("api_key: sk-1 # comment", vec!["sk-1"]),
            (
                "{ \"api_key\": \"sk-1\", headers: { X-Api-Key: sk-2 } }",
                vec!["sk-1", "sk-2"],
            ),
            (
                "pip -i https://me:sk-1@h/x http://me:$PW@h http://h:1/@a http://me@h",
                vec!["sk-1"],
            ),
            ("{ url: \"http://me:sk:1@h\" }", vec!["sk:1"]),
            ("serve --api-key $KEY --hf-token ${{ env.X }}", vec![]),
            ("the key to success is a token", vec![]),
        ] {
            let found = in_text(text);
            let found: Vec<&str> = found.iter().map(|(_, at)| &text[at.clone()]).collect();
            assert_eq!(found, values, "{text}");
        }
    }
}
