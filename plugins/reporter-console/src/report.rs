//! The report: a heading, the numbers, the comparisons, the problems.

use crate::Config;
use crate::table::{Column, Kind, NARROW, Section, render};
use crate::text::{shorten, wrap};
use prony_plugin_sdk::result::{
    self, Comparison, EngineResult, Interval, METRICS, Metric, ModelResult, RunResult,
    ThresholdResult, Workload,
};
use prony_plugin_sdk::words::{self, MISSING, Scale, State, count, one_line};

/// The whole report.
pub(crate) fn report(result: &RunResult, config: &Config) -> String {
    let width = config.width;
    let mut text = heading(result, width);
    if result
        .models
        .iter()
        .any(|model| !rows_of(result, model).is_empty())
    {
        text.push('\n');
        text.push_str(&numbers(result, config));
    }
    let compared: Vec<(&ModelResult, &Comparison)> = result
        .models
        .iter()
        .flat_map(|model| {
            model
                .comparisons
                .iter()
                .map(move |comparison| (model, comparison))
        })
        .collect();
    if !compared.is_empty() {
        text.push('\n');
        text.push_str(&comparisons(
            &compared,
            width < NARROW || grouped(result),
            config,
        ));
    }
    let together = result.together().into_iter();
    let together: String = together
        .map(|it| wrap("", &format!("{it}."), width))
        .collect();
    if !together.is_empty() {
        text.push('\n');
        text.push_str(&together);
    }
    let floors = result.models.iter().filter_map(|model| {
        let floor = model.noise_floor.as_ref()?;
        Some(format!(
            "{}: {}",
            one_line(&model.label()),
            floor.sentence()
        ))
    });
    text.push_str(&list("Noise floor of this machine", floors, width));
    if !result.thresholds.is_empty() {
        text.push_str("\nThresholds\n");
        text.push_str(&thresholds(&result.thresholds, width));
    }
    let load = result.load_sentence().map(|it| format!("Load: {it}."));
    let checks = result.selfcheck.iter();
    let checks = checks.map(|it| format!("Selfcheck, {}.", it.sentence()));
    let lines: String = load
        .into_iter()
        .chain(checks)
        .map(|it| wrap("", &it, width))
        .collect();
    if !lines.is_empty() {
        text.push('\n');
        text.push_str(&lines);
    }
    text.push_str(&failures(result, width));
    text.push_str(&list(
        "Not valid",
        result.invalid.iter().map(|reason| one_line(reason)),
        width,
    ));
    text.push_str(&list(
        "Warnings",
        result.warnings.iter().map(|warning| one_line(warning)),
        width,
    ));
    text
}

fn heading(result: &RunResult, width: usize) -> String {
    let (run, work, machine) = (&result.run, &result.workload, &result.environment);
    let title = format!(
        "{}: {} after {}",
        one_line(&run.name),
        run.outcome.word(),
        words::seconds(run.duration_s)
    );
    let machine = format!(
        "{}, {}, {}, {} ({})",
        one_line(&machine.cpu),
        count(machine.cpus.into(), "CPU"),
        words::bytes(machine.memory_bytes),
        one_line(&machine.os),
        one_line(&machine.arch)
    );
    let own = result
        .cells
        .iter()
        .filter_map(|cell| cell.workload.as_ref());
    let groups = || result.models.iter();
    let points = match result.cells.len() as u64 {
        0 => String::new(),
        points => format!("{} with ", count(points, "matrix point")),
    };
    let requests = format!(
        "{points}{}; {} a visit ({}), {}, {}",
        result.cycles_sentence(),
        range(groups().map(|it| it.requests_per_visit), "request"),
        warmup(&result.models),
        sending(&result.models),
        sent(&std::iter::once(work).chain(own).collect::<Vec<_>>())
    );
    wrap("", &title, width) + &wrap("", &machine, width) + &wrap("", &requests, width)
}

