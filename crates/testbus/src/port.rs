//! Ports for servers that cannot choose one themselves.

use std::{
    io::{Error, ErrorKind},
    net::TcpListener,
};

use rand::RngExt;

/// Below those that the system gives to whoever asks for any: a server that is down for a while finds its port free.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
const ATTEMPTS: usize = 100;

/// A port of 127.0.0.1 that nobody uses at the moment.
pub fn free_port() -> std::io::Result<u16> {
    let mut random = rand::rng();
    let mut some = std::iter::repeat_with(|| random.random_range(PORTS)).take(ATTEMPTS);
    let free = some.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.ok_or_else(|| Error::new(ErrorKind::AddrInUse, "no free port"))
}
