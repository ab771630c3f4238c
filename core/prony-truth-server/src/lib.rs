//! prony-truth-server
