//! Checks of the questions and exchanges of a launch plan.

use prony_contract::{Exchange, Question, is_place};

/// Problems of a question, in words.
pub(crate) fn problems(question: &Question) -> Vec<String> {
    let path = &question.request.path;
    let mut problems = Vec::new();
    if !path.starts_with('/') {
        problems.push(format!(
            "the path of a question, `{path}`, does not start with `/`"
        ));
    }
    if question.settings.is_empty() && question.counters.is_empty() {
        problems.push(format!("nothing is read from the answer to `{path}`"));
    }
    let settings = question.settings.iter();
    if settings.clone().any(|setting| setting.name.is_empty()) {
        problems.push(format!("a setting in the answer to `{path}` has no name"));
    }
    let counters = question.counters.iter().map(|counter| &counter.at);
    let places = settings.map(|setting| &setting.at).chain(counters);
    let wrong = places.filter(|at| !is_place(at));
    problems.extend(
        wrong.map(|at| {
            format!("`{at}` is neither a JSON pointer nor the name of a Prometheus metric")
        }),
    );
    problems
}

/// Problems of an exchange, in words.
pub(crate) fn of_exchange(exchange: &Exchange) -> Vec<String> {
    let request = &exchange.request;
    let path = &request.path;
    let mut problems = Vec::new();
    if !path.starts_with('/') {
        problems.push(format!(
            "the path of an exchange, `{path}`, does not start with `/`"
        ));
    }
    if request.method.is_empty() {
        problems.push(format!("the exchange with `{path}` has no method"));
    }
    let pointers = exchange.ends.iter().map(|end| &end.at);
    let wrong = pointers.filter(|at| !at.is_empty() && !at.starts_with('/'));
    problems.extend(wrong.map(|at| format!("`{at}` in an ending of `{path}` is no JSON pointer")));
    if !exchange.ends.is_empty() && exchange.ends.iter().all(|end| end.failed) {
        problems.push(format!(
            "the exchange with `{path}` has no ending but failures: it would never be done"
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use prony_contract::{Counter, CounterKind, Ending, HttpRequest, Setting};

    #[test]
    fn an_exchange_says_what_is_sent_and_when_it_is_done() {
        let request = || HttpRequest::get("/load");
        let fine = [
            Exchange::once(request()),
            Exchange::until(request(), [Ending::at("/a"), Ending::at("/b").failed()]),
        ];
        for exchange in fine {
            assert_eq!(of_exchange(&exchange), [""; 0]);
        }
        let wrong = [
            Exchange::once(HttpRequest::get("load")),
            Exchange::once(HttpRequest {
                method: String::new(),
                ..request()
            }),
            Exchange::until(request(), [Ending::at("a")]),
            Exchange::until(request(), [Ending::at("/b").failed()]),
        ];
        for exchange in wrong {
            assert_eq!(of_exchange(&exchange).len(), 1, "{exchange:?}");
        }
    }

    fn asked(path: &str, name: &str, at: &str) -> Vec<String> {
        problems(&Question {
            request: HttpRequest::get(path),
            settings: vec![Setting {
                name: name.to_owned(),
                at: at.to_owned(),
                asked: None,
            }],
            counters: vec![Counter {
                kind: CounterKind::Requests,
                at: at.to_owned(),
            }],
        })
    }

    #[test]
    fn a_question_says_where_to_look() {
        for at in ["/a/0/b", "/", "vllm:prompt_tokens_total", "m{label}"] {
            assert_eq!(asked("/props", "context", at), [""; 0], "{at}");
        }
        for at in ["", "a/b", "a b", "1a", "m{", "m{}", "m{a-b}", "m{a} 1"] {
            assert_eq!(asked("/props", "context", at).len(), 2, "{at}");
        }
        assert_eq!(asked("props", "", "/a").len(), 2);
        let empty = Question {
            request: HttpRequest::get("/props"),
            ..Question::default()
        };
        assert_eq!(
            problems(&empty),
            ["nothing is read from the answer to `/props`"]
        );
    }
}
