//! prony-plugin-host
