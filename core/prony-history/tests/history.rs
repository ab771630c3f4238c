//! Lines of histories that were made by hand: what is found, and what is shown.

use prony_history::{Absolute, Build, Phases, Record, SCHEMA, Series, Store, add, page, text};
use std::collections::BTreeMap;
use std::fs;

fn build(engine: &str, identity: &str) -> Build {
    Build {
        engine: engine.to_owned(),
        identity: identity.to_owned(),
        version: None,
        sha256: None,
    }
}

/// A run of a night, at a log ratio to an anchor.
fn night(number: usize, anchor: &str, log_ratio: f64) -> Record {
    Record {
        schema: SCHEMA.to_owned(),
        id: format!("run@{number}/1"),
        at: format!(
            "2026-{:02}-{:02}T02:00:00Z",
            9 + number / 28,
            1 + number % 28
        ),
        commit: Some(format!("{number:040x}")),
        reference: None,
        series: "0011223344556677".to_owned(),
        setting: "setting".to_owned(),
        pipeline: "nightly".to_owned(),
        model: "model".to_owned(),
        cell: None,
        measure: None,
        machine: "machine".to_owned(),
        anchor: Some(build("release", anchor)),
        candidate: build("main", "main"),
        log_ratio: Some(log_ratio),
        low: Some(log_ratio - 0.01),
        high: Some(log_ratio + 0.01),
        level: Some(0.96),
        margin_percent: 2.0,
        cycles: 9,
        cycle_log_ratios: Vec::new(),
        absolute: Absolute {
            output_tokens_per_sec: Some(100.0),
            ..Absolute::default()
        },
        phases: Phases::default(),
        flags: Vec::new(),
        valid: true,
        reason: None,
    }
}

/// Noise of a run that is no pattern.
fn noise(number: usize) -> f64 {
    0.006 * ((number as f64 * 0.618_034).fract() - 0.5)
}

fn nights(numbers: std::ops::Range<usize>, anchor: &str, log_ratio: f64) -> Vec<Record> {
    numbers
        .map(|it| night(it, anchor, log_ratio + noise(it)))
        .collect()
}

fn analysed(records: Vec<Record>) -> Series {
    let all = BTreeMap::from([("series".to_owned(), records)]);
    Series::new("series", &all, None).expect("a series")
}

#[test]
fn a_loss_is_an_alarm_at_its_commit_and_a_gain_is_none() {
    let mut records = nights(0..20, "a", 0.0);
    records.extend(nights(20..30, "a", -0.04));
    let series = analysed(records.clone());
    let alarm = series.alarm().expect("an alarm");
    assert_eq!(alarm.bad, records[20].commit);
    assert_eq!(alarm.good, records[19].commit);
    assert!((alarm.difference_percent + 3.9).abs() < 0.3, "{alarm:?}");
    records.extend(nights(30..40, "a", 0.0));
    let series = analysed(records);
    assert_eq!(series.changes.len(), 2);
    assert_eq!(series.alarm(), None, "it is as fast again");
}

#[test]
fn runs_that_do_not_count_change_nothing() {
    let mut records = nights(0..20, "a", 0.0);
    for (number, d) in [(20, -0.3), (21, -0.3), (22, -0.3), (23, -0.3)] {
        records.push(Record {
            valid: false,
            reason: Some("no anchor".to_owned()),
            ..night(number, "a", d)
        });
    }
    let series = analysed(records);
    assert_eq!((series.changes.len(), series.segments.len()), (0, 1));
    assert_eq!(series.suspicion, None);
    assert_eq!(series.not_counted(), ["4 runs not counted: no anchor"]);
    assert!(text(&[series]).contains("· 4 runs not counted: no anchor"));
}

#[test]
fn another_anchor_begins_a_segment_unless_a_bridge_joins_it() {
    let mut records = nights(0..20, "a", 0.10);
    records.extend(nights(20..40, "b", 0.04));
    let apart = analysed(records.clone());
    assert_eq!((apart.changes.len(), apart.segments.len()), (0, 2));
    assert!(apart.segments[1].apart);
    // In the run of the bridge, the old anchor is 6 % slower than the new one.
    let bridge = Record {
        series: "bridge".to_owned(),
        candidate: build("old", "a"),
        low: Some(-0.062),
        high: Some(-0.058),
        ..night(20, "b", -0.06)
    };
    let all = BTreeMap::from([
        ("series".to_owned(), records),
        ("bridge".to_owned(), vec![bridge]),
    ]);
    let joined = Series::new("series", &all, None).expect("a series");
    assert_eq!(
        (joined.changes.len(), joined.segments.len()),
        (0, 1),
        "{joined:?}"
    );
    let first = joined.runs[0].difference_percent.expect("a difference");
    assert!(
        (first - 4.1).abs() < 0.5,
        "on the scale of the last anchor: {first}"
    );
    // An engine that is no anchor joins nothing: it may be another build every night.
    let none = analysed(
        nights(0..20, "a", 0.0)
            .into_iter()
            .chain(nights(20..40, "b", -0.06))
            .collect(),
    );
    assert_eq!(none.segments.len(), 2, "{none:?}");
    assert!(none.segments[1].apart);
}

