//! prony-plugin-sdk
