//! Resource documents from files: YAML or JSON, several in one file. Everything is read and checked before anything is
//! sent, and every mistake is named with file, document and field.

mod setting;

use std::{io::Read, path::Path};

use bcs_schemas::{FieldError, resource::Resource};
use serde_json::Value;

use crate::Failure;

pub(crate) use setting::Setting;

/// Larger files are no resource documents.
const MOST_BYTES: u64 = 4 << 20;

/// Reads every file, `-` for standard input. All mistakes of all documents are in one failure.
pub(crate) fn read_all(files: &[String], settings: &[Setting]) -> Result<Vec<Resource>, Failure> {
    let mut resources = Vec::new();
    let mut mistakes = Vec::new();
    for file in expanded(files)? {
        let (name, text) = text_of(&file)?;
        match read(&text, settings) {
            Ok(read) => resources.extend(read),
            Err(found) => mistakes.extend(found.iter().map(|mistake| format!("{name}{mistake}"))),
        }
    }
    if mistakes.is_empty() { Ok(resources) } else { Err(Failure::usage(mistakes.join("\n"))) }
}

/// Reads the documents of one text. A mistake goes on where the name of the file ends.
pub(crate) fn read(text: &str, settings: &[Setting]) -> Result<Vec<Resource>, Vec<String>> {
    let values = parse(text).map_err(|problem| vec![format!(" {problem}")])?;
    if values.is_empty() {
        return Err(vec![": holds no document".to_owned()]);
    }
    let (mut resources, mut mistakes) = (Vec::new(), Vec::new());
    for (index, value) in (1..).zip(values) {
        match check(value, settings) {
            Ok(resource) => resources.push(resource),
            Err(errors) => {
                mistakes.extend(errors.iter().map(|e| format!(" document {index}: {}", said(e))));
            }
        }
    }
    if mistakes.is_empty() { Ok(resources) } else { Err(mistakes) }
}

/// A mistake of the document as a whole has no field. YAML takes a bare `1.25` or `true` for no string, which surprises
/// whoever wrote it.
fn said(error: &FieldError) -> String {
    let FieldError { field, problem } = error;
    let unquoted = ["integer", "floating point", "boolean"]
        .iter()
        .any(|kind| problem.starts_with(&format!("invalid type: {kind} ")));
    let hint = if unquoted && problem.ends_with("expected a string") { ": write it in quotes" } else { "" };
    if field == "." { problem.clone() } else { format!("{error}{hint}") }
}

/// Directories become the documents in them, in the order of their names.
fn expanded(files: &[String]) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for file in files {
        let directory = Path::new(file);
        if file == "-" || !directory.is_dir() {
            all.push(file.clone());
            continue;
        }
        let wrong = |e: std::io::Error| Failure::usage(format!("{file}: {e}"));
        let mut found = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(wrong)? {
            let path = entry.map_err(wrong)?.path();
            let document = path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|w| e == *w));
            if document && path.is_file() {
                found.push(path.display().to_string());
            }
        }
        if found.is_empty() {
            return Err(Failure::usage(format!("{file}: holds no file that ends in .yaml, .yml or .json")));
        }
        found.sort();
        all.extend(found);
    }
    Ok(all)
}

fn text_of(file: &str) -> Result<(String, String), Failure> {
    let wrong = |name: &str, e: String| Failure::usage(format!("{name}: {e}"));
    let mut text = String::new();
    let (name, read) = if file == "-" {
        ("standard input", std::io::stdin().take(MOST_BYTES + 1).read_to_string(&mut text))
    } else {
        let opened = std::fs::File::open(Path::new(file));
        (file, opened.and_then(|f| f.take(MOST_BYTES + 1).read_to_string(&mut text)))
    };
    read.map_err(|e| wrong(name, e.to_string()))?;
    if text.len() as u64 > MOST_BYTES {
        return Err(wrong(name, format!("has more than {MOST_BYTES} bytes: expected resource documents")));
    }
    Ok((name.to_owned(), text))
}

fn parse(text: &str) -> Result<Vec<Value>, String> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: 200_000,
            max_nodes: 100_000,
            max_depth: 64,
            max_aliases: 1_000,
            max_anchors: 100,
            max_documents: 1_000,
        },
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        match error.location() {
            Some(at) => {
                let words = error.to_string();
                // The library repeats the place at the end of its words.
                let words = words.split(" at line ").next().unwrap_or_default().to_owned();
                format!("line {} column {}: {words}", at.line(), at.column())
            }
            None => error.to_string(),
        }
    })
}

fn check(mut value: Value, settings: &[Setting]) -> Result<Resource, Vec<FieldError>> {
    if !value.is_object() {
        return Err(vec![FieldError::new(
            ".",
            "is no resource: expected apiVersion, kind, metadata and spec",
        )]);
    }
    if value.get("kind").and_then(Value::as_str) == Some("App") {
        for setting in settings {
            setting.apply(&mut value).map_err(|e| vec![e])?;
        }
    }
    let resource = Resource::from_value(value).map_err(|e| vec![e])?;
    let errors = resource.validate();
    if errors.is_empty() { Ok(resource) } else { Err(errors) }
}

#[cfg(test)]
mod tests;
