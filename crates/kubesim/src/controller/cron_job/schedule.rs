//! The schedule of a CronJob: five fields in a time zone, a nickname such as `@daily`, or `@every 5m`. Pure.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::Value;

use crate::object::text;

#[derive(Debug)]
pub(crate) struct Schedule {
    rhythm: Rhythm,
    zone: TimeZone,
}

#[derive(Debug)]
enum Rhythm {
    Pattern(Box<Cron>),
    Every(SignedDuration),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Schedule(String),
    #[error("unknown time zone {0}")]
    Zone(String),
}

/// Beyond so many missed times something is wrong with the clock or the deadline.
pub(super) const MANY: usize = 100;

impl Schedule {
    pub(crate) fn of(cron_job: &Value) -> Result<Self, Error> {
        let (pattern, zone) = (text(cron_job, "/spec/schedule"), text(cron_job, "/spec/timeZone"));
        let zone = match zone {
            "" => TimeZone::UTC,
            name => TimeZone::get(name).map_err(|_| Error::Zone(name.to_owned()))?,
        };
        Ok(Self { rhythm: rhythm(pattern)?, zone })
    }

    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.rhythm {
            Rhythm::Pattern(cron) => {
                let next = cron.find_next_occurrence(&after.to_zoned(self.zone.clone()), false).ok()?;
                Some(next.timestamp())
            }
            Rhythm::Every(step) => after.checked_add(*step).ok(),
        }
    }

    /// The last time that has come since `after`, and how many came (counted no further than needed).
    pub(super) fn due(&self, after: Timestamp, now: Timestamp) -> Option<(Timestamp, usize)> {
        if let Rhythm::Every(step) = &self.rhythm {
            let count = now.duration_since(after).as_secs() / step.as_secs();
            let last = after.checked_add(SignedDuration::from_secs(step.as_secs() * count)).ok()?;
            return (count > 0).then(|| (last, usize::try_from(count).unwrap_or(usize::MAX)));
        }
        let times = std::iter::successors(self.next(after), |at| self.next(*at));
        let count = times.take(MANY + 1).take_while(|at| *at <= now).count();
        (count > 0).then_some(())?;
        self.last(now).map(|at| (at, count))
    }

    fn last(&self, now: Timestamp) -> Option<Timestamp> {
        let Rhythm::Pattern(cron) = &self.rhythm else { return None };
        let last = cron.find_previous_occurrence(&now.to_zoned(self.zone.clone()), true).ok()?;
        Some(last.timestamp())
    }

    /// An instant as the annotation of a job shows it.
    pub(super) fn local(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string().replace("+00:00", "Z")
    }
}

fn rhythm(pattern: &str) -> Result<Rhythm, Error> {
    if let Some(step) = pattern.strip_prefix("@every ") {
        let step: SignedDuration = step
            .trim()
            .parse()
            .map_err(|_| Error::Schedule(format!("failed to parse duration {pattern}")))?;
        return Ok(Rhythm::Every(SignedDuration::from_secs(step.as_secs().max(1))));
    }
    if pattern.contains("TZ") {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        return Err(Error::Schedule(why.to_owned()));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser
        .parse(pattern)
        .map(|cron| Rhythm::Pattern(Box::new(cron)))
        .map_err(|e| Error::Schedule(e.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schedule(pattern: &str, zone: &str) -> Result<Schedule, Error> {
        Schedule::of(&json!({"spec": {"schedule": pattern, "timeZone": zone}}))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    #[test]
    fn the_next_time_is_that_of_the_zone() {
        for (pattern, zone, after, expected) in [
            ("*/5 * * * *", "", "2026-03-01T10:02:00Z", "2026-03-01T10:05:00Z"),
            ("0 3 * * *", "Europe/Berlin", "2026-01-10T10:00:00Z", "2026-01-11T02:00:00Z"),
            ("0 3 * * *", "Europe/Berlin", "2026-07-10T10:00:00Z", "2026-07-11T01:00:00Z"),
            ("@daily", "", "2026-03-01T10:02:00Z", "2026-03-02T00:00:00Z"),
            ("0 0 13 * 5", "", "2026-03-01T00:00:00Z", "2026-03-06T00:00:00Z"),
            ("@every 90s", "", "2026-03-01T10:00:00Z", "2026-03-01T10:01:30Z"),
        ] {
            let found = schedule(pattern, zone).expect(pattern).next(at(after));
            assert_eq!(found, Some(at(expected)), "{pattern} {zone}");
        }
    }

    #[test]
    fn of_missed_times_the_last_one_is_due() {
        let hourly = schedule("0 * * * *", "").expect("a schedule");
        for (after, now, expected) in [
            ("2026-03-01T10:00:00Z", "2026-03-01T10:59:59Z", None),
            ("2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z", Some(("2026-03-01T11:00:00Z", 1))),
            ("2026-03-01T10:00:00Z", "2026-03-01T13:30:00Z", Some(("2026-03-01T13:00:00Z", 3))),
            ("2026-03-01T10:00:00Z", "2026-03-09T13:30:00Z", Some(("2026-03-09T13:00:00Z", 101))),
        ] {
            assert_eq!(hourly.due(at(after), at(now)), expected.map(|(t, n)| (at(t), n)), "{now}");
        }
        let every = schedule("@every 1m", "").expect("a schedule");
        let found = every.due(at("2026-03-01T10:00:10Z"), at("2026-03-01T10:02:40Z"));
        assert_eq!(found, Some((at("2026-03-01T10:02:10Z"), 2)));
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for (pattern, zone) in [
            ("", ""),
            ("* * * *", ""),
            ("* * * * * *", ""),
            ("61 * * * *", ""),
            ("TZ=UTC 0 * * * *", ""),
            ("@every soon", ""),
            ("0 * * * *", "Mars/Olympus"),
        ] {
            assert!(schedule(pattern, zone).is_err(), "{pattern:?} {zone:?}");
        }
    }
}
