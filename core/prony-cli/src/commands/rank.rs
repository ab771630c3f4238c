//! `prony rank`

use crate::arguments::Global;
use crate::ranks::{self, RankOptions};
use crate::{Exit, Failure, Outcome};
use clap::Args;

#[derive(Debug, Args)]
#[command(
    after_help = "Example: prony rank\n\nIts environment may be: PRONY_RANK=1 PRONY_WORLD=2 PRONY_RENDEZVOUS=tcp://node1:7766"
)]
pub(crate) struct Arguments {}

pub(crate) fn run(global: &Global, _: &Arguments) -> Outcome {
    let options = RankOptions {
        ranks: None,
        no_ranks: false,
    };
    match ranks::own(&options, false)? {
        Some(place) if place.rank.number > 0 => ranks::follow(global, &place, None),
        Some(_) => Err(Failure::new(
            Exit::Usage,
            "this is rank 0, which leads: `prony run PIPELINE`",
        )),
        None if std::env::var("PRONY_WORLD").is_ok_and(|of| of == "1") => Err(Failure::new(
            Exit::Usage,
            "a world of 1 has rank 0 only: `prony run PIPELINE`",
        )),
        None => Err(Failure::new(
            Exit::Usage,
            "nothing says which rank this is: set `PRONY_RANK` and `PRONY_WORLD`, or start it by Slurm, an MPI launcher or an indexed job",
        )),
    }
}
