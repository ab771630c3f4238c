//! Visits over the time of the run: throughput, stages, memory.

use super::{Figure, LEFT, Plot, RIGHT, Room, Table, class};
use crate::scale::Scale;
use crate::svg::{Anchor, LINE, Svg, fit, polyline};
use prony_plugin_sdk::result::detail::{EngineDetail, VisitDetail};
use prony_plugin_sdk::words;
use std::fmt::Write as _;

/// Height of a visit's bar.
const BAR: f64 = 14.0;

/// Throughput of every visit against the time of the run; `None` without two visits.
pub(crate) fn drift(id: &str, engines: &[EngineDetail]) -> Option<Figure> {
    let visits = || engines.iter().flat_map(|it| &it.visits);
    let rates = || visits().filter_map(|it| it.output_tokens_per_sec);
    if rates().count() < 2 {
        return None;
    }
    let most = rates().fold(0.0, f64::max);
    let end = visits().map(ended).fold(0.0, f64::max);
    let mut plot = Plot::new(
        240.0,
        |from, to| Scale::linear(0.0, end, from, to),
        |from, to| Scale::linear(0.0, most * 1.08, from, to),
    );
    plot.axes("seconds since the run began", "output tokens per second");
    let mut table = Table::new([
        "Engine",
        "Cycle",
        "Began",
        "Output tokens per second",
        "Machine",
    ]);
    for (index, engine) in engines.iter().enumerate() {
        let class = class(index);
        let known = engine.visits.iter().filter_map(|it| {
            let rate = it.output_tokens_per_sec?;
            Some((it, (plot.x.at(middle(it)), plot.y.at(rate)), rate))
        });
        let known: Vec<(&VisitDetail, (f64, f64), f64)> = known.collect();
        let path = polyline(known.iter().map(|it| it.1));
        plot.svg.path(&path, &format!("thin e{class}"));
        for (visit, at, rate) in known {
            let machine = visit.machine.join("; ");
            let mut title = format!(
                "{}, cycle {}: {} tok/s",
                engine.engine,
                visit.cycle,
                words::number(rate)
            );
            if !machine.is_empty() {
                title = format!("{title}; {machine}");
                let foot = plot.y.at(0.0);
                plot.svg
                    .mark((at.0, foot - 5.0), 2, "mark warned", &machine);
            }
            plot.svg.mark(at, index, &format!("mark e{class}"), &title);
            table.row([
                engine.engine.clone(),
                visit.cycle.to_string(),
                words::seconds(visit.begun_s),
                words::number(rate),
                machine,
            ]);
        }
    }
    plot.legend(&names(engines), true);
    Some(Figure::new(
        format!("{id}-drift"),
        "Throughput of every visit over the run".to_owned(),
        "Level lines mean that the machine stayed as it was. A triangle at the bottom is a visit \
         during which the machine was not quiet; its table row says why."
            .to_owned(),
        plot.finish(),
        table,
    ))
}

fn names(engines: &[EngineDetail]) -> Vec<(usize, &str)> {
    let names = engines.iter().enumerate();
    names
        .map(|(index, it)| (class(index), it.engine.as_str()))
        .collect()
}

fn ended(visit: &VisitDetail) -> f64 {
    visit.stages.last().map_or(visit.begun_s, |it| it.ended_s)
}

/// The middle of the time in which a visit measured.
fn middle(visit: &VisitDetail) -> f64 {
    let measures = || visit.stages.iter().filter(|it| it.stage == "measure");
    match (measures().next(), measures().next_back()) {
        (Some(first), Some(last)) => f64::midpoint(first.begun_s, last.ended_s),
        _ => visit.begun_s,
    }
}

