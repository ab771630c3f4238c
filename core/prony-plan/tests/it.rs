//! Order and completeness of plans, and what they take.

use prony_config::{Pipeline, PluginKind, Plugins, load};
use prony_plan::{Estimate, ModelKey, Part, Past, Plan, SegmentKey, Visit, ids};
use prony_record::Phase;
use std::collections::{BTreeMap, BTreeSet};

struct AnyPlugin;

impl Plugins for AnyPlugin {
    fn config_schema(&self, _: PluginKind, _: &str) -> Option<serde_json::Value> {
        Some(serde_json::json!({}))
    }

    fn names(&self, _: PluginKind) -> Vec<String> {
        Vec::new()
    }
}

fn loaded(text: &str) -> Pipeline {
    match load("t.yaml", text, &AnyPlugin) {
        Ok((pipeline, _)) => pipeline,
        Err(problems) => panic!("{problems:?}"),
    }
}

fn pipeline(order: &str, seed: u64, cycles: u32) -> Pipeline {
    loaded(&format!(
        "version: 1\nname: t\nengines: {{ a: {{ plugin: x }}, b: {{ plugin: x }} }}\n\
         models: [{{ id: m }}, {{ id: off, enabled: false }}, {{ id: n }}]\n\
         workload: {{ prompts: [hi], temperature: 0 }}\n\
         schedule: {{ cycles: {cycles}, seed: {seed}, order: {order} }}\nstages: [{{ measure: {{ requests: 2 }} }}]\n"
    ))
}

#[test]
fn every_enabled_model_meets_every_engine_once_per_cycle() {
    let plan = Plan::new(&pipeline("interleaved", 0, 5));
    let mut seen = BTreeMap::<(String, u32), BTreeSet<String>>::new();
    for visit in &plan.visits {
        assert!(
            seen.entry((visit.model.clone(), visit.cycle))
                .or_default()
                .insert(visit.engine.clone())
        );
    }
    assert_eq!(seen.len(), 10);
    assert!(seen.values().all(|engines| engines.len() == 2));
    assert!(seen.keys().all(|(model, _)| model != "off"));
    assert_eq!(plan.requests(), 20 * 2, "no warm-up was asked for");
}

#[test]
fn the_same_seed_gives_the_same_order_and_the_coin_is_fair() {
    let first = |seed| -> Vec<String> {
        let plan = Plan::new(&pipeline("interleaved", seed, 100));
        plan.visits
            .chunks(2)
            .map(|cycle| cycle[0].engine.clone())
            .collect()
    };
    assert_eq!(first(7), first(7));
    assert_ne!(first(7), first(8));
    let orders: BTreeSet<Vec<String>> = (0..64).map(first).collect();
    assert_eq!(orders.len(), 64, "every seed has an order of its own");
    for seed in 0..4 {
        let a_first = first(seed).iter().filter(|engine| *engine == "a").count();
        // 200 fair coins: outside 72..=128 once in 16,000.
        assert!((72..=128).contains(&a_first), "{a_first} of 200");
    }
}

#[test]
fn the_order_of_a_cycle_depends_on_nothing_before_it() {
    let long = Plan::new(&pipeline("interleaved", 7, 40));
    let of_m = |plan: &Plan, cycles: u32| -> Vec<String> {
        let visits = plan.visits.iter();
        let visits = visits.filter(|it| it.model == "m" && it.cycle <= cycles);
        visits.map(|it| it.engine.clone()).collect()
    };
    let short = Plan::new(&pipeline("interleaved", 7, 12));
    assert_eq!(of_m(&long, 12), of_m(&short, 12));
}

