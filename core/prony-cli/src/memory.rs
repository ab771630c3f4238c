//! The end of a prony that gets no more memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write as _;

#[global_allocator]
static ALLOCATOR: OrAbort = OrAbort;

/// The system's allocator, which aborts where it has no more memory.
///
/// The standard library's own way there prints a backtrace if `RUST_BACKTRACE` asks for one. That
/// needs memory, and a lock that the thread may hold already: the process would hang, with its
/// engines loaded.
struct OrAbort;

// SAFETY: every call is the system allocator's, with what the caller promised; memory that is
// handed out is as it gave it.
unsafe impl GlobalAlloc for OrAbort {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        or_end(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        or_end(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        or_end(unsafe { System.realloc(at, layout, size) }, size)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

/// The memory, if there is some.
fn or_end(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() {
        end(size);
    }
    memory
}

/// Has a thread that cannot begin, for want of memory or by a limit, end the process in the same
/// way. The standard library and tokio panic there, and nothing of a run can do without its threads.
pub(crate) fn end_where_threads_cannot_begin() {
    const WORDS: [&str; 3] = [
        "failed to allocate an alternative stack",
        "failed to spawn thread",
        "OS can't spawn worker thread",
    ];
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        if WORDS.iter().any(|it| text.starts_with(it)) {
            end(0);
        }
        others(panic);
    }));
}

/// Says so, without memory of its own, and ends the process. `size` is in bytes; 0: of a
/// thread.
#[cold]
fn end(size: usize) -> ! {
    let mut line = [0; 128];
    let mut rest = &mut line[..];
    // It fits.
    let _ = match size {
        0 => writeln!(
            rest,
            "error: the system has no more memory for a thread, or allows no more"
        ),
        _ => writeln!(
            rest,
            "error: the system has no more memory ({size} bytes were asked for)"
        ),
    };
    let unused = rest.len();
    let _ = rustix::io::write(rustix::stdio::stderr(), &line[..line.len() - unused]);
    std::process::abort()
}
