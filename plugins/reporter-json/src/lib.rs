//! reporter-json
