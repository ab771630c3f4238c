//! A fixed load beside each visit, the *control*, that shows the wander of the machine.
//!
//! If loading takes minutes, the machine of a visit is not that of its neighbours any more.
//! Before and after each visit, while no engine is loaded, prony times a fixed load of its own;
//! the smaller of both times counts, since a burst makes one of them longer and does not touch
//! the visit. As much of its logarithm `c_k` as the visits follow is subtracted from the log
//! times of visit `k`:
//!
//! `y ← y - β (c_k - median c)`, where `β`, from 0 to 1, is the slope through the origin that
//! minimises `Σ |(m_(k+1) - m_k) - β (c_(k+1) - c_k)|` over neighbouring visits, with `m_k` the
//! median log time of a visit: the median of the ratios of both differences, by weights
//! `|c_(k+1) - c_k|` (Bloomfield & Steiger 1983, chapter 1).
//!
//! `β` is one number for both engines and does not know them: the advantage of either enters
//! the differences with the sign of a coin. So all that is said of contributions stays true.
//! A control that says nothing has a slope near 0, by which nothing much changes.

use super::quantile::median;

/// Subtracts from the log times of visits what their controls explain. A visit without a
/// control stays as it is.
pub(super) fn subtract(logs: &mut [Vec<f64>], controls: &[Option<f64>]) {
    let known: Vec<f64> = controls.iter().flatten().copied().collect();
    if known.is_empty() {
        return;
    }
    let share = sensitivity(logs, controls);
    let middle = median(&known);
    for (logs, control) in logs.iter_mut().zip(controls) {
        let explained = control.map_or(0.0, |control| share * (control - middle));
        for log in logs {
            *log -= explained;
        }
    }
}

/// Share of a control's change that the visits follow, 0 to 1.
fn sensitivity(logs: &[Vec<f64>], controls: &[Option<f64>]) -> f64 {
    let middles = logs
        .iter()
        .map(|logs| (!logs.is_empty()).then(|| median(logs)));
    let visits: Vec<Option<(f64, f64)>> = middles
        .zip(controls)
        .map(|(middle, control)| middle.zip(*control))
        .collect();
    let slopes = visits.windows(2).filter_map(|two| {
        let ((one, of_one), (other, of_other)) = two[0].zip(two[1])?;
        let change = of_other - of_one;
        (change != 0.0).then(|| ((other - one) / change, change.abs()))
    });
    let slopes: Vec<(f64, f64)> = slopes.collect();
    weighted_median(&slopes).unwrap_or(0.0).clamp(0.0, 1.0)
}

/// The median of values with weights; `None` without any.
pub(super) fn weighted_median(values: &[(f64, f64)]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = values.iter().map(|it| it.1).sum::<f64>() / 2.0;
    let mut sum = 0.0;
    let found = values.iter().find(|(_, weight)| {
        sum += weight;
        sum >= half
    });
    found.map(|it| it.0)
}
