//! A process's place among the ranks, by its environment: `PRONY_RANK` and `PRONY_WORLD`, or what
//! Slurm, MPI launchers, Flux, Kubernetes and its `LeaderWorkerSet` and Volcano set.

use crate::nodes;
use prony_loadgen::deal::Rank;
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;

/// A process's rank, and what says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its rank.
    pub rank: Rank,
    /// The variables that name it, for people.
    pub source: String,
}

/// The rendezvous of the ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meeting {
    /// Rank 0 listens at this host and port.
    Tcp(String),
    /// Rank 0 listens at a port of its own, and writes where into this file.
    File(PathBuf),
}

/// Most ranks of a world.
pub const MAX_WORLD: u32 = 4096;

/// A variable of the environment; empty ones are taken as not set.
type Variable<'v> = &'v dyn Fn(&str) -> Option<String>;

/// Systems that set a rank and a world: the variables, and one without which the others mean
/// something else.
const SYSTEMS: [(&str, &str, Option<&str>); 7] = [
    ("PRONY_RANK", "PRONY_WORLD", None),
    // Within Slurm, their daemons are tasks of a step, whose variables processes inherit.
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", None),
    ("PMI_RANK", "PMI_SIZE", None),
    // A batch script has a SLURM_PROCID, too, and is no step.
    (
        "SLURM_PROCID",
        "SLURM_STEP_NUM_TASKS",
        Some("SLURM_STEP_NUM_TASKS"),
    ),
    ("FLUX_TASK_RANK", "FLUX_JOB_SIZE", None),
    ("LWS_WORKER_INDEX", "LWS_GROUP_SIZE", None),
    ("VC_TASK_INDEX", "PRONY_WORLD", Some("PRONY_WORLD")),
];

/// The place of this process; `None` if it is alone. `is_part` if it runs a part of a pipeline,
/// which an indexed job numbers the same way.
pub fn place(variable: Variable<'_>, is_part: bool) -> Result<Option<Place>, String> {
    for (rank, world, needed) in SYSTEMS {
        if needed.is_some_and(|it| variable(it).is_none()) {
            continue;
        }
        match (variable(rank), variable(world)) {
            (Some(number), Some(of)) => return found((rank, &number), (world, &of)),
            (Some(_), None) if rank == "PRONY_RANK" => {
                return Err(format!(
                    "`{rank}` is set, and nothing says how many ranks there are: set `{world}`"
                ));
            }
            _ => {}
        }
    }
    let Some(index) = variable("JOB_COMPLETION_INDEX").filter(|_| !is_part) else {
        let is_alone = variable("PRONY_WORLD").is_none_or(|of| of == "1");
        return (is_alone || is_part).then_some(None).ok_or_else(|| {
            "`PRONY_WORLD` is set, and nothing says which rank this is: set `PRONY_RANK`, or give `--no-ranks` for a run of its own"
                .to_owned()
        });
    };
    match variable("PRONY_WORLD") {
        Some(of) => found(("JOB_COMPLETION_INDEX", &index), ("PRONY_WORLD", &of)),
        None if variable("PRONY_PARTS").is_some() => Ok(None),
        None => Err(
            "`JOB_COMPLETION_INDEX` numbers this process, and nothing says how many there are: set `PRONY_WORLD` for ranks of one run, give `--part auto` with `PRONY_PARTS` for parts of a pipeline, or `--no-ranks` for a run of its own"
                .to_owned(),
        ),
    }
}

/// The place that a pair of variables names.
fn found(rank: (&str, &str), world: (&str, &str)) -> Result<Option<Place>, String> {
    let number = |(name, text): (&str, &str)| {
        let number = text.parse::<u32>();
        number.map_err(|_| format!("`{name}` is `{text}`, and no whole number"))
    };
    let (rank_number, of) = (number(rank)?, number(world)?);
    if of == 0 || of > MAX_WORLD {
        return Err(format!(
            "`{}` is {of}: a world has 1 to {MAX_WORLD} ranks",
            world.0
        ));
    }
    if rank_number >= of {
        return Err(format!(
            "`{}` is {rank_number}, and the world of `{}` has {of}: ranks are numbered from 0",
            rank.0, world.0
        ));
    }
    Ok((of > 1).then(|| Place {
        rank: Rank {
            number: rank_number,
            of,
        },
        source: format!("`{}` and `{}`", rank.0, world.0),
    }))
}

