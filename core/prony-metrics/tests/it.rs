//! The rules of comparison, metrics and thresholds.

use prony_contract::{Event, EventKind};
use prony_metrics::account::Account;
use prony_metrics::comparison::{
    Arm, Family, Ratios, StudyDesign, compare as compare_in, ratios as ratios_of,
};
use prony_metrics::credit::Pairs;
use prony_metrics::definition::{self, Definition, Scored, definitions};
use prony_metrics::facts::Requests;
use prony_metrics::statistics::{
    Decision, LogRatios, Look, Rule, Sequential, critical_value, distribution, smallest_sample,
};
use prony_metrics::summary;
use prony_metrics::threshold::{self, Measured, Threshold};
use prony_metrics::throughput::{self, Visit};
use prony_record::{Arrival, ErrorClass, Failed, Observation, Phase, Record, RequestId, Stamps};
use prony_result::{
    Cadence, EngineResult, METRICS, Metric, ModelResult, Objectives, Source, TestStatistic,
    ThresholdResult, Verdict,
};
use std::collections::BTreeSet;

#[test]
fn few_differences_give_no_interval() {
    assert_eq!(critical_value(5, 0.05), None);
    assert_eq!(critical_value(6, 0.05), Some((0, 1.0 / 64.0)));
    for alpha in [0.3, 0.1, 0.05, 0.04, 0.01, 0.001] {
        let n = smallest_sample(alpha);
        assert!(critical_value(n, alpha).is_some() && critical_value(n - 1, alpha).is_none());
    }
    assert!(distribution(Vec::new()).is_none());
}

/// A record of a request that took `ms` and gave `tokens`.
fn record(engine: &str, cycle: u32, index: u32, ms: f64, tokens: u32) -> Record {
    let id = RequestId {
        point: None,
        model: "m".into(),
        engine: engine.into(),
        cycle,
        phase: Phase::Measure,
        stage: "measure".into(),
        index,
        prompt: index,
        image: None,
    };
    let stamps = Stamps {
        end_ns: (ms * 1e6) as u64,
        ..Stamps::default()
    };
    let event = |read, kind, tokens, text: &str| Event {
        read,
        kind,
        tokens,
        ns: 0,
        text: text.into(),
    };
    // Each engine has an answer of its own, whose first token comes at once.
    let events = vec![
        event(0, EventKind::Text, 1, engine),
        event(1, EventKind::Text, tokens - 1, &engine.repeat(199)),
        event(1, EventKind::Finish, 0, "length"),
        event(1, EventKind::OutputTokens, tokens, ""),
        event(1, EventKind::End, 0, ""),
    ];
    Record::judge(
        id,
        Observation {
            stamps,
            reads_ns: vec![stamps.end_ns / 100, stamps.end_ns],
            ..Observation::default()
        },
        Ok(events),
        u32::MAX,
    )
}

fn failed(mut record: Record) -> Record {
    record.failed = Some(Failed::new(ErrorClass::Timeout, "after 5m"));
    record
}

#[test]
fn both_clocks_are_summed_up_and_no_rate_is_of_the_engines() {
    let silent = record("e", 1, 0, 1000.0, 11);
    let told = |index, prefill_ns| Record {
        own_queue_ns: Some(1_000_000),
        own_prefill_ns: Some(prefill_ns),
        own_decode_ns: Some(900_000_000),
        ..record("e", 1, index, 1000.0, 11)
    };
    let summary = |records: &[&Record]| engine("e", records, &[], 1);
    assert_eq!(summary(&[&silent]).own_clock, None);
    let records = [told(0, 6_000_000), told(1, 8_000_000)];
    let with = summary(&[&records[0], &records[1], &silent]);
    let clock = with.own_clock.clone().expect("told");
    let told = |of: Option<prony_result::Distribution>| of.map(|it| (it.n, it.p50));
    assert_eq!(told(clock.queue_ms), Some((2, 1.0)));
    assert_eq!(told(clock.prefill_ms), Some((2, 7.0)));
    assert_eq!(told(clock.time_to_first_token_ms), Some((2, 8.0)));
    // prony saw the first token after 10 ms.
    assert_eq!(told(clock.first_token_difference_ms), Some((2, 2.0)));
    assert_eq!(told(clock.time_per_output_token_ms), Some((2, 90.0)));
    assert_eq!(clock.delivery_ms, None);
    let without = summary(&[&silent, &silent, &silent]);
    assert_eq!(
        EngineResult {
            own_clock: None,
            ..with
        },
        without
    );

    let mut stamped = record("e", 1, 0, 1000.0, 11);
    stamped.emitted_ns = vec![9_000_000, 999_000_000];
    let clock = summary(&[&stamped]).own_clock.expect("told");
    assert_eq!(told(clock.time_to_first_token_ms), Some((1, 9.0)));
    assert_eq!(told(clock.time_per_output_token_ms), Some((1, 99.0)));
    // The texts name their tokens, ten of them after the first.
    let seen = clock.seen_time_per_output_token_ms.expect("known");
    assert!((seen.p50 - 99.0).abs() < 1e-6, "{}", seen.p50);
    assert_eq!(told(clock.delivery_ms), Some((2, 1.0)));
    assert_eq!((clock.prefill_ms, clock.queue_ms), (None, None));
}

#[test]
fn throughput_is_a_ratio_of_sums() {
    let requests = [
        (100, 2000.0),
        (100, 2100.0),
        (64, 1500.0),
        (128, 2900.0),
        (7, 400.0),
    ];
    let records = requests.map(|(tokens, ms)| record("e", 1, 0, ms, tokens));
    let records: Vec<&Record> = records.iter().collect();
    let got = throughput(&records, &[], 1).expect("throughput");
    assert!((got - 399.0 / 8.9).abs() < 1e-6, "{got}");
}

#[test]
fn a_failed_request_costs_time_and_brings_no_tokens() {
    let good = record("e", 1, 0, 1000.0, 50);
    let slow_failure = failed(record("e", 1, 1, 4000.0, 50));
    assert_eq!(throughput(&[&good], &[], 1), Some(50.0));
    assert_eq!(throughput(&[&good, &slow_failure], &[], 1), Some(10.0));
    assert_eq!(throughput(&[&slow_failure], &[], 1), None);
    let summary = engine("e", &[&good, &slow_failure], &[], 1);
    assert_eq!(
        (summary.requests, summary.succeeded, summary.success_rate),
        (2, 1, Some(0.5))
    );
    assert_eq!(summary.errors["timeout"], 1);
    assert_eq!(summary.output_tokens, 50);
    assert_eq!(
        summary.request_latency_ms.expect("latency").n,
        1,
        "failed requests are in no latency"
    );
}

fn requests(records: &[&Record]) -> Requests {
    records.iter().copied().collect()
}

fn engine(name: &str, records: &[&Record], visits: &[Visit], concurrency: u32) -> EngineResult {
    let requests = requests(records);
    summary::engine(
        name,
        &requests,
        &requests.streams_kept(),
        visits,
        concurrency,
    )
}

fn throughput(records: &[&Record], visits: &[Visit], concurrency: u32) -> Option<f64> {
    throughput::throughput(&requests(records).all(), visits, concurrency)
}

fn cadence(records: &[&Record]) -> Cadence {
    let requests = requests(records);
    definition::cadence(&requests.all(), &requests.streams_kept().gaps)
}

