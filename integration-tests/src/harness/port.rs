//! Ports for servers that cannot choose one themselves.

use std::net::TcpListener;

use anyhow::{Context, Result};

/// A port of 127.0.0.1 that nobody uses at the moment.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(listener.local_addr()?.port())
}