/// First port of those that are derived from a job, and their number. Systems give ports from
/// 32768 on to whoever asks for any.
const PORTS: (u16, u16) = (20_000, 12_000);

/// The place at which ranks meet: `PRONY_RENDEZVOUS`, or what follows from the job.
pub fn meeting(variable: Variable<'_>) -> Result<Meeting, String> {
    if let Some(text) = variable("PRONY_RENDEZVOUS") {
        return read(&text);
    }
    let is_one_host = variable("OMPI_COMM_WORLD_SIZE")
        .is_some_and(|size| variable("OMPI_COMM_WORLD_LOCAL_SIZE") == Some(size));
    let job = variable("PMIX_NAMESPACE").or_else(|| variable("OMPI_MCA_ess_base_jobid"));
    if let Some(job) = job.filter(|_| is_one_host) {
        return Ok(Meeting::Tcp(format!("127.0.0.1:{}", port(&job))));
    }
    if let (Some(list), Some(job)) = (
        variable("SLURM_STEP_NODELIST"),
        variable("SLURM_JOB_ID").filter(|_| variable("SLURM_STEP_NUM_TASKS").is_some()),
    ) {
        let step = variable("SLURM_STEP_ID").unwrap_or_default();
        let host = nodes::first(&list).ok_or_else(|| {
            format!("`SLURM_STEP_NODELIST` is `{list}`, and no list of nodes that prony can read: set `PRONY_RENDEZVOUS`")
        })?;
        let port = port(&format!("slurm {job} {step}"));
        return Ok(Meeting::Tcp(format!("{host}:{port}")));
    }
    Err("nothing says where the ranks meet: set `PRONY_RENDEZVOUS` to `tcp://HOST:PORT`, at which rank 0 listens, or to `file:PATH` on a disk that all of them share".to_owned())
}

/// The value of `PRONY_RENDEZVOUS`.
fn read(text: &str) -> Result<Meeting, String> {
    let bad = || {
        format!(
            "`PRONY_RENDEZVOUS` is `{text}`: `tcp://HOST:PORT` is expected, or `file:PATH` with a whole path"
        )
    };
    if let Some(address) = text.strip_prefix("tcp://") {
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        let is_port = port.parse::<u16>().is_ok_and(|it| it > 0);
        return (!host.is_empty() && is_port)
            .then(|| Meeting::Tcp(address.to_owned()))
            .ok_or_else(bad);
    }
    let path = text.strip_prefix("file:").map(PathBuf::from);
    path.filter(|path| path.is_absolute() && path.file_name().is_some())
        .map(Meeting::File)
        .ok_or_else(bad)
}

