//! Durations.

use crate::Duration;
use crate::duration::meant;

#[test]
fn durations_read_and_write() {
    for (text, millis, written) in [
        ("0s", 0, "0ms"),
        ("250ms", 250, "250ms"),
        ("1500ms", 1_500, "1500ms"),
        ("90s", 90_000, "90s"),
        ("120s", 120_000, "2m"),
        ("60m", 3_600_000, "1h"),
    ] {
        let duration: Duration = text.parse().expect(text);
        assert_eq!(duration, Duration::from_millis(millis), "{text}");
        assert_eq!(duration.to_string(), written, "{text}");
        assert_eq!(written.parse(), Ok(duration));
    }
    for text in [
        "",
        "s",
        "5",
        "5 s",
        "-5s",
        "1.5s",
        "5d",
        "99999999999999999999h",
    ] {
        assert!(text.parse::<Duration>().is_err(), "{text}");
    }
}

#[test]
fn what_was_meant_is_found() {
    for (text, span) in [
        ("30", "30s"),
        ("1.5", "1500ms"),
        ("10 min", "10m"),
        ("1h30m", "90m"),
        ("1 hour 30 minutes", "90m"),
        ("1d", "24h"),
        ("250 MS", "250ms"),
    ] {
        let meant = meant(text).map(|span| span.to_string());
        assert_eq!(meant.as_deref(), Some(span), "{text}");
    }
    for text in [
        "",
        "soon",
        "-5s",
        "0",
        "1.2.3",
        "0.1ms",
        "1e3",
        "99999999h",
        "s",
    ] {
        assert_eq!(meant(text), None, "{text}");
    }
}
