//! Prompts of an exact number of tokens.

use prony_tokenizer::Tokenizer;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, LogNormal, Normal};
use rand_pcg::Pcg64Mcg;

/// How many words prompts are made of at most.
const WORDS: usize = 4096;

/// How long something is, in tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Length {
    /// Always the same.
    Fixed(u32),
    /// Every number between the two, both included, equally often.
    Uniform {
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// Normal; what falls outside of the bounds is moved to the nearest.
    Normal {
        /// Mean before it is bounded.
        mean: f64,
        /// Standard deviation before it is bounded.
        stddev: f64,
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// Log-normal; what falls outside of the bounds is moved to the nearest.
    LogNormal {
        /// Median before it is bounded.
        median: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
}

/// Why there are no prompts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A distribution has no values.
    #[error(
        "the lengths `{0:?}` make no distribution: expected min <= max and finite numbers, none of them negative"
    )]
    NoDistribution(Length),
    /// The vocabulary has too few words that are one token each.
    #[error("the tokenizer has {0} plain words of one token, and at least 16 are needed")]
    FewWords(usize),
    /// No text of that length was found.
    #[error("no text of exactly {0} tokens was found with this tokenizer")]
    NoText(u32),
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] prony_tokenizer::Error),
}

impl Length {
    /// So many lengths; equal seeds give equal ones.
    pub fn draw(self, seed: u64, count: usize) -> Result<Vec<u32>, Error> {
        let bad = || Error::NoDistribution(self);
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let bounded =
            |x: f64, min: u32, max: u32| (x.round().clamp(f64::from(min), f64::from(max))) as u32;
        match self {
            Self::Fixed(length) => Ok(vec![length; count]),
            Self::Uniform { min, max } if min <= max => {
                Ok((0..count).map(|_| random.random_range(min..=max)).collect())
            }
            Self::Normal {
                mean,
                stddev,
                min,
                max,
            } if min <= max && mean.is_finite() && mean >= 0.0 && stddev >= 0.0 => {
                let normal = Normal::new(mean, stddev).map_err(|_| bad())?;
                let one = |_| bounded(normal.sample(&mut random), min, max);
                Ok((0..count).map(one).collect())
            }
            Self::LogNormal {
                median,
                sigma,
                min,
                max,
            } if min <= max && median.is_finite() && median > 0.0 && sigma >= 0.0 => {
                let normal = LogNormal::new(median.ln(), sigma).map_err(|_| bad())?;
                let one = |_| bounded(normal.sample(&mut random), min, max);
                Ok((0..count).map(one).collect())
            }
            _ => Err(bad()),
        }
    }
}

/// Makes texts from a tokenizer's own words.
#[derive(Debug)]
pub struct Writer<'t> {
    tokenizer: &'t Tokenizer,
    words: Vec<String>,
}

impl<'t> Writer<'t> {
    /// With the words of a tokenizer.
    pub fn new(tokenizer: &'t Tokenizer) -> Result<Self, Error> {
        let words = tokenizer.words(WORDS);
        if words.len() < 16 {
            return Err(Error::FewWords(words.len()));
        }
        Ok(Self { tokenizer, words })
    }

    /// A text of exactly `tokens` tokens that begins with `prefix`. Equal seeds give
    /// equal texts; a prefix of as many tokens or more cannot be continued.
    pub fn text(&self, prefix: &str, tokens: u32, seed: u64) -> Result<String, Error> {
        /// Words may join in rare vocabularies, so the number of words is corrected.
        const TRIES: usize = 16;
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut one = || self.words[random.random_range(0..self.words.len())].as_str();
        let before = self.tokenizer.count(prefix)?;
        let wanted = tokens as usize;
        let mut words: Vec<&str> = (before..wanted).map(|_| one()).collect();
        for _ in 0..TRIES {
            let mut text = prefix.to_owned();
            for word in &words {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(word);
            }
            let count = self.tokenizer.count(&text)?;
            if count == wanted {
                return Ok(text);
            }
            let missing = wanted.saturating_sub(count);
            words.truncate(words.len().saturating_sub(count.saturating_sub(wanted)));
            words.extend((0..missing).map(|_| one()));
        }
        Err(Error::NoText(tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokenizer() -> Tokenizer {
        let word = |id: usize| {
            let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
            format!("{}{}", letter(id), letter(id / 26))
        };
        let mut vocab = serde_json::Map::new();
        vocab.insert("<unk>".to_owned(), 0.into());
        for id in 0..100 {
            vocab.insert(word(id), (id + 1).into());
        }
        let json = serde_json::json!({
            "version": "1.0",
            "pre_tokenizer": { "type": "Whitespace" },
            "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "<unk>" },
        });
        Tokenizer::from_json(json.to_string().as_bytes()).expect("a tokenizer")
    }

    proptest! {
        #[test]
        fn texts_have_exactly_the_length_asked_for(tokens in 0_u32..600, seed: u64, prefix in 0_u32..9) {
            let tokenizer = tokenizer();
            let writer = Writer::new(&tokenizer).expect("words");
            let prefix = writer.text("", prefix, 1).expect("a prefix");
            let before = tokenizer.count(&prefix).expect("a count") as u32;
            let text = writer.text(&prefix, before + tokens, seed).expect("a text");
            prop_assert!(text.starts_with(&prefix));
            prop_assert_eq!(tokenizer.count(&text).expect("a count") as u32, before + tokens);
            prop_assert_eq!(&text, &writer.text(&prefix, before + tokens, seed).expect("a text"));
        }

        #[test]
        fn lengths_stay_within_their_bounds(seed: u64, min in 0_u32..500, more in 0_u32..500) {
            let max = min + more;
            for length in [
                Length::Uniform { min, max },
                Length::Normal { mean: 250.0, stddev: 200.0, min, max },
                Length::LogNormal { median: 250.0, sigma: 1.0, min, max },
            ] {
                let drawn = length.draw(seed, 50).expect("lengths");
                prop_assert!(drawn.iter().all(|it| (min..=max).contains(it)));
                prop_assert_eq!(&drawn, &length.draw(seed, 50).expect("lengths"));
            }
        }
    }

    #[test]
    fn seeds_tell_texts_apart_and_bad_input_is_an_error() {
        let tokenizer = tokenizer();
        let writer = Writer::new(&tokenizer).expect("words");
        let text = |seed| writer.text("", 50, seed).expect("a text");
        assert_ne!(text(1), text(2));
        assert!(matches!(
            writer.text("aa ba ca", 2, 0),
            Err(Error::NoText(2))
        ));
        for bad in [
            Length::Uniform { min: 2, max: 1 },
            Length::Normal {
                mean: f64::NAN,
                stddev: 1.0,
                min: 0,
                max: 1,
            },
            Length::Normal {
                mean: 1.0,
                stddev: -1.0,
                min: 0,
                max: 1,
            },
            Length::LogNormal {
                median: 0.0,
                sigma: 1.0,
                min: 0,
                max: 1,
            },
        ] {
            assert!(
                matches!(bad.draw(0, 1), Err(Error::NoDistribution(_))),
                "{bad:?}"
            );
        }
        let mean = |drawn: Vec<u32>| f64::from(drawn.iter().sum::<u32>()) / drawn.len() as f64;
        let normal = Length::Normal {
            mean: 300.0,
            stddev: 20.0,
            min: 0,
            max: 1000,
        };
        assert!((mean(normal.draw(3, 2000).expect("lengths")) - 300.0).abs() < 3.0);
    }
}
