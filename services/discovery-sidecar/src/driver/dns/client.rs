//! A client of DNS over TCP: signed questions, updates and transfers. It connects when it is used, and anew after a pause:
//! servers close connections that are idle.

mod requests;

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use bcs_kit::Clock;
use bcs_schemas::resource::registry::{DnsDriver, dns::host_and_port};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

pub(super) use self::requests::{Answer, Updated};
use super::{
    layout::name,
    sign::{Chain, Signer},
    words,
};
use crate::{domain::Failure, driver::secret};

/// How long one exchange may take.
const WITHIN: Duration = Duration::from_secs(3);

/// PowerDNS closes a connection after five idle seconds, others later.
const IDLE: Duration = Duration::from_secs(1);

/// A server of a zone.
pub(super) struct Client {
    settings: DnsDriver,
    zone: Name,
    signer: Signer,
    /// Taken while it is used: one that was left in the middle of an answer is no good.
    line: Option<Line>,
    next: u16,
}

struct Line {
    stream: TcpStream,
    server: String,
    used: Instant,
}

impl Client {
    /// Reads the secret. Its contents are never part of the words.
    pub(super) async fn new(settings: &DnsDriver, clock: &Clock) -> Result<Self, Failure> {
        let field = "driver.dns.key.secret";
        let text = secret::read(field, &settings.key.secret).await.map_err(Failure::Unavailable)?;
        let bytes = BASE64_STANDARD.decode(secret::line(&text)).ok().filter(|bytes| !bytes.is_empty());
        let bytes = bytes.ok_or_else(|| {
            let shown = settings.key.secret.file.display();
            Failure::Unavailable(format!("{field}: {shown} holds no secret: expected base64 on one line"))
        })?;
        let signer = Signer::new(&settings.key, bytes, clock.clone()).map_err(Failure::Unavailable)?;
        let zone = name(&settings.zone).map_err(Failure::Unavailable)?;
        Ok(Self { settings: settings.clone(), zone, signer, line: None, next: rand::random() })
    }

    /// The first server that takes a connection.
    async fn line(&mut self) -> Result<Line, Failure> {
        if let Some(line) = self.line.take().filter(|line| line.used.elapsed() < IDLE) {
            return Ok(line);
        }
        let mut problems = Vec::new();
        for server in &self.settings.servers {
            let Some(target) = host_and_port(server) else { continue };
            match timeout(WITHIN, TcpStream::connect(target)).await {
                Ok(Ok(stream)) => {
                    // Messages are written whole.
                    let _ = stream.set_nodelay(true);
                    return Ok(Line { stream, server: server.clone(), used: Instant::now() });
                }
                Ok(Err(error)) => problems.push(format!("{server}: {error}")),
                Err(_) => problems.push(format!("{server}: no answer in time")),
            }
        }
        Err(Failure::Unavailable(format!("dns: connecting failed: {}", problems.join("; "))))
    }

    fn unavailable(&self, line: &Line, doing: &str, why: &str) -> Failure {
        Failure::Unavailable(format!("dns: {}: {doing} of {} failed: {why}", line.server, self.settings.zone))
    }

    fn id(&mut self) -> u16 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    fn question(&mut self, name: Name, kind: RecordType) -> Message {
        let mut message = Message::new(self.id(), MessageType::Query, OpCode::Query);
        message.add_query(Query::query(name, kind));
        message
    }

    /// Sends a signed message.
    async fn send(&self, line: &mut Line, doing: &str, message: Message) -> Result<Chain, Failure> {
        let (bytes, chain) =
            self.signer.sign(message).map_err(|why| Failure::Rejected(format!("{doing} {why}")))?;
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
        match timeout(WITHIN, line.stream.write_all(&[&length, &*bytes].concat())).await {
            Ok(Ok(())) => Ok(chain),
            Ok(Err(error)) => Err(self.unavailable(line, doing, &error.to_string())),
            Err(_) => Err(self.unavailable(line, doing, "nothing is taken in time")),
        }
    }

    async fn receive(&self, line: &mut Line, doing: &str) -> Result<(Vec<u8>, Message), Failure> {
        // A server that waits with small answers until the one before was acknowledged waits for nothing then: the kernel would take
        // 40 ms for that while there is nothing else to be sent.
        let _ = rustix::net::sockopt::set_tcp_quickack(&line.stream, true);
        let mut bytes = Vec::new();
        let read = async {
            let length = line.stream.read_u16().await?;
            bytes.extend(length.to_be_bytes());
            (&mut line.stream).take(length.into()).read_to_end(&mut bytes).await?;
            Ok::<_, std::io::Error>(usize::from(length) + 2 == bytes.len())
        };
        let whole = timeout(WITHIN, read).await;
        let why = match whole {
            Ok(Ok(true)) => match Message::from_vec(&bytes[2..]) {
                Ok(message) if message.message_type == MessageType::Response => {
                    bytes.drain(..2);
                    return Ok((bytes, message));
                }
                _ => words::garbled(&bytes),
            },
            Ok(Ok(false)) => words::garbled(&bytes),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                "the server closed the connection without an answer".to_owned()
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) if bytes.is_empty() => "no answer in time".to_owned(),
            Err(_) => words::garbled(&bytes),
        };
        Err(self.unavailable(line, doing, &why))
    }

    /// The signature of an answer, or what the server says of ours.
    fn verify(
        &self,
        line: &Line,
        doing: &str,
        chain: &mut Chain,
        (bytes, message): (&[u8], &Message),
    ) -> Result<(), Failure> {
        chain.check(bytes, message).map_err(|why| {
            if message.response_code == ResponseCode::NoError {
                self.unavailable(line, doing, &why)
            } else {
                self.refused(line, doing, message)
            }
        })
    }

    fn refused(&self, line: &Line, doing: &str, message: &Message) -> Failure {
        let why = words::refusal(&self.settings, doing, message, self.signer.now());
        Failure::Unavailable(format!("dns: {}: {why}", line.server))
    }

    fn keep(&mut self, line: Line) {
        self.line = Some(Line { used: Instant::now(), ..line });
    }

    /// The next message of an answer.
    async fn part(
        &self,
        line: &mut Line,
        doing: &str,
        chain: &mut Chain,
        id: u16,
    ) -> Result<Message, Failure> {
        let (bytes, message) = self.receive(line, doing).await?;
        if message.id != id {
            return Err(self.unavailable(line, doing, "an answer to another question came"));
        }
        self.verify(line, doing, chain, (&bytes, &message))?;
        match message.response_code {
            ResponseCode::NoError => Ok(message),
            _ => Err(self.refused(line, doing, &message)),
        }
    }
}
