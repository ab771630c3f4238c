//! Signals that whoever started prony wants ignored.

use std::mem::MaybeUninit;

/// Returns `true` if SIGHUP is ignored, as under `nohup`. Ask before a handler is
/// installed.
pub fn is_hangup_ignored() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only writes the present one to `action`,
    // which is large enough.
    let failed =
        unsafe { libc::sigaction(libc::SIGHUP, std::ptr::null(), action.as_mut_ptr()) } != 0;
    if failed {
        return false;
    }
    // SAFETY: the call succeeded, so it has written the whole action.
    let action = unsafe { action.assume_init() };
    action.sa_sigaction == libc::SIG_IGN
}
