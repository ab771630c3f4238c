//! prony-config
