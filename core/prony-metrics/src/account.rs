//! An engine's own account: its settings and counters, beside what was asked for and what
//! prony counted. It is in no rate and no verdict.

use crate::facts::Facts;
use prony_contract::CounterKind;
use prony_record::{CounterTold, SettingTold, plain_model};
use prony_result::{EngineResult, OwnCount, SettingInForce};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// An engine's own account of a group: a model, a matrix point and a `measure` stage.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Account {
    /// Settings in force.
    pub settings: Vec<SettingInForce>,
    /// Counts of its counters.
    pub counts: Vec<OwnCount>,
}

impl Account {
    /// The count of `kind`, if the engine has it.
    pub fn count(&self, kind: CounterKind) -> Option<OwnCount> {
        self.counts.iter().copied().find(|it| it.kind == kind)
    }

    /// Cached tokens over prompt tokens by its counters, 0 to 1; `None` without either.
    pub fn cached_share(&self) -> Option<f64> {
        let cached = self.count(CounterKind::CachedTokens)?.engine;
        let all = self.count(CounterKind::PromptTokens)?.engine;
        (all > 0.0).then(|| (cached / all).min(1.0))
    }
}

/// Settings of all visits, by name. `names` are those by which the model may be called besides
/// the one that was asked for: its id and its path.
pub fn settings<'a>(
    told: impl IntoIterator<Item = &'a SettingTold>,
    names: &[&str],
) -> Vec<SettingInForce> {
    let mut settings: Vec<SettingInForce> = Vec::new();
    for SettingTold {
        name,
        asked,
        in_force,
    } in told
    {
        let known = settings
            .iter()
            .position(|it| it.name == *name && it.asked == *asked);
        let index = known.unwrap_or_else(|| {
            settings.push(SettingInForce {
                name: name.clone(),
                asked: asked.clone(),
                in_force: Vec::new(),
                differs: false,
            });
            settings.len() - 1
        });
        let setting = &mut settings[index];
        if let Some(value) = in_force
            && !setting.in_force.contains(value)
        {
            setting.in_force.push(value.clone());
            setting.differs |= asked
                .as_ref()
                .is_some_and(|asked| !is_same(name, asked, value, names));
        }
    }
    settings
}

/// Returns `true` if the value in force is the one that was asked for, as engines write it.
fn is_same(name: &str, asked: &Value, in_force: &Value, names: &[&str]) -> bool {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let (asked, in_force) = (text(asked), text(in_force));
    if SettingInForce::MODELS.contains(&name) {
        // A file by another name is another file, whatever the model is called.
        let names = if name == "model" { names } else { &[] };
        let mut names = names.iter().copied().chain([asked.as_str()]);
        return names.any(|name| plain_model(name) == plain_model(&in_force));
    }
    let number = |text: &str| text.trim().parse::<f64>().ok();
    match (number(&asked), number(&in_force)) {
        (Some(asked), Some(in_force)) => asked.total_cmp(&in_force).is_eq(),
        _ => asked.trim().eq_ignore_ascii_case(in_force.trim()),
    }
}

/// Counts of the counters of each visit (cycle and counters), beside those of the `measured`
/// requests of the same visits.
pub fn counts<'a>(
    told: impl IntoIterator<Item = (u32, &'a [CounterTold])>,
    measured: &[&Facts],
) -> Vec<OwnCount> {
    let mut cycles_of = BTreeMap::<CounterKind, (f64, BTreeSet<u32>)>::new();
    for (cycle, counters) in told {
        for (kind, amount) in amounts(counters) {
            let (sum, cycles) = cycles_of.entry(kind).or_default();
            *sum += amount;
            cycles.insert(cycle);
        }
    }
    let count = |(kind, (engine, cycles)): (CounterKind, (f64, BTreeSet<u32>))| {
        let of_visits = measured.iter().copied();
        let of_visits = of_visits.filter(|record| cycles.contains(&record.cycle));
        OwnCount {
            kind,
            engine,
            prony: by_prony(kind, &of_visits.collect::<Vec<_>>()),
            cycles: cycles.len() as u32,
        }
    };
    cycles_of.into_iter().map(count).collect()
}

