//! Noise floors of engines on a machine: a file per machine in prony's cache folder,
//! written by `prony aa` and read at the start of every run.
//!
//! A difference between an engine and itself is noise. Its size depends on the machine,
//! the engine with its options, the model and the workload, so a floor holds only where
//! all of them are the same.

use crate::folder::RunFolder;
use crate::journal::{KnownNoise, Started, Subject};
use crate::reader;
use crate::{Error, Result};
use prony_metrics::statistics::pilot::detectable;
use prony_metrics::statistics::{smallest_sample, standard_deviation};
use prony_plan::{ModelKey, Plan, Stage};
use prony_plugin_host::sha256_of;
use prony_result::to_percent;
use prony_result::{EngineInfo, NoiseFloor, RunResult, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::fs::Permissions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Value of [`File::schema`].
const SCHEMA: &str = "prony-noise/1";

/// The noise floors of one machine.
#[derive(Debug)]
pub struct Noise {
    path: PathBuf,
    file: File,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    /// `prony-noise/1`.
    schema: String,
    /// The machine's digest.
    machine: String,
    /// Floors by digest of the setting.
    floors: BTreeMap<String, Floor>,
}

/// Result of comparing an engine with itself in one setting.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Floor {
    /// Description for readers of the file: pipeline, engine, model, matrix point, stage.
    about: String,
    /// Log ratios of all cycles.
    cycles: Vec<f64>,
    /// Runs that named a winner.
    wins: u32,
    /// Number of runs.
    runs: u32,
    /// Time of the last run: RFC 3339, UTC.
    at: String,
}

impl Noise {
    /// Reads the floors of a machine. The second value reports an unusable file, which is
    /// replaced at the next write.
    pub fn open(cache: &Path, machine: &str) -> (Self, Option<String>) {
        let path = cache.join("noise").join(format!("{machine}.json"));
        let empty = || File {
            schema: SCHEMA.to_owned(),
            machine: machine.to_owned(),
            floors: BTreeMap::new(),
        };
        let (file, problem) = match read(&path, machine) {
            Ok(file) => (file.unwrap_or_else(empty), None),
            Err(reason) => {
                let problem = format!(
                    "the noise floor of this machine is not known: `{}` {reason}; `prony aa` measures it again",
                    path.display()
                );
                (empty(), Some(problem))
            }
        };
        (Self { path, file }, problem)
    }

    /// Stores the floors of runs of an engine against itself, replacing earlier ones of
    /// the same setting. Skips machines without a digest and runs that were cut short.
    pub fn keep(&mut self, runs: &[(RunFolder, RunResult)]) -> Result<()> {
        if self.file.machine.is_empty() {
            return Ok(());
        }
        let mut floors = BTreeMap::<String, Floor>::new();
        for (folder, result) in runs {
            let started = reader::started(&folder.journal())?;
            for setting in settings(&started.subject, &started.plan) {
                let group = result.models.iter().find(|model| {
                    model.id == setting.model
                        && model.cell.as_deref() == setting.point
                        && model
                            .measure
                            .as_deref()
                            .is_none_or(|it| it == setting.measure)
                });
                let comparison = group
                    .and_then(|group| group.comparisons.first())
                    .filter(|comparison| comparison.baseline == setting.engine);
                let Some(comparison) = comparison else {
                    continue;
                };
                let floor = floors.entry(setting.key.clone()).or_default();
                floor.about = setting.about(&started);
                floor.cycles.extend(&comparison.cycle_log_ratios);
                floor.wins += u32::from(matches!(
                    comparison.verdict,
                    Verdict::Faster | Verdict::Slower
                ));
                floor.runs += 1;
                floor.at.clone_from(&started.started_at);
            }
        }
        // Fewer cycles do not determine a deviation.
        floors.retain(|_, floor| floor.cycles.len() >= smallest_cycles());
        self.file.floors.extend(floors);
        self.write()
    }

