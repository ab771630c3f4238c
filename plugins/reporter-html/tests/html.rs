//! The page: complete, safe, small, and readable.

#[path = "../../reporter-console/tests/fixtures/mod.rs"]
mod fixtures;

use prony_plugin_sdk::Reporter;
use prony_plugin_sdk::result::detail::{
    ComparisonDetail, Curve, CycleDetail, Detail, EngineDetail, LookDetail, ModelDetail,
    StageDetail, Timeline, VisitDetail,
};
use prony_plugin_sdk::result::{ModelResult, RunResult};
use reporter_html::{Config, Html};

/// Writes a page where `cargo xtask pages` looks at it in a browser.
fn keep(name: &str, page: &str) {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    std::fs::create_dir_all(&folder).expect("a folder");
    let name = format!("{}.html", name.replace(", ", "-"));
    std::fs::write(folder.join(name), page).expect("a file");
}

fn render(result: &RunResult) -> String {
    let html = Html::new(Config::default()).expect("a reporter");
    let artifacts = html.render(result).expect("a page");
    let [artifact] = &artifacts[..] else {
        panic!("one artifact")
    };
    assert_eq!(
        (artifact.name.as_str(), artifact.media_type.as_str()),
        ("report.html", "text/html")
    );
    String::from_utf8(artifact.bytes.clone()).expect("UTF-8")
}

/// A distribution around some milliseconds.
fn curve(ms: f64) -> Curve {
    let quantiles = |by: f64| (0..=256).map(move |it| (ms + f64::from(it) * ms / 300.0) * by);
    Curve {
        n: 240,
        failed: 3,
        quantiles: quantiles(1.0).collect(),
        low: quantiles(0.9).collect(),
        high: quantiles(1.1).collect(),
    }
}

fn visit(cycle: u32, offset: f64) -> VisitDetail {
    let begun_s = f64::from(cycle) * 30.0 + offset;
    let mut at = begun_s;
    let stages = [
        ("load", 3.0),
        ("warmup", 1.0),
        ("measure", 9.0),
        ("unload", 0.4),
    ];
    let stages = stages.map(|(stage, lasted)| {
        at += lasted;
        StageDetail {
            stage: stage.to_owned(),
            id: None,
            begun_s: at - lasted,
            ended_s: at,
        }
    });
    VisitDetail {
        cycle,
        part: 1,
        begun_s,
        stages: stages.to_vec(),
        load_ms: Some(3000.0),
        unload_ms: Some(400.0),
        peak_memory_bytes: Some(3 << 30),
        output_tokens_per_sec: Some(40.0 + f64::from(cycle % 3)),
        memory: (0..200)
            .map(|it| (it * 67, (1 << 30) + (it << 20)))
            .collect(),
        machine: if cycle == 2 {
            vec!["swapped out 3 MiB".to_owned()]
        } else {
            Vec::new()
        },
    }
}

fn timeline(index: u32, ms: f64) -> Timeline {
    Timeline {
        cycle: 3,
        index,
        due_ms: f64::from(index) * ms * 60.0,
        sent_ms: 0.01,
        texts_ms: (0..48).map(|it| ms * 4.0 + f64::from(it) * ms).collect(),
        end_ms: ms * 52.0,
        texts: 48,
        failed: (index == 7).then(|| "timeout".to_owned()),
    }
}

/// Numbers of every kind behind an entry.
fn detail_of(model: &ModelResult) -> ModelDetail {
    let engines = model.engines.iter().enumerate().map(|(index, engine)| {
        let ms = 10.0 + index as f64;
        EngineDetail {
            engine: engine.engine.clone(),
            curves: [
                ("time_to_first_token_ms".to_owned(), curve(4.0 * ms)),
                ("inter_token_latency_ms".to_owned(), curve(ms)),
                ("request_latency_ms".to_owned(), curve(52.0 * ms)),
            ]
            .into(),
            visits: (1..=12).map(|it| visit(it, index as f64 * 15.0)).collect(),
            timelines: (0..40).map(|it| timeline(it, ms)).collect(),
        }
    });
    let comparisons = model.comparisons.iter().map(|it| ComparisonDetail {
        candidate: it.candidate.clone(),
        cycles: (1..=12)
            .map(|cycle| CycleDetail {
                cycle,
                first: Some([&it.candidate, &it.baseline][cycle as usize % 2].clone()),
                difference_percent: 4.0 + f64::from(cycle % 4),
            })
            .collect(),
        looks: (4..=12)
            .map(|cycles| LookDetail {
                cycles,
                decision: if cycles < 9 { "continue" } else { "faster" }.to_owned(),
                low_percent: Some(-4.0 + f64::from(cycles) / 2.0),
                high_percent: Some(14.0 - f64::from(cycles) / 2.0),
            })
            .collect(),
    });
    ModelDetail {
        engines: engines.collect(),
        comparisons: comparisons.collect(),
    }
}

fn detailed(mut result: RunResult) -> RunResult {
    let detail = Detail {
        models: result.models.iter().map(detail_of).collect(),
        thinned: Vec::new(),
    };
    result.detail = Some(Box::new(detail));
    result
}

/// Every fixture, with and without what is behind it.
fn pages() -> Vec<(String, RunResult, String)> {
    let all = fixtures::all().into_iter().flat_map(|(name, result)| {
        let detailed = detailed(result.clone());
        [
            (name.to_owned(), result),
            (format!("{name}, detailed"), detailed),
        ]
    });
    all.map(|(name, result)| {
        let page = render(&result);
        keep(&name, &page);
        (name, result, page)
    })
    .collect()
}

/// The text between two markers.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).expect("a beginning");
    rest.split_once(end).expect("an end").0
}

