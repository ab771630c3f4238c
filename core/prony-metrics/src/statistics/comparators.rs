//! Methods that are often used for such data. No verdict of a run rests on them; they are
//! here so that it can be shown what they would have said. [`Shift`] is what runs that were
//! not interleaved are compared by, where the user says that they may be.

mod bootstrap;
mod confidence_sequence;
mod mann_whitney;
mod sign_flip;
mod student;

pub use bootstrap::{Bootstrap, bootstrap};
pub use confidence_sequence::{ConfidenceSequence, confidence_sequence};
pub use mann_whitney::{MannWhitney, Shift, mann_whitney};
pub use sign_flip::sign_flip;
pub use student::{Student, Tost, welch_p_value};
