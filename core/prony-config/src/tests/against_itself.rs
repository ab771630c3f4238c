//! A/A pipelines.

use super::fixtures::{again, load};
use crate::{AgainstItself, Order};

const PIPELINE: &str = "\
version: 1
name: p
engines:
  left: { plugin: openai, config: { base_url: \"http://127.0.0.1:1/v1\" } }
  right: { plugin: openai, config: { base_url: \"http://127.0.0.1:2/v1\" } }
compare: { baseline: right, margin_percent: 3 }
matrix:
  axes: { n: [1, 2] }
  include: [{ n: 3, engine: left }, { n: 4, engine: right }]
  exclude: [{ n: 1, engine: left }, { n: 2, engine: right }]
models: [{ id: m, revision: main }]
workload: { prompts: [hi], max_tokens: \"${{ matrix.n }}\", temperature: 0 }
schedule: { cycles: 3, order: sequential }
thresholds: [{ metric: success_rate, min: 1, engine: right }]
stages: [{ warmup: {} }, { measure: { requests: 2 } }, { report: {} }]
";

#[test]
fn an_engine_is_on_both_sides_and_all_else_stays() {
    let (pipeline, _) = load(PIPELINE).expect("it is valid");
    let aa = |engine| AgainstItself {
        engine,
        cycles: 40,
        seed: 7,
    };
    assert_eq!(aa("middle").of(&pipeline), None);
    let file = aa("left").of(&pipeline).expect("there is such an engine");
    // JSON is YAML.
    let both = again(&file.to_string());
    let names: Vec<&str> = both.engines.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["left", "left_again"]);
    assert_eq!(both.engines[0].config, both.engines[1].config);
    assert_eq!(both.engines[0].config, pipeline.engines[0].config);
    let compare = both.compare.expect("two engines are compared");
    assert_eq!((&*compare.baseline, compare.margin_percent), ("left", 3.0));
    assert_eq!(both.schedule.cycles.planned(), 40);
    assert_eq!(both.schedule.seed, 7);
    assert_eq!(both.schedule.order, Order::Interleaved);
    assert!(both.thresholds.is_empty());
    // Without the entries for the other engine, and without this one's exclusions.
    let points: Vec<_> = both
        .points
        .iter()
        .map(|point| point.id.as_deref())
        .collect();
    assert_eq!(points, [Some("n=2"), Some("n=3")]);
    for point in &both.points {
        assert!(point.runs("left", "m") && point.runs("left_again", "m"));
    }
}

#[test]
fn the_only_engine_can_be_on_both_sides() {
    let text = "version: 1\nname: p\nengine: { plugin: openai }\nmodel: { id: m }\nworkload: { prompts: [hi] }\nstages: [{ measure: {} }, { report: {} }]\n";
    let (pipeline, _) = load(text).expect("it is valid");
    let aa = AgainstItself {
        engine: "openai",
        cycles: 8,
        seed: 0,
    };
    let file = aa.of(&pipeline).expect("there is such an engine");
    let both = again(&file.to_string());
    let names: Vec<&str> = both.engines.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["openai", "openai_again"]);
}