#[test]
fn a_change_between_machines_says_so() {
    let mut records = nights(0..20, "a", 0.0);
    records.extend(nights(20..30, "a", -0.04).into_iter().map(|it| Record {
        machine: "another".to_owned(),
        ..it
    }));
    let series = analysed(records);
    let told = series.findings().join("\n");
    assert!(
        told.contains("no machine ran both before and after it"),
        "{told}"
    );
}

#[test]
fn the_page_is_complete_and_nothing_in_it_is_markup() {
    let mut records = nights(0..20, "a", 0.0);
    records.extend(nights(20..30, "a", -0.04));
    for record in &mut records {
        record.model = "<script>alert(1)</script>&".to_owned();
        record.commit = record.commit.as_ref().map(|it| format!("<{it}"));
    }
    let page = page(&[analysed(records)]);
    assert!(!page.contains("<script"), "{page}");
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "it loads nothing"
    );
    for part in [
        "<svg",
        "class=\"worse\"",
        "History: 1 regression",
        "<th scope=\"col\">",
    ] {
        assert!(page.contains(part), "no {part}");
    }
    assert_eq!(page.matches("class=\"mark run\"").count(), 30);
    assert_eq!(page.matches("<tr><td>").count(), 30);
}

#[test]
fn lines_that_are_none_are_told_with_their_place_and_the_others_count() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = night(1, "a", 0.0);
    let line = serde_json::to_string(&good).expect("JSON");
    let other = line.replace("\"cycles\":9", "\"cycles\":10");
    let newer = line.replace("history/1", "history/2");
    let misplaced = line.replace(&good.series, "ffff");
    let absurd = [
        ("\"low\":-0.01", "\"low\":-1e300"),
        ("\"low\":-0.01,", ""),
        ("\"low\":-0.01", "\"low\":0.5"),
        ("\"level\":0.96", "\"level\":1.0"),
        ("\"margin_percent\":2.0", "\"margin_percent\":-2.0"),
        ("_per_sec\":100.0", "_per_sec\":-1.0"),
    ];
    let absurd = absurd.map(|(from, to)| line.replace(from, to));
    assert!(absurd.iter().all(|it| *it != line));
    let untimely = line.replace(&good.at, "yesterday");
    let cut = &line[..line.len() / 2];
    let text = [
        &line,
        "",
        "<<<<<<< ours",
        &line,
        &other,
        &newer,
        &misplaced,
        &untimely,
        cut,
        "[]",
        "\u{0}",
    ];
    let text = text.into_iter().chain(absurd.iter().map(String::as_str));
    let text: Vec<&str> = text.collect();
    let path = folder.path().join(format!("{}.jsonl", good.series));
    fs::write(&path, text.join("\n")).expect("a file");
    let store = Store::read(folder.path()).expect("a history");
    assert_eq!(store.series[&good.series], [good]);
    let told = prony_diagnostic::human(&store.problems, false);
    let codes: Vec<&str> = store.problems.iter().map(|it| it.code).collect();
    let mut expected = vec!["H0001", "H0003", "H0002", "H0004"];
    expected.extend(["H0001"; 10]);
    assert_eq!(codes, expected, "{told}");
    for place in [":3:1", ":5:1", ":6:1", ":7:1", ":8:1", ":10:1"] {
        assert!(told.contains(&format!("jsonl{place}")), "{place}\n{told}");
    }
}

#[test]
fn lines_are_added_once_and_behind_a_line_without_an_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = [night(1, "a", 0.0), night(2, "a", 0.0)];
    let read = || Store::read(folder.path()).expect("a history");
    let add = |records: &[Record]| add(folder.path(), records).expect("lines");
    assert_eq!(add(&records[..1]).new, 1);
    let path = folder.path().join(format!("{}.jsonl", records[0].series));
    let text = fs::read_to_string(&path).expect("a file");
    fs::write(&path, text.trim_end()).expect("a file");
    let added = add(&records);
    assert_eq!((added.new, added.known), (1, 1));
    let twice = [night(3, "a", 0.0), night(3, "a", 0.0)];
    let twice = add(&twice);
    assert_eq!(
        (twice.new, twice.known),
        (1, 1),
        "a run that is named twice"
    );
    let records = [&records[..], &[night(3, "a", 0.0)]].concat();
    assert_eq!(read().series[&records[0].series], records);
    let attributes = fs::read_to_string(folder.path().join(".gitattributes"));
    assert_eq!(attributes.expect("a file"), "*.jsonl merge=union\n");
}

#[test]
fn a_run_that_does_not_count_sets_no_margin() {
    let mut records = nights(0..20, "a", 0.0);
    records.extend(nights(20..30, "a", -0.029));
    for record in &mut records {
        record.margin_percent = 5.0;
    }
    records.push(Record {
        valid: false,
        reason: Some("no anchor".to_owned()),
        anchor: None,
        margin_percent: 2.0,
        ..night(30, "a", 0.0)
    });
    let series = analysed(records);
    assert_eq!((series.margin_percent, series.alarm()), (5.0, None));
}

#[test]
fn adds_at_the_same_time_add_each_run_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let records = nights(0..20, "a", 0.0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| add(folder.path(), &records).expect("lines"));
        }
    });
    let store = Store::read(folder.path()).expect("a history");
    assert_eq!((store.series.len(), store.problems.len()), (1, 0));
    let file = folder.path().join(format!("{}.jsonl", records[0].series));
    let lines = fs::read_to_string(file).expect("lines");
    assert_eq!(lines.lines().count(), records.len());
}
