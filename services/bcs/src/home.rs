//! Where `bcs up` keeps everything, for those who look there as well.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::Failure;

/// The directory that is meant: this one, or the standard place.
pub(crate) fn root(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let standard = || std::env::home_dir().map(|home| home.join(".local/share/bcs"));
    let root = given.or_else(standard);
    root.ok_or_else(|| Failure::usage("there is no home directory: name one with --data DIR"))
}

/// Where the clusters in it lie.
pub(crate) fn clusters(root: &Path) -> PathBuf {
    root.join("clusters")
}

/// The kubeconfigs of the clusters that were made in a directory, by their names. Nothing is opened.
pub(crate) fn kubeconfigs(root: &Path) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(clusters(root)).into_iter().flatten().flatten();
    let file = |entry: fs::DirEntry| {
        let file = entry.path().join(KUBECONFIG);
        file.is_file().then_some((entry.file_name().into_string().ok()?, file))
    };
    entries.filter_map(file).collect()
}

/// Name of the file by which a cluster is reached.
pub(crate) const KUBECONFIG: &str = "kubeconfig";
