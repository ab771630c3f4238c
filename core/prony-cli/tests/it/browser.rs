//! `--open`: the page of a run in a browser, by a script that stands for one.

use crate::kit::{Scratch, pipeline, truth};
use std::os::unix::fs::PermissionsExt as _;

/// A browser that notes what it was to open.
fn browser(scratch: &Scratch, script: &str) -> (&'static str, String) {
    let path = scratch.write("browser", format!("#!/bin/sh\n{script}\n"));
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&path, executable).expect("it can be run");
    ("BROWSER", path.display().to_string())
}

/// A folder with a pipeline of one engine.
fn folder() -> Scratch {
    let scratch = Scratch::new();
    scratch.write_pipeline(&pipeline([("engine", truth(&[]))]));
    scratch
}

/// No display of whoever runs the tests.
const NOWHERE: [(&str, &str); 3] = [("DISPLAY", ""), ("WAYLAND_DISPLAY", ""), ("BROWSER", "")];

#[test]
fn the_page_is_opened_when_it_is_written() {
    let scratch = folder();
    let noting = browser(&scratch, "echo \"$1\" >> opened");
    let opened = || {
        let path = scratch.read("opened");
        std::fs::remove_file(scratch.path("opened")).expect("it was there");
        path.trim().to_owned()
    };
    let variables = [noting];
    scratch
        .prony_in(
            &variables,
            &["run", "pipeline.yaml", "--open", "--into", "r"],
        )
        .exits(0);
    let page = scratch.path("r/report.html");
    let page = page.canonicalize().expect("a page");
    assert_eq!(std::path::Path::new(&opened()), page);

    // Any page is made again, whatever else is reported.
    std::fs::remove_file(&page).expect("it was there");
    scratch
        .prony_in(&variables, &["report", "r", "--open"])
        .exits(0)
        .prints("engine");
    assert_eq!(std::path::Path::new(&opened()), page);

    // One that somebody has sent stays as it is.
    let sent = scratch.path("sent.html");
    std::fs::copy(&page, &sent).expect("a copy");
    scratch
        .prony_in(&variables, &["report", "sent.html", "--open"])
        .exits(0);
    assert_eq!(std::path::Path::new(&opened()), sent);

    scratch
        .prony_in(&variables, &["report", "r", "--reporter", "console"])
        .exits(0);
    assert!(!scratch.path("opened").exists());
}

#[test]
fn a_page_that_cannot_be_opened_is_a_note_with_its_path() {
    let scratch = folder();
    let fails = browser(&scratch, "exit 3");
    scratch
        .prony_in(&[fails], &["run", "pipeline.yaml", "--open", "--into", "r"])
        .exits(0)
        .complains("note: `--open`: `")
        .complains("r/report.html");
    let nowhere = NOWHERE.map(|(name, value)| (name, value.to_owned()));
    if cfg!(target_os = "linux") {
        scratch
            .prony_in(&nowhere, &["report", "r", "--open"])
            .exits(0)
            .complains("there is no display")
            .complains("r/report.html");
    }
    let missing = [("BROWSER", "/nowhere/browser".to_owned())];
    scratch
        .prony_in(&missing, &["report", "r", "--open"])
        .exits(0)
        .complains("`/nowhere/browser` does not start");
    scratch
        .prony_in(
            &missing,
            &[
                "run",
                "pipeline.yaml",
                "--open",
                "--into",
                "s",
                "--set",
                "stages.5.report.reporters=[console]",
            ],
        )
        .exits(0)
        .complains("no page was written");
    scratch
        .prony_in(&missing, &["report", "r", "--open", "--json"])
        .exits(2);
}
