use super::*;
use crate::fixture::answered;
use prony_record::Arrival;
use proptest::collection::vec;
use proptest::prelude::{
    ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_assume, proptest,
};

const MS: u64 = 1_000_000;

/// An answer of `tokens` tokens, by the engine, in texts that come at these times (ms) with so
/// many tokens (0: not told). It ends with its last text, at its limit.
fn streamed(tokens: u32, texts: &[(u64, u32)]) -> Record {
    let mut record = answered(&format!("{tokens} tokens"), tokens);
    record.finish_reason = Some("length".to_owned());
    let arrivals = texts.iter().map(|(at, n)| Arrival(at * MS, *n));
    record.arrivals = arrivals.collect();
    record.stamps.end_ns = texts.iter().map(|it| it.0 * MS).max().unwrap_or(0);
    record
}

/// One token a text: the first after 40 ms, then one each 10 ms.
fn token_by_token(tokens: u32) -> Record {
    let texts: Vec<(u64, u32)> = (0..u64::from(tokens)).map(|i| (40 + 10 * i, 0)).collect();
    streamed(tokens, &texts)
}

fn cut(baseline: &Record, candidate: &Record) -> Result<Common, Withheld> {
    common(baseline, candidate)
}

fn is(part: Part, low_ms: f64, high_ms: f64) -> bool {
    let near = |s: f64, ms: f64| (s * 1e3 - ms).abs() < 1e-6;
    near(part.low_s, low_ms) && near(part.high_s, high_ms)
}

#[test]
fn equal_lengths_are_their_latencies() {
    let (a, mut b) = (token_by_token(8), token_by_token(8));
    b.text.push('!');
    b.stamps.end_ns = 300 * MS;
    let both = cut(&a, &b).expect("counted");
    assert_eq!((both.tokens, both.is_cut()), (8, false));
    assert!(is(both.baseline, 110.0, 110.0), "{both:?}");
    assert!(is(both.candidate, 300.0, 300.0), "{both:?}");
    assert_eq!(both.candidate.first_s, Some(0.04));
    // Equal texts are one length, whatever is counted.
    b.text.clone_from(&a.text);
    b.output_tokens = Some(9);
    let both = cut(&a, &b).expect("counted");
    assert_eq!((both.tokens, both.is_cut()), (8, false));
}

#[test]
fn the_longer_answer_is_cut_to_the_shorter() {
    let (mut a, b) = (token_by_token(5), token_by_token(8));
    // Neither bears what comes behind its texts.
    a.stamps.end_ns = 200 * MS;
    let both = cut(&a, &b).expect("counted");
    assert_eq!((both.tokens, both.is_cut()), (5, true));
    assert!(is(both.baseline, 80.0, 80.0), "{both:?}");
    assert!(is(both.candidate, 80.0, 80.0), "{both:?}");
    assert_eq!((both.baseline.credit, both.candidate.credit), (5, 8));
}

#[test]
fn an_end_token_is_no_token_to_wait_for() {
    let mut a = token_by_token(5);
    a.finish_reason = Some("stop".to_owned());
    a.output_tokens = Some(6);
    for b in [token_by_token(5), token_by_token(8)] {
        let both = cut(&a, &b).expect("counted");
        assert_eq!(both.tokens, 5);
        assert!(is(both.baseline, 80.0, 80.0), "{both:?}");
        assert!(is(both.candidate, 80.0, 80.0), "{both:?}");
    }
    // An answer at its limit has none, so a text has two tokens, or one has none.
    a.finish_reason = Some("length".to_owned());
    let both = cut(&a, &token_by_token(8)).expect("counted");
    assert_eq!(both.tokens, 6);
    assert!(is(both.baseline, 80.0, 80.0), "{both:?}");
    a.stamps.end_ns = 95 * MS;
    let both = cut(&a, &token_by_token(8)).expect("counted");
    assert!(is(both.baseline, 80.0, 95.0), "{both:?}");
}