/// Sources of the prompts; the maximum length of answers if the pipeline has the prompts.
fn sent(workloads: &[&Workload]) -> String {
    let mut sources: Vec<String> = Vec::new();
    for source in workloads.iter().filter_map(|it| it.source.as_deref()) {
        let source = one_line(source);
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    // Prompts from elsewhere may have their own limits.
    if sources.is_empty() {
        let limits = workloads.iter().map(|it| it.max_tokens);
        return format!("{} at most", range(limits, "token"));
    }
    sources.join(", ")
}

/// `4 at a time`, or the arrival process of an open loop.
fn sending(groups: &[ModelResult]) -> String {
    let first = groups.first().and_then(|it| it.arrival.as_deref());
    match first {
        Some(arrival) if groups.iter().all(|it| it.arrival.as_deref() == first) => {
            one_line(arrival)
        }
        _ => format!(
            "{} at a time",
            range(groups.iter().map(|it| it.concurrency), "")
        ),
    }
}

/// Requests before those that count, and how they are sent if that is not one at a time.
fn warmup(groups: &[ModelResult]) -> String {
    let warmed = || groups.iter().filter(|it| it.warmup_requests > 0);
    if warmed().next().is_none() {
        return "no warm-up".to_owned();
    }
    let mut ways: Vec<&str> = Vec::new();
    for group in warmed() {
        let way = group.warmup_sending.as_deref().unwrap_or("1 at a time");
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    let requests = range(groups.iter().map(|it| it.warmup_requests), "");
    match ways[..] {
        ["1 at a time"] => format!("after {requests} as warm-up"),
        _ => format!(
            "after {requests} as warm-up, {}",
            one_line(&ways.join(" or "))
        ),
    }
}

/// `10 requests`, or `10 to 20 requests` if the numbers differ.
fn range(numbers: impl Iterator<Item = u32> + Clone, noun: &str) -> String {
    let (least, most) = (numbers.clone().min(), numbers.max());
    let (Some(least), Some(most)) = (least, most) else {
        return MISSING.to_owned();
    };
    let from = if least == most {
        String::new()
    } else {
        format!("{least} to ")
    };
    if noun.is_empty() {
        format!("{from}{most}")
    } else {
        format!("{from}{}", count(most.into(), noun))
    }
}

/// Returns `true` if a model has several results. Its name, which would have to be
/// shortened where the results differ, is then on a line of its own.
fn grouped(result: &RunResult) -> bool {
    let grouped = |model: &ModelResult| model.cell.is_some() || model.measure.is_some();
    result.models.iter().any(grouped)
}

/// A line before the first of each run of rows with the same title.
fn sections(titles: impl Iterator<Item = String>) -> Vec<Section> {
    let mut sections: Vec<Section> = titles.enumerate().collect();
    sections.dedup_by(|next, first| next.1 == first.1);
    sections
}

/// A row of the table of numbers; an engine may have no numbers.
struct Row<'a> {
    model: &'a ModelResult,
    engine: &'a str,
    numbers: Option<&'a EngineResult>,
    first: bool,
}

impl Row<'_> {
    fn note(&self) -> String {
        let failures: Vec<_> = self.model.own_failures(self.engine).collect();
        match (failures.first(), self.model.state(self.engine)) {
            (Some(first), _) if failures.len() == 1 => format!("{} failed", one_line(&first.stage)),
            (Some(_), _) => format!("{} failures", failures.len()),
            (None, State::NotMeasured) => "not measured".to_owned(),
            (None, State::Failed) => "no request succeeded".to_owned(),
            (None, State::NotCounted) => "tokens not counted".to_owned(),
            (None, State::Measured) => String::new(),
        }
    }
}

/// The engines of a model; all of the pipeline's if it has no results.
fn rows_of<'a>(result: &'a RunResult, model: &'a ModelResult) -> Vec<Row<'a>> {
    let planned = result.engines.iter().map(|engine| engine.name.as_str());
    let visited = model.engines.iter().map(|engine| engine.engine.as_str());
    let names: Vec<&str> = if model.engines.is_empty() {
        planned.collect()
    } else {
        visited.collect()
    };
    names
        .into_iter()
        .enumerate()
        .map(|(index, engine)| Row {
            model,
            engine,
            numbers: model.engine(engine),
            first: index == 0,
        })
        .collect()
}

