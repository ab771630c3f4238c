//! Messages of a run's requests, made again from what the run made them of: the journal has their
//! digest, and not the texts.

use crate::context::text;
use crate::images::Images;
use crate::request_set::RequestSet;
use prony_config::{MatrixPoint, Pipeline, Work};
use prony_contract::ChatMessage;
use prony_journal::{Event, InputKind, Reader, Result, RunFolder};
use prony_record::{Phase, RequestId};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Matrix point and model.
type Key = (Option<String>, String);

/// The messages of a run.
#[derive(Debug)]
pub struct SentMessages<'p> {
    points: Vec<&'p MatrixPoint>,
    /// The request sets, or the reasons why they are not known.
    sets: BTreeMap<Key, std::result::Result<RequestSet, String>>,
}

impl<'p> SentMessages<'p> {
    /// Makes the request sets of a run again. `pipeline` is the run's own, and its paths are
    /// relative to `base`. A set counts only if its digest is that of the journal.
    pub fn of(folder: &RunFolder, pipeline: &'p Pipeline, base: &Path) -> Result<Self> {
        let mut digests: BTreeMap<Key, String> = BTreeMap::new();
        let mut models: HashMap<Key, PathBuf> = HashMap::new();
        let mut tokenizers: HashMap<String, PathBuf> = HashMap::new();
        for placed in Reader::open(&folder.journal())? {
            match placed?.event {
                Event::RequestSet {
                    point,
                    model,
                    sha256,
                    ..
                } => {
                    digests.insert((point, model), sha256);
                }
                Event::Model {
                    point, model, path, ..
                } => {
                    models.insert((point, model), path.into());
                }
                Event::Input(input) if input.kind == InputKind::Tokenizer => {
                    tokenizers.insert(input.of, input.path.into());
                }
                _ => {}
            }
        }
        let points: Vec<&MatrixPoint> = pipeline.points.iter().collect();
        let mut sets = BTreeMap::new();
        for (key, sha256) in digests {
            let words = tokenizers.get(&key.1).or_else(|| models.get(&key));
            let point = points.iter().find(|it| it.id == key.0);
            let set = point
                .ok_or_else(|| "the run's pipeline does not have it".to_owned())
                .and_then(|point| made(point, words, base, pipeline.schedule.seed))
                .and_then(|set| {
                    let is_same = set.sha256 == sha256;
                    is_same.then_some(set).ok_or_else(|| {
                        "what they were made of has changed since: their digest is another"
                            .to_owned()
                    })
                });
            sets.insert(key, set);
        }
        Ok(Self { points, sets })
    }

    /// `true` if no messages are known, of a run that sent some.
    pub fn is_empty(&self) -> bool {
        !self.sets.is_empty() && self.sets.values().all(std::result::Result::is_err)
    }

    /// The models, with their matrix points, of which the messages are not known, and why.
    pub fn unknown(&self) -> impl Iterator<Item = (Option<&str>, &str, &str)> {
        self.sets.iter().filter_map(|((point, model), set)| {
            let reason = set.as_ref().err()?;
            Some((point.as_deref(), model.as_str(), reason.as_str()))
        })
    }

    /// The messages of a request, with the beginning that made it unknown to a cache; `None` if
    /// they are not known.
    pub fn of_request(&self, id: &RequestId) -> Option<Vec<(&'static str, String)>> {
        let set = self.sets.get(&(id.point.clone(), id.model.clone()))?;
        let set = set.as_ref().ok()?;
        let point = self.points.iter().find(|it| it.id == id.point)?;
        let mut texts = set.texts(point, id.index);
        if is_cold(point, id) {
            let nonce = set.nonce(
                id.point.as_deref(),
                &id.model,
                id.cycle,
                &id.stage,
                id.index,
            );
            texts.first().insert_str(0, &nonce);
        }
        let system = texts.system.map(|it| ("system", it));
        let history = texts.history.into_iter();
        let history = history.map(|ChatMessage { role, content }| (role.name(), content));
        let all = system.into_iter().chain(history);
        Some(all.chain([("user", texts.prompt)]).collect())
    }
}

fn is_cold(point: &MatrixPoint, id: &RequestId) -> bool {
    let cache = match id.phase {
        Phase::Warmup => point.warmup_cache(&id.stage),
        Phase::Measure => {
            let work = point.segments.iter().flat_map(|segment| &segment.work);
            let mut of_stage = work.filter_map(|work| match work {
                Work::Measure(measure) if measure.id == id.stage => Some(measure.cache),
                _ => None,
            });
            of_stage.next().flatten()
        }
    };
    cache == Some(prony_config::Cache::Cold)
}

fn made(
    point: &MatrixPoint,
    words: Option<&PathBuf>,
    base: &Path,
    seed: u64,
) -> std::result::Result<RequestSet, String> {
    let mut images = Images::default();
    for path in &point.workload.images {
        images.read(path, base)?;
    }
    let words = words.map(|path| base.join(path));
    RequestSet::new(point, words.as_deref(), base, &images, seed)
        .map_err(|reason| format!("{reason} (in `{}`)", text(base)))
}
