//! A plugin out of a file, without a lock: for its author.

use crate::digest::sha256_of;
use crate::error::{Error, Result};
use crate::lock::{AskedLimits, Form};
use crate::native::{LocalEngine, NativePlugin};
use crate::registry::{Setup, finished, read};
use crate::trust::private_copy;
use crate::{Plugin, WasmPlugin};
use prony_contract::Model;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A loaded plugin.
pub struct PluginFile {
    loaded: Loaded,
    /// The file, for messages.
    path: PathBuf,
}

enum Loaded {
    Wasm(WasmPlugin),
    /// With the copy that was loaded.
    Native(NativePlugin, PathBuf),
}

impl PluginFile {
    /// Loads the plugin in `path`, with the limits that it asks for. `may_run_natively` is the
    /// user's word that a shared library may run outside the sandbox, for this once.
    pub fn open(
        path: &Path,
        may_run_natively: bool,
        asked: AskedLimits,
        setup: &Setup,
    ) -> Result<Self> {
        let (form, bytes) = finished(path, read(path)?)?;
        let loaded = match form {
            Form::Wasm => {
                let host = setup.host()?;
                Loaded::Wasm(host.load_within(path, &bytes, asked.of_call())?)
            }
            Form::Native if may_run_natively => {
                let copy = private_copy(&setup.cache, &sha256_of(&bytes), &bytes)?;
                Loaded::Native(NativePlugin::open_copy(path, &copy)?, copy)
            }
            Form::Native => {
                return Err(Error::NotGranted {
                    path: path.to_owned(),
                });
            }
        };
        Ok(Self {
            loaded,
            path: path.to_owned(),
        })
    }

    /// The plugin.
    pub fn plugin(&self) -> &dyn Plugin {
        match &self.loaded {
            Loaded::Wasm(plugin) => plugin,
            Loaded::Native(plugin, _) => plugin,
        }
    }

    /// Form of the file.
    pub fn form(&self) -> Form {
        match &self.loaded {
            Loaded::Wasm(_) => Form::Wasm,
            Loaded::Native(..) => Form::Native,
        }
    }

    /// Loads the model of an in-process engine, in this process.
    pub fn open_engine(&self, config: &Value, model: &Model) -> Result<LocalEngine> {
        match &self.loaded {
            Loaded::Wasm(_) => Err(Error::NotAPlugin {
                path: self.path.clone(),
                reason: "an in-process engine must be a native library".to_owned(),
            }),
            // The system hands out the library that is loaded already.
            Loaded::Native(_, copy) => {
                LocalEngine::open(NativePlugin::open_copy(&self.path, copy)?, config, model)
            }
        }
    }
}