#[test]
fn a_text_of_several_tokens_is_known_at_its_end() {
    let told = streamed(8, &[(70, 4), (110, 4)]);
    for (tokens, low, high) in [
        (4, 70.0, 70.0),
        (5, 80.0, 110.0),
        (7, 100.0, 110.0),
        (3, 52.5, 70.0),
    ] {
        let both = cut(&told, &token_by_token(tokens)).expect("counted");
        assert_eq!(both.tokens, tokens);
        assert!(is(both.baseline, low, high), "{tokens}: {both:?}");
    }
    let untold = streamed(8, &[(70, 0), (110, 0)]);
    // The first has 1 to 7 tokens.
    let both = cut(&untold, &token_by_token(5)).expect("counted");
    assert!(is(both.baseline, 50.0, 110.0), "{both:?}");
}

#[test]
fn an_answer_in_one_piece_is_known_within_its_latency() {
    let one = streamed(8, &[(110, 8)]);
    let both = cut(&one, &token_by_token(2)).expect("counted");
    assert!(is(both.baseline, 27.5, 110.0), "{both:?}");
    // All texts in one read are one piece, too.
    let read: Vec<(u64, u32)> = vec![(110, 1); 8];
    let both = cut(&streamed(8, &read), &token_by_token(2)).expect("counted");
    assert!(is(both.baseline, 27.5, 110.0), "{both:?}");
}

#[test]
fn a_text_does_not_come_before_those_ahead_of_it() {
    let mixed = streamed(4, &[(40, 1), (70, 1), (50, 1), (80, 1)]);
    let both = cut(&mixed, &token_by_token(3)).expect("counted");
    assert!(is(both.baseline, 70.0, 70.0), "{both:?}");
}

#[test]
fn the_tokenizer_counts_texts_alone() {
    let (mut a, mut b) = (token_by_token(5), token_by_token(8));
    // The same lengths by the tokenizer, though the engines count their end tokens or not.
    (a.counted_tokens, b.counted_tokens) = (Some(5), Some(5));
    assert!(!cut(&a, &b).expect("counted").is_cut());
    // A text tokenised anew may have fewer tokens than were generated.
    (a.counted_tokens, b.counted_tokens) = (Some(5), Some(7));
    let both = cut(&a, &b).expect("counted");
    assert!(is(both.candidate, 80.0, 80.0), "{both:?}");
    // What engines say of their tokens is not asked, but must fit where it is used.
    b.output_tokens = Some(90);
    assert!(is(cut(&a, &b).expect("counted").candidate, 80.0, 80.0));
    b.counted_tokens = Some(3);
    assert_eq!(cut(&a, &b), Err(Withheld::Contradictory));
    let mut told = streamed(8, &[(70, 4), (110, 4)]);
    told.counted_tokens = Some(20);
    assert_eq!(cut(&told, &a), Err(Withheld::Contradictory));
    told.counted_tokens = Some(7);
    let both = cut(&told, &a).expect("counted");
    assert!(is(both.baseline, 80.0, 110.0), "{both:?}");
}

#[test]
fn reasoning_goes_by_the_engines_counts() {
    let (mut a, mut b) = (token_by_token(5), token_by_token(8));
    (a.counted_tokens, b.counted_tokens) = (Some(2), Some(6));
    a.reasoning_bytes = 9;
    let both = cut(&a, &b).expect("counted");
    assert_eq!(both.tokens, 5);
    a.output_tokens = None;
    assert_eq!(cut(&a, &b), Err(Withheld::Uncounted));
}

#[test]
fn a_pair_without_a_number_says_why() {
    let (mut a, b) = (token_by_token(5), token_by_token(8));
    a.hidden_tokens = Some(7);
    assert_eq!(cut(&a, &b), Err(Withheld::Hidden));
    a = token_by_token(5);
    a.output_tokens = None;
    assert_eq!(cut(&a, &b), Err(Withheld::NotCounted));
    assert_eq!(cut(&streamed(0, &[]), &b), Err(Withheld::Empty));
    let (one, other) = (streamed(0, &[]), streamed(0, &[]));
    let mut other = other;
    other.text.push('!');
    assert_eq!(cut(&one, &other), Err(Withheld::Empty));
    assert_eq!(cut(&streamed(1, &[(0, 1)]), &b), Err(Withheld::NoTime));
    assert_eq!(
        cut(&answered("a", 3), &answered("b", 3)),
        Err(Withheld::NoTime)
    );
    a = token_by_token(5);
    a.output_tokens = Some(3);
    assert_eq!(cut(&a, &b), Err(Withheld::Contradictory));
    a.arrivals = vec![Arrival(MS, u32::MAX); 3];
    assert_eq!(cut(&a, &b), Err(Withheld::Contradictory));
}

