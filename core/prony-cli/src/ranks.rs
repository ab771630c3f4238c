//! Ranks: processes that send the load of a run together.

use crate::arguments::Global;
use crate::{Exit, Failure, Outcome};
use clap::Args;
use prony_config::Pipeline;
use prony_contract::{Kind, Transport};
use prony_plan::Plan;
use prony_plugin_host::Registry;
use prony_ranks::assembly::{Expected, Leader, nonce};
use prony_ranks::follower::Follower;
use prony_ranks::{Meeting, Place, Ranks, place};
use prony_record::Phase;
use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Most ranks on one machine.
const MAX_HERE: i64 = 256;
/// Time that the other ranks of this machine have to end once the run has.
const GRACE: Duration = Duration::from_secs(5);

/// Options of a command that may run as one of several ranks.
#[derive(Debug, Args)]
pub(crate) struct RankOptions {
    /// Send the load by N processes of this machine, this one included; 256 at most. Under `srun`,
    /// `mpirun` or in an indexed job there are ranks without it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_HERE))]
    pub(crate) ranks: Option<u32>,
    /// Run alone, whatever Slurm, an MPI launcher or Kubernetes says in the environment.
    #[arg(long, conflicts_with = "ranks")]
    pub(crate) no_ranks: bool,
}

fn usage(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, message)
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn token() -> String {
    variable("PRONY_TOKEN").unwrap_or_default()
}

/// The rank that the environment gives this process; `None` if it is alone. `is_part` as of
/// [`place::place`].
pub(crate) fn own(options: &RankOptions, is_part: bool) -> Result<Option<Place>, Failure> {
    if options.no_ranks {
        return Ok(None);
    }
    let place = place::place(&variable, is_part).map_err(usage)?;
    match (options.ranks, &place) {
        (Some(_), Some(place)) => Err(usage(format!(
            "`--ranks` starts all ranks on this machine, and {} name this process as rank {} of {}: leave `--ranks` out",
            place.source, place.rank.number, place.rank.of
        ))),
        _ => Ok(place),
    }
}

/// Checks that a command which sends alone is not started several times at once by a launcher.
pub(crate) fn must_be_alone(command: &str) -> Result<(), Failure> {
    match place::place(&variable, true) {
        Ok(Some(place)) => Err(usage(format!(
            "`prony {command}` sends alone, and {} name this process as rank {} of {}: start it once, outside of the launcher",
            place.source, place.rank.number, place.rank.of
        ))),
        _ => Ok(()),
    }
}

/// The other ranks of a run.
pub(crate) struct Led {
    ranks: Ranks,
    /// Source of the ranks' number, for people.
    by: String,
    /// Ranks that this process has started.
    local: Local,
}

impl Led {
    /// For the run, and to be dropped after it.
    pub(crate) fn into_parts(self) -> ((Ranks, String), Local) {
        ((self.ranks, self.by), self.local)
    }
}

/// Processes of this machine.
pub(crate) struct Local(Vec<Child>);

