//! Entries that run out: which they are, how long each has, and when somebody has to be told.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use crate::diagnostic::Place;
use crate::policy::snapshot::EntryKind;

/// A registry or service of the policy files with an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Its name.
    pub entry: String,
    /// Which of the two.
    pub kind: EntryKind,
    /// When it ends.
    pub expires: SystemTime,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Where it was decided.
    pub ticket: Option<String>,
    /// The groups it is for, in the order of the files. Where there are no groups, it is for everyone.
    pub groups: Vec<String>,
    /// Where its end is written.
    pub place: Place,
}

/// What is to be said of an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// It ends within a week.
    Week,
    /// It ends within a day.
    Day,
    /// It has ended, and is still written in the files.
    Ended,
}

/// Who has been told of what: everything is said once.
#[derive(Debug, Default)]
pub struct Reminders {
    told: HashMap<(String, SystemTime), Option<Notice>>,
}

impl Exception {
    /// How long it has; nothing: it has ended.
    pub fn left(&self, now: SystemTime) -> Option<Duration> {
        self.expires.duration_since(now).ok().filter(|left| !left.is_zero())
    }

    /// What there is to say of it by now.
    fn notice(&self, now: SystemTime) -> Option<Notice> {
        match self.left(now) {
            None => Some(Notice::Ended),
            Some(left) if left <= DAY => Some(Notice::Day),
            Some(left) if left <= SOON => Some(Notice::Week),
            Some(_) => None,
        }
    }
}

impl Reminders {
    /// What is to be said by now and was not yet. Of what had ended when it was first seen, nothing is.
    pub fn due<'e>(&mut self, exceptions: &'e [Exception], now: SystemTime) -> Vec<(Notice, &'e Exception)> {
        let mut known = HashMap::with_capacity(exceptions.len());
        let mut due = Vec::new();
        for exception in exceptions {
            let key = (exception.entry.clone(), exception.expires);
            let notice = exception.notice(now);
            let before = self.told.get(&key).copied().unwrap_or(notice.filter(|notice| *notice == Notice::Ended));
            if let Some(news) = notice.filter(|_| notice > before) {
                due.push((news, exception));
            }
            known.insert(key, notice.max(before));
        }
        self.told = known;
        due
    }
}

/// A moment as it is written, in UTC (RFC 3339).
pub(super) fn in_utc(moment: SystemTime) -> String {
    jiff::Timestamp::try_from(moment).map(|moment| format!("{moment:.0}")).unwrap_or_default()
}

/// How long something has, in words such as `6d 23h` or `1h 58m`: seconds matter in the last minutes only.
pub fn in_words(left: Duration) -> String {
    let seconds = left.as_secs();
    let (days, hours) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS / 3600);
    match (days, hours) {
        (0, _) => {
            let shown = if seconds < 600 { seconds } else { seconds / 60 * 60 };
            humantime::format_duration(Duration::from_secs(shown)).to_string()
        }
        (_, 0) => format!("{days}d"),
        _ => format!("{days}d {hours}h"),
    }
}

const DAY_SECONDS: u64 = 86_400;
const DAY: Duration = Duration::from_secs(DAY_SECONDS);
/// How long before its end an entry is spoken of.
pub(super) const SOON: Duration = Duration::from_secs(7 * 86_400);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn exception(entry: &str, days: u64) -> Exception {
        Exception {
            entry: entry.to_owned(),
            kind: EntryKind::Registry,
            expires: at(days * 24),
            owner: None,
            ticket: None,
            groups: Vec::new(),
            place: Place { path: Path::new("p.toml").into(), line: 1, column: 1 },
        }
    }

    fn at(hours: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(hours * 3600)
    }

    fn said(reminders: &mut Reminders, exceptions: &[Exception], hours: u64) -> Vec<(Notice, String)> {
        let due = reminders.due(exceptions, at(hours));
        due.into_iter().map(|(notice, exception)| (notice, exception.entry.clone())).collect()
    }

    #[test]
    fn an_exception_is_spoken_of_a_week_and_a_day_before_its_end_and_then_each_once() {
        let mut reminders = Reminders::default();
        let exceptions = [exception("a", 10)];
        for (hours, expected) in [
            (0, None),
            (3 * 24 - 1, None),
            (3 * 24, Some(Notice::Week)),
            (8 * 24, None),
            (9 * 24, Some(Notice::Day)),
            (9 * 24 + 23, None),
            (10 * 24, Some(Notice::Ended)),
            (11 * 24, None),
        ] {
            let expected: Vec<_> = expected.map(|notice| (notice, "a".to_owned())).into_iter().collect();
            assert_eq!(said(&mut reminders, &exceptions, hours), expected, "{hours}");
        }
    }

    #[test]
    fn what_had_ended_before_is_not_news_and_a_later_end_is() {
        let mut reminders = Reminders::default();
        assert_eq!(said(&mut reminders, &[exception("a", 1)], 48), []);
        assert_eq!(said(&mut reminders, &[exception("a", 1)], 72), []);
        assert_eq!(said(&mut reminders, &[exception("a", 5)], 72), [(Notice::Week, "a".to_owned())]);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_be_said_twice() {
        let mut reminders = Reminders::default();
        let exceptions = [exception("a", 10)];
        assert_eq!(said(&mut reminders, &exceptions, 9 * 24).len(), 1);
        assert_eq!(said(&mut reminders, &exceptions, 0).len(), 0);
        assert_eq!(said(&mut reminders, &exceptions, 9 * 24).len(), 0);
    }

    #[test]
    fn what_is_left_is_told_in_the_two_units_that_matter() {
        for (seconds, words) in
            [(0, "0s"), (100, "1m 40s"), (7199, "1h 59m"), (86_400, "1d"), (100 * 86_400 + 3660, "100d 1h")]
        {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn what_left_the_files_is_forgotten() {
        let mut reminders = Reminders::default();
        assert_eq!(said(&mut reminders, &[exception("a", 10)], 9 * 24).len(), 1);
        assert_eq!(said(&mut reminders, &[], 9 * 24).len(), 0);
        assert!(reminders.told.is_empty());
    }
}
