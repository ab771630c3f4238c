//! Selection of a dataset's records.

use super::*;
use std::time::Duration;

fn numbered(count: usize) -> String {
    let line = |n| format!("{{\"prompt\":\"{n}\"}}\n");
    (0..count).map(line).collect::<Vec<_>>().concat()
}

fn selected(content: &str, selection: Selection, seed: u64) -> Result<Vec<String>, Vec<String>> {
    let options = Options {
        selection,
        seed,
        ..Options::default()
    };
    let read = read_with("a.jsonl", content.as_bytes(), &options);
    read.map(|it| shorts(&it)).map_err(|it| describe(&it))
}

#[test]
fn offsets_limits_and_samples_select() {
    let content = numbered(20);
    let of = |offset, limit, sample| Selection {
        offset,
        limit,
        sample,
        ..Selection::default()
    };
    let first = selected(&content, of(3, Some(2), None), 0);
    assert_eq!(first, Ok(vec!["3".to_owned(), "4".to_owned()]));
    let drawn = selected(&content, of(10, Some(10), Some(4)), 7).expect("four");
    assert_eq!(
        drawn,
        selected(&content, of(10, Some(10), Some(4)), 7).expect("again")
    );
    assert_ne!(
        drawn,
        selected(&content, of(10, Some(10), Some(4)), 8).expect("others")
    );
    let numbers: Vec<u32> = drawn
        .iter()
        .map(|it| it.parse().expect("a number"))
        .collect();
    assert!(
        numbers.windows(2).all(|it| it[0] < it[1]) && numbers[0] >= 10,
        "{numbers:?}"
    );
    let all = selected(&content, of(0, None, Some(20)), 1).expect("all");
    assert_eq!(all.len(), 20);
    for (selection, words) in [
        (
            of(0, Some(21), None),
            "it has 20 conversations, and the workload's `limit` is 21",
        ),
        (
            of(18, None, Some(3)),
            "it has 2 conversations behind the first 18, and the workload's `sample` is 3",
        ),
        (of(20, None, None), "there is no conversation in it"),
    ] {
        let problems = selected(&content, selection, 0).expect_err(words);
        assert_eq!(problems, [format!(": {words}")]);
    }
}

#[test]
fn a_sample_is_fair() {
    let content = numbered(10);
    let mut drawn = [0_u32; 10];
    for seed in 0..4000 {
        let selection = Selection {
            sample: Some(3),
            ..Selection::default()
        };
        for number in selected(&content, selection, seed).expect("three") {
            drawn[number.parse::<usize>().expect("a number")] += 1;
        }
    }
    // 1,200 expected of each, with a standard deviation of 29.
    assert!(
        drawn.iter().all(|it| (1080..1320).contains(it)),
        "{drawn:?}"
    );
}

#[test]
fn lengths_filter_and_failed_requests_are_told() {
    let content = "{\"prompt\":\"a b c\",\"max_tokens\":5}\n{\"prompt\":\"a\"}\n{\"prompt\":\"a b\",\"max_tokens\":50}\n";
    let between = |min, max| Some(Length { min, max });
    let by = |selection| selected(content, selection, 0);
    let chars = by(Selection {
        chars: between(2, 3),
        ..Selection::default()
    });
    assert_eq!(chars, Ok(vec!["a b=50".to_owned()]));
    let tokens = by(Selection {
        tokens: between(2, 9),
        ..Selection::default()
    });
    assert_eq!(tokens, Ok(vec!["a b c=5".to_owned(), "a b=50".to_owned()]));
    let output = by(Selection {
        output: between(1, 9),
        ..Selection::default()
    });
    assert_eq!(output, Ok(vec!["a b c=5".to_owned()]));
    let none = by(Selection {
        chars: between(100, 200),
        ..Selection::default()
    });
    assert!(none.expect_err("none")[0].contains("no conversation is as long"));

    let failed = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,G,47,0,47,c\n6,G,30,6,36,c\n";
    let told = problems("a.csv", failed);
    assert!(
        told[0].starts_with(":2:1: the recorded answer has no token"),
        "{told:?}"
    );
    let options = Options {
        selection: Selection {
            output: between(1, u64::MAX),
            ..Selection::default()
        },
        ..Options::default()
    };
    let read = read_with("a.csv", failed.as_bytes(), &options).expect("one");
    assert_eq!(shorts(&read), ["#30[]=6 @6000"]);
    assert_eq!(
        notes(&read)[0],
        "a conversation is left out: its length is outside `input_chars`, `input_tokens` or `output_tokens` (1 conversation)"
    );
}

#[test]
fn times_are_needed_in_order_where_they_are_used() {
    let timed = Options {
        is_timed: true,
        ..Options::default()
    };
    let by_time = |content: &str| read_with("a.jsonl", content.as_bytes(), &timed);
    let first = r#"{"prompt":"a","at_ms":5}"#;
    assert!(by_time(&format!("{first}\n{first}")).is_ok());
    for (second, words) in [
        (r#"{"prompt":"b","at_ms":4}"#, "sort the file by time"),
        (r#"{"prompt":"b"}"#, "expected `at_ms`, in milliseconds"),
        (
            r#"{"prompt":"b","at_ms":-1}"#,
            "expected milliseconds since",
        ),
        (r#"{"prompt":"b","at_ms":1e300}"#, "at most 8.64e9"),
    ] {
        let problems = describe(&by_time(&format!("{first}\n{second}")).expect_err(second));
        assert!(
            problems[0].starts_with(":2:") && problems[0].contains(words),
            "{problems:?}"
        );
    }
    // Otherwise their order is nothing to refuse.
    let unordered = format!("{first}\n{{\"prompt\":\"b\",\"at_ms\":4}}");
    assert_eq!(read_file("a.jsonl", &unordered).conversations.len(), 2);
}

#[test]
fn delays_and_limits_are_of_turns() {
    let line = r#"{"turns":[{"text":"a","output_length":3},{"text":"b","delay":250.5,"output_length":4}]}"#;
    let read = read_file("a.jsonl", line);
    let turns = &read.conversations[0].turns;
    assert_eq!(turns[1].delay, Some(Duration::from_micros(250_500)));
    assert_eq!(
        turns.iter().map(|it| it.max_tokens).collect::<Vec<_>>(),
        [Some(3), Some(4)]
    );
    for (line, words) in [
        (r#"{"text":"a","delay":-1}"#, "`delay` is -1"),
        (
            r#"{"text":"a","output_length":0}"#,
            "`output_length` is 0, expected at least 1",
        ),
        (
            r#"{"text":"a","output_length":1.5}"#,
            "a whole number of tokens",
        ),
        (
            r#"{"text":"a","output_length":99999999999}"#,
            "at most 1000000",
        ),
        (r#"{"turns":[]}"#, "not recognised"),
        (r#"{"text":"a","type":"other"}"#, "expected single_turn"),
    ] {
        let told = problems("a.jsonl", line);
        assert!(told[0].contains(words), "{line}: {told:?}");
    }
}