fn score(definition: &Definition, records: &[&Record]) -> Vec<Scored> {
    let requests = requests(records);
    let chunks = requests.chunk_gaps(|see| {
        for record in records {
            see(record);
        }
        Ok::<(), ()>(())
    });
    let (texts, chunks) = (requests.streams_kept().gaps, chunks.expect("no error"));
    definition::score(definition, &requests.all(), &texts, &chunks)
}

fn goodput_share(records: &[&Record], objectives: Objectives) -> Option<f64> {
    definition::goodput_share(requests(records).facts(), objectives)
}

/// No failed cycles, none skipped.
static NO_ACCOUNT: Account = Account {
    settings: Vec::new(),
    counts: Vec::new(),
};
static NO_CYCLES: BTreeSet<u32> = BTreeSet::new();

/// Judges a single comparison, a family of one.
fn compare(
    baseline: Side<'_>,
    candidate: Side<'_>,
    design: StudyDesign,
) -> prony_result::Comparison {
    let family = Family::new(design.margin_percent, design.cycles, 1);
    let sides = Sides::new(baseline, candidate);
    let numbers = sides.ratios(design);
    let look = family.looks(std::slice::from_ref(&numbers)).swap_remove(0);
    sides.compare(design, &numbers, family, look)
}

/// One engine of a comparison, with its records at hand.
#[derive(Clone, Copy)]
struct Side<'a> {
    name: &'a str,
    records: &'a [&'a Record],
    visits: &'a [Visit],
    failed: &'a BTreeSet<u32>,
    skipped: &'a BTreeSet<u32>,
}

fn arm<'a>(name: &'a str, records: &'a [&'a Record]) -> Side<'a> {
    Side {
        name,
        records,
        visits: &[],
        failed: &NO_CYCLES,
        skipped: &NO_CYCLES,
    }
}

