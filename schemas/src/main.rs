//! `bcs-schemas [--check | --compat [--base DIR] | --release] DIR`: writes the generated files below DIR, or says which of
//! them are not as they should be, or compares with what was released, or keeps what there is as released. Golden messages
//! are only ever added.

mod release;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use bcs_schemas::{asyncapi, golden};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (result, then) = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--check", dir] => (check_all(dir.as_ref()), "run scripts/schemas and commit what it writes"),
        ["--compat", dir] => (release::compare_with_released(dir.as_ref()), release::ADVICE),
        ["--compat", "--base", base, dir] => {
            (release::compare(base.as_ref(), dir.as_ref()).and_then(release::none), release::ADVICE)
        }
        ["--release", dir] => (release::keep(dir.as_ref()), "nothing was written"),
        [dir] if !dir.starts_with('-') => (write_all(dir.as_ref()), "not everything was written"),
        _ => {
            eprintln!("usage: bcs-schemas [--check | --compat [--base DIR] | --release] DIR");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => {
            eprintln!("{problems}\n{then}");
            ExitCode::FAILURE
        }
    }
}

fn write_all(dir: &Path) -> Result<(), String> {
    for (name, content) in asyncapi::files() {
        write(&dir.join(name), content.as_bytes())?;
    }
    for (name, content) in golden::examples() {
        let path = golden_path(dir, &name);
        if !path.exists() {
            write(&path, &content)?;
        }
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> Result<(), String> {
    let parent = path.parent().map(Path::to_path_buf).unwrap_or_default();
    std::fs::create_dir_all(parent)
        .and_then(|()| std::fs::write(path, content))
        .map_err(|e| format!("{}: {e}", path.display()))
}

fn check_all(dir: &Path) -> Result<(), String> {
    let mut problems: Vec<String> = Vec::new();
    let expected = asyncapi::files();
    for (name, content) in &expected {
        match std::fs::read_to_string(dir.join(name)) {
            Ok(found) if found == *content => (),
            Ok(_) => problems.push(format!("{name} differs from what the types say")),
            Err(e) => problems.push(format!("{name}: {e}")),
        }
    }
    for entry in std::fs::read_dir(dir.join("json")).into_iter().flatten().flatten() {
        let name = format!("json/{}", entry.file_name().to_string_lossy());
        if !expected.contains_key(&name) {
            problems.push(format!("{name} belongs to no type"));
        }
    }
    let missing = golden::examples().into_keys().filter(|name| !golden_path(dir, name).exists());
    problems.extend(missing.map(|name| format!("golden/{name}.msgpack is missing")));
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

fn golden_path(dir: &Path, name: &str) -> PathBuf {
    dir.join("golden").join(format!("{name}.msgpack"))
}