#[test]
fn spare_cycles_follow_the_planned_ones_with_coins_of_their_own() {
    let plan = Plan::new(&pipeline("interleaved", 7, 40));
    let of_m: Vec<&Visit> = plan.replacements(&plan.visits[0]).iter().collect();
    assert!(of_m.iter().all(|visit| visit.model == "m"));
    let cycles: Vec<u32> = of_m.iter().map(|visit| visit.cycle).collect();
    assert_eq!(cycles, [41, 41, 42, 42, 43, 43]);
    assert_eq!(plan.replacements.len(), 12, "of each model");
    assert!(plan.visits.iter().all(|visit| visit.cycle <= 40));
    let orders = |seed| -> Vec<String> {
        let plan = Plan::new(&pipeline("interleaved", seed, 1));
        plan.replacements
            .iter()
            .map(|it| it.engine.clone())
            .collect()
    };
    assert_eq!(orders(7), orders(7));
    let different: BTreeSet<Vec<String>> = (0..64).map(orders).collect();
    assert!(different.len() > 20, "{} of 64", different.len());
}

#[test]
fn a_single_engine_has_no_spare_cycles() {
    let plan = Plan::new(&loaded(
        "version: 1\nname: t\nengine: { plugin: x }\nmodel: { id: m }\n\
         workload: { prompts: [hi] }\nschedule: { cycles: 3 }\nstages: [{ measure: {} }]\n",
    ));
    assert!(plan.replacements.is_empty() && plan.blocks.is_none());
    assert_eq!(plan.visits.len(), 3);
}

#[test]
fn engines_that_stay_loaded_have_one_coin_a_cycle() {
    let text = "version: 1\nname: t\nengines: { a: { plugin: x }, b: { plugin: x } }\n\
                model: { id: m }\nworkload: { prompts: [hi], temperature: 0 }\n\
                schedule: { cycles: 30, resident: true }\nstages: [{ measure: { requests: 6 } }]\n";
    let plan = Plan::new(&loaded(text));
    assert_eq!(plan.blocks, Some(3));
    let cycles: Vec<_> = plan.visits.chunk_by(|a, b| a.cycle == b.cycle).collect();
    assert_eq!(cycles.len(), 30);
    assert!(
        cycles
            .iter()
            .all(|it| it.len() == 2 && it[0].engine != it[1].engine)
    );
    let first: BTreeSet<&str> = cycles.iter().map(|it| it[0].engine.as_str()).collect();
    assert_eq!(first.len(), 2, "both orders occur");
}

#[test]
fn sequential_keeps_the_order_written() {
    let plan = Plan::new(&pipeline("sequential", 3, 3));
    assert!(
        plan.visits
            .chunks(2)
            .all(|cycle| cycle[0].engine == "a" && cycle[1].engine == "b")
    );
}

/// Two engines; two matrix points, one of which leaves an engine out; two parts.
const MATRIX: &str = "\
version: 1
name: t
engines: { a: { plugin: x }, b: { plugin: x } }
models: [{ id: m }, { id: n }]
matrix:
  axes: { length: [8, 32] }
  exclude: [{ length: 32, engine: b, model: n }]
