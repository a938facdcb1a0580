//! Signatures (TSIG, RFC 8945): of what is sent, and of answers, which may come in many messages of which only some are
//! signed.

use bcs_kit::Clock;
use bcs_schemas::resource::registry::{TsigAlgorithm, TsigKey};
use hickory_proto::{
    op::Message,
    rr::{
        Name, TSigner,
        rdata::tsig::{self, signed_bitmessage_to_buf},
    },
};

/// How much clocks may differ, in seconds, as everybody has it.
const FUDGE: u16 = 300;

/// So many messages of an answer may follow each other unsigned.
const UNSIGNED: usize = 99;

/// A key and the time.
#[derive(Clone)]
pub(super) struct Signer {
    signer: TSigner,
    clock: Clock,
}

/// What the next message of an answer is checked with.
pub(super) struct Chain {
    signer: Signer,
    previous: Vec<u8>,
    first: bool,
    unsigned: Vec<Vec<u8>>,
}

impl Signer {
    pub(super) fn new(key: &TsigKey, secret: Vec<u8>, clock: Clock) -> Result<Self, String> {
        let algorithm = match key.algorithm {
            TsigAlgorithm::HmacSha256 => tsig::TsigAlgorithm::HmacSha256,
            TsigAlgorithm::HmacSha384 => tsig::TsigAlgorithm::HmacSha384,
            TsigAlgorithm::HmacSha512 => tsig::TsigAlgorithm::HmacSha512,
        };
        let name = Name::from_ascii(key.name.to_ascii_lowercase())
            .map_err(|e| format!("driver.dns.key.name: {e}"))?;
        let signer =
            TSigner::new(secret, algorithm, name, FUDGE).map_err(|e| format!("driver.dns.key: {e}"))?;
        Ok(Self { signer, clock })
    }

    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.clock.now().as_second()).unwrap_or_default()
    }

    /// The bytes of a message, signed, and what its answer is checked with.
    pub(super) fn sign(&self, mut message: Message) -> Result<(Vec<u8>, Chain), String> {
        message.finalize(&self.signer, self.now()).map_err(|e| e.to_string())?;
        let previous = message.signature().map(|record| record.data.mac.clone()).unwrap_or_default();
        let bytes = message.to_vec().map_err(|e| e.to_string())?;
        // What does not fit is left out, and the message says so.
        const TRUNCATED: u8 = 0b10;
        if bytes.get(2).is_none_or(|flags| flags & TRUNCATED != 0) || bytes.len() > usize::from(u16::MAX) {
            return Err("does not fit into a message of DNS, which takes 64 KiB".to_owned());
        }
        Ok((bytes, Chain { signer: self.clone(), previous, first: true, unsigned: Vec::new() }))
    }
}

impl Chain {
    /// Whether this message, and those unsigned before it, are from whom we asked; or why not. A message that may be
    /// vouched for by a later one passes: see [`Self::closed`].
    pub(super) fn check(&mut self, bytes: &[u8], message: &Message) -> Result<(), String> {
        let Some(record) = message.signature() else {
            if self.first {
                return Err("the answer is not signed".to_owned());
            }
            self.unsigned.push(bytes.to_vec());
            return match self.unsigned.len() {
                ..=UNSIGNED => Ok(()),
                _ => Err("too many messages of the answer are not signed".to_owned()),
            };
        };
        let signer = &self.signer.signer;
        if record.name != *signer.signer_name() || record.data.algorithm != *signer.algorithm() {
            return Err(format!(
                "the answer is signed with another key: {} and {}",
                record.name, record.data.algorithm
            ));
        }
        let (signed, _) = signed_bitmessage_to_buf(bytes, None, self.first).map_err(|e| e.to_string())?;
        let length = u16::try_from(self.previous.len()).unwrap_or_default();
        let whole = [&length.to_be_bytes(), &*self.previous, &self.unsigned.concat(), &signed].concat();
        if signer.verify(&whole, &record.data.mac).is_err() {
            return Err(
                "the signature of the answer is wrong: the server has another secret for this key".to_owned()
            );
        }
        let apart = record.data.time.abs_diff(self.signer.now());
        if apart > u64::from(record.data.fudge) {
            return Err(format!("the answer was signed {apart} s away from this machine's clock"));
        }
        self.previous.clone_from(&record.data.mac);
        self.unsigned.clear();
        self.first = false;
        Ok(())
    }

    /// Whether nothing is left that nobody vouched for.
    pub(super) fn closed(&self) -> bool {
        !self.first && self.unsigned.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{MessageType, OpCode},
        rr::TSigResponseContext,
        serialize::binary::BinEncodable,
    };

    use super::*;

    fn signer(secret: &str, clock: &Clock) -> Signer {
        let key = serde_json::json!({ "name": "bcs", "secret": { "file": "/k" } });
        let key = serde_json::from_value(key).expect("a key");
        Signer::new(&key, secret.as_bytes().to_vec(), clock.clone()).expect("signs")
    }

    /// As a server would.
    fn answer(server: &Signer, to: &Chain) -> (Vec<u8>, Message) {
        let mut answer = Message::new(7, MessageType::Response, OpCode::Update);
        let bytes = answer.to_bytes().expect("encodes");
        let context =
            TSigResponseContext::new(7, server.now(), server.signer.clone(), to.previous.clone(), None);
        answer.set_signature(context.sign(&bytes).expect("signs"));
        (answer.to_bytes().expect("encodes"), answer)
    }

    #[test]
    fn an_answer_counts_only_with_the_right_secret_to_this_question_in_time_and_unchanged() {
        let clock = Clock::manual(jiff::Timestamp::from_second(1_800_000_000).expect("a time"));
        let (client, server, other) = (signer("one", &clock), signer("one", &clock), signer("two", &clock));
        let ask = || client.sign(Message::new(7, MessageType::Query, OpCode::Update)).expect("signs").1;
        let (mut chain, stranger) = (ask(), ask());
        let (bytes, message) = answer(&server, &chain);
        assert_eq!(chain.check(&bytes, &message), Ok(()));
        assert!(chain.closed() && !stranger.closed());
        let check = |bytes: &[u8]| {
            let message = Message::from_vec(bytes).expect("decodes");
            ask().check(bytes, &message).expect_err("is refused")
        };
        assert!(check(&answer(&other, &ask()).0).contains("another secret"));
        let mut changed = bytes.clone();
        changed[3] |= 5;
        assert!(check(&changed).contains("is wrong"));
        let unsigned = Message::new(7, MessageType::Response, OpCode::Update).to_bytes().expect("encodes");
        assert!(check(&unsigned).contains("not signed"));
        let mut late = ask();
        clock.advance(jiff::SignedDuration::from_secs(400));
        assert!(late.check(&bytes, &message).is_err_and(|why| why.contains("400 s away")));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let client = signer("one", &Clock::system());
        let mut message = Message::new(7, MessageType::Query, OpCode::Update);
        for i in 0..300 {
            let txt = super::super::layout::text(&"x".repeat(240));
            let name = Name::from_ascii(format!("n{i}.test.")).expect("a name");
            message.add_answer(hickory_proto::rr::Record::from_rdata(
                name,
                0,
                hickory_proto::rr::RData::TXT(txt),
            ));
        }
        assert!(client.sign(message).is_err_and(|e| e.contains("does not fit")));
    }
}
