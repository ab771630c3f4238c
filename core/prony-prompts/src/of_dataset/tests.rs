//! Requests made of datasets.

use super::*;
use crate::dataset::Selection;
use crate::prompt::conversations;

fn dataset(content: &str, limit: Option<u32>, max_tokens: u32) -> Result<Vec<Prompt>, Vec<String>> {
    let options = Options {
        selection: Selection {
            limit,
            ..Selection::default()
        },
        seed: 1,
        ..Options::default()
    };
    of(content, &options, max_tokens, || Err("none".to_owned())).map(|it| it.prompts)
}

fn of(
    content: &str,
    options: &Options,
    max_tokens: u32,
    tokenizer: impl Fn() -> Result<Tokenizer, String>,
) -> Result<OfDataset, Vec<String>> {
    let input = Input::File {
        name: "a.jsonl",
        bytes: Box::new(content.as_bytes()),
    };
    of_dataset(input, options, max_tokens, tokenizer, &mut |_| ())
}

fn words() -> Result<Tokenizer, String> {
    let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
    let mut vocab = serde_json::Map::new();
    vocab.insert("<unk>".to_owned(), 0.into());
    for id in 0..100 {
        let word = format!("{}{}", letter(id), letter(id / 26));
        vocab.insert(word, (id + 1).into());
    }
    let json = serde_json::json!({
        "version": "1.0",
        "pre_tokenizer": { "type": "Whitespace" },
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "<unk>" },
    });
    Tokenizer::from_json(json.to_string().as_bytes())
}

/// The words of each prompt, and the notes.
type Split = (Vec<Vec<String>>, Vec<String>);

/// The words of each prompt of a trace with these options.
fn trace(content: &str, options: &Options) -> Result<Split, Vec<String>> {
    let made = of(content, options, 9, words)?;
    let split = |prompt: &Prompt| prompt.text.split(' ').map(ToOwned::to_owned).collect();
    let notes = made.notes.iter().map(ToString::to_string).collect();
    Ok((made.prompts.iter().map(split).collect(), notes))
}

const MOONCAKE: &str = r#"{"timestamp": 0, "input_length": 65, "output_length": 5, "hash_ids": [0, 1]}
{"timestamp": 120, "input_length": 67, "output_length": 6, "hash_ids": [0, 2]}
{"timestamp": 250, "input_length": 90, "output_length": 4, "hash_ids": [0, 1, 3]}"#;

fn in_common(one: &[String], other: &[String]) -> usize {
    one.iter()
        .zip(other)
        .take_while(|(one, other)| one == other)
        .count()
}

#[test]
fn equal_ids_of_blocks_are_equal_beginnings() {
    let usual = r#"{"input_length": 1100, "output_length": 5, "hash_ids": [0, 1, 2]}
{"input_length": 1024, "output_length": 5, "hash_ids": [0, 1]}
{"input_length": 600, "output_length": 5, "hash_ids": [0, 7]}
{"input_length": 1030, "output_length": 5}"#;
    let (prompts, notes) = trace(usual, &Options::default()).expect("prompts");
    let lengths: Vec<usize> = prompts.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1100, 1024, 600, 1030]);
    assert_eq!(in_common(&prompts[0], &prompts[1]), 1024);
    let with_third = in_common(&prompts[0], &prompts[2]);
    assert!((512..520).contains(&with_third), "{with_third}");
    assert!(in_common(&prompts[0], &prompts[3]) < 8);
    assert!(notes.is_empty(), "{notes:?}");
    let again = trace(usual, &Options::default()).expect("prompts");
    assert_eq!(again.0, prompts);
    let other = Options {
        seed: 2,
        ..Options::default()
    };
    assert_ne!(trace(usual, &other).expect("prompts").0, prompts);
}

