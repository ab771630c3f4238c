//! Runs a plan.
//!
//! ```text
//! Plan ─ Runner ─ setup ─ visits (load warmup measure unload) ─ Journal ─ result ─ report
//! ```
//!
//! Everything in a report is computed from the journal, right after the run or at any
//! later time.

mod answers;
pub mod author;
mod chat;
mod context;
pub mod dataset;
mod environment;
mod failed;
mod hub;
mod images;
pub mod installed;
mod launched;
mod log;
pub mod process;
mod request_set;
mod resume;
mod run;
mod runner;
pub mod selfcheck;
pub mod sending;
mod sent;
pub mod served;
mod setup;
mod step;
mod visit;
pub mod worker;

pub use answers::{LeftAnswers, Means, left_answers, recover_answers};
pub use failed::DEFAULT_KEPT;
pub use hub::wanted;
pub use launched::image_digest;
pub use prony_journal::{Error, Result};
pub use prony_loadgen::client::check_open_files;
pub use prony_machine::Fingerprint;
pub use runner::{Finished, Inputs, Options, Resume, Runner};
pub use sent::SentMessages;
pub use step::name as step_name;
