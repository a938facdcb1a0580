use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1000 + seconds)
}

/// `+` a good probe, `-` a bad one, `.` none; two seconds each. Gives the last time too.
fn after(begin: Health, probes: &str) -> (Hysteresis, i64) {
    let mut patient = Hysteresis::new(Thresholds::default(), begin, at(0));
    let mut time = 0;
    for probe in probes.chars() {
        time += 2;
        match probe {
            '+' => patient.hear(None, at(time)),
            '-' => patient.hear(Some("connection refused"), at(time)),
            _ => {}
        }
    }
    (patient, time)
}

fn judged(begin: Health, probes: &str) -> Verdict {
    let (patient, time) = after(begin, probes);
    patient.judge(at(time))
}

#[test]
fn probes_decide_with_hysteresis() {
    use Health::{Failed, Healthy, Suspect, Unknown};
    let cases = [
        (Unknown, "", Unknown, "too few"),
        (Unknown, "+", Unknown, "too few"),
        (Unknown, "++", Healthy, "answers"),
        (Unknown, "-", Unknown, "too few"),
        (Healthy, "-", Healthy, "answers"),
        (Healthy, "+-++-+", Suspect, "2 of the last 5"),
        (Healthy, "--", Suspect, "2 of the last 2 probes failed: connection refused"),
        (Healthy, "-+-", Suspect, "2 of the last 3"),
        (Healthy, "---", Failed, "3 of the last 3 probes failed"),
        (Healthy, "-+-+-", Failed, "3 of the last 5"),
        (Healthy, "---+", Failed, "3 of the last 4"),
        (Healthy, "---++", Healthy, "answers"),
        (Healthy, "---++-", Healthy, "answers"),
        (Failed, "+", Failed, "waits for more good probes"),
        (Failed, "++", Healthy, "answers"),
        (Failed, "-", Failed, "1 of the last 1"),
        (Healthy, "++........", Suspect, "silent for 16 s"),
        (Healthy, "++.....................", Unknown, "silent for 42 s"),
        (Failed, "--.....................", Unknown, "silent for 42 s"),
        (Failed, "---........", Failed, "3 of the last 3"),
        (Healthy, "++.....................+", Unknown, "too few"),
        (Healthy, "++.....................++", Healthy, "answers"),
        (Healthy, "++........+", Suspect, "waits for more good probes"),
        (Healthy, "--........-", Suspect, "1 of the last 1"),
    ];
    for (begin, probes, health, words) in cases {
        let verdict = judged(begin, probes);
        assert_eq!(verdict.health, health, "{begin} {probes}: {}", verdict.reason);
        assert!(verdict.reason.contains(words), "{begin} {probes}: {}", verdict.reason);
    }
}

fn any_begin() -> impl Strategy<Value = Health> {
    prop::sample::select(vec![Health::Healthy, Health::Suspect, Health::Failed, Health::Unknown])
}

proptest! {
    #[test]
    fn silence_always_ends_in_not_knowing(begin in any_begin(), probes in "[-+.]{0,30}", quiet in 41_i64..100_000) {
        let (mut patient, time) = after(begin, &probes);
        patient.hear(None, at(time));
        prop_assert_eq!(patient.judge(at(time + quiet)).health, Health::Unknown);
    }

    #[test]
    fn two_good_probes_always_heal(begin in any_begin(), probes in "[-+.]{0,30}") {
        prop_assert_eq!(judged(begin, &format!("{probes}++")).health, Health::Healthy);
    }

    #[test]
    fn three_bad_probes_always_fail(begin in any_begin(), probes in "[-+.]{0,30}") {
        prop_assert_eq!(judged(begin, &format!("{probes}---")).health, Health::Failed);
    }

    #[test]
    fn one_bad_probe_never_fails_a_healthy_cluster(probes in "[-+]{0,30}") {
        prop_assert_ne!(judged(Health::Healthy, &format!("{probes}++++-")).health, Health::Failed);
    }

    #[test]
    fn without_a_bad_probe_nothing_ever_fails(probes in "[+.]{0,40}") {
        prop_assert_ne!(judged(Health::Healthy, &probes).health, Health::Failed);
    }

    #[test]
    fn a_clock_that_goes_back_is_no_silence(probes in "[-+]{2,20}", back in 0_i64..900) {
        let (patient, time) = after(Health::Healthy, &probes);
        prop_assert_eq!(patient.judge(at(time - back)), patient.judge(at(time)));
    }
}
