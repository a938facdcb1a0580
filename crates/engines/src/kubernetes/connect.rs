//! From a reference to a kubeconfig to an engine. Every error says which file and what was expected of it, and none
//! quotes the file: it holds credentials.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bcs_kit::Clock;
use bcs_schemas::{FieldError, resource::ClusterSpec};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use super::Kubernetes;
use crate::{Description, Engine, ProbeError};

const CONNECT: Duration = Duration::from_secs(3);
/// A list or the beginning of a watch on a connection that died in silence ends after this long. An open watch is longer
/// quiet than any answer takes; the server ends it well before.
const READ: Duration = Duration::from_secs(40);

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("{} does not exist: expected a kubeconfig file", .0.display())]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("{} cannot be read: {kind}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        kind: io::ErrorKind,
    },
    /// The file holds something else.
    #[error("{} is no kubeconfig{at}: expected YAML with clusters, users and contexts", .file.display())]
    Unparsable {
        /// The file.
        file: PathBuf,
        /// ` (line 3, column 7)`, or nothing.
        at: String,
    },
    /// The file has no such context, or no current one.
    #[error("{} has no {wanted}: expected one of {known}", .file.display())]
    NoContext {
        /// The file.
        file: PathBuf,
        /// `context "x"` or `current context`.
        wanted: String,
        /// The contexts that it has.
        known: String,
    },
    /// The file can be read, and something in it cannot be used.
    #[error("{} cannot be used: {problem}", .file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// What.
        problem: String,
    },
    /// The server that the file names did not answer.
    #[error("{} points at {server}, which does not answer: {problem}", .file.display())]
    Unreachable {
        /// The file.
        file: PathBuf,
        /// The server.
        server: String,
        /// What happened instead.
        problem: String,
    },
    /// The server that the file names does not let us in.
    #[error("{} is refused by {server}: {problem}", .file.display())]
    Refused {
        /// The file.
        file: PathBuf,
        /// The server.
        server: String,
        /// What it said.
        problem: String,
    },
}

impl Error {
    /// The same as an error of the field to mend.
    pub fn field(&self) -> FieldError {
        let field = if matches!(self, Self::NoContext { .. }) { "spec.context" } else { "spec.kubeconfig" };
        FieldError::new(field, self.to_string())
    }

    /// Whether trying again can help without anybody mending anything.
    pub const fn transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// Reads the kubeconfig and prepares a connection, without using it yet.
pub async fn open(spec: &ClusterSpec, clock: Clock) -> Result<Kubernetes, Error> {
    let config = configure(spec).await?;
    let file = &spec.kubeconfig.file;
    let client = Client::try_from(config)
        .map_err(|e| Error::Unusable { file: file.clone(), problem: without_values(&e) })?;
    Ok(Kubernetes::new(client, clock))
}

/// Reads the kubeconfig, connects, and asks the cluster for its version.
pub async fn connect(spec: &ClusterSpec, clock: Clock) -> Result<(Kubernetes, Description), Error> {
    let server = shown(&configure(spec).await?);
    let engine = open(spec, clock).await?;
    let file = spec.kubeconfig.file.clone();
    match engine.probe().await {
        Ok(description) => Ok((engine, description)),
        Err(ProbeError::Unreachable(problem)) => Err(Error::Unreachable { file, server, problem }),
        Err(ProbeError::Refused(problem)) => Err(Error::Refused { file, server, problem }),
    }
}

/// What a kubeconfig and the files that it names hold, told only so far that a change is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

/// Reads the kubeconfig and the files that it names. Taken before [`open`], so that a change in between is noticed by the
/// next one.
pub async fn fingerprint(spec: &ClusterSpec) -> Result<Fingerprint, Error> {
    let file = &spec.kubeconfig.file;
    let text = text(file).await?;
    let mut kubeconfig = parse(&text, file)?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    for path in paths(&mut kubeconfig) {
        // One that comes or goes is a change too.
        tokio::fs::read(path).await.ok().hash(&mut hasher);
    }
    Ok(Fingerprint(hasher.finish()))
}

/// Where the server is, without the user and password that a URL may carry.
fn shown(config: &Config) -> String {
    let url = &config.cluster_url;
    let authority = url.authority().map_or("", |a| a.as_str());
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    format!("{}://{place}{}", url.scheme_str().unwrap_or("https"), url.path())
}

async fn configure(spec: &ClusterSpec) -> Result<Config, Error> {
    let file = &spec.kubeconfig.file;
    let kubeconfig = read(file).await?;
    let wanted =
        spec.context.clone().or_else(|| kubeconfig.current_context.clone()).filter(|c| !c.is_empty());
    let known: Vec<&str> = kubeconfig.contexts.iter().map(|c| c.name.as_str()).collect();
    if !wanted.as_deref().is_some_and(|wanted| known.contains(&wanted)) {
        let known = if known.is_empty() { "none, it names no context".to_owned() } else { known.join(", ") };
        let wanted = wanted.map_or_else(|| "current context".to_owned(), |name| format!("context {name:?}"));
        return Err(Error::NoContext { file: file.clone(), wanted, known });
    }
    let options = KubeConfigOptions { context: wanted, ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|e| Error::Unusable { file: file.clone(), problem: problem(&e) })?;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(READ);
    // The time that a connection lay in the pool does not count.
    config.reset_reader_on_write = true;
    // Reconcilers repeat by themselves; hidden repetition would only outlast the caller's deadline.
    config.default_retry = false;
    Ok(config)
}

async fn read(file: &Path) -> Result<Kubeconfig, Error> {
    parse(&text(file).await?, file)
}

async fn text(file: &Path) -> Result<String, Error> {
    tokio::fs::read_to_string(file).await.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Error::Missing(file.to_owned()),
        io::ErrorKind::InvalidData => Error::Unparsable { file: file.to_owned(), at: String::new() },
        kind => Error::Unreadable { file: file.to_owned(), kind },
    })
}

