//! prony-diagnostic
