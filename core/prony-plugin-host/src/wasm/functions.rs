//! Compiled functions, kept from one component to the next: guests that bring the runtime of
//! a language share nearly all of them.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::{Mutex, PoisonError};

use wasmtime::CacheStore;

/// Length of a key, a sha256 of the function and of all that its compilation depends on.
const KEY: usize = 32;
/// Length of a key and of the length of what follows it.
const HEAD: usize = KEY + 4;
/// Maximum length of all that is kept, in bytes: Python twice, or several smaller languages. The
/// process that compiles has it in memory.
const MAX_KEPT: usize = 96 << 20;

type Key = [u8; KEY];

/// Functions by their keys, for one compilation.
#[derive(Debug, Default)]
pub(super) struct Functions {
    /// Compiled before.
    kept: BTreeMap<Key, Box<[u8]>>,
    /// Keys of the kept functions that this compilation took.
    used: Mutex<BTreeSet<Key>>,
    /// Compiled now.
    new: Mutex<BTreeMap<Key, Box<[u8]>>>,
}

impl Functions {
    /// Reads what [`Functions::kept_and_new`] returned. What does not follow its form ends it.
    pub(super) fn read(mut bytes: &[u8]) -> Self {
        let mut kept = BTreeMap::new();
        while let Some((key, rest)) = bytes.split_first_chunk::<KEY>()
            && let Some((length, rest)) = rest.split_first_chunk()
            && let Some((code, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)
        {
            kept.insert(*key, code.into());
            bytes = rest;
        }
        Self {
            kept,
            ..Self::default()
        }
    }

    /// All functions as bytes, or as many as are kept: new ones first, then those that were of use.
    /// `None` if none is new.
    pub(super) fn kept_and_new(&self) -> Option<Vec<u8>> {
        let new = mem::take(&mut *self.new.lock().unwrap_or_else(PoisonError::into_inner));
        if new.is_empty() {
            return None;
        }
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let (of_use, others): (Vec<_>, Vec<_>) =
            self.kept.iter().partition(|(key, _)| used.contains(*key));
        let mut bytes = Vec::new();
        for (key, code) in new.iter().chain(of_use).chain(others) {
            if bytes.len() + HEAD + code.len() > MAX_KEPT {
                continue;
            }
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(&(code.len() as u32).to_le_bytes());
            bytes.extend_from_slice(code);
        }
        Some(bytes)
    }
}

impl CacheStore for Functions {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let (key, code) = self.kept.get_key_value(key)?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert(*key);
        Some(Cow::Borrowed(&**code))
    }

    fn insert(&self, key: &[u8], value: Vec<u8>) -> bool {
        let Ok(key) = Key::try_from(key) else {
            return false;
        };
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        match new.entry(key) {
            Entry::Vacant(entry) => entry.insert(value.into()),
            Entry::Occupied(_) => return false,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Key = [1; KEY];
    const B: Key = [2; KEY];

    #[test]
    fn functions_are_kept_once() {
        let first = Functions::default();
        assert!(first.insert(&A, b"one".to_vec()));
        assert!(!first.insert(&A, b"one".to_vec()));
        assert!(!first.insert(b"short", b"no key".to_vec()));
        let bytes = first.kept_and_new().expect("functions");
        assert_eq!(bytes.len(), HEAD + 3);

        let second = Functions::read(&bytes);
        assert_eq!(second.get(&A).as_deref(), Some(&b"one"[..]));
        assert_eq!(second.get(&B), None);
        assert_eq!(second.kept_and_new(), None);
        assert!(second.insert(&B, Vec::new()));
        let third = Functions::read(&second.kept_and_new().expect("functions"));
        assert_eq!(third.get(&A).as_deref(), Some(&b"one"[..]));
        assert_eq!(third.get(&B).as_deref(), Some(&b""[..]));
    }

    #[test]
    fn what_is_cut_off_is_left_out() {
        let all = Functions::default();
        all.insert(&A, b"one".to_vec());
        let bytes = all.kept_and_new().expect("functions");
        for length in 0..bytes.len() {
            assert_eq!(Functions::read(&bytes[..length]).kept.len(), 0);
        }
    }
}