workload: { prompts: [hi], temperature: 0, max_tokens: '${{ matrix.length }}' }
schedule: { cycles: 2, seed: 3 }
stages:
  - warmup: { requests: 3 }
  - measure: { requests: 10 }
  - warmup: { requests: 0 }
  - measure: { id: burst, requests: 20, arrival: { concurrency: 4 } }
  - measure: { if: false, requests: 7 }
  - unload: {}
  - load: { id: again }
  - warmup: { requests: 1 }
  - measure: { if: \"${{ matrix.length == 8 }}\", requests: 5 }
";

#[test]
fn a_turn_of_an_engine_is_all_segments_of_the_point() {
    let plan = Plan::new(&loaded(MATRIX));
    let points: Vec<&str> = plan
        .visits
        .iter()
        .filter_map(|visit| visit.point.as_deref())
        .collect();
    assert!(
        points.is_sorted_by_key(|point| *point == "length=32"),
        "{points:?}"
    );
    // Model by model, cycle by cycle, and the parts of a turn in a row.
    for point in ["length=8", "length=32"] {
        let of_it: Vec<&Visit> = plan
            .visits
            .iter()
            .filter(|it| it.point.as_deref() == Some(point))
            .collect();
        assert!(of_it.is_sorted_by_key(|it| (&it.model, it.cycle)));
        for turn in of_it.chunks(2) {
            let [first, second] = turn else {
                panic!("{turn:?}")
            };
            assert_eq!((first.segment, second.segment), (1, 2));
            assert_eq!(
                Visit {
                    segment: 2,
                    ..(*first).clone()
                },
                **second
            );
        }
    }
    let turns = |point: &str, engine: &str, model: &str| {
        let of_it = plan
            .visits
            .iter()
            .filter(|it| it.point.as_deref() == Some(point) && it.segment == 1);
        of_it
            .filter(|it| it.engine == engine && it.model == model)
            .count()
    };
    assert_eq!(turns("length=8", "b", "n"), 2);
    assert_eq!(turns("length=32", "b", "m"), 2);
    assert_eq!(turns("length=32", "b", "n"), 0, "left out");
    assert_eq!(turns("length=32", "a", "n"), 2);
}

#[test]
fn what_never_runs_is_not_planned() {
    let plan = Plan::new(&loaded(MATRIX));
    let stages = |point: &str, number| -> Vec<(Phase, String, u32, u32)> {
        let key = SegmentKey {
            point: Some(point),
            number,
        };
        let stages = plan.segments()[&key].stages.iter();
        let stage = stages.map(|it| (it.phase, it.id.clone(), it.requests, it.concurrency));
        stage.collect()
    };
    let (warmup, measure) = (Phase::Warmup, Phase::Measure);
    assert_eq!(
        stages("length=8", 1),
        [
            (warmup, "warmup".into(), 3, 1),
            (measure, "measure".into(), 10, 1),
            (measure, "burst".into(), 20, 4),
        ]
    );
    let last = [
        (warmup, "warmup_3".into(), 1, 1),
        (measure, "measure_4".into(), 5, 1),
    ];
    assert_eq!(stages("length=8", 2), last);
    assert_eq!(
        stages("length=32", 2),
        last[..1],
        "its `if` is false in this matrix point"
    );
    let (first, second) = (33, 1);
    // Turns: 8 in the first matrix point, 6 in the second.
    assert_eq!(plan.requests(), 14 * (first + second) + 8 * 5);
}

#[test]
fn stages_are_called_by_their_kind_unless_the_pipeline_says_otherwise() {
    let pipeline = loaded(MATRIX);
    let ids = ids(&pipeline.points[0].segments);
    assert_eq!(ids[1].load, "again");
    assert_eq!((&*ids[0].unload, &*ids[1].unload), ("unload", "unload_2"));
    assert_eq!(
        ids[0].work,
        ["warmup", "measure", "warmup_2", "burst", "measure_3"]
    );
}

#[test]
fn a_visit_says_what_there_are_several_of() {
    let visit = Visit {
        point: None,
        model: "m".into(),
        engine: "e".into(),
        cycle: 2,
        segment: 1,
    };
    assert_eq!(visit.to_string(), "m on e, cycle 2");
    let json = serde_json::to_string(&visit).expect("serialises");
    assert_eq!(json, r#"{"model":"m","engine":"e","cycle":2}"#);
    assert_eq!(serde_json::from_str::<Visit>(&json).expect("reads"), visit);
    let visit = Visit {
        point: Some("q=8".into()),
        segment: 2,
        ..visit
    };
    assert_eq!(visit.to_string(), "m · q=8 on e, cycle 2, segment 2");
}

#[test]
fn a_point_in_which_nothing_is_measured_has_no_visits() {
    let only_in = "if: \"${{ matrix.length == 8 }}\"";
    let text = MATRIX.replace(
        "measure: { requests",
        &format!("measure: {{ {only_in}, requests"),
    );
    let text = text.replace("id: burst", &format!("id: burst, {only_in}"));
    let plan = Plan::new(&loaded(&text));
    assert!(
        plan.visits
            .iter()
            .all(|visit| visit.point.as_deref() == Some("length=8"))
    );
    assert!(!plan.visits.is_empty());
}

#[test]
fn the_most_tokens_are_those_of_each_point() {
    let pipeline = loaded(MATRIX);
    let plan = Plan::new(&pipeline);
    let estimate = Estimate::new(&pipeline, &plan, None);
    assert_eq!(estimate.visits, 28);
    assert_eq!(estimate.requests, plan.requests());
    let (first, second) = (8 * (33 + 6), 6 * (33 + 1));
    assert_eq!(estimate.most_output_tokens, first * 8 + second * 32);
    assert_eq!(estimate.seconds, None, "nothing is known of the past");
}

#[test]
fn time_is_estimated_from_earlier_visits() {
    let pipeline = pipeline("sequential", 0, 10);
    let plan = Plan::new(&pipeline);
    let seconds = |past: &Past| Estimate::new(&pipeline, &plan, Some(past)).seconds;
    let [a, b] = [&plan.visits[0], &plan.visits[1]];
    let mut past = Past::default();
    past.add(a, 2, 1.0, 3.0);
    assert_eq!(seconds(&past), None, "of one engine nothing is known");
    // As many requests as before: as long as before, on average.
    past.add(b, 2, 4.0, 5.0);
    past.add(b, 2, 6.0, 7.0);
    // The second model was never visited: as with the first.
    assert_eq!(seconds(&past), Some(20.0 * 3.0 + 20.0 * 6.0));
    // More requests than before take longer, loading does not.
    let mut past = Past::default();
    past.add(a, 1, 0.5, 2.5);
    past.add(b, 1, 0.5, 2.5);
    assert_eq!(seconds(&past), Some(40.0 * 3.0));
}

#[test]
fn parts_divide_the_models_among_them_evenly() {
    let whole = Plan::new(&loaded(
        "version: 1\nname: t\nengines: { a: { plugin: x }, b: { plugin: x } }\n\
         models: [{ id: m }, { id: n }]\nmatrix: { axes: { count: [1, 2, 3, 40] } }\n\
         workload: { prompts: [hi], temperature: 0 }\nschedule: { cycles: 5 }\n\
         stages: [{ measure: { requests: '${{ matrix.count }}' } }]\n",
    ));
    for of in 1..=8 {
        let parts = (1..=of).map(|number| whole.part(Part { number, of }).expect("a part"));
        let parts: Vec<Plan> = parts.collect();
        let mut seen = BTreeSet::new();
        for part in &parts {
            assert!(!part.visits.is_empty());
            let units: BTreeSet<ModelKey<'_>> = part.visits.iter().map(Visit::of_model).collect();
            for unit in units {
                assert!(seen.insert(unit), "{unit:?} is in two parts");
                // In the order of the whole, with its own replacements.
                let own = |plan: &Plan| -> Vec<Visit> {
                    let all = plan.visits.iter().chain(&plan.replacements);
                    all.filter(|it| it.of_model() == unit).cloned().collect()
                };
                assert_eq!(own(part), own(&whole));
            }
        }
        assert_eq!(seen.len(), 8);
        let requests: Vec<u64> = parts.iter().map(Plan::requests).collect();
        assert_eq!(requests.iter().sum::<u64>(), whole.requests());
        if of == 2 {
            assert_eq!(requests[0], requests[1], "each has a long one");
        }
    }
    assert_eq!(whole.part(Part { number: 1, of: 9 }), Err(8));
}

#[test]
fn a_part_is_written_as_its_number_and_theirs() {
    let part: Part = "2/4".parse().expect("a part");
    assert_eq!(
        (part.number, part.of, part.to_string()),
        (2, 4, "2/4".to_owned())
    );
    for wrong in [
        "",
        "2",
        "0/4",
        "5/4",
        "1/0",
        "a/4",
        "+1/4",
        "1/4/4",
        " 1/4",
        "1/99999999999",
    ] {
        let told = wrong.parse::<Part>().expect_err("no part");
        assert!(told.contains("K/N"), "{told}");
    }
}
