//! Lists of times as differences, which take half the bytes: `{"ns": [first, difference, …]}`.
//!
//! Earlier journals hold the times themselves, as plain lists, and are still read.

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::marker::PhantomData;

/// The first time, then each less the one before. Exact for any numbers: both ways wrap.
fn differences(times: impl Iterator<Item = u64>) -> Vec<i64> {
    let mut before = 0;
    times
        .map(|time| {
            time.wrapping_sub(std::mem::replace(&mut before, time))
                .cast_signed()
        })
        .collect()
}

fn sums(differences: Vec<i64>) -> impl Iterator<Item = u64> {
    let mut time = 0_u64;
    differences.into_iter().map(move |difference| {
        time = time.wrapping_add_signed(difference);
        time
    })
}

#[derive(Serialize, Deserialize)]
struct Differences {
    ns: Vec<i64>,
    /// Tokens of each arrival; a single number is that of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<u32>,
}

/// Either form.
enum Either<T> {
    Differences(Differences),
    Plain(Vec<T>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Either<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(EitherVisitor(PhantomData))
    }
}

struct EitherVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EitherVisitor<T> {
    type Value = Either<T>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a list of times, or an object with their differences")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Differences::deserialize(MapAccessDeserializer::new(map)).map(Either::Differences)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(Either::Plain)
    }
}

/// For lists of times.
pub(crate) mod stamps {
    use super::{Differences, Either, differences, sums};
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(crate) fn serialize<S: Serializer>(times: &[u64], to: S) -> Result<S::Ok, S::Error> {
        let ns = differences(times.iter().copied());
        Differences {
            ns,
            tokens: Vec::new(),
        }
        .serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
        Ok(match Either::deserialize(from)? {
            Either::Differences(it) => sums(it.ns).collect(),
            Either::Plain(times) => times,
        })
    }
}

/// For arrivals: `{"ns": […], "tokens": [1]}`.
pub(crate) mod arrivals {
    use super::{Differences, Either, differences, sums};
    use crate::Arrival;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(crate) fn serialize<S: Serializer>(all: &[Arrival], to: S) -> Result<S::Ok, S::Error> {
        let mut tokens: Vec<u32> = all.iter().map(|it| it.1).collect();
        if tokens.iter().all(|it| Some(it) == tokens.first()) {
            tokens.truncate(1);
        }
        let ns = differences(all.iter().map(|it| it.0));
        Differences { ns, tokens }.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Arrival>, D::Error> {
        let Differences { ns, tokens } = match Either::deserialize(from)? {
            Either::Differences(it) => it,
            Either::Plain(arrivals) => return Ok(arrivals),
        };
        let count = ns.len();
        let at = |index: usize| match tokens.as_slice() {
            [all] => Some(*all),
            each => each.get(index).copied(),
        };
        if tokens.len() > 1 && tokens.len() != count || tokens.is_empty() && count > 0 {
            let words = format!("{count} arrivals have {} counts of tokens", tokens.len());
            return Err(D::Error::custom(words));
        }
        let arrival = |(index, ns)| Arrival(ns, at(index).unwrap_or_default());
        Ok(sums(ns).enumerate().map(arrival).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::Arrival;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Both {
        #[serde(with = "super::arrivals")]
        arrivals: Vec<Arrival>,
        #[serde(with = "super::stamps")]
        stamps: Vec<u64>,
    }

    fn both(arrivals: &[(u64, u32)]) -> Both {
        Both {
            arrivals: arrivals.iter().map(|it| Arrival(it.0, it.1)).collect(),
            stamps: arrivals.iter().map(|it| it.0).collect(),
        }
    }

    #[test]
    fn differences_are_exact_and_short() {
        for arrivals in [
            &[][..],
            &[(7, 1)],
            &[(92_863_561, 1), (94_843_345, 1), (96_858_783, 1)],
            &[(5, 1), (3, 2), (u64::MAX, 0), (0, u32::MAX)],
        ] {
            let json = serde_json::to_string(&both(arrivals)).expect("JSON");
            let again: Both = serde_json::from_str(&json).expect("what was written");
            assert_eq!(again, both(arrivals));
        }
        let json = serde_json::to_string(&both(&[(92_863_561, 1), (94_843_345, 1)]));
        assert_eq!(
            json.expect("JSON"),
            r#"{"arrivals":{"ns":[92863561,1979784],"tokens":[1]},"stamps":{"ns":[92863561,1979784]}}"#
        );
    }

    #[test]
    fn times_of_earlier_journals_are_read() {
        let old = r#"{"arrivals":[[92863561,1],[94843345,2]],"stamps":[92863561,94843345]}"#;
        let read: Both = serde_json::from_str(old).expect("an old record");
        let stamps = vec![92_863_561, 94_843_345];
        assert_eq!(
            read.arrivals,
            [Arrival(stamps[0], 1), Arrival(stamps[1], 2)]
        );
        assert_eq!(read.stamps, stamps);
        for bad in [
            r#"{"arrivals":{"ns":[1,2,3],"tokens":[1,2]},"stamps":[]}"#,
            r#"{"arrivals":{"ns":[1]},"stamps":[]}"#,
            r#"{"arrivals":{"ns":["1"],"tokens":[1]},"stamps":[]}"#,
        ] {
            assert!(serde_json::from_str::<Both>(bad).is_err(), "{bad}");
        }
    }
}
