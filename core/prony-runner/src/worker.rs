//! The worker process of an in-process engine.

use prony_contract::{Error, ErrorKind, Event, Kind, Request};
use prony_loadgen::local;
use prony_plugin_host::{LocalEngine, Registry};
use std::io::BufReader;

struct Loaded(LocalEngine);

impl local::Engine for Loaded {
    fn generate(
        &mut self,
        request: &Request,
        clock: fn() -> u64,
        until_ns: u64,
    ) -> Result<Vec<(u64, Event)>, Error> {
        self.0
            .generate(request, clock, until_ns)
            .map_err(prony_plugin_host::Error::into_reported)
    }
}

/// Serves orders from standard input until it ends. Answers go to the original standard
/// output; from here on standard output is standard error, since a library may print.
pub fn serve(registry: &Registry, plugin: &str) -> std::io::Result<()> {
    let answers = std::fs::File::from(rustix::io::dup(rustix::stdio::stdout())?);
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    let orders = BufReader::new(std::io::stdin());
    local::serve(orders, answers, |config, model| {
        let open = || LocalEngine::open(registry.load_native(Kind::Engine, plugin)?, config, model);
        open().map(Loaded).map_err(|error| match error {
            prony_plugin_host::Error::Reported { error, .. } => error,
            other => Error::new(ErrorKind::Engine, other.to_string()),
        })
    })
}