#[test]
fn blocks_of_another_size_are_told_or_named() {
    let (prompts, notes) = trace(MOONCAKE, &Options::default()).expect("prompts");
    let lengths: Vec<usize> = prompts.iter().map(Vec::len).collect();
    assert_eq!(lengths, [65, 67, 90]);
    assert_eq!(
        notes.last().map(String::as_str),
        Some(
            "blocks of 44 tokens are assumed, since `hash_ids` fit 34 to 44 and not the usual 512; `block_tokens` says which"
        )
    );
    assert!((44..50).contains(&in_common(&prompts[0], &prompts[1])));
    assert_eq!(in_common(&prompts[0], &prompts[2]), 65);
    let named = Options {
        block_tokens: Some(40),
        ..Options::default()
    };
    let (prompts, notes) = trace(MOONCAKE, &named).expect("prompts");
    assert!((40..44).contains(&in_common(&prompts[0], &prompts[1])));
    assert_eq!(notes.len(), 1, "{notes:?}");
    let wrong = Options {
        block_tokens: Some(512),
        ..Options::default()
    };
    assert_eq!(
        trace(MOONCAKE, &wrong).expect_err("no blocks of 512"),
        [
            ":1:1: 65 tokens in blocks of 512 are 1 block, and `hash_ids` has 2: `block_tokens` is another in this file"
        ]
    );
    let none =
        "{\"input_length\": 600, \"hash_ids\": [1]}\n{\"input_length\": 600, \"hash_ids\": [1, 2]}";
    let problems = trace(none, &Options::default()).expect_err("no size");
    assert!(
        problems[0].starts_with(":2:1: no size of a block fits"),
        "{problems:?}"
    );
}

#[test]
fn turns_of_a_session_on_several_lines_follow_each_other_alone() {
    let content = "{\"text\":\"a\",\"session_id\":\"x\"}\n{\"text\":\"b\",\"session_id\":\"y\"}\n{\"text\":\"c\",\"session_id\":\"x\",\"delay\":20}";
    let prompts = dataset(content, None, 9).expect("prompts");
    let texts: Vec<&str> = prompts.iter().map(|it| &*it.text).collect();
    assert_eq!(texts, ["a", "c", "b"]);
    assert!(prompts.iter().all(|it| it.history.is_empty()));
    assert_eq!(conversations(&prompts, 0, 3), [0..2, 2..3]);
    assert_eq!(prompts[1].delay, Some(std::time::Duration::from_millis(20)));
    let json = serde_json::to_string(&prompts[1]).expect("serialises");
    assert!(json.contains(r#""continues":true"#), "{json}");
}

#[test]
fn times_are_of_conversations_and_lengths_need_a_tokenizer() {
    let turns = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}],"at_ms":0.5}"#;
    let content = format!("{turns}\n{{\"prompt\":\"p\",\"at_ms\":2}}");
    let prompts = dataset(&content, None, 9).expect("prompts");
    let times: Vec<_> = prompts.iter().map(|it| it.at_ns).collect();
    assert_eq!(times, [Some(500_000), None, Some(2_000_000)]);

    let content = "{\"prompt\":\"p\"}\n{\"input_tokens\":5,\"at_ms\":1}";
    assert_eq!(dataset(content, Some(1), 9).expect("one").len(), 1);
    let problems = dataset(content, None, 9).expect_err("no tokenizer");
    assert_eq!(
        problems,
        [":2:1: its length is recorded and its text is not: none"]
    );
    for (line, problem) in [
        (r#"{"prompt":"p","at_ms":-1}"#, "expected milliseconds"),
        (r#"{"prompt":"p","input_tokens":1}"#, "more than one of"),
        (r#"{"input_tokens":0}"#, "expected at least 1"),
    ] {
        let content = format!("{{\"prompt\":\"p\",\"at_ms\":1}}\n{line}");
        let problems = dataset(&content, None, 9).expect_err(line);
        assert!(
            problems[0].starts_with(":2:") && problems[0].contains(problem),
            "{problems:?}"
        );
    }
}

#[test]
fn lines_have_limits_and_system_messages_of_their_own() {
    let content = concat!(
        r#"{"prompt":"a"}"#,
        "\n\n",
        r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"b"}],"max_tokens":5}"#,
    );
    let prompts = dataset(content, None, 9).expect("prompts");
    let read: Vec<_> = prompts
        .iter()
        .map(|it| (it.system.as_deref(), it.text.as_str(), it.max_tokens))
        .collect();
    assert_eq!(read, [(None, "a", 9), (Some("s"), "b", 5)]);
    assert_eq!(dataset(content, Some(1), 9).expect("prompts").len(), 1);
    assert_eq!(
        dataset(content, Some(3), 9).expect_err("too few"),
        [": it has 2 conversations, and the workload's `limit` is 3"]
    );
}

