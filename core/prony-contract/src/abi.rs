//! The C form of the contract: the table of `schemas/include/prony_plugin.h`.
//!
//! Memory rule: inputs are borrowed for the call, outputs go through a callback
//! of the host that copies.

use crate::CONTRACT;
use std::ffi::c_void;

/// First field of every table: `PRNY`.
pub const MAGIC: u32 = 0x594e_5250;

/// Operations of [`PluginTable::call`].
pub mod op {
    /// `{}` → manifest.
    pub const DESCRIBE: u32 = 0;
    /// `{config, model, at}` → launch plan; over stdio `{config, model}` → stdio plan.
    pub const LAUNCH: u32 = 1;
    /// `{config, model, request}` → HTTP request; over stdio
    /// `{config, model, request, number}` → message.
    pub const ENCODE: u32 = 2;
    /// `{config}` → list of errors. A plugin may be without it.
    pub const CHECK: u32 = 3;
}

/// Return codes.
pub mod code {
    /// Done.
    pub const OK: i32 = 0;
    /// An error was written as JSON.
    pub const ERR: i32 = 1;
    /// The plugin panicked.
    pub const PANIC: i32 = 2;
    /// The plugin has no such operation.
    pub const UNSUPPORTED: i32 = 3;
}

/// Borrowed bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Str {
    /// Start; may dangle when `len` is 0.
    pub ptr: *const u8,
    /// Number of bytes.
    pub len: usize,
}

impl Str {
    /// Borrows `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
        }
    }

    /// The bytes.
    ///
    /// # Safety
    /// `ptr` and `len` must describe memory that stays readable for `'a`.
    pub unsafe fn get<'a>(self) -> &'a [u8] {
        if self.len == 0 || self.ptr.is_null() {
            return &[];
        }
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

/// `prony_event`.
#[repr(C)]
#[derive(Debug)]
pub struct RawEvent {
    /// Read that completed the event.
    pub read: u32,
    /// Number of an [`EventKind`](crate::EventKind).
    pub kind: u32,
    /// A count.
    pub tokens: u32,
    /// Zero.
    pub reserved: u32,
    /// Nanoseconds of the engine's own clock.
    pub ns: u64,
    /// A text.
    pub text: Str,
}

/// `prony_artifact`.
#[repr(C)]
#[derive(Debug)]
pub struct RawArtifact {
    /// File name.
    pub name: Str,
    /// Media type.
    pub media_type: Str,
    /// Content.
    pub bytes: Str,
}

/// `prony_write`.
pub type Write = unsafe extern "C" fn(ctx: *mut c_void, bytes: Str);
/// `prony_emit`. Not 0: the answer is no longer wanted.
pub type Emit = unsafe extern "C" fn(ctx: *mut c_void, event: *const RawEvent) -> i32;
/// `prony_keep`.
pub type Keep = unsafe extern "C" fn(ctx: *mut c_void, artifact: *const RawArtifact);

/// `prony_host`.
#[repr(C)]
#[derive(Debug)]
pub struct RawHost {
    /// Size of the structure, in bytes.
    pub struct_size: usize,
    /// Adds a line to the run's log; `level` is the number of a [`Level`](crate::Level).
    pub log: Option<unsafe extern "C" fn(level: u32, message: Str)>,
}

/// `prony_plugin_table`.
#[repr(C)]
#[derive(Debug)]
#[expect(missing_docs, reason = "the header says what each entry does")]
pub struct PluginTable {
    pub magic: u32,
    pub contract_major: u32,
    pub contract_minor: u32,
    pub event_size: u32,
    pub struct_size: usize,
    pub call: Option<unsafe extern "C" fn(u32, Str, Write, *mut c_void) -> i32>,
    pub decode:
        Option<unsafe extern "C" fn(Str, Str, *const u32, usize, Emit, Write, *mut c_void) -> i32>,
    pub engine_open: Option<unsafe extern "C" fn(Str, Write, *mut c_void) -> *mut c_void>,
    pub engine_generate:
        Option<unsafe extern "C" fn(*mut c_void, Str, Emit, Write, *mut c_void) -> i32>,
    pub engine_close: Option<unsafe extern "C" fn(*mut c_void)>,
    pub render: Option<unsafe extern "C" fn(Str, Keep, Write, *mut c_void) -> i32>,
    pub start: Option<unsafe extern "C" fn(*const RawHost)>,
}

impl PluginTable {
    /// A table of this contract without any entry.
    pub const EMPTY: Self = Self {
        magic: MAGIC,
        contract_major: CONTRACT.0,
        contract_minor: CONTRACT.1,
        event_size: size_of::<RawEvent>() as u32,
        struct_size: size_of::<Self>(),
        call: None,
        decode: None,
        engine_open: None,
        engine_generate: None,
        engine_close: None,
        render: None,
        start: None,
    };
}
