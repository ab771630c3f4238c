//! Codes of what can be wrong with a plugin, with the pages of `prony explain`.

/// A code and its documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// For example `X0005`.
    pub code: &'static str,
    /// Meaning, in a sentence.
    pub summary: &'static str,
    /// Its page in Markdown: the meaning and the way out.
    pub page: &'static str,
}

macro_rules! codes {
    ($($code:literal $summary:literal)*) => {
        /// All codes, in order.
        pub const CODES: &[Code] = &[$(Code {
            code: $code,
            summary: $summary,
            page: include_str!(concat!("../explain/", $code, ".md")),
        }),*];
    };
}

codes! {
    "X0001"
        "A plugin's file, its lock or a folder of it could not be read or written."
    "X0002"
        "A lock file is not what prony writes: it was edited by hand, is of a later prony, or is cut short."
    "X0003"
        "A file is neither a WASM module or component of the contract nor a shared library with its entry symbol."
    "X0004"
        "A plugin speaks another version of the plugin contract than this prony."
    "X0005"
        "A component asks for more than the contract gives: files, clocks, sockets, random numbers, or a function that nobody defines."
    "X0006"
        "The file of a plugin is not the one whose digest the lock names, or is not there."
    "X0007"
        "A native library runs outside the sandbox, with all your rights, and you have not allowed this one on this machine."
    "X0008"
        "A native library, its lock or the file of grants lies where another user can change it, so it is not used."
    "X0009"
        "The pipeline names a plugin that no lock has."
    "X0010"
        "A function of a plugin did not come back: a panic, an exception before its wrapper, a trap, or a limit of its sandbox."
    "X0011"
        "prony called a function that a plugin of this kind does not have."
    "X0012"
        "A plugin answered a call with an error: the message is its own."
    "X0013"
        "What a plugin returned does not follow the contract."
    "X0014"
        "wasmtime itself could not start or go on."
    "X0015"
        "The file that describes a plugin's project is missing, or has a key or value that prony does not know."
    "X0016"
        "A toolchain is missing, or it ended with an error."
    "X0017"
        "A plugin could not be fetched or updated, or its source has something else than it should."
    "X0018"
        "A plugin has no signature where one is needed, or another one than it should."
}
