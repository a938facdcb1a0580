//! A webhook that a test keeps: a server of its own, over TLS, that answers as the test says and remembers what it was asked.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Json, Router, extract::State, routing::post, serve::Listener};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, pem::PemObject as _},
    },
    server::TlsStream,
};

type Judge = Box<dyn Fn(&Value) -> Value + Send + Sync>;

struct Room {
    judge: Judge,
    asked: Mutex<Vec<Value>>,
}

pub(crate) struct Webhook {
    room: Arc<Room>,
    address: SocketAddr,
    authority: String,
    /// Ends with this.
    _server: JoinSet<io::Result<()>>,
}

impl Webhook {
    /// Answers every request (`request` of the review) with the response that `judge` makes of it; the uid is added.
    pub(crate) async fn start(judge: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1:0", judge).await
    }

    pub(crate) async fn start_on(
        address: &str,
        judge: impl Fn(&Value) -> Value + Send + Sync + 'static,
    ) -> Self {
        let key = KeyPair::generate().expect("a key");
        let names = ["127.0.0.1", "judge.default.svc"].map(str::to_owned);
        let signed = CertificateParams::new(names).expect("names").self_signed(&key).expect("signed");
        let listener = TcpListener::bind(address).await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("protocols")
            .with_no_client_auth()
            .with_single_cert(
                vec![signed.der().clone()],
                PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key"),
            )
            .expect("a certificate");
        let door = Door { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
        let room = Arc::new(Room { judge: Box::new(judge), asked: Mutex::default() });
        let router = Router::new().route("/judge", post(answer)).with_state(Arc::clone(&room));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(door, router).await });
        Self { room, address, authority: STANDARD.encode(signed.pem()), _server: server }
    }

    pub(crate) fn asked(&self) -> Vec<Value> {
        self.room.asked.lock().expect("whole").clone()
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// As it stands in a configuration; `more` is added to it.
    pub(crate) fn entry(&self, name: &str, rules: &Value, more: &Value) -> Value {
        let mut entry = json!({
            "name": format!("{name}.judge.example"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": format!("https://{}/judge", self.address), "caBundle": self.authority},
            "rules": rules,
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            entry[field] = value.clone();
        }
        entry
    }
}

async fn answer(State(room): State<Arc<Room>>, Json(review): Json<Value>) -> Json<Value> {
    let request = &review["request"];
    room.asked.lock().expect("whole").push(request.clone());
    let mut response = (room.judge)(request);
    response["uid"] = request["uid"].clone();
    Json(json!({"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response}))
}

/// A response that changes the object by a JSON patch.
pub(crate) fn patched(patch: &Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())})
}

pub(crate) fn refused(message: &str) -> Value {
    json!({"allowed": false, "status": {"code": 403, "reason": "Forbidden", "message": message}})
}

struct Door {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Door {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = Listener::accept(&mut self.listener).await;
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
