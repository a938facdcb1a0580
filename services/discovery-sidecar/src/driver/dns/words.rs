//! What servers of DNS answer in numbers, for people. Pure.

use bcs_schemas::resource::registry::DnsDriver;
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::rdata::tsig::TsigError,
};

/// Why a server refused, what was expected, and what to look at.
pub(super) fn refusal(settings: &DnsDriver, doing: &str, answer: &Message, now: u64) -> String {
    let (zone, key) = (&settings.zone, &settings.key.name);
    let signature = answer.signature().map(|record| &record.data);
    let why = match (answer.response_code, signature.and_then(|tsig| tsig.error)) {
        (_, Some(TsigError::BadKey)) => {
            format!(
                "it does not know the key {key} with this algorithm (BADKEY): compare driver.dns.key with its settings"
            )
        }
        (_, Some(TsigError::BadSig)) => {
            format!(
                "its secret of the key {key} is another one (BADSIG): compare driver.dns.key.secret with its settings"
            )
        }
        (_, Some(TsigError::BadTime)) => {
            let theirs = signature.and_then(|tsig| time(&tsig.other));
            let apart = theirs.map_or_else(
                || "another time".to_owned(),
                |theirs| match theirs.checked_sub(now) {
                    Some(ahead) => format!("{ahead} s more than"),
                    None => format!("{} s less than", now - theirs),
                },
            );
            format!("its clock shows {apart} this machine's (BADTIME): both must be right to 300 s")
        }
        (ResponseCode::NotAuth, _) => format!(
            "it is not the primary of a zone {zone}, or does not know the key {key} with this algorithm and secret, or its \
             clock is more than 300 s from this machine's (NOTAUTH): compare driver.dns.zone and driver.dns.key with its \
             settings"
        ),
        (ResponseCode::NotZone, _) => format!("a name does not lie in the zone {zone} (NOTZONE)"),
        (ResponseCode::Refused, _) => {
            format!(
                "the key {key} may not do that in the zone {zone} (REFUSED): let it update and transfer the zone"
            )
        }
        (ResponseCode::NotImp, _) => "it does not do that at all (NOTIMP)".to_owned(),
        (ResponseCode::FormErr, _) => "it does not understand the message (FORMERR)".to_owned(),
        (ResponseCode::ServFail, _) => {
            "it failed (SERVFAIL), and its log says why: it may not be able to write its files, or a name may have more records \
             than it takes (max-records-per-type of BIND)"
                .to_owned()
        }
        (code, _) => format!("it answered {code}"),
    };
    format!("{doing} was refused: {why}")
}

/// Seconds in six bytes.
fn time(other: &[u8]) -> Option<u64> {
    (other.len() == 6).then(|| other.iter().fold(0, |time, byte| time << 8 | u64::from(*byte)))
}

/// What was received cannot be a message of DNS.
pub(super) fn garbled(bytes: &[u8]) -> String {
    let shown: String =
        bytes.iter().take(24).map(|b| if b.is_ascii_graphic() { char::from(*b) } else { '.' }).collect();
    format!("what came back is no message of DNS but begins with {shown:?}: is that a server of DNS?")
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{MessageType, OpCode},
        rr::{
            Name,
            rdata::tsig::{TSIG, TsigAlgorithm, make_tsig_record},
        },
    };

    use super::*;

    #[test]
    fn every_refusal_says_what_to_look_at() {
        let settings = serde_json::json!({
            "servers": ["ns1"], "zone": "corp.test", "key": { "name": "bcs", "secret": { "file": "/k" } },
        });
        let settings: DnsDriver = serde_json::from_value(settings).expect("settings");
        let said = |code: ResponseCode, error: Option<TsigError>, other: &[u8]| {
            let mut answer = Message::new(1, MessageType::Response, OpCode::Update);
            answer.metadata.response_code = code;
            if error.is_some() {
                let tsig = TSIG::new(TsigAlgorithm::HmacSha256, 0, 300, vec![], 1, error, other.to_vec());
                let key = Name::from_ascii("bcs.").expect("a name");
                answer.set_signature(Box::new(make_tsig_record(key, tsig)));
            }
            refusal(&settings, "an update", &answer, 1000)
        };
        use ResponseCode::{NotAuth, NotZone, Refused, ServFail, YXDomain};
        for (said, words) in [
            (said(NotAuth, None, &[]), "not the primary of a zone corp.test, or does not know the key bcs"),
            (said(NotAuth, Some(TsigError::BadKey), &[]), "does not know the key bcs"),
            (said(NotAuth, Some(TsigError::BadSig), &[]), "its secret of the key bcs is another one"),
            (said(NotAuth, Some(TsigError::BadTime), &[0, 0, 0, 0, 4, 76]), "100 s more than"),
            (said(NotAuth, Some(TsigError::BadTime), &[0, 0, 0, 0, 0, 9]), "991 s less than"),
            (said(NotAuth, Some(TsigError::BadTime), &[9]), "another time"),
            (said(Refused, None, &[]), "may not do that in the zone corp.test"),
            (said(NotZone, None, &[]), "does not lie in the zone"),
            (said(ServFail, None, &[]), "SERVFAIL"),
            (said(YXDomain, None, &[]), "it answered"),
        ] {
            assert!(said.starts_with("an update was refused: ") && said.contains(words), "{said}");
        }
    }

    #[test]
    fn what_is_not_dns_is_shown_a_little() {
        let said = garbled(b"HTTP/1.1 400 Bad Request\r\n\r\n\0");
        assert!(said.contains("\"HTTP/1.1.400.Bad.Request\""), "{said}");
    }
}
