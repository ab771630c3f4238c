//! The pages of `prony explain` about the flags of a comparison.

use prony_result::words::Flag;

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
        Flag::CoarseStream => page!("coarse_stream"),
        Flag::OutlierSensitive => page!("outlier_sensitive"),
        Flag::ThermalRamp => page!("thermal_ramp"),
        Flag::ThrottleStep => page!("throttle_step"),
        Flag::CarryOver => page!("carry_over"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
