//! Memory and CPU time of processes, as /proc tells them.

use anyhow::{Context, Result};

use super::report::Row;

/// /proc counts in these, on every Linux that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process under observation.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) name: String,
    pub(super) pid: u32,
}

impl Watched {
    pub(super) fn new(name: &str, pid: u32) -> Self {
        Self { name: name.to_owned(), pid }
    }

    /// This process: the load, and the floor where it runs here.
    pub(super) fn bench() -> Self {
        Self::new("bcs-bench", std::process::id())
    }

    /// CPU time used so far, in seconds.
    pub(super) fn cpu(&self) -> Result<f64> {
        let stat = self.read("stat")?;
        // The name of the program may hold blanks; the numbers begin behind its parenthesis.
        let numbers: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |field: usize| numbers.get(field).and_then(|text| text.parse::<f64>().ok());
        let used = ticks(11).zip(ticks(12)).context("no CPU time in stat")?;
        Ok((used.0 + used.1) / TICKS_PER_SECOND)
    }

    /// Memory in use, in MiB.
    pub(super) fn resident(&self) -> Result<f64> {
        self.memory("VmRSS:")
    }

    /// The most memory that was ever in use, in MiB.
    pub(super) fn peak(&self) -> Result<f64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> Result<f64> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib: f64 = line.with_context(|| format!("no {field}"))?.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.pid);
        std::fs::read_to_string(&path).with_context(|| format!("{}: {path}", self.name))
    }
}

/// CPU time that a set of processes used on each side's turns.
pub(super) struct Meter {
    watched: Vec<Watched>,
    ours: Vec<f64>,
    floor: Vec<f64>,
}

impl Meter {
    pub(super) fn new(watched: Vec<Watched>) -> Self {
        let zeros = vec![0.0; watched.len()];
        Self { watched, ours: zeros.clone(), floor: zeros }
    }

    /// Where the counters stand; give it back when the turn is over.
    pub(super) fn begin(&self) -> Result<Vec<f64>> {
        self.watched.iter().map(Watched::cpu).collect()
    }

    pub(super) fn end_of_ours(&mut self, begin: &[f64]) -> Result<()> {
        let used = self.since(begin)?;
        add(&mut self.ours, &used);
        Ok(())
    }

    pub(super) fn end_of_floor(&mut self, begin: &[f64]) -> Result<()> {
        let used = self.since(begin)?;
        add(&mut self.floor, &used);
        Ok(())
    }

    fn since(&self, begin: &[f64]) -> Result<Vec<f64>> {
        Ok(self.begin()?.iter().zip(begin).map(|(now, then)| now - then).collect())
    }

    /// A row of CPU seconds and one of peak memory for each process; `of` says of what, if there is more than one thing.
    pub(super) fn rows(&self, of: &str) -> Result<Vec<Row>> {
        let of = if of.is_empty() { String::new() } else { format!("{of}: ") };
        let mut rows = Vec::new();
        for (i, watched) in self.watched.iter().enumerate() {
            let cpu = Row::new(format!("{of}CPU of {} on the turns of BCS", watched.name), "s", self.ours[i]);
            rows.push(cpu.over(self.floor[i]));
        }
        for watched in &self.watched {
            rows.push(Row::new(format!("{of}peak RSS of {}", watched.name), "MiB", watched.peak()?));
        }
        Ok(rows)
    }
}

fn add(sum: &mut [f64], used: &[f64]) {
    sum.iter_mut().zip(used).for_each(|(sum, used)| *sum += used);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_time() {
        let me = Watched::bench();
        assert!(me.cpu().expect("reads") >= 0.0);
        assert!(
            me.resident().expect("reads") > 1.0 && me.peak().expect("reads") >= me.resident().expect("reads")
        );
        assert!(Watched::new("nobody", u32::MAX).cpu().is_err());
    }
}
