//! Simulates the reliability of verdicts.

use anyhow::Result;

use crate::shell;
use crate::workspace::Workspace;

/// Runs the simulator, which is an example of `prony-metrics`: this program depends on no
/// other package of the workspace.
pub(crate) fn sim(workspace: &Workspace, options: &[&str]) -> Result<()> {
    shell::step("simulating");
    shell::run(
        workspace
            .cargo("run")
            .args(["--release", "--quiet", "--package", "prony-metrics"])
            .args(["--example", "sim", "--"])
            .args(options),
    )
}
