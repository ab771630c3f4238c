//! Methods of Python's values that templates call: most are in `minijinja_contrib`, the others
//! here. Methods that change a value are refused, as in `transformers`.

use minijinja::value::{ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

type Result<T> = std::result::Result<T, Error>;

/// Calls a method that Jinja does not have.
pub(crate) fn call(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value> {
    let found = match (value.kind(), value.as_str()) {
        (ValueKind::String, Some(text)) => of_text(text, method, args)?,
        (ValueKind::Seq, _) if method == "index" => Some(index(value, args)?),
        _ => None,
    };
    match found {
        Some(found) => Ok(found),
        None => unknown_method_callback(state, value, method, args),
    }
}

/// The index of the first equal item, from 0; an error if there is none.
fn index(list: &Value, args: &[Value]) -> Result<Value> {
    let (wanted,): (Value,) = from_args(args)?;
    let place = list.try_iter()?.position(|item| item == wanted);
    let place = place.ok_or_else(|| wrong(format!("{wanted} is not in the list")))?;
    Ok(Value::from(place))
}

fn of_text(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>> {
    let one = || from_args::<(String,)>(args).map(|(it,)| it);
    let parts = |parts: [&str; 3]| Some(Value::from_iter(parts));
    Ok(match method {
        "removeprefix" => Some(Value::from(text.strip_prefix(&one()?).unwrap_or(text))),
        "removesuffix" => Some(Value::from(text.strip_suffix(&one()?).unwrap_or(text))),
        "partition" => {
            let separator = separator(one()?)?;
            let (before, after) = text.split_once(&separator).unwrap_or((text, ""));
            let found = before.len() < text.len();
            parts([before, if found { &separator } else { "" }, after])
        }
        "rpartition" => {
            let separator = separator(one()?)?;
            let (before, after) = text.rsplit_once(&separator).unwrap_or(("", text));
            let found = after.len() < text.len();
            parts([before, if found { &separator } else { "" }, after])
        }
        "rsplit" => {
            let (by, most): (Option<String>, Option<i64>) = from_args(args)?;
            // A negative number is no limit.
            let most = most.and_then(|most| usize::try_from(most).ok());
            let most = most.map_or(usize::MAX, |most| most.saturating_add(1));
            let mut pieces: Vec<&str> = match by.map(separator).transpose()? {
                Some(by) => text.rsplitn(most, &by).collect(),
                None => by_space(text, most),
            };
            pieces.reverse();
            Some(Value::from_iter(pieces))
        }
        _ => None,
    })
}

/// Up to `most` words from the end, the last one first; the final piece is all that is left.
fn by_space(text: &str, most: usize) -> Vec<&str> {
    let mut rest = text.trim_end();
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let start = if pieces.len() + 1 == most {
            None
        } else {
            rest.rfind(char::is_whitespace)
        };
        let Some(start) = start else {
            pieces.push(rest);
            break;
        };
        let word = rest[start..].trim_start();
        pieces.push(word);
        rest = rest[..start].trim_end();
    }
    pieces
}

/// Fails for an empty separator, as Python does.
fn separator(text: String) -> Result<String> {
    if text.is_empty() {
        return Err(wrong("empty separator".to_owned()));
    }
    Ok(text)
}

fn wrong(words: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, words)
}
