//! Files that mean no good.

use super::*;
use proptest::prelude::*;

/// Pieces that hostile files are made of.
fn piece() -> impl Strategy<Value = String> {
    let known = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\n",
        "\"",
        "\\",
        "\u{feff}",
        "null",
        "1e999",
        "-1",
        "0.5",
        "\"prompt\"",
        "\"messages\"",
        "\"role\":\"user\"",
        "\"content\":\"a\"",
        "\"turns\":[",
        "\"text\":\"a\"",
        "\"input_length\":9",
        "\"hash_ids\":[1]",
        "\"timestamp\":5",
        "\"delay\":1",
        "\"session_id\":\"s\"",
        "\"conversations\":[",
        "\"from\":\"human\"",
        "\"value\":\"b\"",
        "{\"prompt\":\"a\"}",
        "Request tokens,Response tokens\n1,2\n",
        "ContextTokens,GeneratedTokens,TIMESTAMP\n1,2,",
        "\"image_url\":{\"url\":\"data:,\"}",
        "\u{202e}",
        "é",
        "\t",
        ";",
    ];
    prop_oneof![
        8 => proptest::sample::select(known.to_vec()).prop_map(ToOwned::to_owned),
        1 => ".{0,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2000), ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_is_read_panics(pieces in prop::collection::vec(piece(), 0..24), name in "a(\\.(jsonl|json|csv|tsv|txt))?", format in 0..15_usize, sample in 0..3_u32) {
        let options = Options {
            format: Format::all().nth(format),
            selection: Selection { sample: Some(sample).filter(|it| *it > 0), ..Selection::default() },
            ..Options::default()
        };
        let content = pieces.concat();
        let read = read_with(&name, content.as_bytes(), &options);
        if let Ok(read) = read {
            prop_assert!(read.conversations.iter().all(|it| !it.turns.is_empty() && it.line > 0));
        }
    }

    #[test]
    fn no_bytes_panic(content in prop::collection::vec(any::<u8>(), 0..200), name in "a(\\.(jsonl|json|csv|txt))?") {
        let _ = read_with(&name, &content, &Options::default());
    }

    #[test]
    fn lines_and_arrays_read_alike(texts in prop::collection::vec("[a-z\"\\\\\n ]{1,20}", 1..20)) {
        let records: Vec<String> = texts.iter().map(|text| serde_json::json!({ "prompt": text }).to_string()).collect();
        let lines = shorts(&read_file("a.jsonl", &records.join("\n")));
        let array = shorts(&read_file("a.json", &format!("[{}]", records.join(",\n "))));
        prop_assert_eq!(&lines, &array);
        prop_assert_eq!(lines, texts);
    }
}