/// Two engines, as a comparison takes them.
struct Sides<'a> {
    sides: [(Side<'a>, Requests); 2],
    pairs: Pairs,
}

impl<'a> Sides<'a> {
    fn new(baseline: Side<'a>, candidate: Side<'a>) -> Self {
        Self {
            sides: [baseline, candidate].map(|it| (it, requests(it.records))),
            pairs: Pairs::of_records(baseline.records, candidate.records),
        }
    }

    fn arms(&self) -> [Arm<'_>; 2] {
        self.sides.each_ref().map(|(side, requests)| Arm {
            name: side.name,
            requests,
            visits: side.visits,
            failed: side.failed,
            skipped: side.skipped,
            account: &NO_ACCOUNT,
        })
    }

    fn ratios(&self, design: StudyDesign) -> Ratios {
        let [a, b] = self.arms();
        ratios_of(a, b, &self.pairs, design)
    }

    fn compare(
        &self,
        design: StudyDesign,
        numbers: &Ratios,
        family: Family,
        look: Option<Look>,
    ) -> prony_result::Comparison {
        let [a, b] = self.arms();
        compare_in(a, b, &self.pairs, design, numbers, family, look)
    }
}

fn design(cycles: u32, requests_per_visit: u32) -> StudyDesign {
    StudyDesign {
        cycles,
        requests_per_visit,
        concurrency: 1,
        margin_percent: 2.0,
        statistic: TestStatistic::Throughput,
        tests_carry_over: false,
        keeps_carry_over: false,
    }
}

/// Cycles with the given times of baseline and candidate, in ms for 100 tokens.
fn verdict(times: &[(f64, f64)], break_cycle: Option<u32>) -> prony_result::Comparison {
    let mut all = (Vec::new(), Vec::new());
    for (cycle, (a, b)) in (1..).zip(times) {
        all.0.push(record("a", cycle, 0, *a, 100));
        let candidate = record("b", cycle, 0, *b, 100);
        all.1.push(if break_cycle == Some(cycle) {
            failed(candidate)
        } else {
            candidate
        });
    }
    let (a, b): (Vec<&Record>, Vec<&Record>) = (all.0.iter().collect(), all.1.iter().collect());
    compare(arm("a", &a), arm("b", &b), design(times.len() as u32, 1))
}

#[test]
fn verdicts_follow_the_interval() {
    let jitter = [0.0, 3.0, -2.0, 1.0, -3.0, 2.0, -1.0, 0.5];
    let pairs =
        |b: f64| -> Vec<(f64, f64)> { jitter.iter().map(|j| (1000.0 + j, b - j)).collect() };

    let faster = verdict(&pairs(900.0), None);
    assert_eq!(
        (faster.verdict, faster.winner.as_deref()),
        (Verdict::Faster, Some("b"))
    );
    let interval = faster.interval.expect("an interval");
    assert!(interval.low_percent > 10.0 && interval.high_percent < 12.5 && interval.level >= 0.95);

    let slower = verdict(&pairs(1100.0), None);
    assert_eq!(
        (slower.verdict, slower.winner.as_deref()),
        (Verdict::Slower, Some("a"))
    );

    let same = verdict(&pairs(1000.0), None);
    assert_eq!((same.verdict, same.winner), (Verdict::Equivalent, None));

    let noisy: Vec<(f64, f64)> = [-150.0, 200.0, -120.0, 180.0, 90.0, -200.0]
        .iter()
        .map(|j| (1000.0, 1000.0 + j))
        .collect();
    assert_eq!(verdict(&noisy, None).verdict, Verdict::Inconclusive);
}

#[test]
fn no_winner_from_too_little_or_broken_data() {
    let five = verdict(&[(1000.0, 500.0); 5], None);
    assert_eq!(five.verdict, Verdict::Inconclusive);
    assert_eq!(
        five.reason,
        "the cycles planned cannot decide anything: plan more"
    );

    let broken = verdict(&[(1000.0, 500.0); 8], Some(3));
    assert_eq!(
        (broken.verdict, broken.degraded_cycles),
        (Verdict::Inconclusive, 1)
    );
    assert!(broken.reason.contains("87.5 %"), "{}", broken.reason);
    assert_eq!(broken.flags, ["low_success_rate"]);

    let once = verdict(&[(1000.0, 500.0)], None);
    assert_eq!(once.flags, ["single-start"]);
}

#[test]
fn mean_of_rates_does_not_decide() {
    // Cycle times as a published tool measured them: it named the slower engine
    // the winner by averaging rates.
    let engine_a = [1.3, 1.7, 1.3];
    let engine_b = [15.8, 0.55, 1.09];
    let pairs: Vec<(f64, f64)> = engine_a
        .iter()
        .zip(engine_b)
        .map(|(a, b)| (a * 1e3, b * 1e3))
        .collect();
    let comparison = verdict(&pairs, None);
    assert_eq!(comparison.winner, None);
    assert!(comparison.pooled_difference_percent.expect("pooled") < -70.0);
}

#[test]
fn different_lengths_are_flagged() {
    let a = record("a", 1, 0, 1000.0, 100);
    let b = record("b", 1, 0, 1000.0, 120);
    let comparison = compare(arm("a", &[&a]), arm("b", &[&b]), design(6, 1));
    assert_eq!(comparison.flags, ["length_mismatch"]);
}

#[test]
fn a_cycle_that_was_cut_short_is_passed_over() {
    let mut records = (Vec::new(), Vec::new());
    for cycle in 1..=9 {
        for index in 0..2 {
            records.0.push(record("a", cycle, index, 1000.0, 100));
            // The second request of the last cycle was not sent any more.
            if (cycle, index) != (9, 1) {
                records.1.push(record("b", cycle, index, 900.0, 100));
            }
        }
    }
    let (a, b): (Vec<&Record>, Vec<&Record>) =
        (records.0.iter().collect(), records.1.iter().collect());
    let comparison = compare(arm("a", &a), arm("b", &b), design(10, 2));
    assert_eq!(comparison.cycle_log_ratios.len(), 8);
    assert_eq!(comparison.degraded_cycles, 0);
    assert_eq!(comparison.verdict, Verdict::Faster);
}

#[test]
fn cycles_in_which_an_engine_failed_to_start_count_against_a_verdict() {
    let records = |name: &str, ms: f64| -> Vec<Record> {
        (1..=8)
            .map(|cycle| record(name, cycle, 0, ms, 100))
            .collect()
    };
    let (a, b) = (records("a", 1000.0), records("b", 500.0));
    let (a, b): (Vec<&Record>, Vec<&Record>) = (a.iter().collect(), b.iter().collect());
    let verdict = |failed: &BTreeSet<u32>| {
        let candidate = Side {
            failed,
            ..arm("b", &b)
        };
        compare(arm("a", &a), candidate, design(10, 1))
    };
    assert_eq!(verdict(&BTreeSet::new()).verdict, Verdict::Faster);
    let comparison = verdict(&BTreeSet::from([9, 10]));
    assert_eq!(
        (comparison.verdict, comparison.degraded_cycles),
        (Verdict::Inconclusive, 2)
    );
    assert_eq!(comparison.flags, ["degraded_cycles"]);
}

#[test]
fn a_count_that_cannot_be_right_names_no_winner() {
    let a: Vec<Record> = (1..=8)
        .map(|cycle| record("a", cycle, 0, 1000.0, 100))
        .collect();
    // 200 bytes of text, 5,000 tokens.
    let b: Vec<Record> = (1..=8)
        .map(|cycle| record("b", cycle, 0, 1000.0, 5000))
        .collect();
    let (a, b): (Vec<&Record>, Vec<&Record>) = (a.iter().collect(), b.iter().collect());
    let comparison = compare(arm("a", &a), arm("b", &b), design(8, 1));
    assert_eq!(comparison.verdict, Verdict::Inconclusive);
    assert!(comparison.flags.contains(&"token_mismatch".to_owned()));
}

#[test]
fn unequal_use_of_a_prefix_cache_has_a_flag() {
    let flags = |cached: [Option<u32>; 2]| {
        let records = |name: &str, cached| -> Vec<Record> {
            let of_cycle = |cycle| Record {
                prompt_tokens: Some(100),
                cached_tokens: cached,
                ..record(name, cycle, 0, 1000.0, 50)
            };
            (1..=8).map(of_cycle).collect()
        };
        let (a, b) = (records("a", cached[0]), records("b", cached[1]));
        let (a, b): (Vec<&Record>, Vec<&Record>) = (a.iter().collect(), b.iter().collect());
        let flags = compare(arm("a", &a), arm("b", &b), design(8, 1)).flags;
        flags.contains(&"cache_mismatch".to_owned())
    };
    assert!(flags([Some(57), Some(0)]));
    assert!(!flags([Some(57), Some(50)]));
    assert!(!flags([Some(57), None]), "an engine that does not tell");
}

#[test]
fn several_in_flight_count_by_the_wall_clock_of_their_own_cycle() {
    let visit = |cycle, seconds: u64| Visit {
        cycle,
        measure_ns: Some(seconds * 1_000_000_000),
        ..Visit::default()
    };
    // Two at a time, 1 s each: every cycle has 2 s of requests in 1 s.
    let records = |name: &str, cycles: u32| -> Vec<Record> {
        let pair = |cycle| [0, 1].map(|index| record(name, cycle, index, 1000.0, 50));
        (1..=cycles).flat_map(pair).collect()
    };
    let (a, b) = (records("a", 8), records("b", 8));
    let (a, b): (Vec<&Record>, Vec<&Record>) = (a.iter().collect(), b.iter().collect());
    let fast: Vec<Visit> = (1..=8).map(|cycle| visit(cycle, 1)).collect();
    let slow: Vec<Visit> = (1..=8).map(|cycle| visit(cycle, 2)).collect();
    let comparison = compare(
        Side {
            visits: &slow,
            ..arm("a", &a)
        },
        Side {
            visits: &fast,
            ..arm("b", &b)
        },
        StudyDesign {
            concurrency: 2,
            ..design(8, 2)
        },
    );
    assert_eq!(comparison.verdict, Verdict::Faster);
    assert!(
        comparison
            .cycle_log_ratios
            .iter()
            .all(|it| (it - 2_f64.ln()).abs() < 1e-12)
    );
}

#[test]
fn a_stage_that_one_engine_skipped_names_no_winner() {
    let records = |name: &str, cycles: std::ops::RangeInclusive<u32>, ms: f64| -> Vec<Record> {
        cycles
            .map(|cycle| record(name, cycle, 0, ms, 100))
            .collect()
    };
    let (a, b) = (records("a", 1..=10, 1000.0), records("b", 3..=10, 500.0));
    let (a, b): (Vec<&Record>, Vec<&Record>) = (a.iter().collect(), b.iter().collect());
    let skipped = BTreeSet::from([1, 2]);
    let candidate = Side {
        skipped: &skipped,
        ..arm("b", &b)
    };
    let comparison = compare(arm("a", &a), candidate, design(10, 1));
    assert_eq!(comparison.verdict, Verdict::Inconclusive);
    assert_eq!(
        comparison.reason,
        "the `if` of the stage left out `b` in 2 of the cycles in which `a` was measured"
    );
    let turned = compare(candidate, arm("a", &a), design(10, 1));
    assert_eq!(turned.verdict, Verdict::Inconclusive);

    // Both skipped the same cycles: the others count.
    let both = Side {
        skipped: &skipped,
        ..arm("a", &a[2..])
    };
    assert_eq!(
        compare(both, candidate, design(10, 1)).verdict,
        Verdict::Faster
    );
}

/// Records of cycles with the log ratios `d`.
fn with_ratios(d: &[f64]) -> (Vec<Record>, Vec<Record>) {
    let records = |name: &str, ms: &dyn Fn(f64) -> f64| -> Vec<Record> {
        (1..)
            .zip(d)
            .map(|(cycle, d)| record(name, cycle, 0, ms(*d), 100))
            .collect()
    };
    let a = records("a", &|_| 1e6);
    (a, records("b", &|d| 1e6 / d.exp()))
}

/// What is said of two comparisons that are judged together.
fn together(series: [&[f64]; 2], cycles: u32) -> Vec<prony_result::Comparison> {
    let records = series.map(with_ratios);
    let refs: Vec<(Vec<&Record>, Vec<&Record>)> = records
        .iter()
        .map(|(a, b)| (a.iter().collect(), b.iter().collect()))
        .collect();
    let sides: Vec<Sides<'_>> = refs
        .iter()
        .map(|(a, b)| Sides::new(arm("a", a), arm("b", b)))
        .collect();
    let design = design(cycles, 1);
    let numbers: Vec<Ratios> = sides.iter().map(|it| it.ratios(design)).collect();
    let family = Family::new(2.0, cycles, 2);
    let looks = family.looks(&numbers);
    sides
        .iter()
        .zip(numbers.iter().zip(looks))
        .map(|(sides, (numbers, look))| sides.compare(design, numbers, family, look))
        .collect()
}

/// Twelve log ratios around `centre`.
fn around(centre: f64) -> Vec<f64> {
    let jitter = [
        3.0, -2.0, 1.0, -3.0, 2.0, -1.0, 0.5, -0.5, 2.5, -1.5, 1.5, -2.5,
    ];
    jitter.iter().map(|j| centre + j / 1000.0).collect()
}

#[test]
fn a_verdict_is_the_look_of_the_sequential_rule() {
    let judge = Sequential::new(Rule::new(2.0, 12));
    let drifting: Vec<f64> = around(0.0).iter().map(|d| d * 30.0).collect();
    for d in [around(0.05), around(-0.05), around(0.0), drifting] {
        let (a, b) = with_ratios(&d);
        let (a, b): (Vec<&Record>, Vec<&Record>) = (a.iter().collect(), b.iter().collect());
        // Also of a run that was broken off.
        for cycles in [12, 10, 5] {
            let found = compare(
                arm("a", &a[..cycles]),
                arm("b", &b[..cycles]),
                design(12, 1),
            );
            let evidence = LogRatios(found.cycle_log_ratios.clone());
            let look = judge.judge(&evidence).expect("a look");
            let verdict = match look.decision {
                Decision::Faster => Verdict::Faster,
                Decision::Slower => Verdict::Slower,
                Decision::Equivalent => Verdict::Equivalent,
                Decision::Continue | Decision::Inconclusive => Verdict::Inconclusive,
            };
            assert_eq!(found.verdict, verdict);
            assert_eq!(found.cycles as usize, look.cycles);
            assert_eq!(
                found.interval.map(|it| (it.low_percent, it.level)),
                judge
                    .interval(&evidence, &look)
                    .map(|it| (it.low.exp_m1() * 100.0, it.level))
            );
            let stopped = look.decision.is_conclusive().then_some(look.cycles as u32);
            assert_eq!(found.stopped_at, stopped);
        }
    }
}

#[test]
fn comparisons_of_a_run_share_one_error() {
    // One that has a winner gives its error to the other.
    let level = |it: &prony_result::Comparison| it.interval.map(|it| it.level);
    let noisy: Vec<f64> = around(0.0).iter().map(|d| d * 30.0).collect();
    let found = together([&around(0.05), &noisy], 12);
    assert_eq!(found[0].verdict, Verdict::Faster);
    assert_eq!(level(&found[0]), Some(0.98));
    assert_eq!(found[1].verdict, Verdict::Inconclusive);
    assert_eq!(level(&found[1]), Some(0.96));
    let found = together([&noisy, &noisy], 12);
    assert!(found.iter().all(|it| level(it) == Some(0.98)));
}

/// A model with two engines: `a` was measured, `b` was not.
fn measured_on_one() -> ModelResult {
    let records: Vec<Record> = (0..4)
        .map(|index| record("a", 1, index, 1000.0, 50))
        .collect();
    let records: Vec<&Record> = records.iter().collect();
    ModelResult {
        id: "m".into(),
        size: None,
        path: None,
        sha256: None,
        revision: None,
        tape: None,
        rendering: None,
        cell: Some("quant=q8".into()),
        measure: None,
        warmup_requests: 0,
        warmup_sending: None,
        requests_per_visit: 4,
        concurrency: 1,
        arrival: None,
        seconds: None,
        cache: None,
        engines: vec![engine("a", &records, &[], 1), engine("b", &[], &[], 1)],
        comparisons: Vec::new(),
        noise_floor: None,
        failures: Vec::new(),
    }
}

/// Holds thresholds against models without requests at hand.
fn judge(thresholds: &[Threshold], models: &[ModelResult]) -> Vec<ThresholdResult> {
    let measured = models.iter().map(|model| Measured {
        model,
        measure: "measure",
        matrix: None,
        records: [].into(),
    });
    threshold::judge(thresholds, &measured.collect::<Vec<_>>())
}

fn threshold(metric: &str, min: Option<f64>, max: Option<f64>) -> Threshold {
    Threshold {
        metric: metric.into(),
        statistic: None,
        objectives: Objectives::default(),
        min,
        max,
        engine: Some("a".into()),
        model: None,
        measure: None,
        matrix: serde_json::Map::new(),
    }
}

/// A request that took a second, as part of an engine's numbers.
fn every_number() -> ModelResult {
    let mut model = measured_on_one();
    let engine = &mut model.engines[0];
    let mut value = serde_json::to_value(&*engine).expect("JSON");
    let latency = value["request_latency_ms"].clone();
    for metric in METRICS
        .iter()
        .filter(|it| it.name.contains('.') || it.value(engine, None).is_none())
    {
        let mut place = &mut value;
        for key in metric.name.split('.') {
            place = &mut place[key];
        }
        *place = if metric.is_distribution() {
            latency.clone()
        } else {
            7.into()
        };
    }
    value["cached_tokens_told"] = 1.into();
    // What a part has beside its metrics.
    for (part, rest) in [
        (
            "cache",
            serde_json::json!({ "outcome": "kept", "requests": 1, "counted": 1 }),
        ),
        (
            "token_check",
            serde_json::json!({ "requests": 1, "engine_tokens": 1, "counted_tokens": 1, "largest_difference": 0 }),
        ),
        (
            "prompt_check",
            serde_json::json!({ "requests": 1, "counted": 1 }),
        ),
        (
            "client",
            serde_json::json!({ "stamps": "kernel", "reads": 1 }),
        ),
        ("delivered", serde_json::json!({ "intended": 1 })),
    ] {
        for (key, of_it) in rest.as_object().expect("a map") {
            value[part][key] = of_it.clone();
        }
    }
    *engine = serde_json::from_value(value).expect("an engine");
    model
}

#[test]
fn every_metric_can_be_bounded() {
    let model = every_number();
    for metric in Metric::bounded().filter(|it| !matches!(it.source, Source::Requests)) {
        let of = |min, max| {
            let results = judge(
                &[threshold(metric.name, min, max)],
                std::slice::from_ref(&model),
            );
            assert_eq!(results.len(), 1, "{results:?}");
            (results[0].value, results[0].passed)
        };
        let value = metric.value(&model.engines[0], None).expect(metric.name);
        assert_eq!(
            of(Some(value), Some(value)),
            (Some(value), true),
            "{}",
            metric.name
        );
        assert_eq!(
            of(Some(value + 0.5), None),
            (Some(value), false),
            "{}",
            metric.name
        );
        assert_eq!(
            of(None, Some(value - 0.5)),
            (Some(value), false),
            "{}",
            metric.name
        );
    }
    let unknown = judge(
        &[threshold("of_another_version", Some(0.0), None)],
        &[model],
    );
    assert_eq!((unknown[0].value, unknown[0].passed), (None, false));
}

#[test]
fn a_threshold_may_be_for_some_points_and_stages() {
    let model = measured_on_one();
    let matrix = serde_json::json!({ "quant": "q8", "length": 8 });
    let measured = Measured {
        model: &model,
        measure: "burst",
        matrix: matrix.as_object(),
        records: [].into(),
    };
    let holds = |measure: Option<&str>, point: serde_json::Value| {
        let threshold = Threshold {
            measure: measure.map(Into::into),
            matrix: point.as_object().cloned().expect("values"),
            ..threshold("success_rate", Some(1.0), None)
        };
        let found = threshold::judge(&[threshold], std::slice::from_ref(&measured));
        assert_eq!(found.len(), 1, "it is told whatever it covers");
        found[0].missing.is_none()
    };
    let any = || serde_json::json!({});
    assert!(holds(None, any()) && holds(Some("burst"), any()));
    assert!(!holds(Some("measure"), any()));
    assert!(holds(None, serde_json::json!({ "length": 8 })));
    assert!(holds(
        None,
        serde_json::json!({ "length": "8", "quant": "q8" })
    ));
    assert!(!holds(
        None,
        serde_json::json!({ "length": 8, "quant": "q4" })
    ));
    assert!(!holds(None, serde_json::json!({ "depth": 8 })));
    let without = Measured {
        matrix: None,
        ..measured.clone()
    };
    let point = Threshold {
        matrix: matrix.as_object().cloned().expect("values"),
        ..threshold("success_rate", Some(1.0), None)
    };
    let found = threshold::judge(&[point], &[without]);
    assert_eq!(found.len(), 1, "it covers nothing, which is told");
    assert!(!found[0].passed && found[0].missing.is_some());
}

#[test]
fn thresholds_bound_values_from_both_sides() {
    let models = [measured_on_one()];
    let passes = |threshold: Threshold| {
        let results = judge(&[threshold], &models);
        assert_eq!(results.len(), 1, "{results:?}");
        (results[0].value, results[0].passed)
    };
    let speed = |min, max| passes(threshold("output_tokens_per_sec", min, max));
    assert_eq!(
        speed(Some(50.0), None),
        (Some(50.0), true),
        "a bound is allowed"
    );
    assert_eq!(speed(Some(50.1), None), (Some(50.0), false));
    assert_eq!(speed(Some(10.0), Some(49.0)), (Some(50.0), false));
    let latency = |statistic: &str, max| {
        let latency = threshold("request_latency_ms", None, Some(max));
        passes(Threshold {
            statistic: Some(statistic.into()),
            ..latency
        })
    };
    assert_eq!(latency("p50", 1000.0), (Some(1000.0), true));
    assert_eq!(latency("p90", 1000.0), (None, false), "4 are too few");
    assert_eq!(latency("max", 999.0), (Some(1000.0), false));
}

#[test]
fn what_has_no_value_misses_its_threshold() {
    let models = [measured_on_one()];
    let memory = judge(&[threshold("peak_memory_bytes", None, Some(1e9))], &models);
    assert_eq!((memory[0].value, memory[0].passed), (None, false));
    assert_eq!(memory[0].missing, None);
    let tail = |statistic: &str| {
        let latency = threshold("request_latency_ms", None, Some(1e9));
        let statistic = Some(statistic.into());
        let results = judge(
            &[Threshold {
                statistic,
                ..latency
            }],
            &models,
        );
        results[0].sentence()
    };
    assert!(tail("p90").contains("has no value (n too small: 4 samples, and p90 needs 44)"));
    assert!(tail("p95").contains("(n too small: 4 samples, and p95 needs 90)"));
    assert!(tail("p99").contains("(n too small: 4 samples, and p99 needs 459)"));
    // Of an engine that was not measured even a time of 0 is no value.
    let time = threshold("total_time_s", None, Some(60.0));
    let times = judge(
        &[Threshold {
            engine: None,
            ..time
        }],
        &models,
    );
    let passed: Vec<(&str, bool)> = times.iter().map(|it| (&*it.engine, it.passed)).collect();
    assert_eq!(passed, [("a", true), ("b", false)]);
    assert_eq!(times[0].cell.as_deref(), Some("quant=q8"));
}

#[test]
fn a_threshold_of_a_model_that_was_not_measured_is_missed() {
    let other = threshold("success_rate", Some(1.0), None);
    let other = Threshold {
        model: Some("other".into()),
        ..other
    };
    let found = judge(&[other], &[measured_on_one()]);
    assert_eq!((found.len(), found[0].passed), (1, false));
    assert_eq!((&*found[0].model, &*found[0].engine), ("other", "a"));
}

/// Three arrivals, 100 ms after being due, 90 after sending; the end comes 5 ms after the
/// last; 5 tokens.
fn streamed() -> Record {
    let mut record = record("a", 1, 0, 0.0, 5);
    let ms = |ms: u64| ms * 1_000_000;
    record.stamps = Stamps {
        intended_ns: ms(1000),
        sent_ns: ms(1010),
        end_ns: ms(1145),
        ..Stamps::default()
    };
    record.arrivals = [1100, 1110, 1140].map(|at| Arrival(ms(at), 0)).into();
    assert!(record.ok());
    record
}

fn defined(name: &str) -> &'static Definition {
    let mut all = definitions().iter();
    all.find(|it| it.name == name).expect("a definition")
}

