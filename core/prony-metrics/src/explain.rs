//! The pages of `prony explain` about the flags of a comparison and about metrics.

use crate::statistics::quantile::min_samples_for_quantile;
use prony_result::{Group, Metric, Source, Statistic, Unit, words::Flag};
use std::fmt::Write as _;

/// The page about a flag, in Markdown: what it means, how it is found, what to do.
pub fn explain(flag: Flag) -> &'static str {
    macro_rules! page {
        ($name:literal) => {
            include_str!(concat!("../explain/", $name, ".md"))
        };
    }
    match flag {
        Flag::LengthMismatch => page!("length_mismatch"),
        Flag::TokenMismatch => page!("token_mismatch"),
        Flag::LowSuccessRate => page!("low_success_rate"),
        Flag::DegradedCycles => page!("degraded_cycles"),
        Flag::SingleStart => page!("single-start"),
        Flag::OtherModel => page!("other_model"),
        Flag::CacheMismatch => page!("cache_mismatch"),
        Flag::PromptMismatch => page!("prompt_mismatch"),
        Flag::CoarseStream => page!("coarse_stream"),
        Flag::OutlierSensitive => page!("outlier_sensitive"),
        Flag::ThermalRamp => page!("thermal_ramp"),
        Flag::ThrottleStep => page!("throttle_step"),
        Flag::CarryOver => page!("carry_over"),
        Flag::Resumed => page!("resumed"),
    }
}

/// The page about all metrics, in Markdown: also `docs/metrics.md`.
pub fn metrics() -> String {
    let tails = Statistic::ALL.into_iter().filter_map(|it| {
        let fewest = min_samples_for_quantile(it.tail()?);
        Some(format!("{fewest} for `{}`", it.name()))
    });
    let tails: Vec<String> = tails.collect();
    let statistics = Statistic::ALL.map(|it| format!("`{}`", it.name()));
    let mut page = format!(
        "# Metrics

Every metric of an engine's entry in `result.json`, by its name there. `prony explain metrics`
shows this page; `cargo xtask codegen` writes it from the table in `core/prony-result/src/metric.rs`.

A threshold bounds one of them with `min`, `max` or both, except where *stated* says that the
pipeline itself sets it. Of a distribution it bounds a `statistic`: {}, the median unless given.
A percentile needs samples: {}.
",
        statistics.join(", "),
        tails.join(", ")
    );
    for group in Group::ALL {
        let _ = write!(
            page,
            "\n## {}\n\n| Metric | Unit | Better | | |\n|---|---|---|---|---|\n",
            heading(group.name())
        );
        for metric in group.metrics() {
            let Metric { name, doc, .. } = metric;
            let unit = match metric.unit {
                Unit::Count => "count",
                Unit::Ratio => "ratio",
                unit => unit.symbol(),
            };
            let kind = match metric.source {
                _ if !metric.is_bounded => "stated",
                Source::Number(_) => "number",
                Source::Distribution(_) => "distribution",
                Source::Requests => "of requests",
            };
            let better = metric.better.name();
            let _ = writeln!(page, "| `{name}` | {unit} | {better} | {kind} | {doc} |");
        }
    }
    page
}

fn heading(name: &str) -> String {
    let mut chars = name.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::SHARE_TOLERANCE;
    use crate::comparison::{MAX_DEGRADED, MIN_SUCCESS_RATE};
    use crate::statistics::aggregate::LENGTH_TOLERANCE;
    use crate::statistics::warnings::{RAMP, SIGNIFICANT, STEP};

    #[test]
    fn every_flag_has_a_page_of_the_same_form() {
        for flag in Flag::ALL {
            let page = explain(flag);
            assert!(page.starts_with(&format!("# {}: ", flag.name())), "{page}");
            let parts: Vec<&str> = page.split("\n## ").collect();
            let [_, how, what] = parts.as_slice() else {
                panic!("{page}");
            };
            assert!(how.starts_with("How it is found\n\n"), "{page}");
            assert!(what.starts_with("What to do\n\n"), "{page}");
        }
    }

    /// What stands on a page is what the code does.
    #[test]
    fn pages_tell_the_thresholds_in_use() {
        let percent = |share: f64| format!("{} %", share * 100.0);
        for (flag, threshold) in [
            (Flag::CacheMismatch, percent(SHARE_TOLERANCE)),
            (Flag::LengthMismatch, percent(LENGTH_TOLERANCE)),
            (Flag::LowSuccessRate, percent(MIN_SUCCESS_RATE)),
            (Flag::DegradedCycles, format!("above {MAX_DEGRADED}")),
            (Flag::ThermalRamp, format!("more than {RAMP} ")),
            (Flag::ThermalRamp, format!("below {SIGNIFICANT}.")),
            (Flag::ThrottleStep, format!("more than {STEP} ")),
            (Flag::CarryOver, format!("below {SIGNIFICANT}.")),
        ] {
            assert!(explain(flag).contains(&threshold), "{flag:?}: {threshold}");
        }
    }
}