fn numbers(result: &RunResult, config: &Config) -> String {
    let &Config { width, details } = config;
    let rows: Vec<Row<'_>> = result
        .models
        .iter()
        .flat_map(|model| rows_of(result, model))
        .collect();
    // The column that is always kept shows missing results.
    let cell = |row: &Row<'_>, metric: &Metric, column: &result::Column| match row.numbers {
        _ if column.drop_order == 0 && row.model.state(row.engine) == State::Failed => {
            "failed".to_owned()
        }
        numbers => numbers
            .and_then(|it| column.cell(metric, it))
            .unwrap_or_else(|| MISSING.to_owned()),
    };
    let (mut columns, sections) = if width < NARROW || grouped(result) {
        (
            Vec::new(),
            sections(rows.iter().map(|row| title(row.model))),
        )
    } else {
        let first = |row: &Row<'_>| row.first.then(|| title(row.model));
        let models = rows.iter().map(|row| first(row).unwrap_or_default());
        let models = Column::new("Model", "", Kind::Name, models.collect());
        (vec![models], Vec::new())
    };
    let engines = rows.iter().map(|row| one_line(row.engine));
    columns.push(Column::new("Engine", "", Kind::Name, engines.collect()));
    for metric in METRICS {
        columns.extend(metric.columns.iter().map(|it| {
            let cells = rows.iter().map(|row| cell(row, metric, it));
            Column::new(it.title, it.unit, Kind::Number, cells.collect()).drop_order(it.drop_order)
        }));
    }
    let notes: Vec<String> = rows.iter().map(Row::note).collect();
    if notes.iter().any(|note| !note.is_empty()) {
        columns.push(Column::new("Note", "", Kind::Word, notes).drop_order(4));
    }
    let mut text = finish(columns, &sections, width);
    let latencies = rows
        .iter()
        .filter_map(|row| row.numbers?.request_latency_ms);
    if latencies.into_iter().any(|it| it.p90.is_none()) {
        let note = "n too small for a p90 where `n=` stands: it needs 44.";
        text.push_str(&wrap("", note, width));
    }
    for line in work(result, details) {
        text.push_str(&wrap("", &line, width));
    }
    text
}

/// Settings that are not as asked, and independent counts of tokens that differ. With details also
/// the state of the prefix cache, if it is stated or was not cold, what was rendered, every
/// independent count, and times by the engines' own clocks.
fn work(result: &RunResult, details: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for model in &result.models {
        let engines = || model.engines.iter();
        let is_of_interest = model.cache.is_some() || engines().any(|it| it.cached_tokens > 0);
        let cache = model.cache_sentence().filter(|_| details && is_of_interest);
        let rendering = model.rendering_sentence().filter(|_| details);
        let tokens = engines().filter_map(|it| {
            let differs = it.token_check.as_ref().is_some_and(|it| it.mismatched > 0);
            let found = it.token_sentence().filter(|_| details || differs)?;
            Some(format!("Tokens of {found}"))
        });
        let clocks = engines().filter_map(|it| {
            let told = it.clock_sentence().filter(|_| details)?;
            Some(format!("Own clock of {told}"))
        });
        let settings = engines().filter_map(|it| {
            let differing = it.settings_sentence()?;
            Some(format!("Settings in force in {differing}"))
        });
        let label = one_line(&model.label());
        lines.extend(
            cache
                .into_iter()
                .chain(rendering)
                .chain(tokens)
                .chain(clocks)
                .chain(settings)
                .map(|it| format!("{label}: {it}.")),
        );
    }
    lines
}

fn title(model: &ModelResult) -> String {
    let label = one_line(&model.label());
    match &model.size {
        Some(size) => format!("{label} ({})", one_line(size)),
        None => label,
    }
}

fn finish(columns: Vec<Column>, sections: &[Section], width: usize) -> String {
    let (mut text, left_out) = render(columns, sections, width);
    if !left_out.is_empty() {
        text.push_str(&wrap(
            "",
            &format!("Left out for lack of width: {}.", left_out.join(", ")),
            width,
        ));
    }
    text
}

