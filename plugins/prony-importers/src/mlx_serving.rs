//! mlx-serving's benchmark: `benchmark`, `models`, and `questions`, or `prompts` with
//! `test_images`.

mod read;
mod write;

use crate::TOOLS;
use prony_config::foreign::{Imported, Importer, Tool, Way, convert, other_than, too_large};
use prony_diagnostic::Diagnostic;

pub(crate) const TOOL: Tool = Tool {
    tool: "mlx-serving's benchmark",
    signs: &[&["benchmark"]],
    words: &[],
    way: Way::Import(IMPORTER),
};

pub(crate) const IMPORTER: Importer = Importer {
    name: "mlx-serving",
    about: "mlx-serving's benchmark: `benchmark`, `models`, `questions` or `prompts` and `test_images`",
    import,
};

/// Makes a pipeline of a configuration; it is called after the file.
fn import(name: &str, text: &str) -> Result<Imported, Vec<Diagnostic>> {
    convert(name, text, |root, problems| {
        if let Some(problem) = other_than(IMPORTER.name, root, TOOLS) {
            problems.push(problem);
            return None;
        }
        let (config, found) = read::read(root);
        problems.extend(found);
        let written = write::write(name, &config?);
        written
            .map_err(|error| problems.push(too_large(error.to_string())))
            .ok()
    })
}
