//! Questions to a server about itself: the settings in force, and its counters around the
//! requests of a `measure` stage. Never asked while a request is in flight. Whatever is not
//! answered is not told, and fails nothing.

use super::prometheus;
use prony_contract::{CounterKind, Question};
use prony_loadgen::client::{MAX_ANSWER, once};
use prony_loadgen::target::Target;
use prony_record::{CounterTold, SettingTold};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time for all questions together.
pub(super) const LIMIT: Duration = Duration::from_secs(5);
/// Longest text that is kept of a value, in characters.
const MAX_TEXT: usize = 200;
/// Pause between two looks at counters that may still move.
const PAUSE: Duration = Duration::from_millis(20);
/// Time after which counters that still move are taken as they are.
const REST: Duration = Duration::from_secs(1);

/// Values of counters. Of `None` there is no value.
pub(super) type Values = BTreeMap<CounterKind, Option<f64>>;

/// An engine's own account of a visit.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// `true` once it was asked for its settings.
    pub(super) is_asked: bool,
    pub(super) settings: Vec<SettingTold>,
    /// By stage id.
    pub(super) counters: BTreeMap<String, Vec<CounterTold>>,
}

impl Account {
    /// Notes the counters before and after a share of a stage's requests.
    pub(super) fn note(&mut self, stage: &str, before: &Values, after: &Values) {
        let counters = self.counters.entry(stage.to_owned()).or_default();
        for (kind, before) in before {
            let after = after.get(kind).copied().flatten();
            let span = before.zip(after);
            match counters.iter_mut().find(|it| it.kind == *kind) {
                Some(known) => known.spans.push(span),
                None => counters.push(CounterTold {
                    kind: *kind,
                    spans: vec![span],
                }),
            }
        }
    }
}

/// Settings that the server at `target` says are in force, and the paths of questions whose
/// answers are too long to be read, of those about counters too.
pub(super) async fn settings(
    target: &Target,
    questions: &[Question],
) -> (Vec<SettingTold>, Vec<String>) {
    let (mut settings, mut too_long) = (Vec::new(), Vec::new());
    for (question, answer) in answers(target, questions.iter()).await {
        if matches!(answer, Err(Unanswered::TooLong)) {
            too_long.push(question.request.path.clone());
        }
        settings.extend(question.settings.iter().map(|setting| SettingTold {
            name: setting.name.clone(),
            asked: setting.asked.clone(),
            in_force: answer.as_ref().ok().and_then(|it| it.value(&setting.at)),
        }));
    }
    (settings, too_long)
}

/// Counters of the server at `target`.
pub(super) async fn counters(target: &Target, questions: &[Question]) -> Values {
    let asked = questions.iter().filter(|it| !it.counters.is_empty());
    let mut counters = Values::new();
    for (question, answer) in answers(target, asked).await {
        for counter in &question.counters {
            let value = answer.as_ref().ok();
            let value = value.and_then(|it| it.number(&counter.at));
            let known = counters.entry(counter.kind).or_default();
            *known = known.or(value);
        }
    }
    counters
}

/// The same once they stand still: some servers count a request after its answer.
pub(super) async fn counters_at_rest(target: &Target, questions: &[Question]) -> Values {
    let begin = Instant::now();
    let mut last = counters(target, questions).await;
    while last.values().any(Option::is_some) && begin.elapsed() < REST {
        tokio::time::sleep(PAUSE).await;
        let next = counters(target, questions).await;
        if next == last {
            break;
        }
        last = next;
    }
    last
}

/// The reason why there is no answer.
enum Unanswered {
    /// It is longer than [`MAX_ANSWER`].
    TooLong,
    /// Any other, which is not told.
    Silent,
}

/// The answers to questions, in order.
async fn answers<'q>(
    target: &Target,
    questions: impl Iterator<Item = &'q Question>,
) -> Vec<(&'q Question, Result<Answer, Unanswered>)> {
    let begin = Instant::now();
    let mut answers = Vec::new();
    for question in questions {
        let rest = LIMIT.saturating_sub(begin.elapsed());
        let answer = if rest.is_zero() {
            Err(Unanswered::Silent)
        } else {
            ask(target, question, rest).await
        };
        answers.push((question, answer));
    }
    answers
}

async fn ask(target: &Target, question: &Question, limit: Duration) -> Result<Answer, Unanswered> {
    let answer = once(target, &question.request, limit).await;
    let mut answer = answer.map_err(|_| Unanswered::Silent)?;
    answer.unpack();
    if answer.body.len() > MAX_ANSWER {
        return Err(Unanswered::TooLong);
    }
    if answer.seen.failed.is_some() || answer.seen.status != Some(200) {
        return Err(Unanswered::Silent);
    }
    let text = String::from_utf8(answer.body).map_err(|_| Unanswered::Silent)?;
    Ok(Answer::new(text))
}

