//! Moments as people say them: how long ago, or a date.

use std::time::SystemTime;

/// The moment that `text` says, seen from `now`: `2d` ago, `2026-11-27`, or `2026-11-27T08:00:00Z`.
pub fn parse_since(text: &str, now: SystemTime) -> Option<SystemTime> {
    let text = text.trim();
    if let Ok(ago) = humantime::parse_duration(text) {
        return now.checked_sub(ago);
    }
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Some(moment.into());
    }
    let midnight = text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(midnight.timestamp().into())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_moment_is_so_long_ago_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (text, seconds) in [
            ("2d", Some(1_000_000 - 2 * 86400)),
            ("1h 30m", Some(1_000_000 - 5400)),
            ("1970-01-02", Some(86400)),
            ("1970-01-01T01:00:00Z", Some(3600)),
            ("yesterday", None),
            ("1970-13-01", None),
            ("", None),
        ] {
            let expected = seconds.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(parse_since(text, now), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_moment_or_none(text in ".{0,30}") {
            let _ = parse_since(&text, SystemTime::now());
        }
    }
}
