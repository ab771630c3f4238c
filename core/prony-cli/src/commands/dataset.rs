//! `prony dataset`

use crate::commands::print_json;
use crate::{Exit, Outcome};
use clap::Args;
use clap::builder::PossibleValuesParser;
use prony_config::DatasetFormat;
use prony_result::words::{count, seconds};
use prony_runner::dataset::{self, Inspection, Sent, Spread};
use std::path::PathBuf;

/// Characters of a message that are shown.
const MAX_SHOWN: usize = 240;

#[derive(Debug, Args)]
#[command(
    after_help = "Example: prony dataset ShareGPT.json --sample 500 --tokenizer tokenizer.json"
)]
pub(crate) struct Arguments {
    /// The dataset: a file, also one packed by gzip, a folder of texts, or `-` for standard input.
    path: PathBuf,
    /// Its format, where it is not to be recognised.
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(DatasetFormat::ALL.map(DatasetFormat::name)))]
    format: Option<String>,
    /// Name of the column or key that has the prompts.
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// Conversations to pass over at the beginning.
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u32,
    /// Conversations to read at most; nothing behind them is looked at.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Conversations to draw from these, as `sample` of a pipeline does.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
    /// Conversations to show, of those that a run would use.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    show: u32,
    /// Seed of what is drawn.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// A tokenizer to count with: a `tokenizer.json`, a folder that has one, or a GGUF file.
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let format = arguments.format.as_deref();
    let format =
        format.and_then(|name| DatasetFormat::ALL.into_iter().find(|it| it.name() == name));
    let of = prony_config::Dataset {
        format,
        column: arguments.column.clone(),
        offset: arguments.offset,
        limit: arguments.limit,
        sample: arguments.sample,
        ..prony_config::Dataset::at(arguments.path.display().to_string())
    };
    let name = arguments.path.display();
    let options = dataset::options(&of, false, arguments.seed);
    let looked = options
        .map_err(|error| vec![format!(": {error}")])
        .and_then(|options| {
            let tokenizer = arguments.tokenizer.as_deref();
            dataset::inspect(&arguments.path, &options, arguments.show, tokenizer)
        });
    let inspection = match looked {
        Ok(inspection) => inspection,
        Err(problems) => {
            for problem in problems {
                eprintln!("error: {name}{problem}");
            }
            return Ok(Exit::InvalidPipeline);
        }
    };
    if arguments.json {
        print_json(&inspection)?;
        return Ok(Exit::Ok);
    }
    println!(
        "{name}: {} ({}), {}",
        inspection.title, inspection.format, inspection.recognised
    );
    numbers(&inspection, arguments);
    for note in &inspection.notes {
        println!("note: {note}");
    }
    for (nth, sent) in (1..).zip(&inspection.sample) {
        show(nth, sent);
    }
    Ok(Exit::Ok)
}

fn numbers(of: &Inspection, arguments: &Arguments) {
    let (verb, until) = if of.is_whole {
        ("has", "")
    } else {
        ("read", ", and nothing behind them")
    };
    println!("  {verb}: {}{until}", count(of.records, "record"));
    let conversations = count(of.conversations, "conversation");
    match arguments.sample {
        None => println!("  used: {conversations}"),
        Some(_) => println!(
            "  used: {conversations}, drawn of {} by the seed {}",
            of.candidates, arguments.seed
        ),
    }
    println!(
        "  sent: {}, each prompt once, with {}",
        count(of.requests, "request"),
        count(of.images, "image")
    );
    let lengths = [
        ("characters", &of.chars),
        ("tokens", &of.tokens),
        ("answers, tokens at most", &of.output_tokens),
    ];
    for (what, spread) in lengths {
        if let Some(Spread {
            min,
            median,
            p90,
            max,
        }) = spread
        {
            println!("  {what}: min {min}, median {median}, p90 {p90}, max {max}");
        }
    }
    if let Some(recorded_s) = of.recorded_s {
        println!("  recorded over {}", seconds(recorded_s));
    }
}

fn show(nth: usize, sent: &Sent) {
    let mut facts = Vec::new();
    if let Some(at_ms) = sent.at_ms {
        facts.push(format!("due {at_ms} ms after the first"));
    }
    if sent.follows {
        facts.push("follows the answer to the one before".to_owned());
    }
    if let Some(delay_ms) = sent.delay_ms {
        facts.push(format!("after a pause of {delay_ms} ms"));
    }
    if let Some(max_tokens) = sent.max_tokens {
        facts.push(format!("at most {}", count(max_tokens.into(), "token")));
    }
    if sent.images > 0 {
        facts.push(count(sent.images as u64, "image"));
    }
    if let Some(tokens) = sent.input_tokens {
        facts.push(format!(
            "a prompt of {} that the model's tokenizer makes",
            count(tokens.into(), "token")
        ));
    }
    let facts = match &facts[..] {
        [] => String::new(),
        facts => format!(": {}", facts.join(", ")),
    };
    println!("request {nth}{facts}");
    for message in &sent.messages {
        println!("  {}: {}", message.role, shortened(&message.content));
    }
}

/// A text on one line, cut where it is long.
fn shortened(text: &str) -> String {
    let chars = text.chars().count();
    let shown: String = text.chars().take(MAX_SHOWN).collect();
    let shown = shown.replace('\n', "\\n");
    match chars.checked_sub(MAX_SHOWN) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} … and {}", count(more as u64, "more character")),
    }
}
