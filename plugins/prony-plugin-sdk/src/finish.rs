//! Finish reasons: which ones end a complete answer.
//!
//! The list of good ones is closed, since a reason that nobody knows may well mean that the
//! answer is half an answer: `abort`, `insufficient_system_resource`.

/// Reasons of complete answers, as engines write them: the `OpenAI` API's, vLLM's, TGI's,
/// Anthropic's, Ollama's and llama.cpp's.
const COMPLETE: [&str; 17] = [
    "stop",
    "length",
    "eos",
    "eos_token",
    "end_turn",
    "stop_sequence",
    "stop_token",
    "stop_str",
    "max_tokens",
    "max_length",
    "max_new_tokens",
    "tool_calls",
    "tool_call",
    "tool_use",
    "function_call",
    "complete",
    "completed",
];

/// Reasons of answers that the engine broke off or withheld.
const BROKEN: [&str; 14] = [
    "abort",
    "aborted",
    "cancel",
    "cancelled",
    "canceled",
    "content_filter",
    "error",
    "insufficient_system_resource",
    "network_error",
    "recitation",
    "repetition",
    "safety",
    "timeout",
    "unknown",
];

/// The failure of an answer that ended for `reason`, in words; `None` if it is complete.
/// `more` are reasons that count as complete as well. Case makes no difference.
pub fn problem(reason: &str, more: &[String]) -> Option<String> {
    let is = |known: &str| known.eq_ignore_ascii_case(reason);
    if more.iter().any(|known| is(known)) || COMPLETE.into_iter().any(is) {
        return None;
    }
    Some(if BROKEN.into_iter().any(is) {
        format!("the engine ended the answer with the finish reason `{reason}`")
    } else {
        let shown: String = reason.chars().take(100).collect();
        format!(
            "the finish reason `{}` is not known: if it ends a complete answer, add it to the engine's `finish_reasons`",
            shown.escape_debug()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn only_reasons_of_complete_answers_are_good() {
        for good in ["stop", "length", "EOS", "tool_calls"] {
            assert_eq!(problem(good, &[]), None);
        }
        let aborted = problem("abort", &[]).expect("a problem");
        assert!(aborted.contains("`abort`"), "{aborted}");
        let unknown = problem("done-ish", &[]).expect("a problem");
        assert!(unknown.contains("`finish_reasons`"), "{unknown}");
        assert_eq!(problem("done-ish", &["done-ish".to_owned()]), None);
        assert_eq!(problem("abort", &["abort".to_owned()]), None);
    }
}
