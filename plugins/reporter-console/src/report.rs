//! The report: a heading, the numbers, the comparisons, what went wrong.

use crate::table::{Column, Kind, render};
use crate::text::{shorten, wrap};
use prony_plugin_sdk::result::{Comparison, Distribution, EngineResult, ModelResult, RunResult};
use prony_plugin_sdk::words::{self, MISSING, State, count, number, one_line};

const GIB: f64 = 1_073_741_824.0;

/// The whole report.
pub(crate) fn report(result: &RunResult, width: usize) -> String {
    let mut text = heading(result, width);
    if result
        .models
        .iter()
        .any(|model| !rows_of(result, model).is_empty())
    {
        text.push('\n');
        text.push_str(&numbers(result, width));
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
        text.push_str(&comparisons(&compared, width));
    }
    text.push_str(&failures(result, width));
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
    let requests = format!(
        "{} × {} ({} first as warm-up), {} at a time, {} at most",
        count(run.cycles.into(), "cycle"),
        count(work.requests_per_visit.into(), "request"),
        work.warmup_requests,
        work.concurrency,
        count(work.max_tokens.into(), "token")
    );
    wrap("", &title, width) + &wrap("", &machine, width) + &wrap("", &requests, width)
}

/// A row of the table of numbers; the engine may lack numbers altogether.
struct Row<'a> {
    model: &'a ModelResult,
    engine: &'a str,
    numbers: Option<&'a EngineResult>,
    first: bool,
}

impl Row<'_> {
    fn note(&self) -> String {
        let failures: Vec<_> = self
            .model
            .failures
            .iter()
            .filter(|failure| failure.engine == self.engine)
            .collect();
        match (failures.first(), self.model.state(self.engine)) {
            (Some(first), _) if failures.len() == 1 => format!("{} failed", one_line(&first.stage)),
            (Some(_), _) => format!("{} failures", failures.len()),
            (None, State::NotMeasured) => "not measured".to_owned(),
            (None, State::Failed) => "no request succeeded".to_owned(),
            (None, State::Measured) => String::new(),
        }
    }
}

/// The pipeline's engines in its order, also those that were never visited.
fn rows_of<'a>(result: &'a RunResult, model: &'a ModelResult) -> Vec<Row<'a>> {
    let planned = result.engines.iter().map(|engine| engine.name.as_str());
    let others = model.engines.iter().map(|engine| engine.engine.as_str());
    let mut names: Vec<&str> = planned.collect();
    for name in others {
        if !names.contains(&name) {
            names.push(name);
        }
    }
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

fn numbers(result: &RunResult, width: usize) -> String {
    let rows: Vec<Row<'_>> = result
        .models
        .iter()
        .flat_map(|model| rows_of(result, model))
        .collect();
    let column = |title: &str, unit: &str, cell: &dyn Fn(&EngineResult) -> Option<String>| {
        let cells = rows
            .iter()
            .map(|row| {
                row.numbers
                    .and_then(cell)
                    .unwrap_or_else(|| MISSING.to_owned())
            })
            .collect();
        Column::new(title, unit, Kind::Number, cells)
    };
    let of = |distribution: Option<Distribution>, value: fn(&Distribution) -> f64| {
        distribution.map(|distribution| number(value(&distribution)))
    };
    let mut columns = vec![
        Column::new(
            "Model",
            "",
            Kind::Name,
            rows.iter()
                .map(|row| model_cell(row.model, row.first))
                .collect(),
        ),
        Column::new(
            "Engine",
            "",
            Kind::Name,
            rows.iter().map(|row| one_line(row.engine)).collect(),
        ),
        Column::new(
            "Speed",
            "tok/s",
            Kind::Number,
            rows.iter()
                .map(|row| row.model.throughput(row.engine))
                .collect(),
        ),
        column("Latency", "mean ms", &|it| {
            of(it.request_latency_ms, |d| d.mean)
        })
        .spare(6),
        column("Latency", "p50 ms", &|it| {
            of(it.request_latency_ms, |d| d.p50)
        })
        .spare(2),
        column("Latency", "p90 ms", &|it| {
            of(it.request_latency_ms, |d| d.p90)
        })
        .spare(5),
        column("TTFT", "p50 ms", &|it| {
            of(it.time_to_first_token_ms, |d| d.p50)
        })
        .spare(3),
        column("ITL", "p50 ms", &|it| {
            of(it.inter_token_latency_ms, |d| d.p50)
        })
        .spare(7),
        column("Success", "%", &|it| {
            it.success_rate.map(words::share_number)
        })
        .spare(1),
        column("Load", "p50 s", &|it| {
            it.load_time_ms.map(|d| number(d.p50 / 1000.0))
        })
        .spare(8),
        column("Memory", "peak GiB", &|it| {
            it.peak_memory_bytes.map(|bytes| number(bytes as f64 / GIB))
        })
        .spare(9),
    ];
    let notes: Vec<String> = rows.iter().map(Row::note).collect();
    if notes.iter().any(|note| !note.is_empty()) {
        columns.push(Column::new("Note", "", Kind::Word, notes).spare(4));
    }
    finish(columns, width)
}

fn model_cell(model: &ModelResult, first: bool) -> String {
    match &model.size {
        _ if !first => String::new(),
        Some(size) => format!("{} ({})", one_line(&model.id), one_line(size)),
        None => one_line(&model.id),
    }
}

fn finish(columns: Vec<Column>, width: usize) -> String {
    let (mut text, left_out) = render(columns, width);
    if !left_out.is_empty() {
        text.push_str(&wrap(
            "",
            &format!("Left out for lack of width: {}.", left_out.join(", ")),
            width,
        ));
    }
    text
}

fn comparisons(compared: &[(&ModelResult, &Comparison)], width: usize) -> String {
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
    let columns = vec![
        Column::new(
            "Model",
            "",
            Kind::Name,
            cells(&|model, _| one_line(&model.id)),
        ),
        Column::new(
            "Baseline",
            "",
            Kind::Name,
            cells(&|_, it| one_line(&it.baseline)),
        )
        .spare(3),
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
        Column::new("Interval", "", Kind::Number, cells(&|_, it| it.range())).spare(2),
        Column::new(
            "Cycles",
            "",
            Kind::Number,
            cells(&|_, it| it.cycles.to_string()),
        )
        .spare(4),
        Column::new(
            "Verdict",
            "",
            Kind::Word,
            cells(&|_, it| it.verdict.word().to_owned()),
        )
        .spare(1),
        Column::new("Winner", "", Kind::Name, cells(&|_, it| winner(it))),
    ];
    let mut text = finish(columns, width);
    text.push('\n');
    for (model, comparison) in compared {
        text.push_str(&wrap(
            "",
            &format!("{}: {}.", one_line(&model.id), comparison.sentence()),
            width,
        ));
        for flag in &comparison.flags {
            let meaning = words::flag(flag)
                .map(|meaning| format!(": {meaning}"))
                .unwrap_or_default();
            text.push_str(&wrap(
                "  ! ",
                &format!("{}{meaning}", one_line(flag)),
                width,
            ));
        }
    }
    text
}

fn failures(result: &RunResult, width: usize) -> String {
    let problems = result.models.iter().flat_map(|model| {
        let id = one_line(&model.id);
        model
            .problems()
            .into_iter()
            .map(move |problem| format!("{id}: {problem}"))
    });
    list("Failures", problems, width)
}

/// A titled list; nothing if there is nothing to list. Long lines are shortened
/// to a few lines of text.
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
