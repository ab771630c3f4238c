//! From numbers to places in a figure.

/// A mapping of an interval of numbers to one of places, in pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    is_log: bool,
}

/// Largest ratio of the last number to a middle one that a linear axis shows well.
const LINEAR: f64 = 20.0;

impl Scale {
    /// Of the numbers between `low` and `high`, which are put apart if they are equal.
    pub(crate) fn linear(low: f64, high: f64, from: f64, to: f64) -> Self {
        let (low, high) = if high - low > f64::EPSILON * high.abs().max(low.abs()) {
            (low, high)
        } else {
            (low - 1.0, high + 1.0)
        };
        Self {
            low,
            high,
            from,
            to,
            is_log: false,
        }
    }

    /// Of times from 0 to `high`; logarithmic if `high` is far beyond the `middle` of them.
    pub(crate) fn of_times(least: f64, middle: f64, high: f64, from: f64, to: f64) -> Self {
        if least > 0.0 && high > LINEAR * middle {
            Self {
                low: least,
                high: high.max(least * 1.1),
                from,
                to,
                is_log: true,
            }
        } else {
            Self::linear(0.0, high, from, to)
        }
    }

    pub(crate) fn is_log(&self) -> bool {
        self.is_log
    }

    /// The place of a number; of one outside, the nearer end.
    pub(crate) fn at(&self, number: f64) -> f64 {
        let number = number.clamp(self.low, self.high);
        let share = if self.is_log {
            (number / self.low).ln() / (self.high / self.low).ln()
        } else {
            (number - self.low) / (self.high - self.low)
        };
        self.from + share * (self.to - self.from)
    }

    /// Round numbers within, at most about `count`: 1, 2 or 5 times a power of ten.
    pub(crate) fn ticks(&self, count: usize) -> Vec<f64> {
        if self.is_log {
            let ticks = self.log_ticks(&[1.0, 2.0, 5.0]);
            return if ticks.len() > count {
                self.log_ticks(&[1.0])
            } else {
                ticks
            };
        }
        let rough = (self.high - self.low) / count.max(1) as f64;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|it| it * power)
            .into_iter()
            .find(|it| *it >= rough * 0.999)
            .unwrap_or(10.0 * power);
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|it| it as f64 * step).collect()
    }

    fn log_ticks(&self, of_decade: &[f64]) -> Vec<f64> {
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        let all = (first..=last)
            .flat_map(|power| of_decade.iter().map(move |it| it * 10_f64.powi(power)));
        all.filter(|it| (self.low * 0.999..=self.high * 1.001).contains(it))
            .collect()
    }
}

/// A tick in words: as few digits as it needs.
pub(crate) fn label(tick: f64) -> String {
    if tick == 0.0 {
        return "0".to_owned();
    }
    let decimals = (-tick.abs().log10().floor()).clamp(0.0, 9.0) as usize;
    let text = format!("{tick:.*}", decimals + 1);
    let text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
    text.replacen('-', "−", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale) -> Vec<String> {
        scale.ticks(6).into_iter().map(label).collect()
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(
            labels(Scale::linear(0.0, 120.0, 0.0, 1.0)),
            ["0", "20", "40", "60", "80", "100", "120"]
        );
        assert_eq!(
            labels(Scale::linear(-3.1, 4.2, 0.0, 1.0)),
            ["−2", "0", "2", "4"]
        );
        assert_eq!(
            labels(Scale::linear(0.0, 0.013, 0.0, 1.0)),
            ["0", "0.005", "0.01"]
        );
        let log = Scale::of_times(0.8, 2.0, 130.0, 0.0, 1.0);
        assert!(log.is_log());
        assert_eq!(labels(log), ["1", "10", "100"]);
        assert_eq!(
            labels(Scale::linear(7.0, 7.0, 0.0, 1.0)),
            ["6", "6.5", "7", "7.5", "8"]
        );
    }

    #[test]
    fn places_lie_between_the_ends() {
        let scale = Scale::linear(10.0, 20.0, 100.0, 200.0);
        for (number, place) in [(5.0, 100.0), (10.0, 100.0), (15.0, 150.0), (99.0, 200.0)] {
            assert!((scale.at(number) - place).abs() < 1e-9, "{number}");
        }
        let log = Scale::of_times(1.0, 2.0, 100.0, 0.0, 200.0);
        assert!((log.at(10.0) - 100.0).abs() < 1e-9);
    }
}
