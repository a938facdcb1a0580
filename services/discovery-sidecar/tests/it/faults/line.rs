//! What stands between a sidecar and its registry, and can be disturbed.

use std::{fs, path::PathBuf};

use bcs_testbus::{Mood, Wire};

/// A way to a registry.
pub(crate) enum Line {
    /// TCP.
    Wire(Wire),
    /// A program that is run for every call, by a script that asks this file how to treat it.
    Command(PathBuf),
    /// A folder, which is there or not.
    Folder(PathBuf),
}

/// Runs its arguments as the file in the first one says.
pub(crate) const SCRIPT: &str = r#"mood=$1; shift
case $(cat "$mood") in
  cut) echo "the way is cut" >&2; exit 1 ;;
  killed) kill -9 $$ ;;
  deaf) "$@" >/dev/null 2>&1; echo "the answer is lost" >&2; exit 1 ;;
  slow) sleep 0.3 ;;
  hole) while [ "$(cat "$mood")" = hole ]; do sleep 0.1; done ;;
esac
exec "$@"
"#;

impl Line {
    pub(crate) fn set(&self, mood: Mood) {
        match self {
            Self::Wire(wire) => wire.set(mood),
            Self::Command(file) => {
                let word = match mood {
                    Mood::Open => "open",
                    Mood::Cut => "cut",
                    Mood::Deaf => "deaf",
                    Mood::Slow(_) => "slow",
                    Mood::Hole => "hole",
                };
                let fresh = file.with_extension("fresh");
                fs::write(&fresh, word).expect("writes");
                fs::rename(fresh, file).expect("renames");
            }
            Self::Folder(folder) => {
                let away = folder.with_extension("away");
                match (mood == Mood::Open, away.exists()) {
                    (true, true) => {
                        fs::remove_file(folder).expect("removes");
                        fs::rename(away, folder).expect("renames");
                    }
                    (false, false) => {
                        fs::rename(folder, away).expect("renames");
                        fs::write(folder, "not a folder").expect("writes");
                    }
                    _ => (),
                }
            }
        }
    }
}
