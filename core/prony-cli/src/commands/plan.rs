//! `prony plan`

use crate::arguments::{Global, Plan};
use crate::commands::print_json;
use crate::{Exit, Outcome, pipeline, plugins};
use prony_config::Order;

pub(crate) fn run(global: &Global, arguments: &Plan) -> Outcome {
    let registry = plugins::registry(global)?;
    let (pipeline, diagnostics) = pipeline::load(&arguments.file, &registry);
    pipeline::show(global, &diagnostics);
    let Some(pipeline) = pipeline else {
        return Ok(Exit::InvalidPipeline);
    };
    let plan = prony_plan::Plan::new(&pipeline);
    if arguments.json {
        print_json(&plan)?;
        return Ok(Exit::Ok);
    }
    let order = match pipeline.schedule.order {
        Order::Interleaved => format!("a coin per cycle, seed {}", pipeline.schedule.seed),
        Order::Sequential => "as written".to_owned(),
    };
    println!(
        "{}: {} visits, {} requests ({} warm-up + {} measured each), {} at a time, order: {order}",
        pipeline.name,
        plan.visits.len(),
        plan.requests(),
        plan.warmup_requests,
        plan.measured_requests,
        plan.concurrency,
    );
    println!("   setup");
    let width = plan.visits.len().to_string().len();
    for (number, visit) in (1..).zip(&plan.visits) {
        println!(
            "{number:>width$}  {}  cycle {}  {}: load, warmup, measure, unload",
            visit.model, visit.cycle, visit.engine
        );
    }
    println!("   report");
    Ok(Exit::Ok)
}
