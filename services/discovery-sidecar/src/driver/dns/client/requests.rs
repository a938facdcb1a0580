//! What is asked of a server: updates, questions, changes since a serial number, and the whole zone.

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata::SOA},
};

use super::{
    super::{
        journal::{Journal, Next},
        layout::Zone,
        words,
    },
    Client,
};
use crate::domain::Failure;

/// Questions that are asked at once.
const AT_ONCE: usize = 32;

/// What an update came to.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Updated {
    /// All of it.
    Done,
    /// Nothing: something is not as it was required to be.
    Unlike,
}

/// An answer to a question.
#[derive(Debug, Default)]
pub(in super::super) struct Answer {
    pub(in super::super) records: Vec<Record>,
    /// The name belongs to the zone, and not to one below it.
    pub(in super::super) authoritative: bool,
}

impl Client {
    /// All or nothing.
    pub(in super::super) async fn update(
        &mut self,
        prerequisites: Vec<Record>,
        updates: Vec<Record>,
    ) -> Result<Updated, Failure> {
        let doing = "an update";
        let mut message = Message::new(self.id(), MessageType::Query, OpCode::Update);
        let mut zone = Query::query(self.zone.clone(), RecordType::SOA);
        zone.set_query_class(DNSClass::IN);
        message.add_query(zone);
        message.answers = prerequisites;
        message.authorities = updates;
        let id = message.id;
        let mut line = self.line().await?;
        let mut chain = self.send(&mut line, doing, message).await?;
        let (bytes, answer) = self.receive(&mut line, doing).await?;
        if answer.id != id {
            return Err(self.unavailable(&line, doing, "an answer to another question came"));
        }
        self.verify(&line, doing, &mut chain, (&bytes, &answer))?;
        let updated = match answer.response_code {
            ResponseCode::NoError => Ok(Updated::Done),
            ResponseCode::NXDomain
            | ResponseCode::YXDomain
            | ResponseCode::NXRRSet
            | ResponseCode::YXRRSet => Ok(Updated::Unlike),
            // Not a failure of the server: a message that cannot be read, a rule of it, a limit of BIND for one name.
            ResponseCode::Refused
            | ResponseCode::NotZone
            | ResponseCode::FormErr
            | ResponseCode::ServFail => {
                Err(Failure::Rejected(words::refusal(&self.settings, doing, &answer, self.signer.now())))
            }
            _ => return Err(self.refused(&line, doing, &answer)),
        };
        self.keep(line);
        updated
    }

    /// What stands at these names.
    pub(in super::super) async fn look(
        &mut self,
        wanted: &[(Name, RecordType)],
    ) -> Result<Vec<Answer>, Failure> {
        let used = self.line.is_some();
        match self.ask(wanted).await {
            // The server may have closed a connection that was used before.
            Err(_) if used => self.ask(wanted).await,
            answers => answers,
        }
    }

    async fn ask(&mut self, wanted: &[(Name, RecordType)]) -> Result<Vec<Answer>, Failure> {
        let doing = "reading";
        let mut line = self.line().await?;
        let mut answers = Vec::with_capacity(wanted.len());
        for some in wanted.chunks(AT_ONCE) {
            let mut asked = Vec::new();
            for (name, kind) in some {
                let message = self.question(name.clone(), *kind);
                let id = message.id;
                asked.push((id, self.send(&mut line, doing, message).await?, None));
            }
            for _ in some {
                let (bytes, message) = self.receive(&mut line, doing).await?;
                // In the order of their choice.
                let Some((_, chain, answer)) =
                    asked.iter_mut().find(|(id, _, answer)| *id == message.id && answer.is_none())
                else {
                    return Err(self.unavailable(&line, doing, "an answer to another question came"));
                };
                self.verify(&line, doing, chain, (&bytes, &message))?;
                if !matches!(message.response_code, ResponseCode::NoError | ResponseCode::NXDomain) {
                    return Err(self.refused(&line, doing, &message));
                }
                let authoritative = message.authoritative;
                *answer = Some(Answer { records: message.answers, authoritative });
            }
            answers.extend(asked.into_iter().filter_map(|(.., answer)| answer));
        }
        self.keep(line);
        Ok(answers)
    }

    /// The serial number of the zone.
    pub(in super::super) async fn serial(&mut self) -> Result<u32, Failure> {
        let zone = self.zone.clone();
        let answers = self.look(&[(zone, RecordType::SOA)]).await?;
        let serial = answers.iter().flat_map(|answer| &answer.records).find_map(serial);
        serial.ok_or_else(|| {
            let zone = &self.settings.zone;
            Failure::Unavailable(format!(
                "dns: the server has no zone {zone}: compare driver.dns.zone with its settings"
            ))
        })
    }

    /// What happened since this serial number, and at which one that ends; none if the server tells only the whole zone.
    pub(in super::super) async fn changes(
        &mut self,
        zone: &Zone,
        since: u32,
    ) -> Result<Option<(Journal, u32)>, Failure> {
        let doing = "reading changes";
        let mut question = self.question(self.zone.clone(), RecordType::IXFR);
        let known = SOA::new(self.zone.clone(), self.zone.clone(), since, 0, 0, 0, 0);
        question.authorities.push(Record::from_rdata(self.zone.clone(), 0, RData::SOA(known)));
        let id = question.id;
        let mut line = self.line().await?;
        let mut chain = self.send(&mut line, doing, question).await?;
        let mut journal = Journal::default();
        loop {
            let message = self.part(&mut line, doing, &mut chain, id).await?;
            for record in message.answers {
                match journal.take(zone, record) {
                    Next::More => (),
                    Next::Whole => return Ok(None),
                    Next::End(_) if !chain.closed() => {
                        return Err(self.unavailable(&line, doing, "its end is not signed"));
                    }
                    Next::End(serial) => {
                        self.keep(line);
                        return Ok(Some((journal, serial)));
                    }
                }
            }
            if let Some(serial) = journal.up_to_date() {
                // A whole zone may follow: nobody waits for it.
                return Ok((serial == since).then_some((journal, serial)));
            }
        }
    }

    /// The whole zone, record by record, and its serial number.
    pub(in super::super) async fn transfer(&mut self, mut each: impl FnMut(Record)) -> Result<u32, Failure> {
        let doing = "a transfer";
        let zone = self.zone.clone();
        let question = self.question(zone, RecordType::AXFR);
        let id = question.id;
        let mut line = self.line().await?;
        let mut chain = self.send(&mut line, doing, question).await?;
        let mut first = None;
        let serial = 'all: loop {
            let message = self.part(&mut line, doing, &mut chain, id).await?;
            for record in message.answers {
                match (serial(&record), first) {
                    (Some(serial), None) => first = Some(serial),
                    (Some(last), Some(first)) if last == first => break 'all first,
                    (None, Some(_)) => each(record),
                    _ => {
                        return Err(self.unavailable(&line, doing, "it does not begin and end with one SOA"));
                    }
                }
            }
        };
        if !chain.closed() {
            return Err(self.unavailable(&line, doing, "its end is not signed"));
        }
        self.keep(line);
        Ok(serial)
    }
}

fn serial(record: &Record) -> Option<u32> {
    match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    }
}
