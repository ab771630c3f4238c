//! Formats of a pipeline's datasets, known before a run: the first record tells.

use prony_config::Pipeline;
use prony_runner::dataset;
use std::path::Path;

/// The datasets of a pipeline in `file`, each once: its format, or why it cannot be read.
pub(crate) fn recognised(pipeline: &Pipeline, file: &Path) -> Vec<String> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut lines = Vec::new();
    for of in pipeline
        .points
        .iter()
        .filter_map(|it| it.workload.dataset.as_ref())
    {
        let path = folder.join(&of.path);
        let line = match dataset::recognise(&path, of) {
            _ if !path.exists() => format!("the dataset {} is not there yet", of.path),
            Ok((format, by)) => {
                let (name, title) = (format.name(), format.title());
                format!("the dataset {} is {title} (`{name}`), {by}", of.path)
            }
            Err(problem) => format!("the dataset cannot be read: {}{problem}", of.path),
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}
