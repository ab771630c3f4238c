use super::*;
use prony_plan::StageKind;

fn visit(engine: &str, cycle: u32) -> Visit {
    Visit {
        point: None,
        model: "m".to_owned(),
        engine: engine.to_owned(),
        cycle,
        segment: 1,
    }
}

fn stage(kind: StageKind, visit: Visit) -> Event {
    Event::Stage {
        stage: kind,
        id: None,
        visit: Some(visit),
        skipped: false,
        at_ns: 1,
    }
}

#[test]
fn only_the_stage_in_which_a_run_was_killed_is_under_way() {
    let own = visit("a", 2);
    let measured = stage(StageKind::Measure, own.clone());
    let after = |events: Vec<Event>| {
        let mut under_way = UnderWay::default();
        for event in [vec![measured.clone()], events].concat() {
            under_way.see(&event, &own);
        }
        under_way.stage
    };
    assert_eq!(after(vec![]).as_deref(), Some("measure"));
    // Of two resident engines.
    let other = stage(StageKind::Measure, visit("b", 2));
    assert_eq!(after(vec![other]).as_deref(), Some("measure"));
    let unloaded = stage(StageKind::Unload, own.clone());
    assert_eq!(after(vec![unloaded]).as_deref(), Some("unload"));
    let next = stage(StageKind::Measure, visit("b", 3));
    assert_eq!(after(vec![next]), None);
    let over = Event::Cycle {
        point: None,
        model: "m".to_owned(),
        cycle: 2,
        seconds: 1.0,
    };
    assert_eq!(after(vec![over]), None);
}

#[test]
fn what_could_not_be_read_is_told() {
    let words = |answers, bytes| lost(Lost { answers, bytes });
    assert_eq!(words(0, 0), None);
    let both = "2 answers in the file cannot be read, and its last 1 byte are no whole answer";
    assert_eq!(words(2, 1).as_deref(), Some(both));
}

#[test]
fn no_answers_are_left_by_a_run_that_was_killed_before_there_were_any() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = RunFolder::open(folder.path());
    for (bytes, is_left) in [
        (&b""[..], false),
        (b"{\"schema\":", false),
        (b"{\"schema\":\0\0", true),
        (b"{}\n", true),
    ] {
        std::fs::write(path(&run), bytes).expect("a file");
        assert_eq!(left_answers(&run).is_some(), is_left, "{bytes:?}");
    }
}