#[test]
fn the_result_is_in_the_page() {
    for (name, result, page) in pages() {
        let json = between(&page, "id=\"prony-result\">", "</script>");
        let read: RunResult = serde_json::from_str(json).expect("JSON");
        let plain = RunResult {
            detail: None,
            ..result
        };
        // Characters that no terminal should see are replaced where results are written.
        if name != "hostile_names" && name != "hostile_names, detailed" {
            assert_eq!(read, plain, "{name}");
        }
    }
}

#[test]
fn every_verdict_stands_at_the_top() {
    for (name, result, page) in pages() {
        let header = between(&page, "<header>", "</header>");
        for comparison in result.models.iter().flat_map(|it| &it.comparisons) {
            let word = comparison.verdict.word();
            assert!(
                header.contains(&format!("verdict {word}")),
                "{name}: {word}"
            );
        }
        assert_eq!(
            header.contains("INVALID"),
            !result.invalid.is_empty(),
            "{name}"
        );
    }
}

#[test]
fn nothing_is_fetched_and_one_script_runs() {
    for (name, _, page) in pages() {
        assert_eq!(page.matches("<script").count(), 2, "{name}");
        for word in [
            "http://", "https://", "url(", "@import", "<img", "<link", "<iframe",
        ] {
            // Engines' addresses are text.
            let of_config = page.matches(word).count();
            let escaped = page.matches(&format!(">{word}")).count();
            let is_text = word.starts_with("http");
            assert!(is_text || of_config == escaped, "{name}: {word}");
        }
        for attribute in ["src=", "href=", "onerror=", "onload=", "style="] {
            let in_tags = tags(&page).filter(|it| it.contains(&format!(" {attribute}")));
            assert_eq!(in_tags.count(), 0, "{name}: {attribute}");
        }
    }
}

/// Everything between `<` and `>` outside of the embedded result.
fn tags(page: &str) -> impl Iterator<Item = &str> {
    let (before, _) = page.split_once("<script type").expect("a result");
    let body = before.split_once("</style>").expect("a style").1;
    body.split('<')
        .skip(1)
        .filter_map(|it| it.split('>').next())
}

#[test]
fn strange_names_are_text() {
    let known = [
        "html",
        "head",
        "body",
        "header",
        "main",
        "footer",
        "section",
        "h1",
        "h2",
        "h3",
        "p",
        "div",
        "figure",
        "figcaption",
        "svg",
        "line",
        "rect",
        "path",
        "text",
        "title",
        "output",
        "details",
        "summary",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "ul",
        "li",
        "pre",
        "code",
        "strong",
        "span",
        "script",
    ];
    let result = fixtures::all()
        .into_iter()
        .find(|it| it.0 == "hostile_names");
    let mut result = detailed(result.expect("a fixture").1);
    let evil = "</script><img onerror=alert(1)>\u{1b}[2J\u{202e}'\"&";
    result.run.name = evil.to_owned();
    result.run.description = Some(evil.to_owned());
    result.warnings.push(evil.to_owned());
    for model in &mut result.models {
        model.id = evil.to_owned();
        for engine in &mut model.engines {
            engine.sample_output = Some(evil.to_owned());
        }
    }
    let page = render(&result);
    for tag in tags(&page) {
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap_or_default();
        assert!(known.contains(&name), "{name}: {tag}");
    }
    assert!(!page.contains('\u{1b}') && !page.contains('\u{202e}'));
}

#[test]
fn pages_are_small() {
    let one = fixtures::all()
        .into_iter()
        .find(|it| it.0 == "winner")
        .expect("a fixture")
        .1;
    let mut single = one.clone();
    single.models.truncate(1);
    let bytes = render(&detailed(single.clone())).len();
    assert!(bytes <= 250_000, "{bytes}");
    let model = single.models[0].clone();
    let third = |engine: &str| {
        let mut third = model.engines[0].clone();
        third.engine = engine.to_owned();
        third
    };
    let mut large = model.clone();
    large.engines.push(third("gamma"));
    let mut many = single;
    many.models = (0..20)
        .map(|number| ModelResult {
            id: format!("{} {number}", large.id),
            ..large.clone()
        })
        .collect();
    let page = render(&detailed(many));
    keep("large", &page);
    assert!(page.len() <= 1_500_000, "{}", page.len());
}

#[test]
fn every_colour_can_be_read() {
    let css = include_str!("../src/page.css");
    let schemes: Vec<&str> = css.split(":root{").skip(1).collect();
    assert_eq!(schemes.len(), 3);
    for scheme in schemes {
        let scheme = scheme.split('}').next().expect("a block");
        let token =
            |name: &str| luminance(between(&format!("{scheme};"), &format!("--{name}:#"), ";"));
        for ground in ["bg", "soft"] {
            for (name, least) in [
                ("fg", 4.5),
                ("mut", 4.5),
                ("bad", 4.5),
                ("good", 3.0),
                ("even", 3.0),
                ("open", 3.0),
                ("e0", 3.0),
                ("e1", 3.0),
                ("e2", 3.0),
                ("e3", 3.0),
                ("e4", 3.0),
                ("e5", 3.0),
            ] {
                let (a, b) = (token(name), token(ground));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(contrast >= least, "{name} on {ground}: {contrast:.2}");
            }
        }
    }
}

/// Relative luminance of a colour (WCAG 2.1).
fn luminance(hex: &str) -> f64 {
    let long = if hex.len() == 3 {
        hex.chars().flat_map(|it| [it, it]).collect()
    } else {
        hex.to_owned()
    };
    let part = |at: usize| {
        let value = f64::from(u8::from_str_radix(&long[at..at + 2], 16).expect("hex")) / 255.0;
        if value <= 0.04045 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    };
    0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4)
}
