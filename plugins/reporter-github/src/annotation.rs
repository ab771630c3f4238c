//! Workflow commands of GitHub Actions.

use crate::finding::{Finding, Kind};
use prony_plugin_sdk::words::count;

/// Annotations of a kind that GitHub shows of a step, at most.
const MAX: usize = 10;
/// Characters of a message, at most: GitHub cuts long ones.
const MAX_MESSAGE: usize = 1000;

/// The workflow commands, one a line.
pub(crate) fn commands(findings: &[Finding]) -> String {
    let shown = match findings.len() {
        all if all <= MAX => all,
        _ => MAX - 1,
    };
    let mut text: String = findings[..shown]
        .iter()
        .map(|it| command(it.kind, &it.sentence))
        .collect();
    if let Some(next) = findings.get(shown) {
        let rest = (findings.len() - shown) as u64;
        let more = format!("{} in the summary", count(rest, "more finding"));
        text += &command(next.kind, &more);
    }
    text
}

fn command(kind: Kind, message: &str) -> String {
    let message: String = message.chars().take(MAX_MESSAGE).collect();
    format!(
        "::{} title={}::{}\n",
        kind.command(),
        property(kind.title()),
        data(&message)
    )
}

/// A message: what would end the command is written as GitHub's runner reads it.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// A property, in which `:` and `,` have a meaning, too.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_a_command() {
        assert_eq!(
            command(Kind::Regression, "100 %\n::error::x, y"),
            "::error title=prony%3A regression::100 %25%0A::error::x, y\n"
        );
        assert_eq!(property("a:b,c%\r"), "a%3Ab%2Cc%25%0D");
    }
}