impl Drop for Local {
    fn drop(&mut self) {
        let begin = Instant::now();
        for child in &mut self.0 {
            while let Ok(None) = child.try_wait() {
                if begin.elapsed() > GRACE {
                    let _ = child.kill();
                    let _ = child.wait();
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// A run that is to be led.
pub(crate) struct Checked<'a> {
    pub(crate) pipeline: &'a Pipeline,
    pub(crate) plan: &'a Plan,
    pub(crate) registry: &'a Registry,
    pub(crate) pipeline_sha256: String,
}

/// Waits for the other ranks of a run that this process leads; `None` if there are none.
pub(crate) fn lead(
    global: &Global,
    options: &RankOptions,
    place: Option<&Place>,
    run: &Checked<'_>,
) -> Result<Option<Led>, Failure> {
    let local = options.ranks.filter(|ranks| *ranks > 1);
    let world = place.map(|place| place.rank.of).or(local);
    let Some(world) = world else { return Ok(None) };
    run.suits(world)?;
    let failed = |message: String| Failure::new(Exit::RunFailed, message);
    let mut expected = Expected {
        world,
        token: token(),
        pipeline_sha256: run.pipeline_sha256.clone(),
        prony: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let (meeting, by) = if let Some(place) = place {
        let meeting = place::meeting(&variable).map_err(usage)?;
        (meeting, place.source.clone())
    } else {
        expected.token = nonce().map_err(|error| failed(error.to_string()))?;
        let here = Meeting::Tcp("127.0.0.1:0".to_owned());
        (here, format!("`--ranks {world}`"))
    };
    let token = expected.token.clone();
    let leader = Leader::listen(&meeting, expected).map_err(failed)?;
    let others = match place {
        Some(_) => Local(Vec::new()),
        None => start(world, leader.port(), &token).map_err(failed)?,
    };
    if let Some(place) = place.filter(|_| !global.quiet) {
        eprintln!("note: rank 0 of {world}, by {}", place.source);
        if token.is_empty() && matches!(meeting, Meeting::Tcp(_)) {
            eprintln!(
                "note: without `PRONY_TOKEN`, whoever reaches port {} before the ranks do can be one of them",
                leader.port()
            );
        }
    }
    let ranks = leader.assemble(|words| {
        if !global.quiet {
            eprintln!("note: {words}");
        }
    });
    Ok(Some(Led {
        ranks: ranks.map_err(failed)?,
        by,
        local: others,
    }))
}

/// Starts the other ranks of this machine.
fn start(world: u32, port: u16, token: &str) -> Result<Local, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let mut local = Local(Vec::new());
    for rank in 1..world {
        let child = Command::new(&program)
            .args(["--quiet", "rank"])
            .env("PRONY_RANK", rank.to_string())
            .env("PRONY_WORLD", world.to_string())
            .env("PRONY_RENDEZVOUS", format!("tcp://127.0.0.1:{port}"))
            .env("PRONY_TOKEN", token)
            .stdin(Stdio::null())
            // Ctrl-C is for rank 0, which ends the others.
            .process_group(0)
            .spawn();
        let child = child.map_err(|error| format!("rank {rank} did not start: {error}"))?;
        local.0.push(child);
    }
    Ok(local)
}

impl Checked<'_> {
    /// Checks that `world` ranks can send it.
    pub(crate) fn suits(&self, world: u32) -> Result<(), Failure> {
        for engine in &self.pipeline.engines {
            let entry = self.registry.find(Kind::Engine, &engine.plugin);
            let transport = entry.ok().and_then(|(entry, _)| entry.transport);
            if transport.unwrap_or(Transport::Http) != Transport::Http {
                return Err(usage(format!(
                    "engine `{}`: its plugin `{}` talks to a process of this machine, which no other rank reaches; several ranks send to engines over HTTP",
                    engine.name, engine.plugin
                )));
            }
        }
        let stages = self.plan.segments.iter().flat_map(|it| &it.stages);
        for stage in stages.filter(|it| it.phase == Phase::Measure) {
            let most = stage.concurrency.min(stage.requests);
            if most < world {
                return Err(usage(format!(
                    "stage `{}` has at most {most} requests in flight, which is fewer than {world} ranks: raise it, or take at most {most} ranks",
                    stage.id
                )));
            }
        }
        Ok(())
    }
}

/// A folder for the answers of this rank. Those of ranks that were killed on this machine are
/// removed.
fn folder() -> std::io::Result<tempfile::TempDir> {
    let own = format!("prony-rank-{}-", prony_ranks::host());
    for entry in std::fs::read_dir(env::temp_dir())?.flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(&own));
        let pid = rest.and_then(|rest| rest.split('-').next()?.parse().ok());
        let pid = pid.and_then(rustix::process::Pid::from_raw);
        if pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_err()) {
            // Another user's stays.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let prefix = format!("{own}{}-", std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir()
}

/// Sends shares of the loads of a run that rank 0 leads, until it has ended.
pub(crate) fn follow(global: &Global, place: &Place, pipeline_sha256: Option<String>) -> Outcome {
    let failed = |message: String| Failure::new(Exit::RunFailed, message);
    let number = place.rank.number;
    let tell = |words: &str| {
        if !global.quiet {
            eprintln!("note: rank {number} of {}: {words}", place.rank.of);
        }
    };
    let folder = folder().map_err(|error| failed(format!("a folder for answers: {error}")))?;
    let meeting = place::meeting(&variable).map_err(usage)?;
    tell(&format!("by {}", place.source));
    let stop = crate::commands::stop_on_signal(
        "rank 0 says when the load ends, if it is there",
        "what this rank was sending is lost",
    )?;
    let follower = Follower {
        rank: place.rank,
        meeting,
        token: token(),
        pipeline_sha256,
        prony: env!("CARGO_PKG_VERSION").to_owned(),
        folder: folder.path().to_owned(),
    };
    follower
        .follow(|| *stop.borrow(), tell)
        .map_err(|words| failed(format!("rank {number}: {words}")))?;
    Ok(Exit::Ok)
}
