//! prony-loadgen
