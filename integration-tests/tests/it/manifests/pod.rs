//! What a kubelet does with the volumes of a pod, done by hand in a folder: a simulated cluster has none. Whatever names a place
//! inside the container names the one in the folder then.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::rules::{items, text};

/// What Secrets hold, by their names and keys.
pub(crate) type Contents = BTreeMap<String, BTreeMap<String, String>>;

/// Where things are.
pub(crate) struct Ground<'a> {
    pub documents: &'a [Value],
    pub secrets: &'a Contents,
    /// Below it each pod has a folder.
    pub folder: &'a Path,
    /// Names that nobody resolves here, and what takes their place.
    pub words: Vec<(String, String)>,
}

/// The file system of a container, and what it runs.
pub(crate) struct Unpacked {
    moves: Vec<(String, String)>,
}

impl Unpacked {
    /// Of the first container of the template of `workload`.
    pub(crate) fn of(ground: &Ground<'_>, workload: &Value) -> Result<Self> {
        let spec = &workload["spec"]["template"]["spec"];
        let folder = ground.folder.join(text(workload, "/metadata/name"));
        // Everybody has a /tmp.
        let mounts = items(spec, "/containers/0/volumeMounts").iter().filter(|m| m["mountPath"] != "/tmp");
        let mounts: Vec<&Value> = mounts.collect();
        let mut moves: Vec<(String, String)> = mounts
            .iter()
            .map(|mount| text(mount, "/mountPath"))
            .map(|path| (path.to_owned(), format!("{}{path}", folder.display())))
            .collect();
        // What is inside of another one goes first.
        moves.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        let unpacked = Self { moves: moves.into_iter().chain(ground.words.iter().cloned()).collect() };
        for mount in mounts {
            let place = unpacked.path(text(mount, "/mountPath"))?;
            std::fs::create_dir_all(&place)?;
            let name = text(mount, "/name");
            let volume = items(spec, "/volumes").iter().find(|volume| text(volume, "/name") == name);
            for (file, content) in volume.map(|volume| files(ground, volume)).transpose()?.unwrap_or_default()
            {
                // Keys and certificates are no text.
                let plain = [".nk", ".pem"].iter().all(|end| !file.ends_with(end)) && name != "clusters";
                let content = if plain { unpacked.say(&content) } else { content };
                std::fs::write(place.join(file), content)?;
            }
        }
        Ok(unpacked)
    }

    /// With every place in it as it is called here.
    pub(crate) fn say(&self, text: &str) -> String {
        let (mut said, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(letter) = rest.chars().next() {
            let found =
                self.moves.iter().find_map(|(from, to)| Some((to, rest.strip_prefix(from.as_str())?)));
            match found {
                Some((to, behind)) => {
                    said.push_str(to);
                    rest = behind;
                }
                None => {
                    said.push(letter);
                    rest = &rest[letter.len_utf8()..];
                }
            }
        }
        said
    }

    /// Where something is that the container has mounted there.
    pub(crate) fn path(&self, mounted: &str) -> Result<PathBuf> {
        let found =
            self.moves.iter().find_map(|(from, to)| Some(format!("{to}{}", mounted.strip_prefix(from)?)));
        found.map(PathBuf::from).with_context(|| format!("nothing is mounted at {mounted}"))
    }

    /// The words of its command line, as they are here; `program` finds what the first one means.
    pub(crate) fn line(
        &self,
        container: &Value,
        program: impl Fn(&str) -> Result<PathBuf>,
    ) -> Result<Vec<String>> {
        let words = items(container, "/command").iter().chain(items(container, "/args"));
        let mut words: Vec<String> = words.filter_map(Value::as_str).map(|word| self.say(word)).collect();
        let first = words.first_mut().context("a command")?;
        *first = program(first)?.display().to_string();
        Ok(words)
    }
}

/// What a volume shows.
fn files(ground: &Ground<'_>, volume: &Value) -> Result<BTreeMap<String, String>> {
    let (source, mut all) = if let Some(source) = volume.get("configMap") {
        let named = |d: &&Value| d["kind"] == "ConfigMap" && d["metadata"]["name"] == source["name"];
        let map = ground.documents.iter().find(named).with_context(|| format!("no {source}"))?;
        (source, serde_json::from_value(map["data"].clone())?)
    } else if let Some(source) = volume.get("secret") {
        match ground.secrets.get(text(source, "/secretName")) {
            Some(secret) => (source, secret.clone()),
            None if source["optional"] == true => return Ok(BTreeMap::new()),
            None => anyhow::bail!("there is no secret as in {source}"),
        }
    } else {
        return Ok(BTreeMap::new());
    };
    let chosen = items(source, "/items");
    if !chosen.is_empty() {
        let pick = |item: &Value| Some((text(item, "/path").to_owned(), all.remove(text(item, "/key"))?));
        all = chosen.iter().filter_map(pick).collect();
    }
    Ok(all)
}

/// The same workload, whose pods are processes of this machine.
pub(crate) fn as_process(
    unpacked: &Unpacked,
    workload: &Value,
    program: impl Fn(&str) -> Result<PathBuf>,
    annotations: Value,
    variables: &[(&str, String)],
) -> Result<Value> {
    let mut workload = workload.clone();
    let template = &mut workload["spec"]["template"];
    template["metadata"]["annotations"] = annotations;
    template["metadata"]["annotations"]["sim.bcs/process"] = json!("true");
    let container = &mut template["spec"]["containers"][0];
    container["command"] = json!(unpacked.line(container, program)?);
    container["args"] = Value::Null;
    let mut environment = items(container, "/env").to_vec();
    for variable in &mut environment {
        if let Some(value) = variable["value"].as_str() {
            variable["value"] = json!(unpacked.say(value));
        }
    }
    environment.extend(variables.iter().map(|(name, value)| json!({ "name": name, "value": value })));
    container["env"] = json!(environment);
    Ok(workload)
}
