//! reporter-console
