//! The same requests on every engine, one below the other, text by text.

use super::{Figure, LEFT, RIGHT, Room, Table, class};
use crate::scale::{Scale, label};
use crate::svg::{Anchor, LINE, Svg, fit};
use prony_plugin_sdk::result::detail::{EngineDetail, Timeline};
use prony_plugin_sdk::words;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// `None` without requests.
pub(crate) fn waterfall(id: &str, engines: &[EngineDetail], room: Room) -> Option<Figure> {
    let cycle = shown_cycle(engines)?;
    let rows = |engine: &EngineDetail| -> Vec<Timeline> {
        let own = engine.timelines.iter().filter(|it| it.cycle == cycle);
        own.take(room.requests).cloned().collect()
    };
    let all: Vec<(usize, &str, Vec<Timeline>)> = engines
        .iter()
        .enumerate()
        .map(|(index, engine)| (class(index), engine.engine.as_str(), rows(engine)))
        .collect();
    let ends = all
        .iter()
        .flat_map(|it| &it.2)
        .map(|it| it.due_ms + it.end_ms);
    let x = Scale::linear(0.0, ends.fold(0.0, f64::max), LEFT, RIGHT);
    let mut svg = Svg::default();
    let mut y = 8.0;
    for (class, name, rows) in &all {
        let name = fit(name, 400.0);
        svg.text((8.0, y + 12.0), Anchor::Start, "label", &name);
        y += LINE + 6.0;
        let height = (240.0 / rows.len().max(1) as f64).clamp(7.0, 18.0);
        for it in rows {
            let at = Row { y, height, x };
            request(&mut svg, it, *class, at, room.texts);
            y += height;
        }
        y += 10.0;
    }
    for tick in x.ticks(6) {
        let text = format!("{} s", label(tick / 1e3));
        let at = (x.at(tick).min(RIGHT - 14.0), y + LINE);
        svg.text(at, Anchor::Middle, "tick", &text);
    }
    Some(Figure::new(
        format!("{id}-waterfall"),
        "The same requests on every engine".to_owned(),
        format!(
            "Requests of cycle {cycle}, in the order in which they were due. Grey is waiting for \
             the first text; each tick is a text that came; a cross is a request that failed."
        ),
        (svg, y + LINE + 10.0),
        table(engines),
    ))
}

/// The cycle of which most requests are known.
fn shown_cycle(engines: &[EngineDetail]) -> Option<u32> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for it in engines.iter().flat_map(|it| &it.timelines) {
        *counts.entry(it.cycle).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count)?;
    Some(most.0)
}

/// The place of a request.
#[derive(Clone, Copy)]
struct Row {
    y: f64,
    height: f64,
    x: Scale,
}

fn request(svg: &mut Svg, it: &Timeline, class: usize, row: Row, texts: usize) {
    let Row { y, height, x } = row;
    let middle = y + height / 2.0;
    let at = |ms: f64| x.at(it.due_ms + ms);
    let number = format!("{}", it.index + 1);
    if height >= 12.0 {
        svg.text((LEFT - 8.0, middle + 4.0), Anchor::End, "tick", &number);
    }
    let waited = it.texts_ms.first().copied().unwrap_or(it.end_ms);
    svg.line((at(0.0), middle), (at(waited), middle), "wait");
    let step = it.texts_ms.len().div_ceil(texts).max(1);
    let half = height * 0.35;
    let mut path = String::new();
    for ms in it.texts_ms.iter().step_by(step) {
        let _ = write!(
            path,
            "M{:.1} {:.1}v{:.1}",
            at(*ms),
            middle - half,
            2.0 * half
        );
    }
    if !path.is_empty() {
        svg.path(&path, &format!("tickmark e{class}"));
        let (first, last) = (waited, it.end_ms);
        svg.line(
            (at(first), middle),
            (at(last), middle),
            &format!("thin e{class}"),
        );
    }
    if it.failed.is_some() {
        let end = at(it.end_ms);
        let cross = format!("M{:.1} {:.1}l7 7m0 -7l-7 7", end - 3.5, middle - 3.5);
        svg.path(&cross, "failed");
    }
}

fn table(engines: &[EngineDetail]) -> Table {
    let mut table = Table::new([
        "Engine",
        "Cycle",
        "Request",
        "First text",
        "End",
        "Texts",
        "Outcome",
    ]);
    for engine in engines {
        for it in &engine.timelines {
            let ms = |ms: f64| format!("{} ms", words::number(ms));
            table.row([
                engine.engine.clone(),
                it.cycle.to_string(),
                (it.index + 1).to_string(),
                it.texts_ms
                    .first()
                    .map_or_else(String::new, |first| ms(*first)),
                if it.end_ms > 0.0 {
                    ms(it.end_ms)
                } else {
                    String::new()
                },
                it.texts.to_string(),
                it.failed.clone().unwrap_or_else(|| "success".to_owned()),
            ]);
        }
    }
    table
}
