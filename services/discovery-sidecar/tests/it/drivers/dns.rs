//! Updates of DNS against BIND, Knot and PowerDNS.

mod faults;
pub(crate) mod server;
mod stories;

use std::{collections::BTreeSet, net::IpAddr};

use self::server::{Kind, Server};
use crate::{
    contract::Site,
    faults::{Able, Fault, Faulty, Line, wires},
};

pub(crate) const NAME: &str = "web.shop.bcs.local";

/// A site of each, with a key of another kind.
macro_rules! sites {
    ($($module:ident: $site:ident, $zone:literal, $algorithm:literal;)+) => {
        $(
            pub(crate) struct $site(pub(crate) Server);

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

            impl crate::adoption::Kept for $site {
                async fn unkeep(&self, address: IpAddr) {
                    self.0.nsupdate(&format!("update delete {NAME} A {address}"));
                }
            }

            impl crate::drivers::external_dns::Zone for $site {
                const SECRET: &'static str = server::SECRET;

                fn dig(&self, question: &[&str]) -> Vec<String> {
                    self.0.dig(question)
                }

                async fn write(&self, name: &str, kind: &str, content: &str) {
                    self.0.nsupdate(&format!("update delete {name} {kind}\nupdate add {name} 300 {kind} {content}"));
                }

                async fn erase(&self, name: &str, kind: &str) {
                    self.0.nsupdate(&format!("update delete {name} {kind}"));
                }

                async fn stop(&mut self) {
                    self.0.down();
                }

                async fn go_on(&mut self) {
                    self.0.up().await;
                }
            }

            impl stories::Dns for $site {
                fn server(&mut self) -> &mut Server {
                    &mut self.0
                }
            }

            impl Faulty for $site {
                const NAME: &'static str = concat!("dns-", stringify!($module));
                const ABLE: Able = Able::of(&[Able::WAY, Able::SERVER, &[Fault::TakenOut]]);

                fn port(&self) -> u16 {
                    self.0.port
                }

                async fn lines(&self, port: u16) -> Vec<(Line, serde_json::Value)> {
                    let spec = |address: &str| {
                        let mut driver = self.0.driver();
                        driver["servers"] = serde_json::json!([address]);
                        serde_json::json!({ "driver": { "dns": driver } })
                    };
                    wires(port, spec).await
                }

                async fn down(&mut self, with_its_data: bool) {
                    self.0.down();
                    if with_its_data {
                        self.0.lay();
                    }
                }

                async fn up(&mut self) {
                    self.0.up().await;
                }

                async fn theirs(&self) -> String {
                    self.0.theirs()
                }

                async fn take_out(&self, address: IpAddr) {
                    self.0.nsupdate(&format!("update delete {NAME} A {address}"));
                }

                async fn marks(&self) -> Option<usize> {
                    Some(self.0.marks())
                }
            }

            mod $module {
                use super::$site;

                crate::contract::contract!(super::$site);
                crate::adoption::stories!(super::$site);
                super::stories::stories!($site);
                crate::drivers::external_dns::stories!(super::$site);
                crate::faults::faults!($site);
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
