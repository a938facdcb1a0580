//! The line that says where the figures come from.

use std::{fs, path::Path, process::Command};

/// What the machine had to do: load averages and what runs now.
pub(super) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Processor, memory, kernel, disk, programs, and how busy the machine was before and after.
pub(super) fn describe(versions: &[String], load_before: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut parts = vec![format!("{} × {}", cores, cpu())];
    parts.push(format!("{} GiB", memory()));
    parts.push(format!("Linux {}", read("/proc/sys/kernel/osrelease")));
    parts.push(format!("{} on {}", filesystem(&std::env::temp_dir()), std::env::temp_dir().display()));
    let build = if cfg!(debug_assertions) { "DEBUG build" } else { "release build" };
    parts.push(format!("BCS {}, {build}", env!("CARGO_PKG_VERSION")));
    parts.extend(versions.iter().cloned());
    parts.push("loopback; every write synced; 1 replica".to_owned());
    parts.push(format!("load average {load_before} before, {} after", load()));
    format!("Machine: {}.", parts.join("; "))
}

/// What a program says of its version, on one line.
pub(super) fn version(program: &str, variable: &str, argument: &str) -> String {
    let path = crate::harness::find(program, variable, "install it").unwrap_or_else(|_| program.into());
    let said = Command::new(path).arg(argument).output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let line = said.lines().next().unwrap_or_default().trim();
    line.replace("nats-server: v", "nats-server ").replace(" Version:", "")
}

fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split(':').nth(1)).unwrap_or("unknown processor");
    name.trim().to_owned()
}

fn memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024 / 1024
}

/// Type of the file system that holds `path`: the longest mount point above it.
fn filesystem(path: &Path) -> String {
    let text = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounts = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().zip(words.next())
    });
    let above = mounts.filter(|(point, _)| path.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map_or_else(String::new, |(_, kind)| kind.to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
