//! prony-runner
