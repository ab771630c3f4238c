//! Tokens per second of one configuration:
//! `cargo run --release -p engine-candle --example speed -- '{"dtype":"q8_0"}' [MODEL.gguf [PROMPT]]`.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use engine_candle::Candle;
use prony_plugin_sdk::{Api, EventKind, LocalEngine, Model, Request};
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut config: serde_json::Value =
        serde_json::from_str(&arguments.next().unwrap_or_else(|| "{}".to_owned()))?;
    let path = arguments.next();
    let prompt = arguments
        .next()
        .unwrap_or_else(|| "The capital of France is".to_owned());
    if path.is_none() && config.get("weights").is_none() {
        config["weights"] = serde_json::json!({ "synthetic": {} });
    }
    let begin = Instant::now();
    let mut engine = Candle::load(
        serde_json::from_value(config)?,
        &Model {
            id: "speed".to_owned(),
            path,
        },
    )?;
    println!("load {:.0} ms", begin.elapsed().as_secs_f64() * 1e3);
    let request = Request {
        api: Api::Completions,
        prompt,
        system: None,
        max_tokens: 64,
        temperature: 0.0,
        top_p: None,
        seed: 1,
        stop: Vec::new(),
        ignore_eos: true,
        history: Vec::new(),
        images: Vec::new(),
    };
    for _ in 0..3 {
        let (mut text, mut prompt_tokens, mut arrivals) = (String::new(), 0, Vec::new());
        let begin = Instant::now();
        engine.generate(&request, &mut |kind, tokens, piece| {
            match kind {
                EventKind::Text => {
                    arrivals.push(begin.elapsed().as_secs_f64());
                    text.push_str(piece);
                }
                EventKind::PromptTokens => prompt_tokens = tokens,
                _ => {}
            }
            true
        })?;
        let mut gaps: Vec<f64> = arrivals.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_by(f64::total_cmp);
        println!(
            "prompt {prompt_tokens} tokens, first token after {:.1} ms, then {:.1} tokens/s (median gap {:.2} ms, least {:.2} ms): {text:?}",
            arrivals[0] * 1e3,
            gaps.len() as f64 / gaps.iter().sum::<f64>(),
            gaps[gaps.len() / 2] * 1e3,
            gaps[0] * 1e3
        );
    }
    Ok(())
}
