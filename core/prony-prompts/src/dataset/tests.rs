//! Each format with files as they are on disk.

mod hostile;
mod selection;

use super::*;

/// Reads a file without a tokenizer.
fn read_with(name: &str, content: &[u8], options: &Options) -> Result<Dataset, Vec<Problem>> {
    let input = Input::File {
        name,
        bytes: Box::new(content),
    };
    let words = &mut |text: &str| Ok(text.split_whitespace().count());
    read(input, options, words, &mut |_| ())
}

fn read_file(name: &str, content: &str) -> Dataset {
    let read = read_with(name, content.as_bytes(), &Options::default());
    read.unwrap_or_else(|problems| panic!("{name}: {problems:?}"))
}

fn problems(name: &str, content: &str) -> Vec<String> {
    let read = read_with(name, content.as_bytes(), &Options::default());
    describe(&read.expect_err(name))
}

/// A conversation in short: `s|` system, texts and answers with `>`, `#` lengths, `=` limits.
fn short(conversation: &Conversation) -> String {
    let mut all = String::new();
    if let Some(system) = &conversation.system {
        all.push_str(&[system, "| "].concat());
    }
    let turns = conversation.turns.iter().map(|turn| {
        let text = match &turn.text {
            Text::Written(text) => text.clone(),
            Text::Tokens { tokens, blocks } => format!("#{tokens}{blocks:?}"),
        };
        let limit = turn.max_tokens.map_or(String::new(), |it| format!("={it}"));
        let answer = turn
            .answer
            .as_ref()
            .map_or(String::new(), |it| format!(" > {it}"));
        let images = "*".repeat(turn.images.len());
        let delay = turn.delay.map_or(String::new(), |it| format!("+{it:?}"));
        format!("{text}{limit}{images}{delay}{answer}")
    });
    all += &turns.collect::<Vec<_>>().join(" / ");
    if let Some(at_ns) = conversation.at_ns {
        all.push_str(&[" @", &(at_ns / 1_000_000).to_string()].concat());
    }
    all
}

fn shorts(dataset: &Dataset) -> Vec<String> {
    dataset.conversations.iter().map(short).collect()
}

fn notes(dataset: &Dataset) -> Vec<String> {
    dataset.notes.iter().map(ToString::to_string).collect()
}

const SHAREGPT: &str = r#"[
  {
    "id": "a1_0",
    "conversations": [
      {
        "from": "human",
        "value": "Which way to the harbour?"
      },
      { "from": "gpt", "value": "Down the hill." },
      { "from": "human", "value": "On foot?" },
      { "from": "gpt", "value": "Ten minutes." }
    ]
  },
  {
    "id": "a2_0",
    "conversations": [
      { "from": "human", "value": "Name a grey bird." },
      { "from": "gpt", "value": "A heron." }
    ]
  }
]
"#;

