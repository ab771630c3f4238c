//! Signatures that minisign 0.11 made, in its form and in the older one (`minisign -S -l`).

use prony_fetch::{Signature, key};

const FILE: &[u8] = include_bytes!("signed/plugin.bin");
const SIGNATURES: [&str; 2] = [
    include_str!("signed/plugin.bin.minisig"),
    include_str!("signed/legacy.bin.minisig"),
];
const OWN: &str = include_str!("signed/one.pub");
const OTHER: &str = include_str!("signed/two.pub");

#[test]
fn a_file_is_as_its_owner_has_signed_it_or_not() {
    let (own, other) = (key(OWN).expect("a key"), key(OTHER).expect("a key"));
    assert!(own.starts_with("RW"), "{own}");
    assert_eq!(key(&own).as_ref(), Ok(&own), "a key alone");
    for text in SIGNATURES {
        let signature = Signature::read(text).expect("a signature");
        assert!(signature.is_by(&own, FILE));
        assert!(!signature.is_by(&other, FILE));
        assert!(!signature.is_by(&own, b"prony: a file that was changed\n"));
        // What stands beside is signed, too.
        let changed = text.replace("prony test", "prony best");
        assert_ne!(changed, text);
        let changed = Signature::read(&changed).expect("a signature");
        assert!(!changed.is_by(&own, FILE));
    }
}

#[test]
fn what_is_no_key_or_signature_is_told() {
    for text in [
        "",
        "untrusted comment: nothing\n",
        "RWnonsense",
        OTHER.get(..40).unwrap_or_default(),
    ] {
        let error = key(text).expect_err(text);
        assert!(error.contains("begins with `RW`"), "{error}");
        let error = Signature::read(text).err().expect(text);
        assert!(error.contains("not a signature of minisign"), "{error}");
    }
}