#[test]
fn each_turn_is_a_prompt_with_what_was_said_before() {
    let content = concat!(
        r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},"#,
        r#"{"role":"assistant","content":"b"},{"role":"user","content":"c"},"#,
        r#"{"role":"assistant","content":"not sent"}],"max_tokens":7}"#,
        "\n",
        r#"{"prompt":"p"}"#,
    );
    let prompts = dataset(content, Some(2), 9).expect("prompts");
    let said = |role, content: &str| ChatMessage {
        role,
        content: content.to_owned(),
    };
    let first = Prompt {
        system: Some("s".into()),
        ..Prompt::new("a".to_owned(), 7)
    };
    let second = Prompt {
        history: vec![said(Role::User, "a"), said(Role::Assistant, "b")].into(),
        text: "c".to_owned(),
        ..first.clone()
    };
    let alone = Prompt::new("p".to_owned(), 9);
    assert_eq!(prompts, [first, second, alone]);
    assert_eq!(conversations(&prompts, 0, 3), [0..2, 2..3]);
    // The limit counts conversations.
    assert_eq!(dataset(content, Some(1), 9).expect("prompts").len(), 2);
    // A prompt without a history serialises as before.
    let json = serde_json::to_string(&prompts[2]).expect("serialises");
    assert_eq!(json, r#"{"text":"p","max_tokens":9}"#);
    assert!(
        serde_json::to_string(&prompts[1])
            .expect("serialises")
            .contains(
                r#""history":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]"#
            )
    );
}

#[test]
fn more_text_than_fits_is_told_with_its_line() {
    // 160 turns, each with all of the 0.3 MiB before it.
    let text = "x".repeat(300 << 10);
    let mut messages = vec![format!(r#"{{"role":"user","content":"{text}"}}"#)];
    for _ in 0..159 {
        messages.push(r#"{"role":"assistant","content":"y"}"#.to_owned());
        messages.push(messages[0].clone());
    }
    let content = format!("{{\"messages\":[{}]}}", messages.join(","));
    let problems = dataset(&content, None, 9).expect_err("too much");
    assert!(problems[0].starts_with(":1:1: the turns up to here come to more than 1024 MiB"));
}

#[test]
fn turns_share_what_was_said() {
    // 0.3 MB: 6,000 turns of one letter.
    let mut messages = vec![r#"{"role":"user","content":"a"}"#];
    for _ in 0..5_999 {
        messages.push(r#"{"role":"assistant","content":"b"}"#);
        messages.push(messages[0]);
    }
    let line = |messages: &[&str]| format!("{{\"messages\":[{}]}}", messages.join(","));
    let problems = dataset(&line(&messages), None, 9).expect_err("1.4 GB of requests");
    assert!(problems[0].starts_with(":1:1: the turns up to here come to more than 1024 MiB"));
    let prompts = dataset(&line(&messages[..9_999]), None, 9).expect("prompts");
    assert_eq!(prompts.len(), 5_000);
    let last = &prompts[4_999];
    assert_eq!(last.history.len(), 9_998);
    assert_eq!(last.history.as_ptr(), prompts[0].history.as_ptr());
}

#[test]
fn what_cannot_be_sent_is_told_with_its_line() {
    let problems = dataset("{\"prompt\":1}\n{\"promt\":1}", None, 9).expect_err("bad lines");
    assert_eq!(
        problems,
        [
            ":1:11: `prompt` is a number, expected a text",
            ":2:1: none of `prompt`, `messages` and `input_tokens`"
        ]
    );
}