#[test]
fn every_format_is_recognised_and_read() {
    let table: [(&str, &str, &str, &[&str]); 34] = [
        (
            "a.json",
            SHAREGPT,
            "sharegpt",
            &[
                "Which way to the harbour? > Down the hill. / On foot?",
                "Name a grey bird.",
            ],
        ),
        (
            "a.jsonl",
            r#"{"id": "1", "conversations": [{"from": "system", "value": "s"}, {"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}]}"#,
            "sharegpt",
            &["s| a"],
        ),
        (
            "a.jsonl",
            r#"{"conversations": [{"role": "user", "content": "a"}]}"#,
            "sharegpt",
            &["a"],
        ),
        (
            "a.jsonl",
            r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "Name a colour."}]}]}"#,
            "openai",
            &["Name a colour."],
        ),
        (
            "a.jsonl",
            r#"{"custom_id": "r-1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], "max_tokens": 7}}"#,
            "openai",
            &["Be brief.| Hi=7"],
        ),
        (
            "a.jsonl",
            r#"{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}, {"type": "text", "text": "What is it?"}]}], "max_completion_tokens": 3}"#,
            "openai",
            &["What is it?=3*"],
        ),
        (
            "a.jsonl",
            r#"{"prompt": "Name a planet.", "output_tokens": 10}"#,
            "custom",
            &["Name a planet.=10"],
        ),
        (
            "a.jsonl",
            "{\"timestamp\": 0, \"input_length\": 65, \"output_length\": 5, \"hash_ids\": [0, 1]}\n{\"timestamp\": 120, \"input_length\": 67, \"output_length\": 6, \"hash_ids\": [0, 2]}",
            "mooncake",
            &["#65[0, 1]=5 @0", "#67[0, 2]=6 @120"],
        ),
        (
            "a.jsonl",
            r#"{"timestamp": 5, "text_input": "Hi", "output_length": 4}"#,
            "mooncake",
            &["Hi=4 @5"],
        ),
        (
            "a.csv",
            "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,47,8,55,Conversation log\n7,GPT-4,30,6,36,API log\n",
            "burstgpt",
            &["#47[]=8 @5000", "#30[]=6 @7000"],
        ),
        (
            "noname",
            "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n5.5,u,2,GPT-4,9,4,13,API log\n",
            "burstgpt",
            &["#9[]=4 @5500"],
        ),
        (
            "a.csv",
            "TIMESTAMP,ContextTokens,GeneratedTokens\n1970-01-01 00:00:05.1234567,37,4\n1970-01-01 00:00:06.2234567,39,10\n",
            "azure",
            &["#37[]=4 @5123", "#39[]=10 @6223"],
        ),
        (
            "a.csv",
            "TIMESTAMP,ContextTokens,GeneratedTokens\n1970-01-01 01:00:00+01:00,1,2\n",
            "azure",
            &["#1[]=2 @0"],
        ),
        (
            "a.jsonl",
            "{\"text\": \"Name a cloud.\"}\n{\"type\": \"single_turn\", \"text\": \"Name a wind.\", \"timestamp\": 300}",
            "aiperf",
            &["Name a cloud.", "Name a wind. @300"],
        ),
        (
            "a.jsonl",
            r#"{"session_id": "s", "turns": [{"text": "a", "timestamp": 4, "output_length": 9}, {"texts": ["b", "c"], "delay": 1500}]}"#,
            "aiperf",
            &["a=9 >  / b\nc+1.5s @4"],
        ),
        (
            "a.jsonl",
            "{\"text\": \"a\", \"session_id\": \"x\"}\n{\"text\": \"b\", \"session_id\": \"y\"}\n{\"text\": \"c\", \"session_id\": \"x\", \"delay\": 20}",
            "aiperf",
            &["a / c+20ms", "b"],
        ),
        (
            "a.jsonl",
            r#"{"prompt": "Name a stone.", "output_tokens_count": 5, "prompt_tokens_count": 4}"#,
            "guidellm",
            &["Name a stone.=5"],
        ),
        (
            "a.jsonl",
            r#"{"instruction": "Why?", "context": "It rains.", "response": "x", "category": "c"}"#,
            "dolly",
            &["Why?\n\nIt rains."],
        ),
        (
            "a.json",
            r#"[{"instruction": "Sort.", "input": "", "output": "x"}, {"instruction": "Sort.", "input": "b a", "output": "x"}]"#,
            "alpaca",
            &["Sort.", "Sort.\n\nb a"],
        ),
        (
            "a.jsonl",
            r#"{"instruction": "Sort.", "input": "b a", "output": "a b", "text": "Sort. b a ### a b"}"#,
            "alpaca",
            &["Sort.\n\nb a"],
        ),
        (
            "a.jsonl",
            r#"{"instruction": "Why?", "context": "", "response": "x", "text": "Why? x"}"#,
            "dolly",
            &["Why?"],
        ),
        (
            "a.jsonl",
            r#"{"question_id": 81, "category": "writing", "turns": ["One?", "Two?"]}"#,
            "mt_bench",
            &["One? >  / Two?"],
        ),
        ("a.txt", "One?\r\n\nTwo?\n", "text", &["One?", "Two?"]),
        (
            "a.txt",
            "[INST] One? [/INST]\n{name}, who are you?\n",
            "text",
            &["[INST] One? [/INST]", "{name}, who are you?"],
        ),
        ("a.json", r#"["One?", "Two?"]"#, "text", &["One?", "Two?"]),
        (
            "noname",
            "One?\nTwo, three?\n",
            "text",
            &["One?", "Two, three?"],
        ),
        (
            "a.csv",
            "id,question,answer\n1,\"One, or\ntwo?\",x\n2,Three?,\n",
            "column",
            &["One, or\ntwo?", "Three?"],
        ),
        (
            "a.csv",
            "n;question\n1;One, two?\n",
            "column",
            &["One, two?"],
        ),
        ("a.tsv", "n\tquery\n1\tOne?\n", "column", &["One?"]),
        (
            "-",
            "id,prompt\n1,\"One, or\ntwo?\"\n2,Three?\n",
            "prony",
            &["One, or\ntwo?", "Three?"],
        ),
        ("a.dat", "n;query\n1;One?\n", "column", &["One?"]),
        ("noname", "n\tquestion\n1\tOne?\n", "column", &["One?"]),
        (
            "a.jsonl",
            r#"{"at_ms": 812.5, "input_tokens": 1500, "max_tokens": 220}"#,
            "prony",
            &["#1500[]=220 @812"],
        ),
        // Objects over several lines, one after the other.
        (
            "a.json",
            "{\n  \"prompt\": \"a\"\n}\n{\n  \"prompt\": \"b\"\n}\n",
            "prony",
            &["a", "b"],
        ),
    ];
    for (name, content, format, wanted) in table {
        for marked in [content.to_owned(), format!("\u{feff}{content}")] {
            let read = read_file(name, &marked);
            assert_eq!(read.format.name(), format, "{name}: {content}");
            assert_eq!(shorts(&read), wanted, "{name}: {content}");
        }
        // An array where lines are usual, and the other way round.
        if content.starts_with('{') && name == "a.jsonl" {
            let array = format!("[{}]", content.replace('\n', ","));
            assert_eq!(shorts(&read_file(name, &array)), wanted, "{array}");
        }
        // By its name it is the same.
        let options = Options {
            format: Format::named(format),
            ..Options::default()
        };
        let read = read_with(name, content.as_bytes(), &options).expect("the format is right");
        assert_eq!(shorts(&read), wanted, "{name}: {content}");
    }
}