    fn write(&self) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        // Readable by those whom the umask lets: a temporary file is its owner's by default.
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(Error::io(folder))?;
        let json = serde_json::to_vec_pretty(&self.file).unwrap_or_default();
        file.write_all(&json).map_err(Error::io(&self.path))?;
        let kept = file.persist(&self.path).map_err(|failed| failed.error);
        kept.map(drop).map_err(Error::io(&self.path))
    }

    /// The known floors of the groups of a run; where several of its engines were
    /// compared with themselves, the noisiest.
    pub fn of(&self, subject: &Subject, plan: &Plan) -> Vec<KnownNoise> {
        let mut known = BTreeMap::<(ModelKey<'_>, &str), (f64, KnownNoise)>::new();
        for setting in settings(subject, plan) {
            let Some(floor) = self.file.floors.get(&setting.key) else {
                continue;
            };
            if floor.cycles.len() < 2 {
                continue;
            }
            let deviation = standard_deviation(&floor.cycles);
            let cycles = subject.cycles as usize;
            let enough = cycles >= smallest_cycles();
            let found = KnownNoise {
                point: setting.point.map(ToOwned::to_owned),
                model: setting.model.to_owned(),
                measure: setting.measure.to_owned(),
                floor: NoiseFloor {
                    engine: setting.engine.to_owned(),
                    standard_deviation_percent: to_percent(deviation),
                    detectable_percent: enough.then(|| to_percent(detectable(deviation, cycles))),
                    wins: floor.wins,
                    runs: floor.runs,
                    cycles: floor.cycles.len() as u32,
                    at: floor.at.clone(),
                },
            };
            let of_model = ModelKey {
                point: setting.point,
                model: setting.model,
            };
            let key = (of_model, setting.measure);
            let noisier = |(other, _): &(f64, KnownNoise)| deviation > *other;
            if known.get(&key).is_none_or(noisier) {
                known.insert(key, (deviation, found));
            }
        }
        known.into_values().map(|(_, found)| found).collect()
    }
}

/// Minimum number of cycles for a verdict, or a deviation.
fn smallest_cycles() -> usize {
    smallest_sample(prony_metrics::statistics::sequential::ALPHA)
}

/// Maximum size of the file, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Reads the file; `None` if there is none. The error describes the problem, to follow
/// the file's name.
fn read(path: &Path, machine: &str) -> std::result::Result<Option<File>, String> {
    let text = match prony_files::read_text(path, MAX_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read ({error})")),
    };
    let damaged = |error: serde_json::Error| format!("is damaged ({error})");
    let value: Value = serde_json::from_str(&text).map_err(damaged)?;
    match value.get("schema").and_then(Value::as_str) {
        Some(SCHEMA) => {}
        Some(other) => return Err(format!("is of schema `{other}`, and `{SCHEMA}` is read")),
        None => return Err(format!("has no `schema`, which should be `{SCHEMA}`")),
    }
    let file: File = serde_json::from_value(value).map_err(damaged)?;
    if file.machine != machine {
        return Err(format!("is of another machine, `{}`", file.machine));
    }
    if file
        .floors
        .values()
        .flat_map(|it| &it.cycles)
        .any(|d| !d.is_finite())
    {
        return Err("is damaged (a difference is not a number)".to_owned());
    }
    Ok(Some(file))
}

/// An engine in one group of a run.
struct Setting<'a> {
    point: Option<&'a str>,
    model: &'a str,
    measure: &'a str,
    engine: &'a str,
    /// Digest of everything that noise depends on, besides the machine.
    key: String,
}

impl Setting<'_> {
    fn about(&self, started: &Started) -> String {
        let parts = [
            Some(&*started.subject.name),
            Some(self.engine),
            Some(self.model),
            self.point,
            Some(self.measure),
        ];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        parts.join(" · ")
    }
}