/// Largest amount of a counter that is believed: integers are exact up to it.
const MAX_COUNT: f64 = 9_007_199_254_740_992.0;

/// Amounts of a visit's counters, with those that follow from others.
fn amounts(counters: &[CounterTold]) -> BTreeMap<CounterKind, f64> {
    use CounterKind::{CachedTokens, ComputedPromptTokens, PromptTokens};
    let known = counters.iter();
    let mut amounts: BTreeMap<CounterKind, f64> = known
        .filter_map(|counter| Some((counter.kind, counter.amount()?)))
        // No server has counted more; such a number, or none, would spoil the sums.
        .filter(|(_, amount)| amount.is_finite() && *amount <= MAX_COUNT)
        .collect();
    let of = |kind| amounts.get(&kind).copied();
    match (of(PromptTokens), of(ComputedPromptTokens), of(CachedTokens)) {
        (None, Some(computed), Some(cached)) => {
            amounts.insert(PromptTokens, computed + cached);
        }
        (Some(all), Some(computed), None) if all >= computed => {
            amounts.insert(CachedTokens, all - computed);
        }
        _ => {}
    }
    amounts
}

/// prony's own count of `kind`; `None` if a successful request does not tell.
fn by_prony(kind: CounterKind, records: &[&Facts]) -> Option<f64> {
    let good = || records.iter().filter(|record| record.ok());
    let tokens = |of: &dyn Fn(&Facts) -> Option<u32>| -> Option<f64> {
        let sum: Option<u64> = good().map(|record| of(record).map(u64::from)).sum();
        Some(sum? as f64)
    };
    let seconds = |of: &dyn Fn(&Facts) -> Option<u64>| -> Option<f64> {
        // A journal may claim any time.
        let sum = good().try_fold(0_u64, |sum, record| Some(sum.saturating_add(of(record)?)));
        Some(sum? as f64 / 1e9)
    };
    match kind {
        CounterKind::Requests => {
            let sent = |record: &&&Facts| record.ok() || record.has_status || record.is_written;
            Some(records.iter().filter(sent).count() as f64)
        }
        CounterKind::PromptTokens => tokens(&|it| it.prompt_tokens),
        CounterKind::ComputedPromptTokens => {
            tokens(&|it| it.prompt_tokens?.checked_sub(it.cached_tokens?))
        }
        CounterKind::CachedTokens => tokens(&|it| it.cached_tokens),
        CounterKind::OutputTokens => {
            tokens(&|it| Some(it.output_tokens? + it.hidden_tokens.unwrap_or(0)))
        }
        CounterKind::QueueTime => None,
        CounterKind::PrefillTime => seconds(&Facts::time_to_first_token_ns),
        CounterKind::DecodeTime => {
            seconds(&|it| it.latency_ns().checked_sub(it.time_to_first_token_ns()?))
        }
    }
}

/// Largest difference of two counts of tokens that a way of counting explains: a token for
/// each request.
pub(crate) fn slack(requests: u64) -> f64 {
    requests as f64
}

