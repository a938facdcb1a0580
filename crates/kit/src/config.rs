//! Settings: defaults in code, then `/etc/bcs/<service>.toml`, then a file named on the command line, then
//! `BCS__SECTION__KEY` from the environment. An unknown key is an error that names it.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("configuration of {service} is wrong: {problem}")]
pub struct Error {
    service: String,
    problem: String,
}

/// Reads the settings of `service`; `file` must exist when it is given.
pub fn load<T: DeserializeOwned>(service: &str, file: Option<&Path>) -> Result<T, Error> {
    let failed = |problem: String| Error { service: service.to_owned(), problem };
    let standard = PathBuf::from(format!("/etc/bcs/{service}.toml"));
    let mut builder = config::Config::builder().add_source(config::File::from(standard).required(false));
    if let Some(file) = file {
        builder = builder.add_source(config::File::from(file.to_owned()).format(config::FileFormat::Toml));
    }
    let environment =
        config::Environment::with_prefix("BCS").prefix_separator("__").separator("__").try_parsing(true);
    let settings = builder.add_source(environment).build().map_err(|e| failed(e.to_string()))?;
    serde_path_to_error::deserialize(settings).map_err(|e| {
        let path = e.path().to_string();
        failed(format!("{path}: {}", e.inner()))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::bus::BusConfig;

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        bus: BusConfig,
    }

    fn read(text: &str) -> Result<Settings, String> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("writes");
        load("test", Some(file.path())).map_err(|e| e.to_string())
    }

    #[test]
    fn a_file_overrides_defaults() {
        let settings = read("[bus]\nurl = \"nats://bus:4222\"\n").expect("is right");
        assert_eq!((settings.bus.url.as_str(), settings.bus.replicas), ("nats://bus:4222", 1));
    }

    #[test]
    fn a_mistake_is_named_with_its_key() {
        for (text, words) in [
            ("[bus]\nulr = \"x\"\n", "ulr"),
            ("[bus]\nreplicas = \"many\"\n", "bus.replicas"),
            ("[bus]\nsite = \"Not A Name\"\n", "bus.site"),
            ("[bus\n", "TOML"),
        ] {
            let error = read(text).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
    }
}
