//! Writes a journal of any size, for `cargo xtask bench scale`: two engines of which the candidate
//! is 5 % faster, ten cycles, 64 requests in flight, answers of different texts and lengths.
//!
//! `large FOLDER REQUESTS TOKENS`

use prony_config::{Pipeline, PluginKind, Plugins};
use prony_contract::{Event as Reported, EventKind};
use prony_journal::{Event, RunFolder, SCHEMA, Scope, StageOf, Started, Visited, Writer, subject};
use prony_plan::{Plan, StageKind, Visit};
use prony_record::{Observation, Phase, Record, RequestId, Stamps};
use prony_result::{Environment, Outcome};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

const CYCLES: u64 = 10;
const IN_FLIGHT: u64 = 64;
const SECOND: u64 = 1_000_000_000;

struct AnyPlugin;

impl Plugins for AnyPlugin {
    fn config_schema(&self, _: PluginKind, _: &str) -> Option<serde_json::Value> {
        Some(serde_json::json!({}))
    }

    fn names(&self, _: PluginKind) -> Vec<String> {
        Vec::new()
    }
}

fn pipeline(requests: u64, tokens: u32) -> Result<Pipeline, String> {
    let text = format!(
        "version: 1
name: large
engines: {{ a: {{ plugin: x }}, b: {{ plugin: x }} }}
compare: {{ baseline: a }}
models: [{{ id: m, revision: main }}]
workload: {{ prompts: [one, two, three, four], temperature: 0, max_tokens: {tokens} }}
schedule: {{ cycles: {CYCLES} }}
stages: [{{ measure: {{ requests: {requests}, arrival: {{ concurrency: {IN_FLIGHT} }} }} }}]
"
    );
    let loaded = prony_config::load("large.yaml", &text, &AnyPlugin);
    loaded
        .map(|(pipeline, _)| pipeline)
        .map_err(|problems| format!("{problems:?}"))
}

/// Numbers that look random: splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }
}

fn record(visit: &Visit, index: u32, from_ns: u64, tokens: u32, random: &mut Random) -> Record {
    let id = RequestId {
        point: None,
        model: visit.model.clone(),
        engine: visit.engine.clone(),
        cycle: visit.cycle,
        phase: Phase::Measure,
        stage: "measure".to_owned(),
        index,
        prompt: index % 4,
        image: None,
    };
    let event = |read, kind, tokens, text: &str| Reported {
        read,
        kind,
        tokens,
        ns: 0,
        text: text.to_owned(),
    };
    let share = if visit.engine == "a" { 100 } else { 95 };
    let step_ns = 10_000_000 * share / 100;
    let tokens = tokens - random.below(u64::from(tokens) / 8 + 1) as u32;
    let mut at_ns = from_ns + 20 * step_ns;
    // A chunk with a role alone comes first, as most servers send it.
    let (mut reads_ns, mut events) = (
        vec![from_ns + 10_000],
        vec![event(0, EventKind::Text, 0, "")],
    );
    for number in 1..=tokens {
        at_ns += step_ns / 2 + random.below(step_ns);
        reads_ns.push(at_ns);
        let word = ["and", " so", " on", " it"][random.below(4) as usize];
        events.push(event(number, EventKind::Text, 1, word));
    }
    let last = tokens;
    for (kind, ns) in [
        (EventKind::PrefillTime, 19 * step_ns),
        (EventKind::DecodeTime, at_ns - from_ns - 20 * step_ns),
    ] {
        events.push(Reported {
            ns,
            ..event(last, kind, 0, "")
        });
    }
    events.push(event(last, EventKind::Finish, 0, "length"));
    events.push(event(last, EventKind::OutputTokens, tokens, ""));
    events.push(event(last, EventKind::End, 0, ""));
    let stamps = Stamps {
        intended_ns: from_ns,
        sent_ns: from_ns,
        written_ns: Some(from_ns + 20_000),
        end_ns: at_ns + 10_000,
        ..Stamps::default()
    };
    let seen = Observation {
        stamps,
        status: Some(200),
        reads_ns,
        ..Observation::default()
    };
    Record::judge(id, seen, Ok(events), tokens)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, requests, tokens] = arguments.as_slice() else {
        return Err("usage: large FOLDER REQUESTS TOKENS".into());
    };
    let (requests, tokens): (u64, u32) = (requests.parse()?, tokens.parse()?);
    let each = requests / 2 / CYCLES;
    let pipeline = pipeline(each, tokens)?;
    let plan = Plan::new(&pipeline);
    std::fs::create_dir_all(folder)?;
    let mut journal = Writer::create(&RunFolder::open(Path::new(folder)).journal())?;
    journal.append(&Event::Started(Box::new(started(&pipeline, &plan))))?;
    let mut random = Random(1);
    let mut now_ns = SECOND;
    for visit in plan
        .visits
        .iter()
        .filter(|it| u64::from(it.cycle) <= CYCLES)
    {
        let of = |kind| StageOf {
            kind,
            id: kind.name().to_owned(),
            scope: Scope::Visit(visit.clone()),
        };
        journal.append(&of(StageKind::Load).begins(now_ns))?;
        now_ns += SECOND;
        journal.append(&of(StageKind::Measure).begins(now_ns))?;
        let begun_ns = now_ns;
        let mut streams = [begun_ns; IN_FLIGHT as usize];
        for index in 0..each {
            let free = streams.iter_mut().min_by_key(|it| **it);
            let free = free.ok_or("there is a stream")?;
            let record = record(visit, index as u32, *free, tokens, &mut random);
            *free = record.stamps.end_ns;
            journal.append(&Event::Request(Box::new(record)))?;
        }
        now_ns = streams.into_iter().max().unwrap_or(begun_ns);
        journal.append(&of(StageKind::Unload).begins(now_ns))?;
        journal.append(&Event::Visit(visited(visit, now_ns - begun_ns)))?;
    }
    journal.append(&Event::Finished {
        sha256: Some(journal.sha256()),
        outcome: Outcome::Completed,
        at_ns: now_ns,
    })?;
    Ok(())
}

fn visited(visit: &Visit, measure_ns: u64) -> Visited {
    Visited {
        visit: visit.clone(),
        load_time_ns: Some(SECOND),
        unload_time_ns: None,
        measure_ns: BTreeMap::from([("measure".to_owned(), measure_ns)]),
        peak_memory_bytes: Some(1 << 30),
        peak_gpu_memory_bytes: None,
        memory: Vec::new(),
        energy: BTreeMap::new(),
        page_cache_share: None,
        measure_cpu_s: BTreeMap::new(),
        settings: Vec::new(),
        counters: BTreeMap::new(),
        machine: Vec::new(),
        total_ns: measure_ns + SECOND,
    }
}

fn started(pipeline: &Pipeline, plan: &Plan) -> Started {
    Started {
        schema: SCHEMA.to_owned(),
        prony_version: env!("CARGO_PKG_VERSION").to_owned(),
        run: "large".to_owned(),
        started_at: "2026-01-02T03:04:05Z".to_owned(),
        pipeline_sha256: String::new(),
        pipeline_folder: None,
        process: None,
        world: None,
        subject: subject(pipeline),
        plan: plan.clone(),
        environment: Environment {
            os: String::new(),
            kernel: String::new(),
            arch: String::new(),
            cpu: String::new(),
            cpus: 1,
            memory_bytes: 1,
            load_average: 0.0,
            machine: String::new(),
            virtual_machine: None,
            governor: None,
            gpus: Vec::new(),
        },
        plugins: Vec::new(),
        noise: Vec::new(),
        notes: Vec::new(),
    }
}
