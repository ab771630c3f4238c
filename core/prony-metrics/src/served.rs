//! The models that engines say they served.

use crate::facts::Words;
use prony_record::plain_model;
use prony_result::{EngineResult, SettingInForce};
use std::collections::BTreeMap;

/// Returns `true` if the answers are of another model than was asked for, or of several.
pub fn is_other(words: &Words) -> bool {
    let served = words.served_models.iter().map(String::as_str);
    words.asked_model.is_some() || distinct(served).len() > 1
}

/// Returns `true` if the engine says that it has another model loaded than was asked for.
pub fn is_loaded(settings: &[SettingInForce]) -> bool {
    other_loaded(settings).is_some()
}

/// The setting by which another model is loaded.
fn other_loaded(settings: &[SettingInForce]) -> Option<&SettingInForce> {
    let mut models = settings.iter().filter(|it| it.is_model());
    models.find(|it| it.differs)
}

/// Warning about an engine that answered with another model, or with several, or that has
/// another one loaded; `None` if it did not and has not.
pub fn problem(engine: &EngineResult) -> Option<String> {
    let models = distinct(engine.served_models.iter().map(String::as_str));
    let named: Vec<String> = models.iter().map(|it| format!("`{it}`")).collect();
    let named = named.join(", ");
    let name = &engine.engine;
    let words = match (&engine.asked_model, models.len()) {
        (Some(asked), 2..) => {
            format!(
                "`{name}` was asked for the model `{asked}` and says that it answered with several: {named}"
            )
        }
        (Some(asked), _) => {
            format!(
                "`{name}` was asked for the model `{asked}` and says that it answered with {named}"
            )
        }
        (None, 2..) => format!("`{name}` says that it answered with several models: {named}"),
        (None, _) => {
            let loaded = other_loaded(&engine.settings)?;
            format!(
                "`{name}` was to have the model `{}` loaded and says that it has `{}`",
                loaded.asked_for(),
                loaded.told()
            )
        }
    };
    Some(format!("{words} (`prony explain other_model`)"))
}

/// Names of models, one for each model.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let by_plain: BTreeMap<&str, &str> = names.map(|name| (plain_model(name), name)).collect();
    by_plain.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Requests;
    use crate::fixture::answered;
    use crate::summary;
    use prony_record::Record;

    fn told(models: &[(&str, Option<&str>)]) -> (bool, Option<String>) {
        let record = |(served, asked): &(&str, Option<&str>)| {
            let mut record = answered("text", 1);
            record.served_model = Some((*served).to_owned());
            record.asked_model = asked.map(str::to_owned);
            record
        };
        let records: Vec<Record> = models.iter().map(record).collect();
        let requests: Requests = records.iter().collect();
        let problem = problem(&summary::engine(
            "e",
            &requests,
            &requests.streams_kept(),
            &[],
            1,
        ));
        assert_eq!(is_other(&requests.words), problem.is_some());
        (is_other(&requests.words), problem)
    }

    #[test]
    fn one_model_by_several_names_is_one_model() {
        assert_eq!(told(&[("a/m", None), ("m.gguf", None)]), (false, None));
    }

    #[test]
    fn another_model_and_several_are_told() {
        let says = |models: &[(&str, Option<&str>)]| told(models).1.expect("a problem");
        assert_eq!(
            says(&[("m", None), ("n", None)]),
            "`e` says that it answered with several models: `m`, `n` (`prony explain other_model`)"
        );
        assert_eq!(
            says(&[("m", Some("n")), ("m", Some("n"))]),
            "`e` was asked for the model `n` and says that it answered with `m` (`prony explain other_model`)"
        );
        assert!(says(&[("m", Some("n")), ("n", None)]).contains("with several: `m`, `n`"));
    }
}
