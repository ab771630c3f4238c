//! The expression language: minijinja's, with next to nothing built in.

use minijinja::{Environment, Error, ErrorKind, Expression, UndefinedBehavior, filters};

/// Steps that one expression may take.
const FUEL: u64 = 10_000;

/// Brackets that may be open at once. The parser recurses with large frames,
/// so its own limit would come after the end of a small stack.
const MAX_NESTING: usize = 16;

/// The filters that expressions may use.
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
