//! The expression language: minijinja's, with few built-ins.

use std::borrow::Cow;
use std::ops::Range;

use minijinja::{Environment, Error, ErrorKind, Expression, UndefinedBehavior, filters};
use serde_json::Value;

/// Maximum number of steps of one expression.
const FUEL: u64 = 10_000;

/// Maximum nesting of brackets. The parser recurses with large frames, so its own limit
/// would exceed a small stack.
const MAX_NESTING: usize = 16;

/// The allowed filters.
pub(super) const FILTERS: [&str; 6] = ["default", "int", "lower", "replace", "trim", "upper"];

pub(super) fn environment<'a>() -> Environment<'a> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_debug(true);
    environment.add_filter("default", filters::default);
    environment.add_filter("int", filters::int);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("replace", filters::replace);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("upper", filters::upper);
    environment
}

/// The names that a compiled expression uses, such as `vars.size`, sorted.
pub(super) fn names(
    environment: &Environment<'_>,
    compiled: &Expression<'_, '_>,
    expression: &str,
) -> Vec<String> {
    let mut names = compiled.undeclared_variables(true);
    // The engine finds no names in what is sliced, so it gets the expression without slices, too.
    let mut rest = Cow::Borrowed(expression);
    while let Some(slice) = slice(&rest) {
        let mut shorter = rest.into_owned();
        shorter.replace_range(slice, "");
        if let Ok(compiled) = environment.compile_expression(&shorter) {
            names.extend(compiled.undeclared_variables(true));
        }
        rest = Cow::Owned(shorter);
    }
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort();
    names
}

/// The first slice, such as `[1:3]`, without another in it.
fn slice(expression: &str) -> Option<Range<usize>> {
    let code = without_texts(expression);
    // The open brackets, and whether each has a colon in it.
    let mut open: Vec<(usize, bool)> = Vec::new();
    for (at, c) in code.char_indices() {
        match c {
            '[' | '{' | '(' => open.push((at, false)),
            ':' => {
                if let Some((_, has_colon)) = open.last_mut() {
                    *has_colon = true;
                }
            }
            ']' | '}' | ')' => {
                if let Some((start, true)) = open.pop()
                    && c == ']'
                {
                    return Some(start..at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Returns `true` if an expression could repeat a list, which costs no fuel and takes all
/// memory once it is written out. `*` is for numbers and short texts.
pub(super) fn repeats(expression: &str, values: &Value, names: &[String]) -> bool {
    let code = without_texts(expression);
    let is_list = |name: &String| {
        let pointer = format!("/{}", name.replace('.', "/"));
        let value = values.pointer(&pointer);
        value.is_some_and(|value| value.is_array() || value.is_object())
    };
    code.contains('*') && (code.contains(['[', '{']) || names.iter().any(is_list))
}

/// Blanks out the texts of an expression, keeping its length.
pub(super) fn without_texts(expression: &str) -> String {
    let mut quote = None;
    let mut escaped = false;
    let blank = |c: char| " ".repeat(c.len_utf8());
    let mut code = String::with_capacity(expression.len());
    for c in expression.chars() {
        match quote {
            Some(_) if escaped => {
                escaped = false;
                code.push_str(&blank(c));
            }
            Some(open) => {
                escaped = c == '\\';
                if c == open {
                    quote = None;
                }
                code.push_str(&blank(c));
            }
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                code.push_str(&blank(c));
            }
            None => code.push(c),
        }
    }
    code
}

pub(super) fn compile<'e, 'a>(
    environment: &'e Environment<'a>,
    expression: &'a str,
) -> Result<Expression<'e, 'a>, Error> {
    let mut open = 0_usize;
    for byte in expression.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > MAX_NESTING {
            return Err(Error::new(ErrorKind::SyntaxError, "nested too deeply"));
        }
    }
    environment.compile_expression(expression)
}
