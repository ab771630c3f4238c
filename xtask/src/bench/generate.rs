//! A pipeline as long as wanted, the same each time, and valid.

use std::fmt::Write as _;

const ENGINES: usize = 64;
const MODELS: usize = 500;
const STEPS: usize = 400;

/// What cannot fail, written out: a String takes everything.
macro_rules! line {
    ($out:expr, $($text:tt)*) => {{
        let _ = writeln!($out, $($text)*);
    }};
}

/// Whether the pipeline is run once, or once for each value of something.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Points {
    One,
    Four,
}

/// A pipeline of exactly so many lines; prompts fill what is left.
pub(super) fn pipeline(lines: usize, points: Points) -> String {
    let mut out = String::new();
    line!(out, "# yaml-language-server: $schema=pipeline.v1.json");
    line!(out, "version: 1");
    line!(out, "name: long");
    line!(out, "description: Many engines, models, steps and prompts");
    line!(out, "vars:");
    line!(out, "  models: models-2");
    line!(out, "  requests: 100");
    let max_tokens = match points {
        Points::One => "128",
        Points::Four => {
            line!(
                out,
                "matrix: {{ axes: {{ max_tokens: [64, 128, 256, 512] }} }}"
            );
            "${{ matrix.max_tokens }}"
        }
    };
    engines(&mut out);
    line!(
        out,
        "compare: {{ baseline: engine-0, margin_percent: 2.5 }}"
    );
    models(&mut out);
    line!(out, "schedule: {{ cycles: 8, seed: 7 }}");
    stages(&mut out);
    line!(out, "workload:");
    line!(out, "  max_tokens: {max_tokens}");
    line!(out, "  temperature: 0");
    line!(out, "  request_timeout: 2m");
    line!(out, "  prompts:");
    for number in out.lines().count()..lines {
        line!(
            out,
            "    - \"Question {number}: what is {number} times {}, and why?\"",
            number * 7 % 1000
        );
    }
    out
}

fn engines(out: &mut String) {
    line!(out, "engines:");
    for number in 0..ENGINES {
        line!(out, "  engine-{number}:");
        line!(out, "    plugin: openai");
        line!(out, "    config:");
        line!(out, "      launch:");
        line!(out, "        command:");
        for argument in [
            "my-server",
            "--model",
            "${{ model.path }}",
            "--alias",
            "${{ model.id }}",
            "--host",
            "${{ engine.host }}",
            "--port",
            "${{ engine.port }}",
            "--log-file",
            "${{ prony.cache }}/${{ engine.name }}-${{ model.id | replace('/', '-') }}.log",
        ] {
            line!(out, "          - \"{argument}\"");
        }
        line!(out, "          - \"--threads={}\"", number % 16 + 1);
        line!(out, "        ready: {{ http: /health }}");
    }
}

fn models(out: &mut String) {
    line!(out, "models:");
    for number in 0..MODELS {
        line!(out, "  - id: Example/Model-{number}-Instruct");
        line!(out, "    size: {}B", number % 70 + 1);
        line!(
            out,
            "    path: ${{{{ prony.cache }}}}/${{{{ vars.models }}}}/{number}.gguf"
        );
        line!(out, "    sha256: \"{number:064x}\"");
        line!(out, "    enabled: {}", number % 5 != 4);
    }
}

fn stages(out: &mut String) {
    line!(out, "stages:");
    line!(out, "  - setup:");
    line!(out, "      timeout: 1h");
    line!(out, "      before:");
    for number in 0..STEPS {
        line!(out, "        - name: fetch model {number}");
        line!(out, "          run: |");
        line!(out, "            # Only what is not there yet.");
        line!(out, "            fetch --output \"$DEST\" \\");
        line!(out, "              --name model-{number}");
        line!(out, "          timeout: {}m", number % 30 + 1);
        line!(out, "          env:");
        line!(
            out,
            "            DEST: \"${{{{ prony.cache }}}}/${{{{ vars.models }}}}/{number}.gguf\""
        );
        line!(
            out,
            "          creates: ${{{{ prony.cache }}}}/${{{{ vars.models }}}}/{number}.gguf"
        );
    }
    line!(out, "  - load: {{ timeout: 5m }}");
    line!(out, "  - warmup: {{ requests: 3 }}");
    line!(
        out,
        "  - measure: {{ requests: \"${{{{ vars.requests }}}}\", arrival: {{ concurrency: 4 }} }}"
    );
    line!(out, "  - unload: {{ timeout: 1m }}");
    line!(
        out,
        "  - report: {{ reporters: [console, markdown, json] }}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_long_as_wanted_and_the_same_each_time() {
        for points in [Points::One, Points::Four] {
            let text = pipeline(10_000, points);
            assert_eq!(text.lines().count(), 10_000);
            assert_eq!(text, pipeline(10_000, points));
        }
    }
}
