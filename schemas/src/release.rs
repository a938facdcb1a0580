//! What released versions promised: `released/<version>/` holds their generated files, and the hashes of the golden
//! messages that there were. It is written once and never changed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bcs_schemas::{asyncapi, compat};
use sha2::{Digest, Sha256};

/// Where the version that is built here is kept.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Hashes of golden messages, as `sha256sum` writes and checks them.
const HASHES: &str = "golden.sha256";

/// After problems with what was released.
pub(super) const ADVICE: &str = "what was released stays understood: see docs/changing-messages.md";

/// Compares what lies in `dir` with everything that was released.
pub(super) fn compare_with_released(dir: &Path) -> Result<(), String> {
    let mut problems = Vec::new();
    for (version, base) in files_in(&dir.join("released"))? {
        let found = compare(&base, dir)?.into_iter().chain(golden_problems(&base, dir)?);
        problems.extend(found.map(|problem| format!("since {version}: {problem}")));
    }
    none(problems)
}

/// What keeps the files in `dir` from taking the place of those in `base`.
pub(super) fn compare(base: &Path, dir: &Path) -> Result<Vec<String>, String> {
    Ok(compat::tree(&tree(base)?, &tree(dir)?))
}

pub(super) fn none(problems: Vec<String>) -> Result<(), String> {
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

/// Keeps what is generated, and what golden messages there are, as those of this version.
pub(super) fn keep(dir: &Path) -> Result<(), String> {
    let place = dir.join("released").join(VERSION);
    if place.exists() {
        return Err(format!(
            "{} was released before, and stays as it was: raise the version in Cargo.toml",
            place.display()
        ));
    }
    super::check_all(dir)?;
    compare_with_released(dir)?;
    for (name, content) in asyncapi::files() {
        super::write(&place.join(name), content.as_bytes())?;
    }
    let mut hashes = String::new();
    for (name, path) in files_in(&dir.join("golden"))? {
        hashes.push_str(&format!("{}  {name}\n", hash(&path)?));
    }
    super::write(&place.join(HASHES), hashes.as_bytes())
}

/// Golden messages of a release that are not as they were.
fn golden_problems(base: &Path, dir: &Path) -> Result<Vec<String>, String> {
    let path = base.join(HASHES);
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut problems = Vec::new();
    for line in text.lines() {
        let (expected, name) = line
            .split_once("  ")
            .ok_or_else(|| format!("{}: {line:?} is no hash and name", path.display()))?;
        let golden = dir.join("golden").join(name);
        if !golden.exists() {
            problems.push(format!("golden/{name} is gone: bring it back, messages like it lie in journals"));
        } else if hash(&golden)? != expected {
            problems.push(format!(
                "golden/{name} was changed: bring it back as it was, messages like it lie in journals"
            ));
        }
    }
    Ok(problems)
}

/// The generated files below `dir`.
fn tree(dir: &Path) -> Result<compat::Tree, String> {
    let mut tree = compat::Tree::new();
    let schemas = files_in(&dir.join("json"))?.into_iter().map(|(name, path)| (format!("json/{name}"), path));
    for (name, path) in schemas.chain([("asyncapi.yaml".to_owned(), dir.join("asyncapi.yaml"))]) {
        let problem = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let text = fs::read(&path).map_err(|e| problem(&e))?;
        tree.insert(name, serde_json::from_slice(&text).map_err(|e| problem(&e))?);
    }
    Ok(tree)
}

/// What lies in a folder, by name.
fn files_in(folder: &Path) -> Result<BTreeMap<String, PathBuf>, String> {
    let problem = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(problem)? {
        let entry = entry.map_err(problem)?;
        found.insert(entry.file_name().to_string_lossy().into_owned(), entry.path());
    }
    Ok(found)
}

fn hash(path: &Path) -> Result<String, String> {
    let content = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect())
}
