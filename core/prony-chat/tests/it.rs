//! Renderings held to those of `transformers`; `render.py` says how they were made.
#![allow(clippy::disallowed_methods, reason = "fixtures are files")]

use jiff::civil::DateTime;
use prony_chat::{ChatTemplate, Config, Error, Message, SpecialTokens};
use serde_json::Value;
use std::path::Path;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(name: &str) -> Value {
    serde_json::from_str(&read(name)).expect("JSON")
}

fn tokens() -> SpecialTokens {
    let config = Config::from_json(read("tokens.json").as_bytes());
    config.expect("a config").tokens
}

fn now() -> DateTime {
    jiff::civil::date(2025, 3, 7).at(14, 5, 9, 0)
}

fn template(source: &str) -> Result<ChatTemplate, Error> {
    ChatTemplate::new(source, tokens(), now())
}

fn rendered(source: &str) -> Result<String, Error> {
    let question = Message {
        role: "user",
        content: "why?",
    };
    template(source)?.render([question])
}

#[test]
fn every_rendering_is_that_of_transformers() {
    let (expected, conversations) = (json("expected.json"), json("conversations.json"));
    assert_eq!(expected["now"], now().to_string());
    let templates = expected["templates"].as_object().expect("templates");
    assert!(templates.len() >= 30, "{}", templates.len());
    let mut wrong = Vec::new();
    for (name, of_template) in templates {
        let template = template(&read(&format!("templates/{name}.jinja")))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        for (conversation, expected) in of_template.as_object().expect("conversations") {
            let messages = conversations[conversation].as_array().expect("messages");
            let text = |it: &'_ Value| it.as_str().expect("a text").to_owned();
            let messages: Vec<(String, String)> = messages
                .iter()
                .map(|it| (text(&it["role"]), text(&it["content"])))
                .collect();
            let messages = messages
                .iter()
                .map(|(role, content)| Message { role, content });
            let found = match template.render(messages) {
                Ok(text) => serde_json::json!({ "text": text }),
                Err(Error::Refused(words)) => serde_json::json!({ "refused": words }),
                Err(other) => serde_json::json!({ "error": other.to_string() }),
            };
            if found != *expected {
                wrong.push(format!(
                    "{name}, {conversation}:\n   found {found}\nexpected {expected}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_mistake_is_told_with_its_line() {
    let lines = |line: &str| format!("{{{{ bos_token }}}}\n\n{line}");
    for (line, told) in [
        (
            "{% for m in messages %}",
            "line 3 of the chat template: syntax error",
        ),
        (
            "{{ messages[0].content | nonsense }}",
            "line 3 of the chat template failed: unknown filter",
        ),
        (
            "{{ messages[0].nothing.at_all }}",
            "line 3 of the chat template failed: undefined value",
        ),
        (
            "{{ strftime_now('%Q') }}",
            "line 3 of the chat template failed: invalid operation",
        ),
        (
            "{{ messages[0].content.encode() }}",
            "line 3 of the chat template failed: ",
        ),
    ] {
        let error = rendered(&lines(line)).expect_err(line).to_string();
        assert!(error.starts_with(told), "{error}");
    }
    let error = rendered("{{ raise_exception('no system messages') }}").expect_err("refused");
    assert_eq!(
        error.to_string(),
        "the chat template refuses the conversation: no system messages"
    );
    // Also from within a macro.
    let nested = "{% macro a() %}{{ raise_exception('no') }}{% endmacro %}{{ a() }}";
    assert_eq!(rendered(nested), Err(Error::Refused("no".to_owned())));
}

#[test]
fn a_template_that_does_not_end_is_an_error() {
    let endless = "{% macro a() %}{% for x in range(9999) %}{% for y in range(9999) %}{{ a() }}{% endfor %}{% endfor %}{% endmacro %}{{ a() }}";
    assert!(matches!(rendered(endless), Err(Error::Failed { .. })));
    let long = "{% for x in range(99999) %}{% for y in range(99999) %}{% set a = y %}{% endfor %}{% endfor %}";
    let error = rendered(long).expect_err("no fuel").to_string();
    assert!(error.contains("fuel"), "{error}");
}

#[test]
fn what_would_use_up_stack_or_memory_is_refused() {
    let nested = |count, link: &str| {
        format!(
            "{{% set ns = namespace(x=[]) %}}\n{{% for a in range({count}) %}}{{% set ns.x = {link} %}}{{% endfor %}}{{{{ ns.x|tojson }}}}"
        )
    };
    let own = |value: &str, then: &str| {
        format!("{{% set ns = namespace() %}}\n{{% set ns.x = {value} %}}{then}")
    };
    let many = |text: &str| text.repeat(60_000);
    for (source, told) in [
        (
            "\n{{ messages|tojson(indent=8000000000) }}".to_owned(),
            "line 2 of the chat template failed: invalid operation: `indent`",
        ),
        (
            nested(100_000, "[ns.x]"),
            "line 2 of the chat template failed: invalid operation: a value contains",
        ),
        (
            nested(100, "[ns.x, ns.x]"),
            "line 2 of the chat template failed: invalid operation: its values",
        ),
        (
            own("ns", "{{ ns|tojson }}"),
            "line 2 of the chat template failed: invalid operation: a value contains",
        ),
        (
            own("[{'a': ns}]", "{{ ns }}"),
            "line 2 of the chat template failed: invalid operation: a value contains",
        ),
        (
            own("ns.values()", "{{ ns == ns.x }}"),
            "line 2 of the chat template failed: invalid operation: a value contains",
        ),
        (
            format!("\n{{{{ {}1 }}}}", many("1+")),
            "line 2 of the chat template: a tag has",
        ),
        (
            format!("\n{{{{ {}1 }}}}", many("not ")),
            "line 2 of the chat template: a tag has",
        ),
        (
            format!("\n{{{{ {}", many("(")),
            "line 2 of the chat template: brackets nest",
        ),
        (
            format!("{{% if 0 %}}{}{{% endif %}}", many("{% elif 0 %}")),
            "line 1 of the chat template: there are",
        ),
    ] {
        let error = rendered(&source).expect_err(told).to_string();
        assert!(error.starts_with(told), "{error}");
    }
    let mild = nested(100, "[ns.x]");
    assert_eq!(rendered(&mild).expect("a text").len(), 202);
}

#[test]
fn a_date_makes_a_prompt_dated() {
    let question = || {
        [Message {
            role: "user",
            content: "why?",
        }]
    };
    let source = "{% if messages[0].content == 'why?' %}{{ strftime_now('%d %b %Y') }}{% endif %}";
    let dated = template(source).expect("compiles");
    assert!(!dated.is_dated());
    assert_eq!(
        dated.render([]).as_deref(),
        Err(&Error::Failed {
            line: 1,
            reason: "undefined value".to_owned()
        })
    );
    assert_eq!(dated.render(question()).as_deref(), Ok("07 Mar 2025"));
    assert!(dated.is_dated());
}

#[test]
fn line_ends_are_one_character() {
    let source = "{% if true %}\r\na\r\nb\rc{% endif %}\r\n";
    assert_eq!(rendered(source).as_deref(), Ok("a\nb\nc"));
}

#[test]
fn a_missing_token_is_undefined() {
    let source =
        "{{ 'no bos' if bos_token is not defined else bos_token }}{{ pad_token is defined }}";
    let bare = ChatTemplate::new(source, SpecialTokens::new(), now()).expect("compiles");
    assert_eq!(bare.render([]).as_deref(), Ok("no bosFalse"));
    assert_eq!(rendered(source).as_deref(), Ok("<s>False"));
}
