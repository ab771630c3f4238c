//! Lines about the events of a run.

use prony_journal::{Event, Scope};
use prony_metrics::statistics::Decision;
use prony_result::words::{better_requests, bytes, count};

/// The lines for an event that only tells something, in the stage `at` of a run of `cycles` planned
/// cycles.
pub(super) fn lines(event: &Event, at: &str, cycles: u32) -> Vec<String> {
    let line = match event {
        Event::Step { name, reason, .. } => {
            let reason = reason
                .as_ref()
                .map_or_else(String::new, |reason| format!(" ({reason})"));
            format!("{at}: {name}{reason}")
        }
        Event::Rendering {
            point,
            model,
            rendering,
        } if !rendering.engines.is_empty() => {
            let model = of_point(model, point.as_deref());
            let engines = rendering.engines.join(", ");
            format!("{model}: rendering its chat template for {engines}")
        }
        Event::Selfcheck(check) => format!("selfcheck, {}", check.sentence()),
        Event::Failed {
            stage,
            id,
            scope,
            message,
            ..
        } => {
            let subject = subject(scope);
            let stage = id.as_deref().unwrap_or(stage.name());
            format!("failed: {subject}{stage}: {message}")
        }
        Event::Skipped {
            point,
            model,
            engine,
        } => {
            let model = of_point(model, point.as_deref());
            let on = engine
                .as_ref()
                .map_or_else(String::new, |engine| format!(" on {engine}"));
            format!("skipping the rest of {model}{on}")
        }
        Event::Look { .. } | Event::Pilot { .. } => return of_analysis(event, cycles),
        Event::IdlePower(power) => {
            let of_gpu = |(index, watts): (usize, &Option<f64>)| match watts {
                Some(watts) => format!("GPU {index} {watts:.1} W"),
                None => format!("GPU {index} not known"),
            };
            let gpus = power.gpus_w.iter().enumerate().map(of_gpu);
            let processor = power
                .processor_w
                .map(|watts| format!("processor {watts:.1} W"));
            let all: Vec<String> = gpus.chain(processor).collect();
            format!("idle power: {}", all.join(", "))
        }
        Event::Warning { message } => format!("warning: {message}"),
        Event::Degraded { visits, reason } => {
            // All of one cycle.
            let Some(visit) = visits.first() else {
                return Vec::new();
            };
            let model = of_point(&visit.model, visit.point.as_deref());
            format!(
                "{model}, cycle {}: {reason}: it does not count, and a replacement cycle may take its place",
                visit.cycle
            )
        }
        Event::Started(_)
        | Event::Stage { .. }
        | Event::Answered
        | Event::Request(_)
        | Event::Visit(_)
        | Event::Stopped { .. }
        | Event::Loading { .. }
        | Event::Fetching { .. }
        | Event::Resumed { .. }
        | Event::Outputs { .. }
        | Event::ControlWork(_)
        | Event::Cycle { .. }
        | Event::Damaged { .. }
        | Event::Client { .. }
        | Event::Clock { .. }
        | Event::Control { .. }
        | Event::Model { .. }
        | Event::Image { .. }
        | Event::Input(_)
        | Event::RequestSet { .. }
        | Event::Rendering { .. }
        | Event::WithoutImages { .. }
        | Event::Program { .. }
        | Event::Finished { .. } => return Vec::new(),
    };
    vec![line]
}

/// The lines for what an interim analysis found.
fn of_analysis(event: &Event, cycles: u32) -> Vec<String> {
    match event {
        Event::Look {
            point,
            model,
            candidate,
            stage,
            cycles,
            decision,
            low_percent,
            high_percent,
            ..
        } => {
            let verdict = match decision {
                Decision::Continue => return Vec::new(),
                Decision::Faster => "faster",
                Decision::Slower => "slower",
                Decision::Equivalent => "equivalent",
                Decision::Inconclusive => "inconclusive",
            };
            let interval = match (low_percent, high_percent) {
                (Some(low), Some(high)) => format!(" ({low:+.1} … {high:+.1} %)"),
                _ => String::new(),
            };
            let model = of_point(model, point.as_deref());
            vec![format!(
                "{model}, {stage}: {candidate} is {verdict} after {}{interval}",
                count(u64::from(*cycles), "cycle")
            )]
        }
        Event::Pilot {
            point,
            model,
            better_requests: better,
            ..
        } => {
            let model = of_point(model, point.as_deref());
            let forecast = event.forecast(cycles);
            let forecast = forecast.map(|it| format!("{model}: {}", it.sentence()));
            let better = better.map(|it| format!("{model}: {}", better_requests(it)));
            forecast.into_iter().chain(better).collect()
        }
        _ => Vec::new(),
    }
}

/// Remark on a load after 2, 5 and 8 minutes; `elapsed` is in seconds.
pub(super) fn still_loading(elapsed: u64, available_bytes: Option<u64>) -> Option<String> {
    let remark = match elapsed {
        120 => "2 to 5 minutes are usual for the largest models",
        300 => "more than 5 minutes point to memory pressure: other programs may need closing",
        480 => "the model probably does not fit into memory",
        _ => return None,
    };
    let available = available_bytes
        .map(|available| format!(" ({} of memory available)", bytes(available)))
        .unwrap_or_default();
    let minutes = elapsed / 60;
    Some(format!(
        "still loading after {minutes} min{available}; {remark}"
    ))
}

pub(super) fn of_point(model: &str, point: Option<&str>) -> String {
    match point {
        None => model.to_owned(),
        Some(point) => format!("{model} · {point}"),
    }
}

/// The subject of a failure; a missing model has no engine.
fn subject(scope: &Scope) -> String {
    match scope {
        Scope::Run => String::new(),
        Scope::Model { point, model } => format!("{} ", of_point(model, point.as_deref())),
        Scope::Visit(visit) => {
            let model = of_point(&visit.model, visit.point.as_deref());
            format!("{model} on {} ", visit.engine)
        }
    }
}