/// Warnings about an engine whose counters and answers do not agree.
pub fn problems(engine: &EngineResult) -> Vec<String> {
    let name = &engine.engine;
    let failed = engine.requests.saturating_sub(engine.succeeded);
    let slack = slack(engine.requests);
    let found = |kind| engine.own_counts.iter().find(|it| it.kind == kind);
    let more = |kind| Some(found(kind)?.engine - found(kind)?.prony?);
    let (mut excess, mut lack) = (Vec::new(), Vec::new());
    let requests = more(CounterKind::Requests);
    for kind in [
        CounterKind::Requests,
        CounterKind::PromptTokens,
        CounterKind::OutputTokens,
    ] {
        let (Some(count), Some(more)) = (found(kind), more(kind)) else {
            continue;
        };
        let is_requests = kind == CounterKind::Requests;
        let (above, below) = if is_requests {
            // Failed requests may be counted or not.
            (0.0, failed as f64)
        } else {
            (slack, slack)
        };
        let (title, own, seen) = (count.title(), count.of_engine(), count.of_prony());
        let words = format!("{own} {title} (prony {seen})");
        // What failed requests generated is not known.
        if more > above && (is_requests || failed == 0) {
            excess.push(words);
        } else if more < -below {
            lack.push(words);
        }
    }
    let mut problems = Vec::new();
    if !excess.is_empty() {
        let why = if requests == Some(0.0) {
            "it works on more than it sends, or counts otherwise"
        } else {
            "another client used it while it was measured, so that its numbers are of a shared engine, or it counts otherwise"
        };
        problems.push(format!(
            "`{name}` counts {} by its own counters: {why}",
            excess.join(", ")
        ));
    }
    if !lack.is_empty() {
        problems.push(format!(
            "`{name}` counts only {} by its own counters: one of its two accounts is wrong, or the counters are behind",
            lack.join(", ")
        ));
    }
    if let (Some(count), Some(more)) = (
        found(CounterKind::CachedTokens),
        more(CounterKind::CachedTokens),
    ) && excess.is_empty()
        && failed == 0
        && more.abs() > slack
    {
        problems.push(format!(
            "`{name}` counts {} cached prompt tokens by its own counters, and its answers say {}: one of the two is wrong",
            count.of_engine(),
            count.of_prony()
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Requests;
    use crate::fixture::answered;
    use crate::summary;
    use prony_record::Record;
    use serde_json::json;

    fn told(name: &str, asked: Value, in_force: Value) -> SettingTold {
        let some = |value: Value| Some(value).filter(|it| !it.is_null());
        SettingTold {
            name: name.to_owned(),
            asked: some(asked),
            in_force: some(in_force),
        }
    }

    #[test]
    fn a_setting_differs_only_where_it_means_another_thing() {
        let differs = |name: &str, asked: Value, in_force: Value| {
            let names = ["id", "/models/file-q4.gguf"];
            settings(&[told(name, asked, in_force)], &names)[0].differs
        };
        let null = || Value::Null;
        assert!(!differs("context", json!(4096), json!(4096)));
        assert!(!differs("context", json!(4096), json!("4096")));
        assert!(!differs("prefix_cache", json!(true), json!("True")));
        assert!(differs("prefix_cache", json!(true), json!("False")));
        assert!(differs("context", json!(4096), json!(2048)));
        assert!(
            !differs("context", null(), json!(2048)),
            "nothing was asked for"
        );
        assert!(!differs("context", json!(4096), null()), "it does not tell");
        assert!(!differs("model", json!("a"), json!("org/a")));
        assert!(!differs("model", json!("a"), json!("id")));
        assert!(!differs("model", json!("a"), json!("/x/file-q4.gguf")));
        assert!(differs("model", json!("a"), json!("b")));
        let file = "/srv/file-q4.gguf";
        assert!(!differs(
            "model_file",
            json!("/models/file-q4.gguf"),
            json!(file)
        ));
        assert!(differs(
            "model_file",
            json!("/models/file-q8.gguf"),
            json!(file)
        ));
    }

    #[test]
    fn settings_of_several_visits_are_one() {
        let visits = [
            told("context", json!(4096), json!(4096)),
            told("context", json!(4096), json!(2048)),
            told("context", json!(4096), Value::Null),
        ];
        let settings = settings(&visits, &[]);
        assert_eq!(settings.len(), 1);
        assert_eq!(settings[0].in_force, [json!(4096), json!(2048)]);
        assert!(settings[0].differs);
    }

    fn counter(kind: CounterKind, before: f64, after: f64) -> CounterTold {
        CounterTold {
            kind,
            spans: vec![Some((before, after))],
        }
    }

    fn request(prompt: u32, output: u32, cached: Option<u32>) -> Record {
        let mut record = answered("text", output);
        record.prompt_tokens = Some(prompt);
        record.cached_tokens = cached;
        record
    }

    fn engine(counters: &[CounterTold], records: &[Record]) -> EngineResult {
        let requests: Requests = records.iter().collect();
        let records = requests.all();
        let cycle = records[0].cycle;
        let mut engine = summary::engine("e", &requests, &requests.streams_kept(), &[], 1);
        engine.own_counts = counts([(cycle, counters)], &records);
        engine
    }

    #[test]
    fn counters_stand_beside_the_counts_of_the_same_requests() {
        use CounterKind::{
            CachedTokens, ComputedPromptTokens, OutputTokens, PromptTokens, Requests,
        };
        let counters = [
            counter(Requests, 3.0, 5.0),
            counter(ComputedPromptTokens, 100.0, 130.0),
            counter(CachedTokens, 0.0, 30.0),
            counter(OutputTokens, 8.0, 24.0),
        ];
        let records = [request(30, 8, Some(0)), request(30, 8, Some(30))];
        let engine = engine(&counters, &records);
        let of = |kind| {
            let count = engine.own_counts.iter().find(|it| it.kind == kind);
            count.map(|it| (it.engine, it.prony))
        };
        assert_eq!(of(Requests), Some((2.0, Some(2.0))));
        assert_eq!(of(PromptTokens), Some((60.0, Some(60.0))));
        assert_eq!(of(ComputedPromptTokens), Some((30.0, Some(30.0))));
        assert_eq!(of(CachedTokens), Some((30.0, Some(30.0))));
        assert_eq!(of(OutputTokens), Some((16.0, Some(16.0))));
        assert_eq!(problems(&engine), [""; 0]);
    }

    #[test]
    fn a_visit_without_a_counter_is_left_out_on_both_sides() {
        let mut later = request(30, 8, None);
        later.id.cycle += 1;
        let first = request(30, 8, None);
        let cycle = first.id.cycle;
        let requests: Requests = [&first, &later].into_iter().collect();
        let records = requests.all();
        let known = [counter(CounterKind::OutputTokens, 0.0, 8.0)];
        let missing = [CounterTold {
            kind: CounterKind::OutputTokens,
            spans: vec![None],
        }];
        let counts = counts([(cycle, &known[..]), (cycle + 1, &missing[..])], &records);
        assert_eq!(counts.len(), 1);
        assert_eq!((counts[0].engine, counts[0].prony), (8.0, Some(8.0)));
        assert_eq!(counts[0].cycles, 1);
    }

    #[test]
    fn what_does_not_agree_is_told() {
        use CounterKind::{CachedTokens, OutputTokens, Requests};
        let records = [request(30, 8, Some(0)), request(30, 8, Some(0))];
        let says = |counters: &[CounterTold]| problems(&engine(counters, &records));
        let of_others = says(&[
            counter(Requests, 0.0, 3.0),
            counter(OutputTokens, 0.0, 24.0),
        ]);
        assert_eq!(of_others.len(), 1);
        assert!(
            of_others[0].contains("3 requests (prony 2)"),
            "{of_others:?}"
        );
        assert!(of_others[0].contains("another client"), "{of_others:?}");
        let hidden = says(&[
            counter(Requests, 0.0, 2.0),
            counter(OutputTokens, 0.0, 24.0),
        ]);
        assert!(hidden[0].contains("more than it sends"), "{hidden:?}");
        // An end token for each request.
        assert_eq!(says(&[counter(OutputTokens, 0.0, 18.0)]), [""; 0]);
        let behind = says(&[counter(OutputTokens, 0.0, 0.0)]);
        assert!(behind[0].contains("only 0 output tokens"), "{behind:?}");
        let cached = says(&[counter(CachedTokens, 0.0, 40.0)]);
        assert!(cached[0].contains("its answers say 0"), "{cached:?}");
    }
}