fn comparisons(compared: &[(&ModelResult, &Comparison)], grouped: bool, config: &Config) -> String {
    let &Config { width, details } = config;
    let label = |model: &ModelResult| one_line(&model.label());
    let cells = |cell: &dyn Fn(&ModelResult, &Comparison) -> String| {
        compared
            .iter()
            .map(|(model, comparison)| cell(model, comparison))
            .collect::<Vec<_>>()
    };
    let winner = |comparison: &Comparison| {
        comparison
            .winner
            .as_deref()
            .map_or_else(|| MISSING.to_owned(), one_line)
    };
    let (mut columns, sections) = if grouped {
        let titles = compared.iter().map(|(model, _)| label(model));
        (Vec::new(), sections(titles))
    } else {
        let models = Column::new("Model", "", Kind::Name, cells(&|model, _| label(model)));
        (vec![models], Vec::new())
    };
    columns.extend([
        Column::new(
            "Baseline",
            "",
            Kind::Name,
            cells(&|_, it| one_line(&it.baseline)),
        )
        .drop_order(4),
        Column::new(
            "Candidate",
            "",
            Kind::Name,
            cells(&|_, it| one_line(&it.candidate)),
        ),
        Column::new(
            "Difference",
            "",
            Kind::Number,
            cells(&|_, it| it.difference()),
        ),
        Column::new("Interval", "", Kind::Number, cells(&|_, it| it.range())).drop_order(2),
        Column::new(
            "Verdict",
            "",
            Kind::Word,
            cells(&|_, it| it.verdict.word().to_owned()),
        )
        .drop_order(1),
        // The sentences below name it, too.
        Column::new("Winner", "", Kind::Name, cells(&|_, it| winner(it))).drop_order(5),
    ]);
    if let Some(scale) = scale(compared) {
        let pictures = cells(&|_, it| {
            let interval = it.shown_interval().map(Interval::ends);
            scale.line(it.difference_percent, interval)
        });
        let pictures = Column::new(PICTURE, &scale.axis(), Kind::Picture, pictures);
        columns.insert(columns.len() - 2, pictures.drop_order(3));
    }
    let mut text = finish(columns, &sections, width);
    // Unless it was left out for lack of width.
    let mut titles = text.lines().take(1);
    if details && titles.any(|it| it.contains(PICTURE)) {
        text.push_str(&wrap("", &format!("{PICTURE}: {}.", Scale::LEGEND), width));
    }
    text.push('\n');
    for (model, comparison) in compared {
        text.push_str(&wrap(
            "",
            &format!("{}: {}.", label(model), comparison.sentence()),
            width,
        ));
        let judgements = if details {
            comparison.judgement_sentences()
        } else {
            comparison.judgement_lines()
        };
        for sentence in judgements {
            text.push_str(&wrap("  ", &format!("{sentence}."), width));
        }
        if let Some(same_work) = comparison.same_work.as_ref().filter(|_| details) {
            let line = format!("Same work: {}.", same_work.sentence());
            text.push_str(&wrap("  ", &line, width));
        }
        for sentence in comparison.flag_sentences() {
            text.push_str(&wrap("  ! ", &sentence, width));
        }
    }
    text
}

/// Title of the column of pictures.
const PICTURE: &str = "Picture";

/// The scale of the comparisons' pictures; the margin is the run's.
fn scale(compared: &[(&ModelResult, &Comparison)]) -> Option<Scale> {
    const COLUMNS: usize = 25;
    let margin = compared.first()?.1.margin_percent;
    let all = compared.iter();
    let all = all.map(|(_, it)| {
        let interval = it.shown_interval().map(Interval::ends);
        (it.difference_percent, interval)
    });
    Scale::new(COLUMNS, margin, all)
}

/// The thresholds of one model after those of another.
fn thresholds(results: &[ThresholdResult], width: usize) -> String {
    let mut labels: Vec<String> = Vec::new();
    for label in results.iter().map(ThresholdResult::label) {
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    let mut rows: Vec<&ThresholdResult> = results.iter().collect();
    rows.sort_by_key(|row| labels.iter().position(|label| *label == row.label()));
    let column = |title: &str, kind, cell: &dyn Fn(&ThresholdResult) -> String| {
        Column::new(title, "", kind, rows.iter().map(|row| cell(row)).collect())
    };
    let columns = vec![
        column("Engine", Kind::Name, &|it| one_line(&it.engine)),
        column("Metric", Kind::Name, &|it| one_line(&it.what())),
        column("Bound", Kind::Word, &ThresholdResult::bound).drop_order(2),
        column("Value", Kind::Number, &ThresholdResult::shown).drop_order(1),
        column("Result", Kind::Word, &|it| it.word().to_owned()),
    ];
    let titles = rows.iter().map(|row| one_line(&row.label()));
    finish(columns, &sections(titles), width)
}

fn failures(result: &RunResult, width: usize) -> String {
    let problems = result.models.iter().flat_map(|model| {
        let label = one_line(&model.label());
        model
            .problems()
            .into_iter()
            .map(move |problem| format!("{label}: {problem}"))
    });
    list("Failures", problems, width)
}

/// A titled list; empty without items. Long lines are limited to a few lines of text.
fn list(title: &str, items: impl Iterator<Item = String>, width: usize) -> String {
    let items: String = items
        .map(|item| wrap("- ", &shorten(&item, 4 * width), width))
        .collect();
    if items.is_empty() {
        String::new()
    } else {
        format!("\n{title}\n{items}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_has_no_title() {
        assert_eq!(list("Warnings", std::iter::empty(), 80), "");
        assert_eq!(
            list("Warnings", ["x".to_owned()].into_iter(), 80),
            "\nWarnings\n- x\n"
        );
    }
}
