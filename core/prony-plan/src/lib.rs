//! prony-plan
