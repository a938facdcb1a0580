//! `docs/benchmarks.md`: what lies between the marks of a scenario is written by the bench, everything else by people.
//! Results of one scenario never touch those of another, nor the notes.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::report::Report;

const PREFACE: &str = "\
# Benchmarks

Written by `scripts/bench --write`; only what stands between the marks of a scenario is replaced, notes stay.

Every figure stands beside a floor: the least that the same job costs when it is written by hand with the raw clients and
no code of BCS, measured in the same run on the same servers. Both take turns, and a ratio is the median of the ratios of
neighbouring turns; percentiles are taken over all turns together. CPU seconds are summed over the turns of a side. Where
nobody could do the job by hand, such as running a hundred thousand pods, there is a target and no floor.
";

/// Puts the results where the last ones of the same scenario stand.
pub(super) fn write(report: &Report) -> io::Result<()> {
    let path = path();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => PREFACE.to_owned(),
        Err(error) => return Err(error),
    };
    fs::create_dir_all(path.parent().unwrap_or_else(|| Path::new(".")))?;
    fs::write(&path, replace(&text, report))
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md")
}

fn replace(text: &str, report: &Report) -> String {
    let name = &report.scenario;
    let (begin, end) = (format!("<!-- results of {name} -->"), format!("<!-- end of {name} -->"));
    let table = report.markdown().replacen("### ", "## ", 1);
    let section = format!("{begin}\n{table}\nRepeat: `scripts/bench {name}`\n{end}");
    let around = text.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    match around {
        Some((before, after)) => format!("{before}{section}{after}"),
        None => format!("{}\n\n{section}\n", text.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::Row;

    fn report(scenario: &str, value: f64) -> Report {
        Report { scenario: scenario.into(), rows: vec![Row::new("m", "s", value)], ..Report::default() }
    }

    #[test]
    fn new_results_replace_their_own_and_notes_stay() {
        let first = replace(&replace(PREFACE, &report("idle", 1.0)), &report("commands", 2.0));
        let noted = format!("{first}\nA note.\n");
        let second = replace(&noted, &report("idle", 7.0));
        assert!(
            second.contains("A note.") && second.contains("|   7 |") && second.contains("|   2 |"),
            "{second}"
        );
        assert!(!second.contains("|   1 |") && second.starts_with("# Benchmarks"), "{second}");
        assert_eq!(replace(&second, &report("idle", 7.0)), second);
    }
}
