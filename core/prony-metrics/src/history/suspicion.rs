//! A change at the end of a history that too few runs show yet.

use super::divisive::{Junction, allowance};
use super::energy::{TwoSamples, arrangements};
use super::wild::level;
use super::{STRONG, WEAK};

/// Values behind a change, at most, that are asked for.
const MAX_BEHIND: usize = 20;

/// A change that may be there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Suspicion {
    /// Index of the first value after it.
    pub index: usize,
    /// The level after it less that before it.
    pub difference: f64,
    /// Minimum number of further values that can make it a change; at least 1.
    pub needs: usize,
}

/// The most suspicious change of the last values of the segment that begins at `start`; `None` if
/// they are like those before them. Suspicious is a difference beyond the margin that is rarer than
/// 1 in 100 arrangements, or the rarest of fewer arrangements.
pub fn suspicion(
    values: &[f64],
    start: usize,
    junctions: &[Junction],
    margin: f64,
) -> Option<Suspicion> {
    let segment = &values[start..];
    let mut found: Option<(f64, Suspicion)> = None;
    for behind in 1..segment.len() {
        let before = segment.len() - behind;
        let Some(enough) = enough(before) else {
            break;
        };
        // With more, the tests of a change have the word.
        if behind > 2 * enough {
            break;
        }
        let (one, other) = segment.split_at(before);
        let difference = level(other) - level(one);
        let needed = margin + allowance(junctions, start, values.len());
        if difference.abs() < needed {
            continue;
        }
        let rarest = arrangements(segment.len(), behind).map_or(0.0, |all| 1.0 / all as f64);
        let p_value = TwoSamples::new(one, other).p_value(WEAK, behind as u64);
        let is_rare = p_value <= WEAK.max(rarest * (1.0 + 1e-9));
        if is_rare && found.is_none_or(|(least, _)| p_value < least) {
            let suspicion = Suspicion {
                index: start + before,
                difference,
                needs: enough.saturating_sub(behind).max(1),
            };
            found = Some((p_value, suspicion));
        }
    }
    found.map(|(_, suspicion)| suspicion)
}

/// Minimum number of values behind so many that can show a change at its error; `None` if none
/// can, as so few before it leave too few arrangements.
fn enough(before: usize) -> Option<usize> {
    let is_enough = |behind: &usize| {
        let all = arrangements(before + behind, *behind);
        all.is_none_or(|all| all as f64 >= 1.0 / STRONG)
    };
    (before > 1).then(|| (1..=MAX_BEHIND).find(is_enough))?
}