/// The stages of every visit as bars; `None` without stages.
pub(crate) fn lifecycle(id: &str, engines: &[EngineDetail], room: Room) -> Option<Figure> {
    let lasted = |it: &VisitDetail| ended(it) - it.begun_s;
    let most = engines
        .iter()
        .flat_map(|it| &it.visits)
        .map(lasted)
        .fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let x = Scale::linear(0.0, most, LEFT + 60.0, RIGHT);
    let mut svg = Svg::default();
    let mut y = 30.0;
    let mut table = Table::new(["Engine", "Cycle", "Stage", "Began after", "Lasted"]);
    let mut left_out = 0;
    for engine in engines {
        let name = fit(&engine.engine, 300.0);
        svg.text((8.0, y + 12.0), Anchor::Start, "label", &name);
        y += LINE + 4.0;
        for (index, visit) in engine.visits.iter().enumerate() {
            let is_drawn = index < room.visits;
            left_out += usize::from(!is_drawn);
            if is_drawn {
                let text = format!("cycle {}", visit.cycle);
                svg.text((LEFT + 52.0, y + 11.0), Anchor::End, "tick", &text);
            }
            for stage in &visit.stages {
                let (from, to) = (stage.begun_s - visit.begun_s, stage.ended_s - visit.begun_s);
                let name = stage.id.as_ref().unwrap_or(&stage.stage);
                let title = format!("{name}: {}", words::seconds(to - from));
                if is_drawn {
                    let (left, right) = (x.at(from), x.at(to));
                    let class = format!("stage {}", stage_class(&stage.stage));
                    svg.rect((left, y), (right - left, BAR), &class, &title);
                }
                table.row([
                    engine.engine.clone(),
                    visit.cycle.to_string(),
                    name.clone(),
                    words::seconds(from),
                    words::seconds(to - from),
                ]);
            }
            y += if is_drawn { BAR + 4.0 } else { 0.0 };
        }
        y += 6.0;
    }
    for tick in x.ticks(6) {
        let text = format!("{} s", crate::scale::label(tick));
        let at = (x.at(tick).min(RIGHT - 12.0), y + LINE);
        svg.text(at, Anchor::Middle, "tick", &text);
    }
    stage_legend(&mut svg);
    let mut finding = "Time from the start of each visit to its end. Only `measure` counts for \
                       throughput; everything else is shown because you would wait for it."
        .to_owned();
    if left_out > 0 {
        let _ = write!(
            finding,
            " The first {} visits of each engine are drawn.",
            room.visits
        );
    }
    Some(Figure::new(
        format!("{id}-lifecycle"),
        "From load to unload".to_owned(),
        finding.replace('`', ""),
        (svg, y + LINE + 10.0),
        table,
    ))
}

fn stage_class(stage: &str) -> &'static str {
    match stage {
        "load" => "load",
        "warmup" => "warmup",
        "measure" => "measure",
        _ => "unload",
    }
}

fn stage_legend(svg: &mut Svg) {
    let mut x = RIGHT - 380.0;
    for name in ["load", "warmup", "measure", "unload"] {
        svg.rect((x, 4.0), (14.0, 12.0), &format!("stage {name}"), "");
        svg.text((x + 20.0, 14.0), Anchor::Start, "tick", name);
        x += 95.0;
    }
}

/// Memory of the engines' processes since they were started; `None` if nothing was sampled.
pub(crate) fn memory(id: &str, engines: &[EngineDetail], room: Room) -> Option<Figure> {
    const GIB: f64 = (1_u64 << 30) as f64;
    let points = || {
        let visits = engines.iter().flat_map(|it| &it.visits);
        visits.flat_map(|it| &it.memory)
    };
    let most = points().map(|it| it.1).max()? as f64 / GIB;
    let end = points().map(|it| it.0).max()? as f64 / 1e3;
    let mut plot = Plot::new(
        220.0,
        |from, to| Scale::linear(0.0, end, from, to),
        |from, to| Scale::linear(0.0, most * 1.08, from, to),
    );
    plot.axes("seconds since its first sample", "memory, GiB");
    let mut table = Table::new(["Engine", "Cycle", "Peak memory of the processes"]);
    for (index, engine) in engines.iter().enumerate() {
        let class = class(index);
        let sampled = || engine.visits.iter().filter(|it| !it.memory.is_empty());
        let step = sampled().count().div_ceil(room.lines).max(1);
        for (number, visit) in sampled().enumerate() {
            let is_drawn = number % step == 0;
            let points = visit.memory.iter();
            let every = visit.memory.len().div_ceil(room.points).max(1);
            let points = points.step_by(every).filter(|_| is_drawn);
            let path =
                polyline(points.map(|(ms, bytes)| {
                    (plot.x.at(*ms as f64 / 1e3), plot.y.at(*bytes as f64 / GIB))
                }));
            if is_drawn {
                plot.svg.path(&path, &format!("thin e{class}"));
            }
            table.row([
                engine.engine.clone(),
                visit.cycle.to_string(),
                visit
                    .peak_memory_bytes
                    .map_or_else(String::new, words::bytes),
            ]);
        }
    }
    plot.legend(&names(engines), false);
    Some(Figure::new(
        format!("{id}-memory"),
        "Memory over the life of each visit".to_owned(),
        format!(
            "A line is a visit, at most {} of an engine: resident memory of all processes of the \
             engine, sampled. The peaks in the table are the system's own high-water marks where \
             it has them, so they can lie above the lines.",
            room.lines
        ),
        plot.finish(),
        table,
    ))
}
