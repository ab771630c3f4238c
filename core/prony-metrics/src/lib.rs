//! prony-metrics