/// An answer to a question.
struct Answer {
    text: String,
    /// The same, if it is JSON.
    json: Value,
}

impl Answer {
    fn new(text: String) -> Self {
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { text, json }
    }

    /// The text, number or boolean at a place. An empty text tells nothing.
    fn value(&self, at: &str) -> Option<Value> {
        let value = if at.starts_with('/') {
            self.json.pointer(at).cloned()?
        } else {
            match at.split_once('{') {
                Some((metric, label)) => {
                    let label = label.trim_end_matches('}');
                    Value::String(prometheus::label(&self.text, metric, label)?)
                }
                None => whole(prometheus::sum(&self.text, at)?),
            }
        };
        match value {
            Value::String(text) if text.trim().is_empty() => None,
            Value::String(text) => Some(Value::String(text.chars().take(MAX_TEXT).collect())),
            Value::Number(_) | Value::Bool(_) => Some(value),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The number at a place: finite and not negative.
    fn number(&self, at: &str) -> Option<f64> {
        let value = self.value(at)?;
        let number = match &value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        number.filter(|it| it.is_finite() && *it >= 0.0)
    }
}

/// A number without a useless fraction.
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        Value::from(number as i64)
    } else {
        Value::from(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_is_a_text_a_number_or_a_boolean() {
        let answer = Answer::new(
            json!({ "a": [{ "b": 1, "c": null, "d": [], "e": "", "f": " " }] }).to_string(),
        );
        assert_eq!(answer.value("/a/0/b"), Some(json!(1)));
        assert_eq!(answer.number("/a/0/b"), Some(1.0));
        for at in [
            "/a/0/c", "/a/0/d", "/a/0/e", "/a/0/f", "/a", "/x", "/a/9/b", "a",
        ] {
            assert_eq!(answer.value(at), None, "{at}");
        }
        let long = Answer::new(json!({ "a": "ä".repeat(1000) }).to_string());
        let kept = long
            .value("/a")
            .and_then(|it| it.as_str().map(|it| it.chars().count()));
        assert_eq!(kept, Some(MAX_TEXT));
        let metrics = Answer::new("m{v=\"1.2\"} 1\nn 7.0\no 0.5\np -1\n".to_owned());
        assert_eq!(metrics.value("m{v}"), Some(json!("1.2")));
        assert_eq!(metrics.value("n"), Some(json!(7)));
        assert_eq!(metrics.value("o"), Some(json!(0.5)));
        assert_eq!(metrics.number("p"), None, "no counter is negative");
        assert_eq!(metrics.value("/m"), None);
    }

    #[test]
    fn shares_of_a_stage_are_noted_in_order() {
        let mut account = Account::default();
        let values = |value: Option<f64>| Values::from([(CounterKind::OutputTokens, value)]);
        account.note("measure", &values(Some(1.0)), &values(Some(4.0)));
        account.note("measure", &values(Some(4.0)), &Values::new());
        let told = &account.counters["measure"];
        assert_eq!(told[0].spans, [Some((1.0, 4.0)), None]);
    }

    /// A server that answers every request with a metric and `more` bytes; its address.
    fn server(more: usize) -> String {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.expect("a connection");
                let _ = connection.read(&mut [0; 4096]);
                let body = format!("n 7\n# {}\n", "x".repeat(more));
                let length = body.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                // The client may go before the end.
                let _ = connection.write_all((head + &body).as_bytes());
            }
        });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_is_told_and_not_read() {
        let question = Question {
            request: prony_contract::HttpRequest::get("/metrics"),
            settings: Vec::new(),
            counters: vec![prony_contract::Counter {
                kind: CounterKind::Requests,
                at: "n".to_owned(),
            }],
        };
        for (more, value, too_long) in [
            (MAX_ANSWER - 100, Some(7.0), &[][..]),
            (MAX_ANSWER, None, &["/metrics"]),
        ] {
            let target = Target::new(&server(more)).expect("an address");
            let questions = std::slice::from_ref(&question);
            let (settings, told) = settings(&target, questions).await;
            assert!(settings.is_empty());
            assert_eq!(told, too_long);
            let counted = counters(&target, questions).await;
            assert_eq!(counted, Values::from([(CounterKind::Requests, value)]));
        }
    }
}