#[test]
fn texts_with_commas_are_no_table() {
    for (name, content) in [
        ("noname", "Compare speech, text, images\nOne, two, three\n"),
        ("noname", "id,prompt\nOne, two, three\n"),
        ("noname", "id,prompt\n"),
        ("noname", "prompt\nOne?\n"),
        ("noname", "id,Prompts\n1,One?\n"),
        ("a.txt", "id,prompt\n1,One?\n"),
    ] {
        let lines: Vec<&str> = content.lines().collect();
        assert_eq!(shorts(&read_file(name, content)), lines, "{content}");
    }
    // Whoever names the format has a table, whatever it is called.
    let options = Options {
        format: Some(Format::COLUMN),
        ..Options::default()
    };
    for name in ["-", "a.txt", "a.csv"] {
        let read = read_with(name, b"prompt\nOne?\n", &options).expect("a table");
        assert_eq!(shorts(&read), ["One?"], "{name}");
    }
    let read = read_with("-", br#"{"prompt":"One?"}"#, &options).expect("JSON");
    assert_eq!(shorts(&read), ["One?"]);
}

#[test]
fn a_quote_that_is_not_closed_is_told_where_it_opens() {
    let told = "the quote is not closed up to the end of the file: expected another `\"` behind the cell; one within it is written `\"\"`";
    for (content, place) in [
        ("id,prompt\n1,\"never closed\n2,b\n3,c\n4,d\n", ":2:3"),
        ("id;prompt\n1;a \"b\" \"\n2;\"a\"\"\n", ":3:3"),
        ("prompt,n\r\n\"a\"\"\",1\r\n\"b,2\r\n", ":3:1"),
        ("id,\"prompt\n1,a\n", ":1:4"),
        ("id,prompt,n\n1,\"a,2\n2,b,3", ":2:3"),
        ("id,prompt\n1,\"", ":2:3"),
    ] {
        assert_eq!(problems("a.csv", content), [format!("{place}: {told}")]);
    }
    let closed = "id,prompt\n1,\"a \"\"b\"\"\"\n2,c \"d\n3,\"e\"\"\nf\"g\"\n4,\"h\"";
    let read = read_file("a.csv", closed);
    assert_eq!(shorts(&read), ["a \"b\"", "c \"d", "e\"\nfg\"", "h"]);
}

#[test]
fn a_key_that_is_there_twice_is_told_at_its_last_value() {
    let told = "the key `prompt` is there twice, and expected once";
    let twice = r#"{"prompt":"a","prompt":"b"}"#;
    assert_eq!(problems("a.jsonl", twice), [format!(":1:24: {told}")]);
    assert_eq!(
        problems("a.json", &format!("[\n  {{\"prompt\":\"c\"}},\n  {twice}]")),
        [format!(":3:26: {told}")]
    );
    let escaped = r#"{"prompt":"a","n":1,"pr\u006fmpt":null}"#;
    assert_eq!(problems("a.jsonl", escaped), [format!(":1:35: {told}")]);
}

#[test]
fn a_prompt_beside_messages_is_told_with_the_way_out() {
    let both = r#"{"prompt_id":"x","prompt":"p","messages":[{"role":"user","content":"p"}]}"#;
    assert_eq!(
        problems("a.jsonl", both),
        [
            ":1:1: both `prompt` and `messages`, expected one of them; `--format openai`, in a pipeline `format: openai`, reads the messages"
        ]
    );
    let options = Options {
        format: Format::named("openai"),
        ..Options::default()
    };
    let read = read_with("a.jsonl", both.as_bytes(), &options).expect("messages");
    assert_eq!(shorts(&read), ["p"]);
}

#[test]
fn unknown_keys_are_told_once_with_their_number() {
    let line = r#"{"id": "q1", "prompt": "Name a shoe.", "source": "x", "category": "y"}"#;
    let read = read_file("a.jsonl", &format!("{line}\n{line}\n{{\"prompt\":\"b\"}}"));
    assert_eq!(
        notes(&read),
        [
            "`category` is not used (2 records)",
            "`id` is not used (2 records)",
            "`source` is not used (2 records)"
        ]
    );
    let inner = r#"{"messages":[{"role":"user","content":"a","name":"n"},{"role":"assistant","content":"b","weight":1}],"temperature":1}"#;
    assert_eq!(
        notes(&read_file("a.jsonl", inner)),
        [
            "`messages[].name` is not used (1 record)",
            "`messages[].weight` is not used (1 record)",
            "`temperature` is not used (1 record)"
        ]
    );
}

#[test]
fn what_is_changed_or_left_out_is_told() {
    let cut = r#"{"conversations":[{"from":"gpt","value":"x"},{"from":"human","value":"a"},{"from":"human","value":"b"}]}
{"conversations":[]}
{"conversations":[{"from":"gpt","value":"only"}]}"#;
    let read = read_file("a.jsonl", cut);
    assert_eq!(shorts(&read), ["a\n\nb"]);
    assert_eq!(
        notes(&read),
        [
            "an answer at the beginning, to a question that is not in the file, is left out (2 messages)",
            "messages of one author in a row are sent as one, with an empty line between (1 message)",
            "a conversation without a question is left out (2 conversations)",
        ]
    );
    let timed = read_file("a.jsonl", r#"{"text":"a","timestamp":5}"#);
    assert_eq!(
        notes(&timed),
        ["its recorded times are not used: `arrival: { replay: {} }` sends at them"]
    );
}

#[test]
fn the_format_that_was_taken_says_why_and_what_else_fits() {
    let read = read_file("a.jsonl", r#"{"prompt":"a","output_tokens":1}"#);
    assert_eq!(
        read.recognised,
        "by `prompt` and `output_tokens`; it could be read as prony as well, by `format`"
    );
    let unknown = problems("a.jsonl", r#"{"utterance":"a","lang":"b"}"#);
    assert_eq!(
        unknown,
        [
            ":1:1: the format is not recognised: its keys are `utterance`, `lang`; name the one with the prompts by `column`, or the format by `format`: mooncake, burstgpt, azure, sharegpt, mt_bench, aiperf, custom, guidellm, openai, dolly, alpaca, prony, text, column"
        ]
    );
    let options = Options {
        column: Some("utterance".to_owned()),
        ..Options::default()
    };
    let read = read_with("a.jsonl", br#"{"utterance":"a","lang":"b"}"#, &options);
    assert_eq!(shorts(&read.expect("a column")), ["a"]);
    let inside = problems("a.json", r#"{"version":1,"data":[{"prompt":"a"}]}"#);
    assert!(inside[0].contains("jq -c '.[\"data\"][]'"), "{inside:?}");
}

#[test]
fn what_cannot_be_sent_is_refused_at_its_place() {
    let user = r#"{"role":"user","content":"a"}"#;
    for (line, place, words) in [
        (format!(r#"{{"messages":[{user}],"tools":[{{"type":"function"}}]}}"#), ":1:53", "`tools`: requests cannot carry it"),
        (format!(r#"{{"messages":[{{"role":"developer","content":"d"}},{user}]}}"#), ":1:22", "name it `system`"),
        (format!(r#"{{"messages":[{user},{{"role":"tool","content":"d"}}]}}"#), ":1:52", "a message of `tool` cannot be sent"),
        (r#"{"messages":[{"role":"user","content":[{"type":"input_audio"}]}]}"#.to_owned(), ":1:48", "type `input_audio`"),
        (r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://a/b.png"}}]}]}"#.to_owned(), ":1:72", "is not fetched"),
        (r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,*"}}]}]}"#.to_owned(), ":1:72", "is no base64"),
        (r#"{"text":"a","video":"v.mp4"}"#.to_owned(), ":1:21", "`video`"),
        (r#"{"text":"a","extra":{"top_k":1}}"#.to_owned(), ":1:21", "`extra`"),
        (r#"{"custom_id":"a","url":"/v1/embeddings","body":{"input":"a"}}"#.to_owned(), ":1:24", "expected /v1/chat/completions"),
        (r#"{"messages":[{"role":"assistant","content":null,"tool_calls":[1]},{"role":"user","content":"b"}]}"#.to_owned(), ":1:62", "`messages[].tool_calls`"),
    ] {
        let told = problems("a.jsonl", &line);
        assert!(told[0].starts_with(place) && told[0].contains(words), "{line}: {told:?}");
    }
    let image = r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"a.png"}}]}"#;
    let later = format!(r#"{{"messages":[{image},{{"role":"assistant","content":"b"}},{user}]}}"#);
    assert!(problems("a.jsonl", &later)[0].contains("cannot be sent again"));
}

#[test]
fn wrong_lines_are_told_by_the_first_of_their_kind() {
    let mut lines = vec![r#"{"prompt":"a"}"#.to_owned()];
    lines.extend((0..3).map(|_| r#"{"prompt":5}"#.to_owned()));
    lines.push(r#"{"promt":"b"}"#.to_owned());
    lines.push(r#"{"prompt":"#.to_owned());
    assert_eq!(
        problems("a.jsonl", &lines.join("\n")),
        [
            ":2:11: `prompt` is a number, expected a text (and 2 more like it)",
            ":5:1: none of `prompt`, `messages` and `input_tokens`",
            ":6:10: it is no JSON: EOF while parsing a value",
        ]
    );
    let many = "{\"prompt\":5}\n".repeat(1000);
    let told = problems("a.jsonl", &many);
    assert_eq!(
        told,
        [":1:11: `prompt` is a number, expected a text (and at least 99 more like it)"]
    );
    // In an array too, and the rest cannot be read behind what is no JSON.
    let array =
        "[\n  {\"prompt\": \"a\"},\n  {\"prompt\": 5},\n  {\"prompt\": 6},\n  {\"prompt\" 7}\n]";
    assert_eq!(
        problems("a.json", array),
        [
            ":3:14: `prompt` is a number, expected a text (and 1 more like it)",
            ":5:13: it is no JSON: expected `:`",
        ]
    );
    let table = "prompt,n\na,1\nb\n\"c\"d,2\n";
    assert_eq!(
        problems("a.csv", table),
        [
            ":3:1: the row has 1 cells, expected 2 as the line of names has; a cell with a comma or a line break stands in quotes"
        ]
    );
    assert_eq!(
        problems("a.jsonl", "{\"prompt\":\"a\"}\n[1]")[0],
        ":2:1: the record is a list, expected an object or a text"
    );
    assert!(problems("a.jsonl", "\n \n")[0].starts_with(": it is empty; expected one of: "));
    assert_eq!(problems("a.json", "[]")[0][..14], ": it is empty;"[..]);
}

#[test]
fn nothing_behind_the_limit_is_read() {
    struct Wall;
    impl Read for Wall {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("it is behind the limit")
        }
    }
    let options = Options {
        selection: Selection {
            limit: Some(2),
            ..Selection::default()
        },
        ..Options::default()
    };
    let filler = format!("{{\"prompt\":\"{}\"}}", "x".repeat(70_000));
    for content in [
        format!("{{\"prompt\":\"a\"}}\n{{\"prompt\":\"b\"}}\n{filler}"),
        format!("[{{\"prompt\":\"a\"}},{{\"prompt\":\"b\"}},{filler}"),
        format!("prompt,n\na,1\nb,2\n{}", "c,3\n".repeat(40_000)),
    ] {
        let name = if content.starts_with('p') {
            "a.csv"
        } else {
            "a.json"
        };
        let input = Input::File {
            name,
            bytes: Box::new(content.as_bytes().chain(Wall)),
        };
        let none = &mut |_: &str| Err("none".to_owned());
        let read = read(input, &options, none, &mut |_| ()).expect("two");
        assert_eq!(shorts(&read), ["a", "b"]);
    }
}

#[test]
fn text_in_another_encoding_is_told_where_it_begins() {
    for (name, content) in [
        (
            "a.jsonl",
            &b"{\"prompt\":\"a\"}\n{\"prompt\":\"gr\xfcn\"}"[..],
        ),
        ("a.txt", b"a\ngr\xfcn"),
        ("a.csv", b"prompt\ngr\xfcn\n"),
    ] {
        let read = read_with(name, content, &Options::default());
        let told = describe(&read.expect_err(name));
        assert!(
            told[0].starts_with(":2:") && told[0].contains("iconv -f WINDOWS-1252"),
            "{told:?}"
        );
    }
    let array = read_with("a.json", b"[{\"prompt\":\"gr\xfcn\"}]", &Options::default());
    assert!(describe(&array.expect_err("Latin-1"))[0].starts_with(":1:"));
}

#[test]
fn the_page_on_workloads_has_a_record_of_each_format() {
    let page = include_str!("../../../../docs/workloads.md");
    let mut shown = std::collections::BTreeSet::new();
    let mut blocks = page.split("\n```");
    while let (Some(_), Some(block)) = (blocks.next(), blocks.next()) {
        let (info, content) = block.split_once('\n').expect("a block has lines");
        let Some((language, name)) = info.split_once(' ') else {
            continue;
        };
        let ending = if language == "text" { "txt" } else { language };
        let read = read_file(&format!("a.{ending}"), content);
        assert_eq!(read.format.name(), name, "{content}");
        shown.insert(name);
    }
    let all: std::collections::BTreeSet<&str> = Format::all().map(Format::name).collect();
    assert_eq!(shown, all);
}
