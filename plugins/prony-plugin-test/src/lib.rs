//! Conformance kit for plugin authors: what prony expects of every adapter,
//! as one test.
//!
//! Put recorded responses into a folder and write `tests/conformance.rs`:
//!
//! ```
//! # mod my_engine {
//! #     use prony_plugin_sdk::*;
//! #     #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #     #[serde(deny_unknown_fields)]
//! #     pub struct Config {
//! #         /// Where the server listens.
//! #         base_url: String,
//! #     }
//! #     pub struct Lines { config: Config }
//! #     impl Engine for Lines {
//! #         type Config = Config;
//! #         const ABOUT: About = about!("lines", "One token a line");
//! #         fn new(config: Config) -> Result<Self> { Ok(Self { config }) }
//! #         fn launch(&self, _: &Model, _: &Endpoint) -> Result<LaunchPlan> {
//! #             Ok(LaunchPlan::attach(&self.config.base_url, Ready::Immediate))
//! #         }
//! #         fn encode(&self, model: &Model, request: &Request) -> Result<HttpRequest> {
//! #             let body = serde_json::json!({ "system": request.system, "model": model.id, "request": request });
//! #             Ok(HttpRequest::post_json("/", &body))
//! #         }
//! #         fn decode(&self, response: &Response<'_>, events: &mut Events) -> Result<()> {
//! #             if response.status != 200 {
//! #                 events.failure(response.last_read(), "refused");
//! #                 return Ok(());
//! #             }
//! #             for (read, line) in response.lines() {
//! #                 if line == b"." {
//! #                     events.finish(read, "stop");
//! #                     events.end(read);
//! #                 } else {
//! #                     events.text(read, 1, &String::from_utf8_lossy(line));
//! #                 }
//! #             }
//! #             Ok(())
//! #         }
//! #     }
//! #     pub static PLUGIN: native::PluginTable = native::engine_table::<Lines>();
//! # }
//! # fn conformance() {
//! // #[test] fn conformance() {
//! prony_plugin_test::Engine::new(&my_engine::PLUGIN)
//!     .config(r#"{ "base_url": "http://127.0.0.1:8080" }"#)
//!     .fixtures("fixtures")
//!     .check();
//! // }
//! # }
//! # std::fs::create_dir_all(std::env::temp_dir().join("prony-kit-doc/fixtures")).unwrap();
//! # std::env::set_current_dir(std::env::temp_dir().join("prony-kit-doc")).unwrap();
//! # std::fs::write("fixtures/two.body", "a\nb\n.\n").unwrap();
//! # std::fs::write("fixtures/two.events.json", r#"[{"kind":"text","tokens":1,"text":"a"},{"kind":"text","tokens":1,"text":"b"},{"kind":"finish","text":"stop"},{"kind":"end"}]"#).unwrap();
//! # conformance();
//! ```
//!
//! `BLESS=1 cargo test` writes what the adapter says now; read the diff before
//! committing it. `docs/conformance.md` says what is checked and what a fixture is; the same
//! checks of a built file, in any language, are `prony plugin test`.
//!
//! [`mutants`] says what the fixtures are worth: how many of the defects that an adapter can have
//! they would find.

pub use prony_conformance::{
    Answer, Check, Fault, Finding, Kit, Kit as Engine, Session, Settings, Subject, mutants,
};
