//! prony-plugin-test