/// A way to generate and to send an answer.
#[derive(Debug, Clone)]
struct Schedule {
    /// Prefill, the first token included, in microseconds.
    prefill_us: u64,
    /// Time of each further token.
    gaps_us: Vec<u64>,
    /// Tokens of the texts, taken in turn.
    texts: Vec<u32>,
    /// Texts that one read brings, taken in turn.
    reads: Vec<usize>,
    /// Texts that name their tokens, taken in turn.
    told: Vec<bool>,
    /// It ends by itself and not at its limit.
    stops: bool,
    /// The token that ends it, which has no text, is counted.
    counts_end: bool,
}

impl Schedule {
    /// Time of each token since sending, in nanoseconds.
    fn tokens_ns(&self) -> Vec<u64> {
        let gaps = std::iter::once(&self.prefill_us).chain(&self.gaps_us);
        let sums = gaps.scan(0, |sum, gap| {
            *sum += gap * 1000;
            Some(*sum)
        });
        sums.collect()
    }

    /// Number of the first token behind each text.
    fn text_ends(&self) -> Vec<usize> {
        let all = self.tokens_ns().len();
        let mut ends = Vec::new();
        for length in self.texts.iter().cycle() {
            let end = (ends.last().unwrap_or(&0) + *length as usize).min(all);
            ends.push(end);
            if end == all {
                return ends;
            }
        }
        ends
    }

    /// The answer, and for each of its tokens the time at which its text had come.
    fn record(&self) -> (Record, Vec<u64>) {
        let tokens = self.tokens_ns();
        let ends = self.text_ends();
        let mut stamps = Vec::new();
        for length in self.reads.iter().cycle() {
            let end = (stamps.len() + length).min(ends.len());
            // A read brings what was complete when it came.
            stamps.resize(end, tokens[ends[end - 1] - 1]);
            if end == ends.len() {
                break;
            }
        }
        let mut record = answered(&format!("{self:?}"), tokens.len() as u32);
        record.stamps.intended_ns = 5000;
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let told = self.told.iter().cycle();
        let texts = starts.zip(&ends).zip(&stamps).zip(told);
        record.arrivals = texts
            .map(|(((from, to), at), told)| {
                Arrival(at + 5000, if *told { (to - from) as u32 } else { 0 })
            })
            .collect();
        let end = tokens.last().expect("a token");
        record.stamps.end_ns = 5000 + end + 7000;
        let least: u32 = record.arrivals.iter().map(|it| it.1.max(1)).sum();
        let has_end = self.stops && self.counts_end;
        let count = tokens.len() as u32 + u32::from(has_end);
        record.output_tokens = Some(count);
        // What is taken for an end token is one.
        if !self.stops || (!has_end && count - least == 1) {
            record.finish_reason = Some("length".to_owned());
        }
        let shown = (0..tokens.len()).map(|token| {
            let text = ends.partition_point(|end| *end <= token);
            stamps[text]
        });
        (record, shown.collect())
    }
}

fn schedule(gaps: impl Strategy<Value = Vec<u64>>) -> impl Strategy<Value = Schedule> {
    let told = proptest::prop_oneof![
        proptest::strategy::Just(vec![true]),
        proptest::strategy::Just(vec![false]),
        vec(any::<bool>(), 1..5),
    ];
    let ends = (any::<bool>(), any::<bool>());
    let texts = (vec(1_u32..6, 1..6), vec(1_usize..4, 1..4), told);
    (1_u64..2000, gaps, texts, ends).prop_map(
        |(prefill_us, gaps_us, (texts, reads, told), (stops, counts_end))| Schedule {
            prefill_us,
            gaps_us,
            texts,
            reads,
            told,
            stops,
            counts_end,
        },
    )
}

/// Any times of tokens.
fn ragged() -> impl Strategy<Value = Schedule> {
    schedule(vec(1_u64..900, 0..40))
}

