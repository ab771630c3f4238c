//! Durations.

use crate::Duration;

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
