//! Parts of a plan, for machines that divide the models of a pipeline among them.

use crate::{ModelKey, Plan};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

/// One of several runs that divide a plan among them: `number/of`, such as `2/4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Part {
    /// Its number, from 1.
    pub number: u32,
    /// Number of parts.
    pub of: u32,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected `K/N`, such as `2/4`, with K from 1 to N, not `{text}`");
        let (number, of) = text.split_once('/').ok_or_else(wrong)?;
        let whole = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
            digits.then(|| text.parse::<u32>().ok()).flatten()
        };
        let number = whole(number).ok_or_else(wrong)?;
        let of = whole(of).ok_or_else(wrong)?;
        let part = Self { number, of };
        if (1..=of).contains(&number) {
            Ok(part)
        } else {
            Err(wrong())
        }
    }
}

impl Plan {
    /// The visits of one part. The unit is a model at a matrix point, since its engines are
    /// compared: units go one by one, those with most requests first, to the part that has fewest
    /// so far. The same plan and number of parts give the same division everywhere.
    ///
    /// # Errors
    ///
    /// There are more parts than units, so that one would have nothing to do: the number of units.
    pub fn part(&self, part: Part) -> Result<Self, usize> {
        let mut units: Vec<(ModelKey<'_>, u64)> = Vec::new();
        let segments = self.segments();
        for visits in self.models() {
            let requests = visits.iter().map(|visit| {
                let segment = segments.get(&visit.of_segment());
                segment.map_or(0, |it| it.requests())
            });
            units.extend(visits.first().map(|it| (it.of_model(), requests.sum())));
        }
        if units.len() < part.of as usize {
            return Err(units.len());
        }
        // Stable: of equal ones the first in the pipeline goes first.
        units.sort_by_key(|(_, requests)| std::cmp::Reverse(*requests));
        // Requests and units so far: a unit without requests still takes time.
        let mut loads = vec![(0_u64, 0_u32); part.of as usize];
        let mut part_of = HashMap::new();
        for (unit, requests) in units {
            let least = (0..loads.len()).min_by_key(|at| loads[*at]).unwrap_or(0);
            loads[least].0 = loads[least].0.saturating_add(requests);
            loads[least].1 += 1;
            part_of.insert(unit, least as u32 + 1);
        }
        let own = |visits: &[crate::Visit]| {
            let own = visits
                .iter()
                .filter(|it| part_of.get(&it.of_model()) == Some(&part.number));
            own.cloned().collect()
        };
        Ok(Self {
            visits: own(&self.visits),
            replacements: own(&self.replacements),
            part: Some(part),
            ..self.clone()
        })
    }
}
