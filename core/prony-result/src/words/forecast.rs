//! The forecast of a comparison.

use super::{about_seconds, percent};

/// Forecast of a comparison from its first cycles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Cycles that a difference of the margin takes.
    pub expected_cycles: f64,
    /// An interval of them; `None` in journals of before there was one.
    pub likely_cycles: Option<(f64, f64)>,
    /// Time of the expected cycles, in seconds.
    pub expected_s: f64,
    /// The difference that the planned cycles can tell, in percent.
    pub detectable_percent: f64,
    /// `true` if the expected cycles are no more than the planned ones.
    pub feasible: bool,
    /// Planned cycles.
    pub planned: u32,
    /// `true` if these are no maximum.
    pub open: bool,
}

impl Forecast {
    /// `true` if the planned cycles are hardly enough.
    pub fn is_beyond(&self) -> bool {
        let planned = f64::from(self.planned);
        self.likely_cycles
            .map_or(!self.feasible, |(low, _)| low > planned)
    }

    /// The forecast, without a full stop: a range, since a few cycles tell their scatter only
    /// roughly.
    pub fn sentence(&self) -> String {
        const MARGIN: &str = "a difference as large as the margin";
        const BASIS: &str = "by how much the first ones differ";
        let planned = f64::from(self.planned);
        let detectable = format!("can detect about {}", percent(self.detectable_percent));
        let Some((low, high)) = self.likely_cycles else {
            let takes = format!(
                "to detect {MARGIN} would take about {} cycles",
                self.expected_cycles
            );
            return if self.feasible {
                format!("{takes} ({})", about_seconds(self.expected_s))
            } else {
                format!("{takes}, more than there may be; those {detectable}")
            };
        };
        let takes = format!("to detect {MARGIN} probably takes");
        if low > planned {
            let more = format!("{takes} more than {} cycles, {BASIS}", self.planned);
            return if self.open {
                more
            } else {
                format!("{more}; the {} planned {detectable}", self.planned)
            };
        }
        if high > planned {
            let more = format!("{takes} {low} cycles or more, {BASIS}");
            return if self.open {
                more
            } else {
                format!("{more}; the {} planned {detectable}", self.planned)
            };
        }
        let time = |cycles: f64| about_seconds(self.expected_s * cycles / self.expected_cycles);
        let cycles = if low < high {
            format!("{low} to {high} cycles ({} to {})", time(low), time(high))
        } else {
            format!("{low} cycles ({})", time(low))
        };
        format!("{takes} {cycles}, {BASIS}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_is_a_range() {
        let forecast = |low, high| Forecast {
            expected_cycles: 30.0,
            likely_cycles: Some((low, high)),
            expected_s: 300.0,
            detectable_percent: 2.9,
            feasible: true,
            planned: 60,
            open: false,
        };
        assert_eq!(
            forecast(9.0, 28.0).sentence(),
            "to detect a difference as large as the margin probably takes 9 to 28 cycles (2 min to 5 min), by how much the first ones differ"
        );
        assert_eq!(
            forecast(16.0, 93.0).sentence(),
            "to detect a difference as large as the margin probably takes 16 cycles or more, by how much the first ones differ; the 60 planned can detect about 2.9 %"
        );
        assert!(!forecast(16.0, 93.0).is_beyond());
        let beyond = forecast(70.0, 400.0);
        assert!(beyond.is_beyond());
        assert!(beyond.sentence().contains("more than 60 cycles"));
        let open = Forecast {
            planned: 1000,
            open: true,
            ..forecast(4000.0, 30_000.0)
        };
        assert_eq!(
            open.sentence(),
            "to detect a difference as large as the margin probably takes more than 1000 cycles, by how much the first ones differ"
        );
    }
}
