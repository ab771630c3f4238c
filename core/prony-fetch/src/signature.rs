//! Signatures of files by minisign (<https://jedisct1.github.io/minisign/>).

use minisign_verify::PublicKey;

/// A public key in the form that locks have, out of such a text or the text of a `minisign.pub`.
/// The error is the reason.
pub fn key(text: &str) -> Result<String, String> {
    let line = text.lines().map(str::trim);
    let mut line = line.filter(|it| !it.is_empty() && !it.starts_with("untrusted comment:"));
    let key = line.next().unwrap_or_default().to_owned();
    match PublicKey::from_base64(&key) {
        Ok(_) => Ok(key),
        Err(error) => Err(format!(
            "it is not a public key of minisign, which begins with `RW`: {error}"
        )),
    }
}

/// A signature beside a file.
#[derive(Clone)]
pub struct Signature(minisign_verify::Signature);

impl Signature {
    /// Reads the text of a `.minisig`. The error is the reason.
    pub fn read(text: &str) -> Result<Self, String> {
        let signature = minisign_verify::Signature::decode(text.trim_end());
        signature
            .map(Self)
            .map_err(|error| format!("it is not a signature of minisign: {error}"))
    }

    /// Returns `true` if the owner of a key, in the form that locks have, has signed these bytes.
    pub fn is_by(&self, key: &str, bytes: &[u8]) -> bool {
        // The form without a digest is what older versions of minisign make.
        PublicKey::from_base64(key).is_ok_and(|key| key.verify(bytes, &self.0, true).is_ok())
    }
}
