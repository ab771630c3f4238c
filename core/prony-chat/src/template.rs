//! The Jinja dialect of `transformers`, on minijinja.

use crate::{Error, Result, SpecialTokens};
use jiff::civil::DateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, Error as JinjaError, ErrorKind, Value, context};
use serde_json::ser::PrettyFormatter;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Maximum work of one rendering: about one unit per instruction and per 64 bytes. A
/// long conversation takes some thousands.
const FUEL: u64 = 10_000_000;

/// A message of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'m> {
    /// `system`, `user` or `assistant`.
    pub role: &'m str,
    /// Text of the message.
    pub content: &'m str,
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    tokens: SpecialTokens,
    is_dated: Arc<AtomicBool>,
}

/// The words of a `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

impl ChatTemplate {
    /// Compiles a template. `now` is the local time that `strftime_now` formats. Fails with
    /// [`Error::Syntax`].
    pub fn new(template: &str, tokens: SpecialTokens, now: DateTime) -> Result<Self> {
        let mut environment = Environment::new();
        // As `transformers` sets them.
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .expect("the delimiters are the default ones");
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(crate::methods::call);
        environment.add_filter("tojson", to_json);
        environment.add_function(
            "raise_exception",
            |words: String| -> std::result::Result<Value, JinjaError> {
                let error = JinjaError::new(ErrorKind::InvalidOperation, words.clone());
                Err(error.with_source(Raised(words)))
            },
        );
        let is_dated = Arc::new(AtomicBool::new(false));
        let asked = is_dated.clone();
        environment.add_function(
            "strftime_now",
            move |format: String| -> std::result::Result<String, JinjaError> {
                asked.store(true, Ordering::Relaxed);
                jiff::fmt::strtime::format(&format, now).map_err(|error| {
                    JinjaError::new(ErrorKind::InvalidOperation, error.to_string())
                })
            },
        );
        // Jinja reads every line end as `\n`.
        let source = template.replace("\r\n", "\n").replace('\r', "\n");
        let source = without_generation_marks(&source).into_owned();
        environment
            .add_template_owned("chat", source)
            .map_err(|error| Error::Syntax {
                line: error.line().unwrap_or(1),
                reason: words(&error),
            })?;
        Ok(Self {
            environment,
            tokens,
            is_dated,
        })
    }

    /// The prompt of a conversation, up to where the model's answer begins. Fails with
    /// [`Error::Refused`] or [`Error::Failed`].
    pub fn render<'m>(&self, messages: impl IntoIterator<Item = Message<'m>>) -> Result<String> {
        let message = |it: Message<'_>| context! { role => it.role, content => it.content };
        let messages: Vec<Value> = messages.into_iter().map(message).collect();
        let tokens = self.tokens.iter();
        let tokens = tokens.map(|(name, text)| (name.clone(), Value::from(text.as_str())));
        let given = [
            ("messages", Value::from(messages)),
            ("add_generation_prompt", Value::from(true)),
            // Templates expect them; prony has none.
            ("tools", Value::from(())),
            ("documents", Value::from(())),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value));
        let values: BTreeMap<String, Value> = tokens.chain(given).collect();
        let rendered = self
            .environment
            .get_template("chat")
            .and_then(|template| template.render(values));
        rendered.map_err(|error| {
            refusal(&error).unwrap_or_else(|| Error::Failed {
                line: error.line().unwrap_or(1),
                reason: words(&error),
            })
        })
    }

    /// Returns `true` if a prompt rendered so far contains the date.
    pub fn is_dated(&self) -> bool {
        self.is_dated.load(Ordering::Relaxed)
    }
}

/// The template's own words, if it refused the conversation.
fn refusal(error: &JinjaError) -> Option<Error> {
    let first: &(dyn std::error::Error + 'static) = error;
    let mut causes = std::iter::successors(Some(first), |error| error.source());
    causes.find_map(|cause| {
        let Raised(words) = cause.downcast_ref()?;
        Some(Error::Refused(words.clone()))
    })
}

/// Text of an error without the name and line of the template, which the caller adds.
fn words(error: &JinjaError) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)`, with which `transformers` replaces
/// Jinja's own filter, which escapes HTML.
fn to_json(value: &Value, options: Kwargs) -> std::result::Result<Value, JinjaError> {
    let indent: Option<usize> = options.get("indent")?;
    // Accepted as in Python; characters are never escaped here.
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let failed = |error: serde_json::Error| {
        JinjaError::new(ErrorKind::InvalidOperation, format!("no JSON: {error}"))
    };
    let value = serde_json::to_value(value).map_err(failed)?;
    let mut json = Vec::new();
    let written = match indent {
        None => write(&value, &mut json, PythonFormatter),
        Some(indent) => {
            let spaces = " ".repeat(indent);
            write(
                &value,
                &mut json,
                PrettyFormatter::with_indent(spaces.as_bytes()),
            )
        }
    };
    written.map_err(failed)?;
    let json = String::from_utf8(json).expect("JSON is UTF-8");
    Ok(Value::from_safe_string(json))
}

fn write(
    value: &serde_json::Value,
    json: &mut Vec<u8>,
    formatter: impl serde_json::ser::Formatter,
) -> std::result::Result<(), serde_json::Error> {
    use serde::Serialize as _;
    value.serialize(&mut serde_json::Serializer::with_formatter(json, formatter))
}

/// Python's separators: a space after each comma and colon.
struct PythonFormatter;

impl serde_json::ser::Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

/// The template with `{% generation %}`, a tag of `transformers` for training that renders
/// what it encloses, as the plain scope that it is.
fn without_generation_marks(template: &str) -> Cow<'_, str> {
    if !template.contains("generation") {
        return Cow::Borrowed(template);
    }
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start + 2);
        out.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let body = &tag[..end];
        let name = body.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        match name {
            "generation" => out.push_str(&body.replace("generation", "with")),
            "endgeneration" => out.push_str(&body.replace("endgeneration", "endwith")),
            _ => out.push_str(body),
        }
        rest = &tag[end..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}
