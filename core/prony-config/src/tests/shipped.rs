//! The pipelines that ship are valid.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use prony_diagnostic::human;

use super::plugins::Shipped;
use crate::{Inputs, Pipeline, load_all};

/// Loads files of the repository, the later ones laid over the first.
fn clean(files: &[&str]) -> Pipeline {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |name: &str| {
        fs::read_to_string(root.join(name)).map_err(|error| error.to_string().as_str().into())
    };
    let inputs = Inputs {
        files: files
            .iter()
            .map(|name| ((*name).to_owned(), read(name).expect("a file")))
            .collect(),
        read: &read,
        ..Inputs::one("", "", &Shipped)
    };
    let load = |inputs: &Inputs| match load_all(inputs) {
        Ok(loaded) if loaded.warnings.is_empty() => loaded.pipeline,
        Ok(loaded) => panic!("{}", human(&loaded.warnings, false)),
        Err(problems) => panic!("{}", human(&problems, false)),
    };
    let pipeline = load(&inputs);
    // As the pipeline of a run, read to go on with it.
    let yaml = |pipeline: &Pipeline| serde_yaml::to_string(pipeline).expect("YAML");
    let text = yaml(&pipeline);
    let again = load(&Inputs {
        read: &read,
        ..Inputs::one("again.yaml", &text, &Shipped)
    });
    assert_eq!(yaml(&again), text, "{files:?}");
    pipeline
}

#[test]
fn the_suites_are_valid_without_warnings() {
    let suites = [
        "base",
        "small-first",
        "all",
        "large-only",
        "error-handling",
        "vision",
    ];
    let models = [1, 13, 14, 5, 3, 4];
    for (suite, models) in suites.into_iter().zip(models) {
        let file = format!("pipelines/mlx/{suite}.yaml");
        let pipeline = clean(&[&file]);
        assert_eq!(pipeline.points[0].models.len(), models, "{suite}");
        let engines = |pipeline: &Pipeline| -> Vec<String> {
            let engines = pipeline.engines.iter();
            engines.map(|engine| engine.name.clone()).collect()
        };
        if suite == "vision" {
            assert_eq!(engines(&pipeline), ["mlx-engine", "mlx-vlm"]);
            continue;
        }
        assert_eq!(engines(&pipeline), ["mlx-engine", "mlx-serving"]);
        let over = clean(&[&file, "pipelines/mlx/mlx-lm.overlay.yaml"]);
        assert_eq!(engines(&over), ["mlx-engine", "mlx-lm"]);
    }
}

/// Request `i` is prompt `i`, and each round starts with the next image.
#[test]
fn every_prompt_of_the_suite_meets_every_image() {
    let pipeline = clean(&["pipelines/mlx/vision.yaml"]);
    let point = &pipeline.points[0];
    let (prompts, images) = (point.workload.prompts.len(), point.workload.images.len());
    assert_eq!((prompts, images), (10, 5));
    let requests = point
        .measures()
        .next()
        .map_or(0, |measure| measure.requests as usize);
    let pair = |i: usize| (i % prompts, (i % prompts + i / prompts) % images);
    let pairs: HashSet<_> = (0..requests).map(pair).collect();
    assert_eq!(pairs.len(), prompts * images);
}

#[test]
fn other_pipelines_that_ship_are_valid_without_warnings() {
    for file in [
        "pipelines/quickstart.yaml",
        "pipelines/smollm2.yaml",
        "examples/attach/pipeline.yaml",
        "examples/conversations/pipeline.yaml",
    ] {
        clean(&[file]);
    }
    for starter in ["hello", "compare", "sweep", "ci-gate"] {
        clean(&[&format!("core/prony-cli/src/starters/{starter}.yaml")]);
    }
}
