//! Contexts: where a bus is and as whom one speaks to it, under a name. They lie in one TOML file that people may edit;
//! `bcs up` writes the context `local`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bcs_kit::bus::BusConfig;
use bcs_schemas::Name;
use serde::{Deserialize, Serialize};

use crate::{Failure, file};

/// Where a bus is, and what is meant when nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// `nats://host:port`; several, joined by commas, for a cluster.
    pub url: String,
    /// File with an nkey seed, or credentials file, when the bus asks who we are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<PathBuf>,
    /// Certificates of who may vouch for the bus; with them, only TLS is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// What inboxes begin with, when the bus allows no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbox: Option<String>,
    /// Site of the bus; `local` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Name>,
    /// Project when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Name>,
}

impl Context {
    /// The settings of the connection.
    pub fn bus(&self) -> BusConfig {
        let standard = BusConfig::default();
        BusConfig {
            url: if self.url.is_empty() { standard.url } else { self.url.clone() },
            site: self.site.clone().unwrap_or(standard.site),
            credentials: self.credentials.clone(),
            ca: self.ca.clone(),
            inbox: self.inbox.clone(),
            ..BusConfig::default()
        }
    }
}

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Contexts {
    /// The one that is used when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// All of them.
    pub contexts: BTreeMap<String, Context>,
}

/// Where the file lies when nothing else is said.
pub fn standard_path() -> Option<PathBuf> {
    std::env::home_dir().map(|home| home.join(".config/bcs/config.toml"))
}

impl Contexts {
    /// Reads the file; no file is no contexts.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(Failure::failed(format!("{}: {e}", path.display()))),
        };
        let wrong = |e: String| Failure::usage(format!("{}: {}", path.display(), e.trim_end()));
        let reader = toml::Deserializer::parse(&text).map_err(|e| wrong(e.to_string()))?;
        serde_path_to_error::deserialize(reader)
            .map_err(|e| wrong(format!("{}: {}", e.path(), e.inner().message())))
    }

    /// Writes the file, whole or not at all; only its owner may read it.
    pub fn save(&self, path: &Path) -> Result<(), Failure> {
        let failed =
            |e: std::io::Error| Failure::failed(format!("{} cannot be written: {e}", path.display()));
        let text = toml::to_string_pretty(self).map_err(|e| Failure::failed(e.to_string()))?;
        file::replace(path, text.as_bytes()).map_err(failed)
    }

    /// The context `name`, or the current one; the standard one when there is none at all.
    pub fn pick(&self, name: Option<&str>) -> Result<Context, Failure> {
        let Some(name) = name.or(self.current.as_deref()) else { return Ok(Context::default()) };
        self.contexts.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Failure::usage(format!(
                "context {name:?} does not exist: there is {known}. See `bcs context list`"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_kept_in_a_file_and_picked_by_name() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("deep/config.toml");
        assert_eq!(Contexts::load(&path).expect("no file is fine"), Contexts::default());
        let local = Context { url: "nats://127.0.0.1:4333".to_owned(), ..Context::default() };
        let contexts = Contexts {
            current: Some("local".to_owned()),
            contexts: BTreeMap::from([("local".to_owned(), local.clone())]),
        };
        contexts.save(&path).expect("writes");
        let read = Contexts::load(&path).expect("reads");
        assert_eq!(read.pick(None).expect("is there"), local);
        let error = read.pick(Some("prod")).expect_err("is not there").message;
        assert!(error.contains("there is local"), "{error}");
    }

    #[test]
    fn the_file_is_its_owners_alone_and_a_link_to_it_stays_one() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::TempDir::new().expect("a directory");
        let (real, link) = (dir.path().join("real.toml"), dir.path().join("config.toml"));
        fs::write(&real, "").expect("writes");
        fs::set_permissions(&real, fs::Permissions::from_mode(0o644)).expect("has a mode");
        std::os::unix::fs::symlink(&real, &link).expect("links");
        let contexts = Contexts { current: Some("local".to_owned()), ..Contexts::default() };
        contexts.save(&link).expect("writes");
        assert!(fs::symlink_metadata(&link).expect("is there").is_symlink());
        assert_eq!(fs::metadata(&real).expect("is there").permissions().mode() & 0o777, 0o600);
        assert_eq!(Contexts::load(&real).expect("reads"), contexts);
        assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 2, "no draft is left behind");
    }

    #[test]
    fn a_mistake_in_the_file_is_named_with_its_place() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("config.toml");
        for (text, words) in [
            ("[contexts.a]\nurl = 1\n", "contexts.a.url"),
            ("[contexts.a]\nurl = \"x\"\nulr = \"x\"\n", "ulr"),
            ("[contexts.a]\nurl = \"x\"\nproject = \"No Name\"\n", "contexts.a.project"),
            ("[contexts\n", "line 1"),
        ] {
            std::fs::write(&path, text).expect("writes");
            let failure = Contexts::load(&path).expect_err(words);
            assert!(failure.message.contains(words) && failure.message.contains("config.toml"), "{failure}");
        }
    }
}
