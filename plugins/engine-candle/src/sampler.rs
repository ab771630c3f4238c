//! Samples the next token.

use prony_plugin_sdk::{Error, Request, Result};
use rand_pcg::{Pcg32, rand_core::Rng};

/// Greedy at temperature 0, else temperature and nucleus sampling. The same
/// seed and the same logits give the same tokens.
#[derive(Debug)]
pub struct Sampler {
    temperature: f64,
    top_p: f64,
    random: Pcg32,
}

impl Sampler {
    /// The sampler for a request.
    pub fn new(request: &Request) -> Result<Self> {
        let (temperature, top_p) = (request.temperature, request.top_p.unwrap_or(1.0));
        if !(temperature.is_finite() && temperature >= 0.0) {
            return Err(Error::unsupported(format!(
                "`temperature` is {temperature}, expected 0 or more"
            )));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(Error::unsupported(format!(
                "`top_p` is {top_p}, expected more than 0 and at most 1"
            )));
        }
        Ok(Self {
            temperature,
            top_p,
            random: Pcg32::new(request.seed, 0x5eed),
        })
    }

    /// Picks a token; `banned` are never picked.
    pub fn pick(&mut self, logits: &mut [f32], banned: &[u32]) -> u32 {
        for id in banned {
            if let Some(logit) = logits.get_mut(*id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        let best = argmax(logits);
        if self.temperature == 0.0 {
            return best as u32;
        }
        let highest = f64::from(logits[best]);
        let weight = |logit: f32| ((f64::from(logit) - highest) / self.temperature).exp();
        let total: f64 = logits.iter().map(|logit| weight(*logit)).sum();
        // All tokens outside the nucleus weigh `1 - top_p` together, so a token that
        // weighs less than its share of that cannot be inside.
        let least = (1.0 - self.top_p) / (logits.len().max(2) - 1) as f64 * total;
        let mut nucleus: Vec<(usize, f64)> = logits
            .iter()
            .enumerate()
            .map(|(id, logit)| (id, weight(*logit)))
            .filter(|(_, weight)| *weight >= least && *weight > 0.0)
            .collect();
        let mut kept = nucleus.iter().map(|(_, weight)| weight).sum();
        if self.top_p < 1.0 {
            nucleus.sort_by(|(_, a), (_, b)| b.total_cmp(a));
            let mut sum = 0.0;
            let end = nucleus.iter().position(|(_, weight)| {
                sum += weight;
                sum >= self.top_p * total
            });
            if let Some(end) = end {
                nucleus.truncate(end + 1);
                kept = sum;
            }
        }
        let mut left = self.unit() * kept;
        for (id, weight) in &nucleus {
            left -= weight;
            if left < 0.0 {
                return *id as u32;
            }
        }
        nucleus.last().map_or(best, |(id, _)| *id) as u32
    }

    /// Uniform in `[0, 1)`.
    fn unit(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Index of the first highest value.
fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}