/// A number of microseconds for each token, and a prefill that takes no less than a step.
fn even() -> impl Strategy<Value = Schedule> {
    let gaps = (1_u64..900, 0_usize..40).prop_map(|(gap, more)| vec![gap; more]);
    schedule(gaps).prop_map(|it| Schedule {
        prefill_us: it.prefill_us + it.gaps_us.first().unwrap_or(&0),
        ..it
    })
}

fn holds(part: Part, truth_ns: u64) -> bool {
    let (low, high) = (part.low_s * 1e9, part.high_s * 1e9);
    let truth = truth_ns as f64;
    low <= truth * (1.0 + 1e-12) && truth <= high * (1.0 + 1e-12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn bounds_hold_the_time_at_which_an_engine_that_decodes_evenly_had_the_token(
        a in even(), b in even()
    ) {
        let both = cut(&a.record().0, &b.record().0);
        prop_assume!(both.is_ok_and(|it| it.is_cut()));
        let both = both.expect("a number");
        let at = |it: &Schedule| it.tokens_ns()[both.tokens as usize - 1];
        prop_assert!(holds(both.baseline, at(&a)), "{both:?} {}", at(&a));
        prop_assert!(holds(both.candidate, at(&b)), "{both:?} {}", at(&b));
    }

    #[test]
    fn bounds_hold_the_time_at_which_the_text_with_the_token_came(a in ragged(), b in ragged()) {
        let ((one, of_one), (other, of_other)) = (a.record(), b.record());
        let both = cut(&one, &other);
        prop_assume!(both.is_ok_and(|it| it.is_cut()));
        let both = both.expect("a number");
        let token = both.tokens as usize - 1;
        prop_assert!(token < of_one.len() && token < of_other.len());
        prop_assert!(holds(both.baseline, of_one[token]), "{both:?}");
        prop_assert!(holds(both.candidate, of_other[token]), "{both:?}");
    }

    #[test]
    fn a_token_a_text_is_known_exactly(a in ragged(), b in ragged()) {
        let plain = |it: Schedule| Schedule { texts: vec![1], reads: vec![1], ..it };
        let (a, b) = (plain(a), plain(b));
        let both = cut(&a.record().0, &b.record().0);
        prop_assume!(both.is_ok_and(|it| it.is_cut()));
        let both = both.expect("a number");
        prop_assert_eq!(both.tokens as usize, a.tokens_ns().len().min(b.tokens_ns().len()));
        for (part, tokens) in [(both.baseline, a.tokens_ns()), (both.candidate, b.tokens_ns())] {
            let truth_s = tokens[both.tokens as usize - 1] as f64 / 1e9;
            prop_assert_eq!(part.low_s.to_bits(), truth_s.to_bits());
            prop_assert_eq!(part.high_s.to_bits(), truth_s.to_bits());
        }
    }

    #[test]
    fn equal_lengths_give_the_latency_itself(a in ragged(), b in ragged()) {
        let ((one, _), (mut other, _)) = (a.record(), b.record());
        other.output_tokens = one.output_tokens;
        let both = cut(&one, &other).expect("a number");
        prop_assert!(!both.is_cut());
        for (part, record) in [(both.baseline, &one), (both.candidate, &other)] {
            let latency_s = record.latency_ns() as f64 / 1e9;
            prop_assert_eq!((part.low_s, part.high_s), (latency_s, latency_s));
        }
    }

    #[test]
    fn an_exchange_of_the_engines_exchanges_the_parts(a in ragged(), b in ragged()) {
        let ((one, _), (other, _)) = (a.record(), b.record());
        let there = cut(&one, &other);
        let back = cut(&other, &one);
        prop_assert_eq!(there.map(|it| it.tokens), back.map(|it| it.tokens));
        prop_assert_eq!(there.map(|it| it.baseline), back.map(|it| it.candidate));
        prop_assert_eq!(there.map(|it| it.candidate), back.map(|it| it.baseline));
    }

    #[test]
    fn the_same_work_lies_within_the_slack(
        lengths in vec((1_u32..200, 1_u32..200), 1..12),
        prefill_s in (0.0..9.0_f64, 0.0..9.0_f64),
        step_s in (0.0..0.1_f64, 0.0..0.1_f64),
        share in 0.0..=1.0_f64,
    ) {
        prop_assume!(prefill_s.0 + step_s.0 > 0.0 && prefill_s.1 + step_s.1 > 0.0);
        let records: Vec<(Record, Record)> = lengths
            .iter()
            .map(|(a, b)| (answered("one", *a), answered("other", *b)))
            .collect();
        let sum = |of: fn(&(u32, u32)) -> u32| f64::from(lengths.iter().map(of).sum::<u32>());
        let (a, b) = (sum(|it| it.0), sum(|it| it.1));
        let requests = lengths.len() as f64;
        let baseline_s = |tokens: f64| prefill_s.0 * requests + step_s.0 * tokens;
        let candidate_s = |tokens: f64| prefill_s.1 * requests + step_s.1 * tokens;
        let measured = ((b / candidate_s(b)) / (a / baseline_s(a))).ln();
        let equal = a + (b - a) * share;
        let truth = (baseline_s(equal) / candidate_s(equal)).ln();
        let (below, above) = slack(records.iter().map(|(a, b)| tokens_of(a, b))).expect("counted");
        prop_assert!(below >= 0.0 && above >= 0.0 && (below <= 0.0 || above <= 0.0));
        prop_assert!(truth >= measured - below - 1e-9, "{truth} {measured} {below}");
        prop_assert!(truth <= measured + above + 1e-9, "{truth} {measured} {above}");
        let back = slack(records.iter().map(|(a, b)| tokens_of(b, a)));
        let (other_above, other_below) = back.expect("counted");
        prop_assert!((below - other_below).abs() < 1e-12 && (above - other_above).abs() < 1e-12);
    }
}

#[test]
fn slack_needs_counted_answers() {
    let (a, mut b) = (answered("one", 3), answered("two", 6));
    let of = |a: &Record, b: &Record| slack([tokens_of(a, b)]);
    assert_eq!(of(&a, &b), Some((2.0_f64.ln(), 0.0)));
    assert_eq!(of(&a, &a), Some((0.0, 0.0)));
    b.output_tokens = None;
    assert_eq!(of(&a, &b), None);
    assert_eq!(slack([]), None);
}

#[test]
fn enumeration_gives_the_same_bounds() {
    let vectors = include_str!("../../tests/data/common-vectors.json");
    let vectors: serde_json::Value = serde_json::from_str(vectors).expect("JSON");
    let list = |value: &serde_json::Value| value.as_array().expect("a list").clone();
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    let answer = |value: &serde_json::Value, text: &str| {
        let mut record = answered(text, number(&value["output_tokens"]) as u32);
        record.stamps.intended_ns = number(&value["intended_ns"]);
        record.stamps.end_ns = number(&value["end_ns"]);
        record.finish_reason = value["finish_reason"].as_str().map(str::to_owned);
        let arrivals = list(&value["arrivals"]).into_iter();
        record.arrivals = arrivals
            .map(|it| Arrival(number(&it[0]), number(&it[1]) as u32))
            .collect();
        record
    };
    let near = |a: f64, b: &serde_json::Value| {
        let b = b.as_f64().expect("a number");
        (a - b).abs() <= 1e-12 * b
    };
    let cases = list(&vectors["cases"]);
    assert_eq!(cases.len(), 120);
    for case in cases {
        let (a, b) = (
            answer(&case["baseline"], "one"),
            answer(&case["candidate"], "other"),
        );
        let both = cut(&a, &b).expect("a number");
        let expected = &case["expect"];
        assert_eq!(
            u64::from(both.tokens),
            number(&expected["tokens"]),
            "{case}"
        );
        for (part, of) in [(both.baseline, 0), (both.candidate, 1)] {
            let bounds = &expected["parts"][of];
            assert!(near(part.low_s, &bounds[0]), "{both:?} {case}");
            assert!(near(part.high_s, &bounds[1]), "{both:?} {case}");
        }
    }
    for case in list(&vectors["slack"]) {
        let answers: Vec<(Record, Record)> = list(&case["pairs"])
            .iter()
            .map(|it| (number(&it[0]) as u32, number(&it[1]) as u32))
            .map(|(a, b)| (answered("one", a), answered("other", b)))
            .collect();
        let tokens = answers.iter().map(|(a, b)| tokens_of(a, b));
        let (below, above) = slack(tokens).expect("counted");
        assert!(
            near(below, &case["below"]) && near(above, &case["above"]),
            "{case}"
        );
    }
}
