//! Order and completeness of plans.

use prony_config::{Pipeline, PluginKind, Plugins, load};
use prony_plan::Plan;
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

fn pipeline(order: &str, seed: u64, cycles: u32) -> Pipeline {
    let text = format!(
        "version: 1\nname: t\nengines: {{ a: {{ plugin: x }}, b: {{ plugin: x }} }}\n\
         models: [{{ id: m }}, {{ id: off, enabled: false }}, {{ id: n }}]\n\
         workload: {{ prompts: [hi], temperature: 0 }}\n\
         schedule: {{ cycles: {cycles}, seed: {seed}, order: {order} }}\nstages: [{{ measure: {{ requests: 2 }} }}]\n"
    );
    match load("t.yaml", &text, &AnyPlugin) {
        Ok((pipeline, _)) => pipeline,
        Err(problems) => panic!("{problems:?}"),
    }
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
        let plan = Plan::new(&pipeline("interleaved", seed, 400));
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
        // 800 fair coins: outside 344..=456 once in 16,000.
        assert!((344..=456).contains(&a_first), "{a_first} of 800");
    }
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
