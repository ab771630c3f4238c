//! Energy per output token, and the energies of two engines that can be compared.

use crate::facts::Facts;
use crate::throughput::{Visit, VisitEnergy};
use prony_result::Energy;

/// Reason why the energy of a group is not given although that of each visit is known.
const NOT_ABOVE_IDLE: &str =
    "it took no more than the machine takes when idle, as far as can be measured";

/// The energy of a group's visits over the output tokens of its successful requests. `None` if
/// nothing is known of it, and no reason.
pub(crate) fn energy(measured: &[&Facts], visits: &[Visit]) -> Option<Energy> {
    let visits: Vec<&Visit> = visits.iter().filter(|it| it.measure_ns.is_some()).collect();
    let of_visits = |of: fn(&VisitEnergy) -> Option<f64>| -> Option<f64> {
        let all: Option<Vec<f64>> = visits.iter().map(|it| of(&it.energy)).collect();
        all.filter(|all| !all.is_empty())
            .map(|all| all.iter().sum())
    };
    let tokens = {
        let good = measured.iter().filter(|record| record.ok());
        let tokens: Option<u64> = good.map(|it| it.tokens().map(u64::from)).sum();
        tokens.filter(|tokens| *tokens > 0)
    };
    let uses_gpu = visits.iter().any(|it| it.energy.uses_gpu);
    let gpu_j = of_visits(|it| it.gpu_j).filter(|_| uses_gpu);
    let processor_j = of_visits(|it| it.processor_j);
    let mut withheld = visits.iter().find_map(|it| it.energy.withheld);
    let mut per_token = |joules: Option<f64>| {
        let joules = joules?;
        if joules <= 0.0 {
            withheld = withheld.or(Some(NOT_ABOVE_IDLE));
            return None;
        }
        Some(joules / tokens? as f64)
    };
    let (gpu_j_per_token, processor_j_per_token) = (per_token(gpu_j), per_token(processor_j));
    let mean = |of: fn(&VisitEnergy) -> Option<f64>| {
        let values: Vec<f64> = visits.iter().filter_map(|it| of(&it.energy)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let energy = Energy {
        gpu_j_per_token,
        processor_j_per_token,
        mean_gpu_power_w: mean(|it| it.gpu_power_w),
        idle_gpu_power_w: mean(|it| it.idle_gpu_power_w),
        withheld: withheld.map(str::to_owned),
    };
    (energy != Energy::default()).then_some(energy)
}

/// Energies in joules of two engines' visits of one cycle that count the same things: GPUs and
/// processor if the processor's is known of both, else GPUs if both use one. Fails with the
/// reason, in words; `None` if nothing counts energy.
pub(crate) fn comparable(
    baseline: &[Visit],
    candidate: &[Visit],
) -> Option<Result<(f64, f64), &'static str>> {
    let (a, b) = (whole(baseline), whole(candidate));
    let pair = match (a.processor_j, b.processor_j, a.gpu_j, b.gpu_j) {
        (Some(one), Some(other), Some(gpu), Some(other_gpu)) => {
            Some((one + gpu, other + other_gpu))
        }
        (_, _, Some(gpu), Some(other_gpu)) if a.uses_gpu && b.uses_gpu => Some((gpu, other_gpu)),
        _ => None,
    };
    match pair {
        Some((a, b)) if a > 0.0 && b > 0.0 => Some(Ok((a, b))),
        Some(_) => Some(Err(NOT_ABOVE_IDLE)),
        None => match a.withheld.or(b.withheld) {
            Some(why) => Some(Err(why)),
            None if a.uses_gpu != b.uses_gpu => Some(Err(
                "one of them works on the processor, whose energy cannot be read here",
            )),
            None => None,
        },
    }
}

/// The energy of all visits of a cycle.
fn whole(visits: &[Visit]) -> VisitEnergy {
    let all: Vec<VisitEnergy> = visits.iter().map(|it| it.energy).collect();
    let sum = |of: fn(&VisitEnergy) -> Option<f64>| -> Option<f64> {
        let all: Option<Vec<f64>> = all.iter().map(of).collect();
        all.filter(|all| !all.is_empty())
            .map(|all| all.iter().sum())
    };
    VisitEnergy {
        gpu_j: sum(|it| it.gpu_j),
        processor_j: sum(|it| it.processor_j),
        uses_gpu: all.iter().any(|it| it.uses_gpu),
        withheld: all.iter().find_map(|it| it.withheld),
        ..VisitEnergy::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Requests;
    use crate::fixture::answered;

    fn visit(energy: VisitEnergy) -> [Visit; 1] {
        [Visit {
            measure_ns: Some(1),
            energy,
            cycle: 1,
            ..Visit::default()
        }]
    }

    const CPU: VisitEnergy = VisitEnergy {
        gpu_j: Some(0.0),
        uses_gpu: false,
        processor_j: None,
        gpu_power_w: None,
        idle_gpu_power_w: None,
        withheld: None,
    };
    const GPU: VisitEnergy = VisitEnergy {
        gpu_j: Some(100.0),
        uses_gpu: true,
        ..CPU
    };

    #[test]
    fn only_like_is_compared_with_like() {
        let with = |energy: VisitEnergy, processor_j| VisitEnergy {
            processor_j: Some(processor_j),
            ..energy
        };
        let compared = |a, b| comparable(&visit(a), &visit(b));
        assert_eq!(compared(GPU, GPU), Some(Ok((100.0, 100.0))));
        assert_eq!(
            compared(with(CPU, 30.0), with(GPU, 20.0)),
            Some(Ok((30.0, 120.0)))
        );
        // The processor's share of one of them alone is no ground.
        assert_eq!(compared(with(GPU, 30.0), GPU), Some(Ok((100.0, 100.0))));
        assert!(matches!(compared(CPU, GPU), Some(Err(_))));
        assert_eq!(compared(CPU, CPU), None);
        // A GPU whose energy is not known.
        let unknown = VisitEnergy {
            gpu_j: None,
            withheld: Some("it was busy"),
            ..GPU
        };
        assert_eq!(compared(unknown, GPU), Some(Err("it was busy")));
        assert_eq!(
            compared(with(unknown, 1.0), with(GPU, 1.0)),
            Some(Err("it was busy"))
        );
        let idle = VisitEnergy {
            gpu_j: Some(-1.0),
            ..GPU
        };
        assert!(matches!(compared(idle, GPU), Some(Err(_))));
    }

    #[test]
    fn energy_is_over_the_tokens_of_the_answers() {
        let answers = [answered("one", 30), answered("two", 20)];
        let requests: Requests = answers.iter().collect();
        let records = requests.all();
        let of = |it| energy(&records, &visit(it));
        let told = of(GPU).expect("it is known");
        assert_eq!(told.gpu_j_per_token, Some(2.0));
        assert_eq!(told.processor_j_per_token, None);
        assert_eq!(of(CPU), None);
        let idle = of(VisitEnergy {
            gpu_j: Some(0.0),
            ..GPU
        });
        let idle = idle.expect("a reason");
        assert_eq!(idle.gpu_j_per_token, None);
        assert!(idle.withheld.is_some());
    }
}