#[test]
fn tools_mean_different_things_by_the_same_words() {
    let record = streamed();
    let mean = |definition, metric: &str| {
        let scored = score(defined(definition), &[&record]);
        let found = scored.iter().find(|it| it.metric == metric);
        found.unwrap_or_else(|| panic!("{metric}: {scored:?}")).mean
    };
    for (definition, metric, expected) in [
        ("prony", "time_to_first_token_ms", 100.0),
        ("prony", "inter_token_latency_ms", 20.0),
        ("prony", "time_per_output_token_ms", 45.0 / 4.0),
        ("prony", "request_latency_ms", 145.0),
        ("vllm", "TTFT (ms)", 90.0),
        ("vllm", "ITL (ms)", 20.0),
        ("vllm", "TPOT (ms)", 10.0),
        ("vllm", "E2EL (ms)", 130.0),
        ("aiperf", "Time to First Token (ms)", 90.0),
        ("aiperf", "Inter Token Latency (ms)", 10.0),
        ("aiperf", "Request Latency (ms)", 130.0),
        ("aiperf", "Inter Chunk Latency (ms)", 20.0),
        ("guidellm", "time_to_first_token_ms", 90.0),
        ("guidellm", "inter_token_latency_ms", 10.0),
        ("guidellm", "time_per_output_token_ms", 130.0 / 5.0),
        ("guidellm", "request_latency (ms)", 135.0),
        ("guidellm", "output_tokens_per_second", 5.0 / 0.135),
        ("vllm", "Output token throughput (tok/s)", 5.0 / 0.135),
        ("aiperf", "Output Token Throughput (tokens/sec)", 5.0 / 0.13),
        ("mlperf", "Completed tokens per second", 5.0 / 0.145),
        ("mlperf", "First Token latency (ms)", 100.0),
        ("mlperf", "Time to Output Token (ms)", 45.0 / 4.0),
        ("mlperf", "Sample latency (ms)", 145.0),
    ] {
        let seen = mean(definition, metric);
        assert!((seen - expected).abs() < 1e-9, "{metric}: {seen}");
    }
}

