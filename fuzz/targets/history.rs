//! Histories: lines that others wrote are read or told with their place, and whatever is read can
//! be analysed and shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prony_diagnostic::Source;
use prony_history::{Series, Store, page, text};

/// Name of the series, which all seeds have.
const SERIES: &str = "0011223344556677";

fuzz_target!(|data: &[u8]| {
    let mut store = Store::default();
    let lines = String::from_utf8_lossy(data).into_owned();
    store.take(SERIES, Source::new("history.jsonl".to_owned(), lines));
    prony_diagnostic::human(&store.problems, false);
    let series: Vec<Series> = Series::new(SERIES, &store.series, None)
        .into_iter()
        .collect();
    assert_eq!(series.is_empty(), store.series.is_empty());
    serde_json::to_string(&series).expect("JSON");
    for run in series.iter().flat_map(|it| &it.runs) {
        let numbers = [run.difference_percent, run.low_percent, run.high_percent];
        assert!(numbers.into_iter().flatten().all(f64::is_finite));
    }
    text(&series);
    page(&series);
});
