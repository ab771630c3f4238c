//! Exchanges of a launch plan: they load a model, give it back or empty a cache.

use prony_contract::{Ending, Exchange};
use prony_loadgen::Exchange as Answer;
use prony_loadgen::client::{once, words_of_refusal};
use prony_loadgen::target::Target;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Pause before a request is sent again.
const PAUSE: Duration = Duration::from_millis(100);

/// Sends them, each when the one before is done; all within `limit`. The error says which one
/// failed, and why.
pub(super) async fn send(
    target: &Target,
    exchanges: &[Exchange],
    limit: Duration,
) -> Result<(), String> {
    let begin = Instant::now();
    for exchange in exchanges {
        let request = &exchange.request;
        let path = request.path.split('?').next().unwrap_or_default();
        let line = format!("`{} {path}`", request.method);
        let mut last = "no answer".to_owned();
        loop {
            let rest = limit.saturating_sub(begin.elapsed());
            if rest.is_zero() {
                return Err(format!("{line} was not done within {limit:?}: {last}"));
            }
            let answer = once(target, request, rest).await;
            let answer = answer.map_err(|error| format!("{line}: {error}"))?;
            match judge(answer, &exchange.ends) {
                Verdict::Done => break,
                Verdict::Failed(words) => return Err(format!("{line}: {words}")),
                Verdict::Again(words) => last = format!("the last answer was {words}"),
            }
            tokio::time::sleep(PAUSE.min(rest)).await;
        }
    }
    Ok(())
}

/// The meaning of an answer.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Done,
    /// The server's words.
    Failed(String),
    /// The answer in words.
    Again(String),
}

fn judge(mut answer: Answer, ends: &[Ending]) -> Verdict {
    answer.unpack();
    // The message names the request already.
    answer.seen.status_detail = None;
    if let Some(failed) = &answer.seen.failed {
        return Verdict::Failed(failed.message.clone());
    }
    let is_success = matches!(answer.seen.status, Some(200..=299));
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match ends.iter().find(|end| end.ends(&body)) {
        None if !ends.is_empty() => Verdict::Again(words_of_refusal(&answer)),
        Some(end) if end.failed => Verdict::Failed(match body.pointer(&end.at) {
            Some(Value::String(words)) => words.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }),
        Some(_) => Verdict::Done,
        None if is_success => Verdict::Done,
        None => Verdict::Failed(words_of_refusal(&answer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str, ends: &[Ending]) -> Verdict {
        let mut answer = Answer::default();
        answer.seen.status = Some(status);
        answer.body = body.as_bytes().to_vec();
        answer.ends = vec![body.len() as u32];
        answer.seen.reads_ns = vec![1];
        judge(answer, ends)
    }

    #[test]
    fn an_answer_is_the_last_by_its_status_or_by_what_it_has() {
        let failed = |words: &str| Verdict::Failed(words.to_owned());
        let again = |words: &str| Verdict::Again(words.to_owned());
        assert_eq!(judged(204, "", &[]), Verdict::Done);
        assert_eq!(
            judged(500, "out of\nmemory", &[]),
            failed("HTTP 500: out of memory")
        );
        let ends = [
            Ending::is("/status", "loaded"),
            Ending::at("/error").failed(),
        ];
        assert_eq!(judged(200, r#"{"status":"loaded"}"#, &ends), Verdict::Done);
        assert_eq!(
            judged(503, r#"{"status":"loading"}"#, &ends),
            again(r#"HTTP 503: {\"status\":\"loading\"}"#)
        );
        assert_eq!(
            judged(200, r#"{"status":"failed","error":"no such model"}"#, &ends),
            failed("no such model")
        );
        // `null` is no error.
        assert_eq!(
            judged(200, r#"{"error":null}"#, &ends),
            again(r#"HTTP 200: {\"error\":null}"#)
        );
    }
}