#[test]
fn each_tool_has_its_own_median() {
    // Times to the first text of 90, 92, 94 and 96 ms.
    let records: Vec<Record> = (0..4)
        .map(|at| {
            let mut record = streamed();
            record.arrivals[0].0 += at * 2_000_000;
            record.stamps.intended_ns = record.stamps.sent_ns;
            record
        })
        .collect();
    let records: Vec<&Record> = records.iter().collect();
    for (definition, median) in [("vllm", 93.0), ("guidellm", 92.0), ("mlperf", 94.0)] {
        let scored = score(defined(definition), &records);
        assert_eq!(scored[0].p50, Some(median), "{definition}");
        assert_eq!((scored[0].mean, scored[0].max), (93.0, Some(96.0)));
    }
}

#[test]
fn what_follows_an_answer_counts_where_a_tool_counts_it() {
    let mut tailed = streamed();
    tailed.answered_ns = Some(tailed.stamps.end_ns);
    tailed.stamps.end_ns += 500_000_000;
    for name in ["prony", "aiperf", "mlperf"] {
        let scored = |record| score(defined(name), &[record]);
        assert_eq!(scored(&tailed), scored(&streamed()), "{name}");
    }
    // GuideLLM's latency and the durations of vLLM and GuideLLM go to the end of the stream.
    let differ = |name| {
        let pairs = score(defined(name), &[&tailed]).into_iter();
        let pairs = pairs.zip(score(defined(name), &[&streamed()]));
        let differing = pairs.filter(|(tailed, streamed)| tailed != streamed);
        differing.map(|(it, _)| it.metric).collect::<Vec<_>>()
    };
    let rates = [
        "Output token throughput (tok/s)",
        "Request throughput (req/s)",
    ];
    assert_eq!(differ("vllm"), rates);
    assert_eq!(
        differ("guidellm"),
        [
            "request_latency (ms)",
            "output_tokens_per_second",
            "requests_per_second"
        ]
    );
    let within = Objectives {
        latency_ms: Some(tailed.latency_ns() as f64 / 1e6),
        ..Objectives::default()
    };
    assert_eq!(goodput_share(&[&tailed], within), Some(1.0));
}

