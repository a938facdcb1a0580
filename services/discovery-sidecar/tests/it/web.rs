//! HTTP beside the drivers: a client that is not theirs, and a proxy that loses answers or speaks TLS.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

type Plain = Client<HttpConnector, Full<Bytes>>;

fn client() -> Plain {
    Client::builder(TokioExecutor::new()).build(HttpConnector::new())
}

/// Status and body; no answer at all is an error in words.
pub(crate) async fn ask(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<(u16, String), String> {
    let answer = answer(method, url, headers, body).await?;
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    Ok((answer.status().as_u16(), text))
}

/// The same with its headers.
pub(crate) async fn answer(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Response<Bytes>, String> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).expect("a request");
    let answer = client().request(request).await.map_err(|e| format!("{url} does not answer: {e}"))?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(|e| format!("{url} broke off: {e}"))?.to_bytes();
    Ok(Response::from_parts(head, body))
}

/// What a proxy does beside passing on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prank {
    /// Requests with this method and this part of the path are carried out, and get no answer.
    Lose(&'static str, &'static str),
    /// So are all.
    LoseAll,
    /// Such requests wait that long before they are carried out.
    Late(&'static str, &'static str, Duration),
    /// An error of the server is answered, and nothing is carried out.
    Fail,
    /// It is, and an error is answered all the same.
    FailAfter,
    /// Everything is asked for twice; the second answer counts.
    Twice,
}

type Pranks = Arc<Mutex<Option<Prank>>>;

/// Stands before a server.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    prank: Pranks,
    /// Requests that passed.
    passed: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(to: &str) -> Self {
        Self::start_with(to, None).await
    }

    pub(crate) async fn start_with(to: &str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (prank, passed, mut tasks) = (Pranks::default(), Arc::<AtomicUsize>::default(), JoinSet::new());
        tasks.spawn(serve(listener, to.to_owned(), (prank.clone(), passed.clone()), tls));
        Self { address, prank, passed, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, requests such as this one get no answer.
    pub(crate) fn lose(&self, method: &'static str, path: &'static str) {
        self.play(Some(Prank::Lose(method, path)));
    }

    /// How many requests passed so far.
    pub(crate) fn passed(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }

    pub(crate) fn lose_nothing(&self) {
        self.play(None);
    }

    pub(crate) fn play(&self, prank: Option<Prank>) {
        *self.prank.lock().expect("a lock") = prank;
    }
}

async fn serve(
    listener: TcpListener,
    to: String,
    (pranks, passed): (Pranks, Arc<AtomicUsize>),
    tls: Option<TlsAcceptor>,
) {
    let (mut connections, client) = (JoinSet::new(), client());
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (to, pranks, client, tls) = (to.clone(), pranks.clone(), client.clone(), tls.clone());
        let passed = passed.clone();
        connections.spawn(async move {
            let pass = service_fn(move |request| {
                passed.fetch_add(1, Ordering::Relaxed);
                pass(client.clone(), to.clone(), pranks.clone(), request)
            });
            let server = hyper::server::conn::http1::Builder::new();
            let _ = match tls {
                None => server.serve_connection(TokioIo::new(stream), pass).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => server.serve_connection(TokioIo::new(stream), pass).await,
                    Err(_) => Ok(()),
                },
            };
        });
    }
}

async fn pass(
    client: Plain,
    to: String,
    pranks: Pranks,
    request: Request<Incoming>,
) -> io::Result<Response<Full<Bytes>>> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    head.uri = format!("{to}{path}").parse().map_err(io::Error::other)?;
    head.headers.remove("host");
    let prank = *pranks.lock().expect("a lock");
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    if prank == Some(Prank::Fail) {
        return Ok(error());
    }
    if let Some(Prank::Late(method, part, wait)) = prank
        && head.method == method
        && path.contains(part)
    {
        tokio::time::sleep(wait).await;
    }
    let request = || Request::from_parts(head.clone(), Full::new(body.clone()));
    if prank == Some(Prank::Twice) {
        client.request(request()).await.map_err(io::Error::other)?;
    }
    let answer = client.request(request()).await.map_err(io::Error::other)?;
    let lost = match prank {
        Some(Prank::Lose(method, part)) => head.method == method && path.contains(part),
        Some(Prank::FailAfter) => return Ok(error()),
        other => other == Some(Prank::LoseAll),
    };
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    if lost {
        return Err(io::Error::other("lost"));
    }
    Ok(Response::from_parts(head, Full::new(body)))
}

fn error() -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from_static(b"the server is in trouble")));
    *answer.status_mut() = hyper::StatusCode::SERVICE_UNAVAILABLE;
    answer
}

/// Something else than what was expected: the same answer to everything.
pub(crate) struct Elsewhere {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Elsewhere {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

pub(crate) async fn answering(status: u16, content: &'static str, body: &'static str) -> Elsewhere {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let say = service_fn(move |_: Request<Incoming>| async move {
                let answer = Response::builder().status(status).header("content-type", content);
                answer
                    .header("location", "http://127.0.0.1:1/")
                    .body(Full::new(Bytes::from_static(body.as_bytes())))
            });
            let server = hyper::server::conn::http1::Builder::new();
            connections.spawn(async move { drop(server.serve_connection(TokioIo::new(stream), say).await) });
        }
    });
    Elsewhere { address, _tasks: tasks }
}

/// TLS as the authority `good` signed it, for clients that it signed as well.
pub(crate) fn acceptor(directory: &Path) -> TlsAcceptor {
    let read = |file: &str| std::fs::read(directory.join(file)).expect("reads");
    let chain = CertificateDer::from_pem_slice(&read("good-server.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(&read("good-server.key")).expect("a key");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&read("good-ca.pem")).expect("an authority")).expect("is taken");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(clients.expect("a verifier"))
        .with_single_cert(vec![chain], key);
    TlsAcceptor::from(Arc::new(config.expect("settings of TLS")))
}
