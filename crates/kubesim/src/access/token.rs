//! Tokens: the one of the administrator, and those of service accounts, which are JSON web tokens (RFC 7519) signed by the cluster.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Identity;
use crate::{
    clock, kind,
    object::{self, Key, int, text},
    store::Store,
};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const HOUR: i64 = 3600;

/// What tokens are checked with.
pub(crate) struct Tokens {
    admin: String,
    key: [u8; 32],
}

impl Tokens {
    /// The key follows from the token of the administrator, and so lasts as long as that.
    pub(crate) fn new(admin: String) -> Self {
        let key =
            Sha256::new().chain_update(b"service accounts of ").chain_update(admin.as_bytes()).finalize();
        Self { admin, key: key.into() }
    }

    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    pub(super) fn is_admin_password(&self, basic: &str) -> bool {
        basic == STANDARD.encode(format!("kubesim:{}", self.admin))
    }

    pub(super) fn identity(&self, store: &Store, token: &str) -> Option<Identity> {
        if token == self.admin {
            return Some(Identity::admin());
        }
        let claims = self.verified(token)?;
        let of = &claims["kubernetes.io"];
        let (namespace, name) = (text(of, "/namespace"), text(of, "/serviceaccount/name"));
        // An account that was deleted, and made anew, is another one.
        let account = store.get(&kind::SERVICE_ACCOUNTS, &Key::new(namespace, name))?;
        let same = object::uid(&account) == text(of, "/serviceaccount/uid");
        let lasts = int(&claims, "/exp").is_some_and(|end| clock::now().as_second() < end);
        let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        (same && lasts).then(|| Identity::of(&account_name(namespace, name), object::uid(&account), &groups))
    }

    fn verified(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(signed.as_bytes());
        mac.verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        let claims = signed.split_once('.')?.1;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }

    fn sign(&self, claims: &Value) -> Option<String> {
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&json!({"alg": "HS256", "typ": "JWT"})), encode(claims));
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(signed.as_bytes());
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())))
    }
}

fn account_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// Answers a TokenRequest for a service account.
pub(crate) fn issue(tokens: &Tokens, account: &Value, request: &Value, now: Timestamp) -> Option<Value> {
    let seconds = int(request, "/spec/expirationSeconds").unwrap_or(HOUR).clamp(600, 24 * 365 * HOUR);
    let audiences = match object::items(request, "/spec/audiences") {
        [] => vec![json!(ISSUER)],
        given => given.to_vec(),
    };
    let (namespace, name) = (object::namespace(account), object::name(account));
    let end = now.as_second().saturating_add(seconds);
    let claims = json!({
        "aud": audiences, "exp": end, "iat": now.as_second(), "nbf": now.as_second(), "iss": ISSUER, "jti": clock::uid(),
        "sub": account_name(namespace, name),
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": object::uid(account)}},
    });
    let expires = Timestamp::from_second(end).ok()?;
    Some(json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": clock::stamp()},
        "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": null},
        "status": {"token": tokens.sign(&claims)?, "expirationTimestamp": expires.to_string()},
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kinds;

    #[test]
    fn a_token_is_good_for_its_account_until_it_ends_and_cannot_be_changed() {
        let store = Store::new(Kinds::default(), 0, Vec::new());
        store.create(&kind::NAMESPACES, json!({"metadata": {"name": "shop"}})).expect("made");
        let make = || json!({"metadata": {"name": "web", "namespace": "shop"}});
        let account = store.create(&kind::SERVICE_ACCOUNTS, make()).expect("made");
        let tokens = Tokens::new("admin".to_owned());
        let token = |now: Timestamp| {
            let issued = issue(&tokens, &account, &json!({}), now).expect("issued");
            text(&issued, "/status/token").to_owned()
        };
        let good = token(clock::now());
        let identity = tokens.identity(&store, &good).expect("is known");
        assert_eq!(identity.name, "system:serviceaccount:shop:web");
        assert!(identity.groups.contains(&"system:serviceaccounts:shop".to_owned()) && !identity.is_master());
        let past = clock::now() - jiff::SignedDuration::from_hours(2);
        assert_eq!(tokens.identity(&store, &token(past)), None);
        assert_eq!(Tokens::new("other".to_owned()).identity(&store, &good), None);
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            // The last character has bits that say nothing.
            let changed = String::from_utf8(bytes).expect("text");
            assert!(at + 1 == good.len() || tokens.identity(&store, &changed).is_none(), "changed at {at}");
        }
        store.delete(&kind::SERVICE_ACCOUNTS, &Key::of(&account), &Default::default()).expect("deleted");
        assert_eq!(tokens.identity(&store, &good), None);
        store.create(&kind::SERVICE_ACCOUNTS, make()).expect("made anew");
        assert_eq!(tokens.identity(&store, &good), None, "another account of the name");
    }
}