#[test]
fn tokens_that_the_tokenizer_counted_reach_an_objective_per_token() {
    let mut counted = streamed();
    counted.counted_tokens = counted.output_tokens.take();
    let within = |tpot_ms| Objectives {
        tpot_ms: Some(tpot_ms),
        ..Objectives::default()
    };
    let share = |tpot_ms| goodput_share(&[&counted], within(tpot_ms));
    assert_eq!((share(12.0), share(11.0)), (Some(1.0), Some(0.0)));
}

#[test]
fn a_percentile_needs_enough_requests() {
    let record = streamed();
    let of = |n: usize| score(defined("vllm"), &vec![&record; n])[0].clone();
    assert_eq!((of(43).p90, of(458).p99), (None, None));
    assert_eq!((of(44).p90, of(459).p99), (Some(90.0), Some(90.0)));
    assert!(score(defined("vllm"), &[]).is_empty());
}

#[test]
fn what_failed_has_missed_its_objectives() {
    let good = streamed();
    let mut bad = streamed();
    bad.failed = Some(Failed::new(ErrorClass::Timeout, "?"));
    let share = |ttft| {
        let objectives = Objectives {
            ttft_ms: Some(ttft),
            ..Objectives::default()
        };
        goodput_share(&[&good, &bad], objectives)
    };
    assert_eq!((share(100.0), share(99.0)), (Some(0.5), Some(0.0)));
    assert_eq!(goodput_share(&[], Objectives::default()), None);
}

#[test]
fn goodput_that_is_just_enough_passes() {
    let good = streamed();
    let mut bad = streamed();
    bad.failed = Some(Failed::new(ErrorClass::Timeout, "?"));
    let model = measured_on_one();
    // 0.57 times 100 is less than 57.
    let requests = requests(&[vec![&good; 57], vec![&bad; 43]].concat());
    let measured = Measured {
        model: &model,
        measure: "measure",
        matrix: None,
        records: [("a", requests.facts())].into(),
    };
    let passes = |ttft_ms: f64, min: f64| {
        let threshold = Threshold {
            objectives: Objectives {
                ttft_ms: Some(ttft_ms),
                ..Objectives::default()
            },
            ..threshold("goodput_percent", Some(min), None)
        };
        let results = threshold::judge(&[threshold], std::slice::from_ref(&measured));
        assert_eq!(results.len(), 1, "{results:?}");
        (results[0].value, results[0].passed)
    };
    assert_eq!(passes(100.0, 57.0), (Some(57.0), true));
    assert_eq!(passes(100.0, 58.0), (Some(57.0), false));
    assert_eq!(passes(99.0, 1.0), (Some(0.0), false));
}

#[test]
fn cadence_tells_stalls_and_tokens_at_a_time() {
    let mut record = streamed();
    let ms = |ms: u64| Arrival(ms * 1_000_000, 0);
    // Nine gaps of 10 ms and one of 110.
    record.arrivals = (0..10)
        .map(|k| ms(1100 + 10 * k))
        .chain([ms(1300)])
        .collect();
    record.output_tokens = Some(22);
    let seen = cadence(&[&record]);
    assert_eq!(seen.arrivals_per_token, Some(0.5));
    assert_eq!(seen.stall_ratio, Some(110.0 / 200.0));
}

#[test]
fn no_stall_is_no_negative_share() {
    let seen = cadence(&[&streamed()]).stall_ratio.expect("gaps");
    assert!(seen == 0.0 && seen.is_sign_positive(), "{seen}");
}

#[test]
fn a_distribution_has_the_percentiles_that_its_size_allows() {
    let of = |n: u32| distribution((0..n).map(f64::from).collect()).expect("samples");
    let has = |n| {
        let it = of(n);
        [it.p50_low, it.p90, it.p95, it.p99].map(|it| it.is_some())
    };
    assert_eq!(has(5), [false, false, false, false]);
    assert_eq!(has(6), [true, false, false, false]);
    assert_eq!(has(43), [true, false, false, false]);
    assert_eq!(has(44), [true, true, false, false]);
    assert_eq!(has(89), [true, true, false, false]);
    assert_eq!(has(90), [true, true, true, false]);
    assert_eq!(has(458), [true, true, true, false]);
    assert_eq!(has(459), [true, true, true, true]);
    // Ranks 40 and 61 of 100: the 0.025 quantile of `Bin(100, 1/2)` is 40.
    let hundred = of(100);
    assert_eq!(
        (hundred.p50_low, hundred.p50_high),
        (Some(39.0), Some(60.0))
    );
    assert!(of(1).p50.abs() < f64::EPSILON);
}

/// A journal's record of `n` tokens, the first after `first` ms and one each `gap` ms, named
/// by their arrivals of `chunk` tokens.
fn paced(n: u32, first: u64, gap: u64, chunk: u32) -> Record {
    let mut record = record("a", 1, 0, 0.0, n);
    let arrival = |token: u32| (first + gap * u64::from(token)) * 1_000_000;
    let ends = (1..=n).filter(|token| token % chunk == 0 || *token == n);
    let mut before = 0;
    record.arrivals = ends
        .map(|token| {
            let count = token - std::mem::replace(&mut before, token);
            Arrival(arrival(token - 1), count)
        })
        .collect();
    record
}