fn parse(text: &str, file: &Path) -> Result<Kubeconfig, Error> {
    let mut kubeconfig = Kubeconfig::from_yaml(text)
        .map_err(|e| Error::Unparsable { file: file.to_owned(), at: position(&e) })?;
    // Paths in a kubeconfig are relative to the file, not to whoever reads it.
    if let Some(folder) = file.parent() {
        for path in paths(&mut kubeconfig) {
            *path = folder.join(&*path).to_string_lossy().into_owned();
        }
    }
    Ok(kubeconfig)
}

/// The files that a kubeconfig names.
fn paths(kubeconfig: &mut Kubeconfig) -> impl Iterator<Item = &mut String> {
    let clusters = kubeconfig.clusters.iter_mut().filter_map(|c| c.cluster.as_mut());
    let authorities = clusters.map(|c| &mut c.certificate_authority);
    let users = kubeconfig.auth_infos.iter_mut().filter_map(|u| u.auth_info.as_mut());
    let keys = users.flat_map(|u| [&mut u.client_certificate, &mut u.client_key, &mut u.token_file]);
    authorities.chain(keys).filter_map(Option::as_mut)
}

fn position(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(inner) => inner
            .location()
            .map(|at| format!(" (line {}, column {})", at.line(), at.column()))
            .unwrap_or_default(),
        _ => String::new(),
    }
}

fn problem(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::LoadClusterOfContext(name) => {
            format!("its context names cluster {name:?}, which it does not have")
        }
        KubeconfigError::LoadContext(name) => format!("it has no context {name:?}"),
        KubeconfigError::MissingClusterUrl => "its cluster has no server".to_owned(),
        KubeconfigError::ParseClusterUrl(e) => format!("its server is no URL: {e}"),
        KubeconfigError::LoadCertificateAuthority(_) | KubeconfigError::ParseCertificates(_) => {
            "its certificate authority cannot be loaded: expected PEM".to_owned()
        }
        KubeconfigError::LoadClientCertificate(_) => "its client certificate cannot be loaded".to_owned(),
        KubeconfigError::LoadClientKey(_) => "its client key cannot be loaded".to_owned(),
        _ => "it is incomplete".to_owned(),
    }
}

/// A client can fail on a token, a key or a certificate; the text of those errors may hold pieces of them.
fn without_values(error: &kube::Error) -> String {
    match error {
        kube::Error::Auth(_) => "its user cannot be used to log in".to_owned(),
        kube::Error::RustlsTls(_) => "its certificates or keys cannot be used for TLS".to_owned(),
        kube::Error::TlsRequired => "its server asks for TLS, which is not built in".to_owned(),
        _ => "no connection can be prepared from it".to_owned(),
    }
}

#[cfg(test)]
mod tests;