fn settings<'a>(subject: &'a Subject, plan: &'a Plan) -> Vec<Setting<'a>> {
    let visits = plan.visits.iter();
    let planned: HashSet<(ModelKey<'_>, &str)> = visits
        .map(|visit| (visit.of_model(), &*visit.engine))
        .collect();
    let mut settings = Vec::new();
    for model in &subject.models {
        let of_point = plan.segments.iter().filter(|it| it.point == model.point);
        for stage in of_point.flat_map(prony_plan::Segment::measures) {
            for engine in &subject.engines {
                if planned.contains(&(model.key(), &*engine.name)) {
                    settings.push(Setting {
                        point: model.point.as_deref(),
                        model: &model.id,
                        measure: &stage.id,
                        engine: &engine.name,
                        key: key(subject, model.key(), engine, stage),
                    });
                }
            }
        }
    }
    settings
}

fn key(subject: &Subject, of: ModelKey<'_>, engine: &EngineInfo, stage: &Stage) -> String {
    let own = subject.points.iter().find(|it| Some(&*it.id) == of.point);
    let workload = own.and_then(|point| point.workload.as_ref());
    let Stage {
        requests,
        concurrency,
        arrival,
        seconds,
        ..
    } = stage;
    let setting = json!({
        "plugin": engine.plugin,
        "config": engine.config,
        "model": of.model,
        // Existing noise files use this name.
        "cell": of.point.unwrap_or_default(),
        "measure": stage.id,
        "workload": workload.unwrap_or(&subject.workload),
        "requests": requests,
        "concurrency": concurrency,
        "arrival": arrival,
        "seconds": seconds,
    });
    sha256_of(setting.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::subject;
    use crate::tests::pipeline;
    use prony_config::Pipeline;

    fn noise(cycles: Vec<f64>) -> Floor {
        Floor {
            about: "p · e".to_owned(),
            cycles,
            wins: 1,
            runs: 20,
            at: "2026-01-02T03:04:05Z".to_owned(),
        }
    }

    const PIPELINE: &str =
        "schedule: { cycles: 12 }\nworkload: { prompts: [hi] }\nstages: [{ measure: {} }]\n";

    /// A pipeline of engines `a`, with an option, and `b`.
    fn pipeline_of(threads: u32) -> Pipeline {
        let mut pipeline = pipeline(PIPELINE);
        let a = &mut pipeline.engines[0].config;
        a.insert("threads".to_owned(), threads.into());
        pipeline
    }

    /// A floor is found again in the same setting and in no other; the noisier engine is
    /// reported.
    #[test]
    fn a_floor_is_of_its_setting() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, other) = (pipeline_of(1), pipeline_of(2));
        let plan = Plan::new(&first);
        let (about, subject_of_other) = (subject(&first), subject(&other));
        let (mut noise_file, problem) = Noise::open(folder.path(), "m");
        assert_eq!(problem, None);
        assert_eq!(noise_file.of(&about, &plan), []);
        let of = |engine: &str| {
            let settings = settings(&about, &plan);
            let found = settings.iter().find(|it| it.engine == engine);
            found.expect("the engine is planned").key.clone()
        };
        let steady = vec![0.01, -0.01, 0.01, -0.01, 0.01, -0.01];
        let noisy = steady.iter().map(|d| d * 3.0).collect();
        noise_file.file.floors.insert(of("a"), noise(steady));
        noise_file.file.floors.insert(of("b"), noise(noisy));
        noise_file.write().expect("it can be written");

        let (again, problem) = Noise::open(folder.path(), "m");
        assert_eq!(problem, None);
        let known = again.of(&about, &plan);
        assert_eq!(known.len(), 1, "{known:?}");
        let floor = &known[0].floor;
        assert_eq!(floor.engine, "b");
        assert_eq!((floor.wins, floor.runs, floor.cycles), (1, 20, 6));
        let deviation: f64 = 0.03 * (6.0_f64 / 5.0).sqrt();
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(
            floor.standard_deviation_percent,
            to_percent(deviation)
        ));
        // sqrt(12 / 12) is 1.
        assert!(close(
            floor.detectable_percent.expect("12 cycles are enough"),
            to_percent(deviation)
        ));
        // `a` has other options there, `b` does not.
        let known = again.of(&subject_of_other, &Plan::new(&other));
        assert_eq!(known[0].floor.engine, "b");
        let (elsewhere, _) = Noise::open(folder.path(), "another");
        assert_eq!(elsewhere.of(&about, &plan), []);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("noise/m.json");
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        for (content, told) in [
            ("{", "is damaged"),
            ("[]", "has no `schema`"),
            (
                r#"{"schema":"prony-noise/9"}"#,
                "is of schema `prony-noise/9`",
            ),
            (r#"{"schema":"prony-noise/1"}"#, "is damaged"),
            (
                r#"{"schema":"prony-noise/1","machine":"x","floors":{}}"#,
                "is of another machine, `x`",
            ),
        ] {
            std::fs::write(&path, content).expect("a file");
            let (noise, problem) = Noise::open(folder.path(), "m");
            let problem = problem.unwrap_or_default();
            assert!(problem.contains(told), "{content}: {problem}");
            noise.write().expect("it can be replaced");
            assert_eq!(Noise::open(folder.path(), "m").1, None);
        }
    }
}