#[test]
fn times_to_tokens_do_not_depend_on_chunks() {
    let times = |record: &Record| {
        let times = cadence(&[record]).time_to_tokens_ms;
        times
            .into_iter()
            .map(|(tokens, it)| (tokens, it.p50))
            .collect::<Vec<_>>()
    };
    let single = times(&paced(40, 100, 10, 1));
    assert_eq!(single, [(1, 100.0), (8, 170.0), (32, 410.0)]);
    // Chunks that end with the eighth and the thirty-second token.
    for chunk in [2, 4, 8] {
        let coalesced = times(&paced(40, 100, 10, chunk));
        assert_eq!(coalesced[1..], single[1..], "{chunk}");
    }
    // What does not name its tokens has no times: nothing is interpolated.
    let mut unnamed = paced(40, 100, 10, 1);
    unnamed.arrivals[20].1 = 0;
    assert_eq!(times(&unnamed), []);
}

#[test]
fn what_was_delivered_is_counted_from_the_stamps() {
    use prony_metrics::delivered::delivered;
    let ms = |ms: u64| ms * 1_000_000;
    // Two lanes of 10 requests of 100 ms each, half a request apart; one was never sent.
    let flight = |k: u64| {
        let mut it = record("a", 1, 0, 0.0, 5);
        it.stamps = Stamps {
            intended_ns: ms(50 * k),
            sent_ns: ms(50 * k),
            written_ns: Some(ms(50 * k)),
            end_ns: ms(50 * k + 100),
            ..Stamps::default()
        };
        it
    };
    let mut records: Vec<Record> = (0..20).map(flight).collect();
    let mut unsent = failed(flight(20));
    unsent.stamps.written_ns = None;
    records.push(unsent);
    let records: Vec<&Record> = records.iter().collect();
    let seen = delivered(&requests(&records).all()).expect("sent over a connection");
    assert_eq!((seen.intended, seen.sent, seen.max_in_flight), (21, 20, 2));
    assert_eq!(
        (seen.intended_per_sec, seen.sent_per_sec),
        (Some(20.0), Some(20.0))
    );
    // 20 requests of 100 ms within 1050 ms.
    let mean = seen.mean_in_flight.expect("some");
    assert!((mean - 2000.0 / 1050.0).abs() < 1e-9, "{mean}");
    let residual = seen.littles_law_residual_percent.expect("20 are enough");
    assert!(residual.abs() < 10.0, "{residual}");
    let inside = record("a", 1, 0, 10.0, 5);
    assert_eq!(
        delivered(&requests(&[&inside]).all()),
        None,
        "nothing was sent"
    );
}

/// Figures worked out by hand from what the tools publish, for two requests of a stream:
///
/// - vLLM, `vllm/benchmarks/lib/endpoint_request_func.py` and `serve.py`: `ttft` is the first
///   chunk's time minus the send's, `itl` the time between chunks, `latency` up to the last
///   chunk, `tpot = (latency - ttft) / (output_len - 1)`;
/// - `AIPerf`, its page of metrics: `inter_token_latency = (request_latency - ttft) /
///   (output_sequence_length - 1)`, one a request;
/// - `MLPerf`, `LoadGen`: times from when the sample was scheduled, `tpot = (last - first) /
///   (tokens - 1)` between the first token's report and the sample's completion.
#[test]
fn two_recorded_streams_score_as_the_tools_formulas_say() {
    let ms = |ms: u64| ms * 1_000_000;
    let stream = |intended: u64, sent: u64, arrivals: &[u64], tokens: u32| {
        let mut it = record("a", 1, 0, 0.0, tokens);
        it.stamps = Stamps {
            intended_ns: ms(intended),
            sent_ns: ms(sent),
            end_ns: ms(*arrivals.last().expect("arrivals")),
            ..Stamps::default()
        };
        it.arrivals = arrivals.iter().map(|at| Arrival(ms(*at), 0)).collect();
        it
    };
    // Sent on time: first after 200, then 30, 30, 90; 7 tokens in 4 chunks.
    let prompt = stream(0, 0, &[200, 230, 260, 350], 7);
    // Sent 40 late: first 110 after sending, then 20, 60; 3 tokens in 3 chunks.
    let late = stream(1000, 1040, &[1150, 1170, 1230], 3);
    let mean = |definition, metric: &str| {
        let scored = score(defined(definition), &[&prompt, &late]);
        scored
            .iter()
            .find(|it| it.metric == metric)
            .expect("a metric")
            .mean
    };
    for (definition, metric, expected) in [
        // (200 + 110) / 2; (30 + 30 + 90 + 20 + 60) / 5; (150/6 + 80/2) / 2; (350 + 190) / 2.
        ("vllm", "TTFT (ms)", 155.0),
        ("vllm", "ITL (ms)", 46.0),
        ("vllm", "TPOT (ms)", 32.5),
        ("vllm", "E2EL (ms)", 270.0),
        // As TPOT above.
        ("aiperf", "Time to First Token (ms)", 155.0),
        ("aiperf", "Inter Token Latency (ms)", 32.5),
        ("aiperf", "Request Latency (ms)", 270.0),
        // The 40 ms of lateness are the client's: (200 + 150) / 2 and (350 + 230) / 2.
        ("mlperf", "First Token latency (ms)", 175.0),
        ("mlperf", "Time to Output Token (ms)", 32.5),
        ("mlperf", "Sample latency (ms)", 290.0),
    ] {
        let seen = mean(definition, metric);
        assert!(
            (seen - expected).abs() < 1e-9,
            "{definition:?} {metric}: {seen}"
        );
    }
}

#[test]
fn the_99th_percentile_is_compared_where_there_are_enough_requests() {
    // 40 requests a cycle, of which `slow` take three times as long.
    let requests_of = |name: &str, cycles: u32, slow: u32| -> Vec<Record> {
        let of_cycle = |cycle| {
            (0..40).map(move |index| {
                let ms = 1000.0 + f64::from((cycle * 7 + index * 3) % 11);
                let ms = if index < slow { 3.0 * ms } else { ms };
                (cycle, index, ms)
            })
        };
        let record = |(cycle, index, ms)| {
            let mut record = record(name, cycle, index, ms, 100);
            record.id.prompt = 0;
            record
        };
        (1..=cycles).flat_map(of_cycle).map(record).collect()
    };
    let judged = |cycles, slow_a, slow_b| {
        let (a, b) = (
            requests_of("a", cycles, slow_a),
            requests_of("b", cycles, slow_b),
        );
        let (a, b): (Vec<&Record>, Vec<&Record>) = (a.iter().collect(), b.iter().collect());
        compare(arm("a", &a), arm("b", &b), design(cycles, 40))
    };
    let tail = judged(12, 0, 2).latency_p99.expect("480 requests");
    assert_eq!((tail.verdict, tail.cycles), (Verdict::Slower, 12));
    assert!((tail.difference_percent + 66.7).abs() < 1.0, "{tail:?}");
    let tail = judged(12, 2, 2).latency_p99.expect("480 requests");
    assert_eq!(tail.verdict, Verdict::Inconclusive);
    assert!(tail.p_value > 0.5, "{tail:?}");
    assert_eq!(judged(11, 0, 2).latency_p99, None, "440 requests");
    let first = judged(12, 0, 2).time_to_first_token_p99;
    assert_eq!(first.expect("480 requests").verdict, Verdict::Slower);
}

