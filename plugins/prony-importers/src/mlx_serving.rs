//! mlx-serving's benchmark: `benchmark`, `models`, and `questions`, or `prompts` with
//! `test_images`.

mod read;
mod write;

use prony_config::foreign::{Imported, Importer, convert, too_large};
use prony_diagnostic::Diagnostic;

pub(crate) const IMPORTER: Importer = Importer {
    name: "mlx-serving",
    tool: "mlx-serving's benchmark",
    about: "mlx-serving's benchmark: `benchmark`, `models`, `questions` or `prompts` and `test_images`",
    key: "benchmark",
    import,
};

/// Makes a pipeline of a configuration; it is called after the file.
fn import(name: &str, text: &str) -> Result<Imported, Vec<Diagnostic>> {
    convert(name, text, |root, problems| {
        let (config, found) = read::read(root);
        problems.extend(found);
        let written = write::write(name, &config?);
        written
            .map_err(|error| problems.push(too_large(error.to_string())))
            .ok()
    })
}
