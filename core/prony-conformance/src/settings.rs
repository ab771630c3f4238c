//! What the checks have to know beside the plugin: a folder's `kit.json`.

use prony_contract::Model;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Name of the file, in a folder of fixtures.
pub const KIT: &str = "kit.json";

/// Fields that may be stated as not sent.
pub(crate) const MAY_BE_MISSING: [&str; 7] = [
    "api",
    "ignore_eos",
    "model",
    "seed",
    "stop",
    "temperature",
    "top_p",
];

/// Settings of the checks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A config that the plugin accepts.
    #[serde(default = "empty")]
    pub config: Value,
    /// Model that an in-process engine loads. Adapters only name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// Fields of a request that the engine has no way to be told, each with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub not_sent: BTreeMap<String, String>,
}

fn empty() -> Value {
    json!({})
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            config: empty(),
            model: None,
            not_sent: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Those of a folder of fixtures; `None` if it has none.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no such settings: in words, with its place.
    pub fn read(folder: &Path) -> Result<Option<Self>, String> {
        let path = folder.join(KIT);
        let text = match crate::files::read_text(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("`{}`: {error}", path.display())),
        };
        let settings: Self = serde_json::from_str(&text)
            .map_err(|error| format!("`{}`: {error}", path.display()))?;
        let mut names = settings.not_sent.keys();
        match names.find(|name| !MAY_BE_MISSING.contains(&name.as_str())) {
            Some(name) => Err(format!(
                "`{}`: `{name}` in `not_sent` is none of {}: an engine that cannot be told the others has to refuse them as `unsupported`",
                path.display(),
                MAY_BE_MISSING.map(|it| format!("`{it}`")).join(", ")
            )),
            None => Ok(Some(settings)),
        }
    }
}
