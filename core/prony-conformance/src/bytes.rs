//! Random bytes and places to cut them, the same in each run.

/// `SplitMix64`.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// Nonsense that somewhat resembles a response.
    pub(crate) fn garbage(&mut self) -> Vec<u8> {
        const WORDS: [&[u8]; 24] = [
            b"data: ",
            b"data:",
            b"event: error",
            b"[DONE]",
            b"{",
            b"}",
            b"[",
            b"]",
            b"\"",
            b":",
            b",",
            b"null",
            b"-1",
            b"1e999",
            b"\"choices\"",
            b"\"error\"",
            b"\"usage\"",
            b"\"text\"",
            b"\\ud83d",
            b"\n",
            b"\r\n",
            b"\r",
            b"\n\n",
            b"\xff\xfe\xf0\x9f",
        ];
        if self.below(3) == 0 {
            let length = self.below(400);
            return self.bytes(length);
        }
        let count = self.below(60);
        (0..count)
            .flat_map(|_| WORDS[self.below(WORDS.len())].iter().copied())
            .collect()
    }

    /// `body` with a few bytes changed, taken out or doubled.
    pub(crate) fn mutation(&mut self, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        for _ in 0..=self.below(8) {
            if body.is_empty() {
                break;
            }
            let at = self.below(body.len());
            let to = (at + 1 + self.below(40)).min(body.len());
            match self.below(3) {
                0 => body[at] = self.next() as u8,
                1 => drop(body.drain(at..to)),
                _ => {
                    let piece = body[at..to].to_vec();
                    body.splice(at..at, piece);
                }
            }
        }
        body
    }

    /// End offsets of up to eight reads.
    pub(crate) fn ends(&mut self, length: usize) -> Vec<u32> {
        let count = self.below(8);
        let cuts = (0..count).map(|_| 1 + self.below(length)).collect();
        ends(cuts, length)
    }
}

/// End offsets of the non-empty reads made by `cuts`.
pub(crate) fn ends(mut cuts: Vec<usize>, length: usize) -> Vec<u32> {
    cuts.push(length);
    cuts.retain(|cut| (1..=length).contains(cut));
    cuts.sort_unstable();
    cuts.dedup();
    cuts.into_iter().map(|cut| cut as u32).collect()
}

/// Numbers below `bound`: all, or about `samples` of them, evenly spaced, always with the
/// first and the last.
pub(crate) fn some(bound: usize, samples: usize) -> impl Iterator<Item = usize> {
    let step = bound.div_ceil(samples.max(1)).max(1);
    let last = bound.checked_sub(1).filter(|last| last % step != 0);
    (0..bound).step_by(step).chain(last)
}

/// Ways to cut `length` bytes: whole, byte by byte, every single cut, every pair of cuts
/// in a short response and a sample in a long one, and some with many cuts.
pub(crate) fn splits(length: usize, samples: usize) -> impl Iterator<Item = Vec<u32>> {
    const PAIRS: usize = 400;
    let single = some(length.saturating_sub(1), samples).map(move |at| vec![at + 1]);
    let pairs: Box<dyn Iterator<Item = Vec<usize>>> = if length <= 90 && samples >= 4_005 {
        Box::new((1..length).flat_map(move |a| (a + 1..length).map(move |b| vec![a, b])))
    } else {
        let mut random = Random(1);
        let pair = move |_| vec![1 + random.below(length), 1 + random.below(length)];
        Box::new((0..PAIRS.min(samples)).map(pair))
    };
    let mut random = Random(2);
    let many = (0..20.min(samples)).map(move |_| {
        let count = 3 + random.below(length / 4 + 1);
        (0..count).map(|_| 1 + random.below(length)).collect()
    });
    [vec![], (1..length).collect()]
        .into_iter()
        .chain(single)
        .chain(pairs)
        .chain(many)
        .map(move |cuts| ends(cuts, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_bodies_are_cut_in_every_way() {
        let all: std::collections::HashSet<_> = splits(5, usize::MAX).collect();
        for wanted in [
            &[5][..],
            &[1, 5],
            &[4, 5],
            &[1, 2, 5],
            &[3, 4, 5],
            &[1, 2, 3, 4, 5],
        ] {
            assert!(all.contains(wanted), "{wanted:?}");
        }
        assert_eq!(splits(0, 9).next(), Some(vec![]));
        assert_eq!(some(10, 3).collect::<Vec<_>>(), [0, 4, 8, 9]);
        assert_eq!(some(0, 3).count(), 0);
        assert_eq!(some(7, usize::MAX).count(), 7);
    }
}
