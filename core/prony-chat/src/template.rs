//! The Jinja dialect of `transformers`, on minijinja.

use crate::{Error, Result, SpecialTokens};
use jiff::civil::DateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ObjectRepr};
use minijinja::{Environment, Error as JinjaError, ErrorKind, State, Value, context};
use serde_json::ser::PrettyFormatter;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Maximum work of one rendering: about one unit per instruction and per 64 bytes. A
/// long conversation takes some thousands.
const FUEL: u64 = 10_000_000;

/// Name of the filter [`held`] in templates.
const HELD: &str = "_held";
/// Deepest nesting of a value, and most parts of values that one rendering looks at for it.
/// Whatever prints or compares values calls itself for each level.
const MAX_DEPTH: usize = 128;
const MAX_PARTS: u64 = FUEL;
/// Most spaces of an indent of JSON, and most bytes of JSON.
const MAX_INDENT: usize = 64;
const MAX_JSON: usize = 64 << 20;

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
        environment.add_filter(HELD, held);
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
        let source = crate::tags::prepared(&source, HELD)?;
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

/// `json.dumps(value, ensure_ascii=False, indent=indent)`, which `transformers` has in the
/// place of Jinja's own filter: that one escapes HTML.
fn to_json(
    state: &mut State,
    value: &Value,
    options: Kwargs,
) -> std::result::Result<Value, JinjaError> {
    let indent: Option<usize> = options.get("indent")?;
    if indent.is_some_and(|indent| indent > MAX_INDENT) {
        let words = format!("`indent` is above {MAX_INDENT}");
        return Err(JinjaError::new(ErrorKind::InvalidOperation, words));
    }
    // Accepted as in Python; characters are never escaped here.
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let failed = |error: serde_json::Error| {
        JinjaError::new(ErrorKind::InvalidOperation, format!("no JSON: {error}"))
    };
    walk(state, value, 0)?;
    let value = serde_json::to_value(value).map_err(failed)?;
    let mut json = Bounded(Vec::new());
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
    let json = String::from_utf8(json.0).expect("JSON is UTF-8");
    Ok(Value::from_safe_string(json))
}

fn write(
    value: &serde_json::Value,
    json: &mut Bounded,
    formatter: impl serde_json::ser::Formatter,
) -> std::result::Result<(), serde_json::Error> {
    use serde::Serialize as _;
    value.serialize(&mut serde_json::Serializer::with_formatter(json, formatter))
}

/// At most [`MAX_JSON`] bytes.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_JSON {
            let words = format!("it is longer than {} MiB", MAX_JSON >> 20);
            return Err(std::io::Error::other(words));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Fails for a value that nests too deep, as a namespace that contains itself does.
fn held(state: &mut State, value: &Value) -> std::result::Result<(), JinjaError> {
    walk(state, value, 0)
}

/// Parts of values that a rendering has looked at.
#[derive(Default)]
struct Walked(u64);

fn walk(state: &mut State, value: &Value, depth: usize) -> std::result::Result<(), JinjaError> {
    let failed = |words: String| Err(JinjaError::new(ErrorKind::InvalidOperation, words));
    let walked = state.get_or_insert_extension(Walked::default());
    walked.0 += 1;
    if walked.0 > MAX_PARTS {
        return failed("its values have too many parts".to_owned());
    }
    if depth > MAX_DEPTH {
        return failed(format!(
            "a value contains itself, or nests deeper than {MAX_DEPTH}"
        ));
    }
    let Some(object) = value.as_object() else {
        return Ok(());
    };
    if let Some(pairs) = object.try_iter_pairs() {
        for (key, value) in pairs {
            walk(state, &key, depth + 1)?;
            walk(state, &value, depth + 1)?;
        }
    } else if !matches!(object.repr(), ObjectRepr::Plain)
        && let Some(items) = object.try_iter()
    {
        for item in items {
            walk(state, &item, depth + 1)?;
        }
    }
    Ok(())
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