/// A request of one engine: a first token, then one token after the other.
struct Asked {
    engine: &'static str,
    cycle: u32,
    index: u32,
    sent_ms: f64,
    first_ms: f64,
    step_ms: f64,
    tokens: u32,
}

impl Asked {
    fn record(&self) -> Record {
        let ns = |ms: f64| (ms * 1e6) as u64;
        let at = |token: u32| ns(self.sent_ms + self.first_ms + self.step_ms * f64::from(token));
        let reads_ns: Vec<u64> = (0..self.tokens).map(at).collect();
        let event = |read, kind, tokens, text: &str| Event {
            read,
            kind,
            tokens,
            ns: 0,
            text: text.into(),
        };
        let last = self.tokens - 1;
        let text = |token| event(token, EventKind::Text, 1, self.engine);
        let mut events: Vec<Event> = (0..self.tokens).map(text).collect();
        events.push(event(last, EventKind::Finish, 0, "length"));
        events.push(event(last, EventKind::OutputTokens, self.tokens, ""));
        events.push(event(last, EventKind::End, 0, ""));
        let stamps = Stamps {
            intended_ns: ns(self.sent_ms),
            sent_ns: ns(self.sent_ms),
            end_ns: at(last),
            ..Stamps::default()
        };
        let id = record(self.engine, self.cycle, self.index, 1.0, 2).id;
        let seen = Observation {
            stamps,
            reads_ns,
            ..Observation::default()
        };
        Record::judge(id, seen, Ok(events), u32::MAX)
    }
}

/// A generator of numbers from 0 to 1 that a seed decides.
fn uniform(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        // Knuth's MMIX.
        state = state.wrapping_mul(6_364_136_223_846_793_005);
        state = state.wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1_u64 << 31) as f64
    }
}

/// Sixty cycles of reloaded engines on a machine that drifts. A visit after the candidate is
/// `carried` times slower; `ask` changes a request of an engine.
fn reloaded(
    carried: f64,
    mut ask: impl FnMut(&mut Asked, &mut dyn FnMut() -> f64),
) -> prony_result::Comparison {
    const CYCLES: u32 = 60;
    let mut random = uniform(5);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let mut clock_ms: f64 = 0.0;
    let mut before = "a";
    for cycle in 1..=CYCLES {
        let order = if random() < 0.5 {
            ["a", "b"]
        } else {
            ["b", "a"]
        };
        for engine in order {
            clock_ms += 3000.0;
            let drift = 1.0 + 0.1 * (clock_ms / 60_000.0).sin();
            let after = if before == "b" { carried } else { 1.0 };
            for index in 0..5 {
                let slower = drift * after * (1.0 + 0.01 * random());
                let mut asked = Asked {
                    engine,
                    cycle,
                    index,
                    sent_ms: clock_ms,
                    first_ms: 100.0,
                    step_ms: 10.0 + f64::from(index),
                    tokens: 32,
                };
                ask(&mut asked, &mut random);
                asked.first_ms *= slower;
                asked.step_ms *= slower;
                let record = asked.record();
                clock_ms += record.latency_ns() as f64 / 1e6 + 5.0;
                if engine == "a" {
                    a.push(record);
                } else {
                    b.push(record);
                }
            }
            before = engine;
        }
    }
    let (a, b): (Vec<&Record>, Vec<&Record>) = (a.iter().collect(), b.iter().collect());
    let design = StudyDesign {
        statistic: TestStatistic::Level,
        ..design(CYCLES, 5)
    };
    compare(arm("a", &a), arm("b", &b), design)
}

#[test]
fn the_typical_request_decides_on_a_machine_that_drifts() {
    let found = reloaded(1.0, |asked, _| {
        if asked.engine == "b" {
            asked.step_ms /= 1.03;
            asked.first_ms /= 1.03;
        }
    });
    assert_eq!(found.verdict, Verdict::Faster, "{}", found.sentence());
    assert_eq!(found.statistic, Some(TestStatistic::Level));
    assert_eq!(
        (found.common_tokens, found.carry_over_percent),
        (None, None)
    );
    let interval = found.interval.expect("an interval");
    assert!(interval.low_percent > 0.0 && interval.high_percent > 3.0);
    assert!(found.cycles <= 20, "{}", found.cycles);
    assert!(found.sentence().contains("in the typical request"));
    assert!(found.total.is_some() && found.median.is_none());
    let same = reloaded(1.0, |_, _| ());
    assert_eq!(same.verdict, Verdict::Equivalent, "{}", same.sentence());
}

#[test]
fn a_winner_with_slow_requests_is_none_unless_its_total_is_better_too() {
    let slow = |speed: f64| {
        reloaded(1.0, move |asked, random| {
            if asked.engine == "b" {
                let pause = if random() < 0.1 { 1.5 } else { 1.0 };
                asked.step_ms *= pause / speed;
                asked.first_ms *= pause / speed;
            }
        })
    };
    let found = slow(1.05);
    assert_eq!(found.verdict, Verdict::Inconclusive, "{}", found.sentence());
    assert!(found.flags.contains(&"outlier_sensitive".to_owned()));
    let reasons = ["of its requests are slow", "total throughput points"];
    let is_told = |reason: &&str| found.reason.contains(*reason);
    assert!(reasons.iter().any(is_told), "{}", found.reason);
    assert!(found.winner.is_none() && found.obstacle.is_none());
    let found = slow(1.5);
    assert_eq!(found.verdict, Verdict::Faster, "{}", found.sentence());
}

#[test]
fn what_an_engine_leaves_behind_names_no_winner_and_is_told() {
    let found = reloaded(1.05, |_, _| ());
    assert!(
        !matches!(found.verdict, Verdict::Faster | Verdict::Slower),
        "{}",
        found.sentence()
    );
    // Of a run that is not over so soon, for what is told of it.
    let slower = reloaded(1.05, |asked, _| {
        if asked.engine == "b" {
            asked.step_ms *= 1.015;
            asked.first_ms *= 1.015;
        }
    });
    assert_eq!(slower.verdict, Verdict::Slower, "{}", slower.sentence());
    let told = slower.carry_over_percent.or(found.carry_over_percent);
    assert!(told.is_some_and(|it| (2.0..8.0).contains(&it)), "{told:?}");
}

#[test]
fn answers_of_unequal_length_are_compared_by_what_both_have() {
    let lengths = |speed: f64| {
        reloaded(1.0, move |asked, random| {
            // The candidate's answers are shorter, too.
            let least = if asked.engine == "b" { 8.0 } else { 16.0 };
            asked.tokens = (least + 16.0 * random()) as u32;
            if asked.engine == "b" {
                asked.step_ms /= speed;
                asked.first_ms /= speed;
            }
        })
    };
    let found = lengths(1.05);
    assert_eq!(found.verdict, Verdict::Faster, "{}", found.sentence());
    assert!(found.flags.contains(&"length_mismatch".to_owned()));
    let tokens = found.common_tokens.expect("unequal lengths");
    assert!((8.0..24.0).contains(&tokens), "{tokens}");
    assert!(
        found
            .sentence()
            .contains("tokens (mean) common to both answers")
    );
    let same = lengths(1.0);
    assert_eq!(same.verdict, Verdict::Equivalent, "{}", same.sentence());
}
