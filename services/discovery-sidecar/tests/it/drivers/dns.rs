//! Updates of DNS against BIND, Knot and PowerDNS.

mod faults;
mod server;
mod stories;

use std::{collections::BTreeSet, net::IpAddr};

use self::server::{Kind, Server};
use crate::contract::Site;

pub(crate) const NAME: &str = "web.shop.bcs.local";

/// A site of each, with a key of another kind.
macro_rules! sites {
    ($($module:ident: $site:ident, $zone:literal, $algorithm:literal;)+) => {
        $(
            pub(crate) struct $site(Server);

            impl Site for $site {
                async fn start() -> Self {
                    Self(Server::start(Kind::$site, $zone, $algorithm).await)
                }

                fn spec(&self) -> serde_json::Value {
                    serde_json::json!({ "driver": { "dns": self.0.driver() } })
                }

                async fn addresses(&self) -> BTreeSet<IpAddr> {
                    self.0.addresses(NAME)
                }

                async fn add_foreign(&self, address: IpAddr) {
                    self.0.nsupdate(&format!("update add {NAME} 300 A {address}"));
                }
            }

            impl stories::Dns for $site {
                fn server(&mut self) -> &mut Server {
                    &mut self.0
                }
            }

            mod $module {
                use super::$site;

                crate::contract::contract!(super::$site);
                super::stories::stories!($site);
            }
        )+
    };
}

sites! {
    bind: Bind, "bcs.local", "hmac-sha256";
    // The registry's zone lies below the server's.
    knot: Knot, "local", "hmac-sha384";
    powerdns: PowerDns, "bcs.local", "hmac-sha512";
}
