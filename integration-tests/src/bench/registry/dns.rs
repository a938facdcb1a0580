//! A client of DNS that is not the sidecar's: questions, and updates signed with a key, over one TCP connection.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bcs_kit::Clock;
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, TSigner, rdata::A},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Mutex,
};

/// Questions that are asked before the first answer is read.
const AT_ONCE: usize = 32;

/// Addresses of a name, and how long they may be remembered.
#[derive(Clone, Debug, Default)]
pub(in crate::bench) struct Found {
    pub(in crate::bench) addresses: Vec<Ipv4Addr>,
    pub(in crate::bench) ttl: Duration,
}

/// A way to one server.
pub(in crate::bench) struct Dns {
    server: SocketAddr,
    line: Mutex<Option<Line>>,
}

struct Line {
    stream: TcpStream,
    id: u16,
}

impl Dns {
    pub(in crate::bench) fn new(port: u16) -> Self {
        Self { server: SocketAddr::from(([127, 0, 0, 1], port)), line: Mutex::default() }
    }

    /// The addresses of each name, in their order.
    pub(in crate::bench) async fn ask(&self, names: &[String]) -> Result<Vec<Found>> {
        let mut kept = self.line.lock().await;
        // A server closes a connection that was idle.
        if let Some(line) = kept.as_mut()
            && let Ok(found) = line.ask(names).await
        {
            return Ok(found);
        }
        let mut line = Line::connect(self.server).await?;
        let found = line.ask(names).await?;
        *kept = Some(line);
        Ok(found)
    }

    /// Makes an update of a zone, all of it or nothing.
    pub(super) async fn update(&self, zone: &str, records: Vec<Record>, signer: &TSigner) -> Result<()> {
        let mut kept = self.line.lock().await;
        let mut line = match kept.take() {
            Some(line) => line,
            None => Line::connect(self.server).await?,
        };
        let mut message = line.message(OpCode::Update);
        message.add_query(query(zone, RecordType::SOA)?);
        message.authorities = records;
        message.finalize(signer, u64::try_from(Clock::system().now().as_second())?)?;
        line.send(&message).await?;
        let answer = line.receive().await?;
        ensure!(answer.response_code == ResponseCode::NoError, "an update: {}", answer.response_code);
        *kept = Some(line);
        Ok(())
    }
}

impl Line {
    async fn connect(server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(server).await.with_context(|| format!("DNS at {server}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, id: 0 })
    }

    fn message(&mut self, code: OpCode) -> Message {
        self.id = self.id.wrapping_add(1);
        Message::new(self.id, MessageType::Query, code)
    }

    async fn ask(&mut self, names: &[String]) -> Result<Vec<Found>> {
        let mut found = Vec::with_capacity(names.len());
        for some in names.chunks(AT_ONCE) {
            let mut ids = Vec::with_capacity(some.len());
            for name in some {
                let mut message = self.message(OpCode::Query);
                message.add_query(query(name, RecordType::A)?);
                ids.push(message.id);
                self.send(&message).await?;
            }
            let mut answers = vec![Found::default(); some.len()];
            for _ in some {
                let message = self.receive().await?;
                let place = ids.iter().position(|id| *id == message.id).context("an answer to nothing")?;
                answers[place] = addresses(&message);
            }
            found.extend(answers);
        }
        Ok(found)
    }

    async fn send(&mut self, message: &Message) -> Result<()> {
        let bytes = message.to_vec()?;
        let length = u16::try_from(bytes.len())?.to_be_bytes();
        Ok(self.stream.write_all(&[&length, &*bytes].concat()).await?)
    }

    async fn receive(&mut self) -> Result<Message> {
        let length = self.stream.read_u16().await?;
        let mut bytes = vec![0; length.into()];
        self.stream.read_exact(&mut bytes).await?;
        Ok(Message::from_vec(&bytes)?)
    }
}

fn query(name: &str, kind: RecordType) -> Result<Query> {
    let mut query = Query::query(rooted(name)?, kind);
    query.set_query_class(DNSClass::IN);
    Ok(query)
}

fn rooted(name: &str) -> Result<Name> {
    Ok(Name::from_ascii(format!("{name}."))?)
}

fn addresses(message: &Message) -> Found {
    let mut found = Found { addresses: Vec::new(), ttl: Duration::ZERO };
    for record in &message.answers {
        if let RData::A(A(address)) = &record.data {
            found.addresses.push(*address);
            found.ttl = Duration::from_secs(record.ttl.into());
        }
    }
    found
}

/// The record that gives a name an address, or, in an update, takes it away.
pub(super) fn record(name: &str, address: Ipv4Addr, there: bool) -> Result<Record> {
    let mut record = Record::from_rdata(rooted(name)?, if there { 30 } else { 0 }, RData::A(A(address)));
    record.dns_class = if there { DNSClass::IN } else { DNSClass::NONE };
    Ok(record)
}
