//! Mutants of an adapter for JSON-RPC.

mod support;

use engine_mlx_serving::PLUGIN;
use prony_conformance::mutants::Of;
use support::{all_are_found, fixtures};

#[test]
fn mutants_of_mlx_serving() {
    all_are_found(
        "mlx-serving",
        &PLUGIN,
        Of::Stdio,
        |kit| kit.fixtures(fixtures("engine-mlx-serving/fixtures")),
        &[
            "headers of the answer lost",
            "first turn dropped",
            "seed dropped",
            "first stop only",
            "history turned round",
            "history trimmed",
            "second image dropped",
            "images swapped",
            "seed changed",
            "seed cut to 16 bits",
            "stop trimmed",
            "lines counted as tokens",
            "prompt count lost",
            "prompt count one more",
            "cached count lost",
            "reasoning count lost",
            "reasoning as text",
            "tool call as text",
            "served model lost",
            "another model served",
            "engine version lost",
            "notes lost",
            "engine's times lost",
            "engine's times a thousandfold",
            "engine's stamps lost",
            "refusals read as answers",
            "one form claimed",
        ],
    );
}