/// A port that all processes of a job find.
fn port(job: &str) -> u16 {
    let digest = Sha256::digest(job.as_bytes());
    let (first, count) = PORTS;
    first + u16::from_le_bytes([digest[0], digest[1]]) % count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables<'v>(set: &'v [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'v {
        |name| {
            let found = set.iter().find(|it| it.0 == name);
            found.map(|it| it.1.to_owned()).filter(|it| !it.is_empty())
        }
    }

    fn at(set: &[(&str, &str)]) -> Result<Option<(u32, u32)>, String> {
        let found = place(&variables(set), false);
        found.map(|it| it.map(|it| (it.rank.number, it.rank.of)))
    }

    #[test]
    fn systems_name_the_rank() {
        for (set, expected) in [
            (&[][..], None),
            (&[("PRONY_RANK", "2"), ("PRONY_WORLD", "4")], Some((2, 4))),
            (
                &[("SLURM_PROCID", "3"), ("SLURM_STEP_NUM_TASKS", "4")],
                Some((3, 4)),
            ),
            // A batch script.
            (&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")], None),
            (
                &[("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2")],
                Some((1, 2)),
            ),
            (&[("PMI_RANK", "1"), ("PMI_SIZE", "2")], Some((1, 2))),
            // It has no size.
            (&[("PMIX_RANK", "1")], None),
            (
                &[("FLUX_TASK_RANK", "0"), ("FLUX_JOB_SIZE", "2")],
                Some((0, 2)),
            ),
            (
                &[("JOB_COMPLETION_INDEX", "1"), ("PRONY_WORLD", "2")],
                Some((1, 2)),
            ),
            // Parts of a pipeline.
            (&[("JOB_COMPLETION_INDEX", "1"), ("PRONY_PARTS", "2")], None),
            (
                &[("LWS_WORKER_INDEX", "1"), ("LWS_GROUP_SIZE", "3")],
                Some((1, 3)),
            ),
            (
                &[("VC_TASK_INDEX", "1"), ("PRONY_WORLD", "3")],
                Some((1, 3)),
            ),
            (&[("VC_TASK_INDEX", "1")], None),
            // The first that is complete: `mpirun` within a step.
            (
                &[
                    ("OMPI_COMM_WORLD_RANK", "0"),
                    ("OMPI_COMM_WORLD_SIZE", "2"),
                    ("SLURM_PROCID", "3"),
                    ("SLURM_STEP_NUM_TASKS", "4"),
                ],
                Some((0, 2)),
            ),
            // Alone.
            (&[("PRONY_RANK", "0"), ("PRONY_WORLD", "1")], None),
            (
                &[("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1")],
                None,
            ),
        ] {
            assert_eq!(at(set), Ok(expected), "{set:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_rank_is_told() {
        for (set, words) in [
            (&[("PRONY_RANK", "0")][..], "set `PRONY_WORLD`"),
            (&[("PRONY_WORLD", "2")], "set `PRONY_RANK`"),
            (&[("PRONY_RANK", "2"), ("PRONY_WORLD", "2")], "from 0"),
            (
                &[("PRONY_RANK", "x"), ("PRONY_WORLD", "2")],
                "no whole number",
            ),
            (&[("PRONY_RANK", "0"), ("PRONY_WORLD", "0")], "1 to 4096"),
            (&[("PRONY_RANK", "0"), ("PRONY_WORLD", "5000")], "1 to 4096"),
            (&[("JOB_COMPLETION_INDEX", "0")], "set `PRONY_WORLD`"),
        ] {
            let told = at(set).expect_err("no rank");
            assert!(told.contains(words), "{told}");
        }
        let indexed = [("JOB_COMPLETION_INDEX", "0")];
        assert_eq!(place(&variables(&indexed), true), Ok(None));
    }

    #[test]
    fn ranks_meet() {
        let met = |set: &[(&str, &str)]| meeting(&variables(set));
        let tcp = |address: &str| Ok(Meeting::Tcp(address.to_owned()));
        assert_eq!(
            met(&[("PRONY_RENDEZVOUS", "tcp://n1:7766")]),
            tcp("n1:7766")
        );
        let file = met(&[("PRONY_RENDEZVOUS", "file:/shared/x")]);
        assert_eq!(file, Ok(Meeting::File("/shared/x".into())));
        let slurm = |step: &str| {
            met(&[
                ("SLURM_STEP_NODELIST", "n[1-2]"),
                ("SLURM_STEP_NUM_TASKS", "4"),
                ("SLURM_JOB_ID", "77"),
                ("SLURM_STEP_ID", step),
            ])
        };
        let Ok(Meeting::Tcp(address)) = slurm("0") else {
            panic!("an address")
        };
        let (host, port) = address.split_once(':').expect("a port");
        assert_eq!(host, "n1");
        let port: u16 = port.parse().expect("a number");
        assert!((20_000..32_000).contains(&port));
        assert_eq!(slurm("0"), slurm("0"));
        // Two steps of a job at the same time.
        assert_ne!(slurm("0"), slurm("1"));
        let one_host = [
            ("OMPI_COMM_WORLD_SIZE", "4"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "4"),
            ("PMIX_NAMESPACE", "12.1"),
        ];
        assert!(matches!(met(&one_host), Ok(Meeting::Tcp(at)) if at.starts_with("127.0.0.1:")));
        for set in [
            &[][..],
            &[("PRONY_RENDEZVOUS", "n1:7766")],
            &[("PRONY_RENDEZVOUS", "tcp://n1")],
            &[("PRONY_RENDEZVOUS", "tcp://:7766")],
            &[("PRONY_RENDEZVOUS", "tcp://n1:0")],
            &[("PRONY_RENDEZVOUS", "file:x")],
            &[("PRONY_RENDEZVOUS", "file:/")],
        ] {
            let told = met(set).expect_err("nowhere");
            assert!(told.contains("PRONY_RENDEZVOUS"), "{told}");
        }
    }
}
