//! The end of a journal's line: `,"n":123,"crc":"89abcdef"}`.
//!
//! `n` counts the lines from 1. `crc` is the CRC-32 of the line's bytes before `,"crc"`, so a
//! line is checked before anything in it is believed.

/// Bytes of `,"crc":"89abcdef"}`.
const TAIL: usize = 18;
const BEFORE: &[u8] = b",\"crc\":\"";

/// Ends a JSON object, as bytes, with its number and its checksum.
pub(crate) fn seal(json: &mut Vec<u8>, number: u64) {
    // The last `}`.
    json.pop();
    json.extend_from_slice(format!(",\"n\":{number}").as_bytes());
    let tail = tail(json);
    json.extend_from_slice(&tail);
}

fn tail(sealed: &[u8]) -> Vec<u8> {
    format!(",\"crc\":\"{:08x}\"}}", crc32fast::hash(sealed)).into_bytes()
}

/// The seal of a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seal {
    /// It holds; the line's number.
    Whole(u64),
    /// There is none, as in the first schema.
    None,
    /// It does not hold.
    Broken,
}

/// Checks the seal of a line without its line break.
pub(crate) fn check(line: &[u8]) -> Seal {
    let Some((body, end)) = line.split_at_checked(line.len().saturating_sub(TAIL)) else {
        return Seal::None;
    };
    if !end.starts_with(BEFORE) {
        return Seal::None;
    }
    if end != tail(body) {
        return Seal::Broken;
    }
    let digits = body.iter().rev().take_while(|it| it.is_ascii_digit());
    let (before, digits) = body.split_at(body.len() - digits.count());
    let number = std::str::from_utf8(digits).ok();
    let number = number.filter(|_| before.ends_with(b",\"n\":"));
    number
        .and_then(|it| it.parse().ok())
        .map_or(Seal::Broken, Seal::Whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_holds_and_no_flipped_bit_does() {
        let mut line = b"{\"event\":\"warning\"}".to_vec();
        seal(&mut line, 42);
        assert!(line.starts_with(b"{\"event\":\"warning\",\"n\":42,\"crc\":\""));
        assert_eq!(check(&line), Seal::Whole(42));
        for bit in 0..line.len() * 8 {
            let mut flipped = line.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(check(&flipped), Seal::Whole(_)), "bit {bit}");
        }
        assert_eq!(check(b"{}"), Seal::None);
        assert_eq!(check(b""), Seal::None);
    }
}
