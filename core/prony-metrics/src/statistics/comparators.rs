//! Methods that are often used for such data. No verdict rests on them; they are here
//! so that it can be shown what they would have said.

mod bootstrap;
mod confidence_sequence;
mod mann_whitney;
mod sign_flip;
mod student;

pub use bootstrap::{Bootstrap, bootstrap};
pub use confidence_sequence::{ConfidenceSequence, confidence_sequence};
pub use mann_whitney::{MannWhitney, mann_whitney};
pub use sign_flip::sign_flip;
pub use student::{Student, Tost, welch_p_value};
