//! The question of whoever looks after a process, such as the health check of a container: an image need not hold a program
//! that speaks HTTP for it.

use std::{
    io::{Error as IoError, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// Whoever takes longer is not ready.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why a process does not count as ready.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// Nobody can know where to ask.
    #[error("health_address has no port of its own: expected such as 127.0.0.1:8080")]
    NoPort,
    /// There is no answer.
    #[error("nobody answers at {address}: does it run?")]
    Silent {
        /// Where we asked.
        address: SocketAddr,
        /// What went wrong.
        #[source]
        source: IoError,
    },
    /// What it lacks, in its own words.
    #[error("{0}")]
    Lacks(String),
}

/// Asks the process that serves its health at `address`, from the same machine, whether it is ready.
pub fn ready(address: SocketAddr) -> Result<(), Unready> {
    if address.port() == 0 {
        return Err(Unready::NoPort);
    }
    // Who listens everywhere is found on this machine, too.
    let host = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    let address = SocketAddr::new(host, address.port());
    let answer = ask(address).map_err(|source| Unready::Silent { address, source })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(()),
        _ => Err(Unready::Lacks(body.trim().replace('\n', "; "))),
    }
}

/// HTTP/1.0: the answer ends with the connection.
fn ask(address: SocketAddr) -> Result<String, IoError> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET /readyz HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;
    use crate::{Tasks, health::Health};

    async fn asked(address: SocketAddr) -> Result<(), String> {
        let answer = tokio::task::spawn_blocking(move || ready(address)).await.expect("no panic");
        answer.map_err(|e| e.to_string())
    }

    #[tokio::test]
    async fn a_process_says_on_its_own_address_what_it_lacks() {
        let (health, tasks) = (Health::new(), Tasks::new());
        let well = Arc::new(AtomicBool::new(false));
        let looked = well.clone();
        health.check("bus", move || {
            if looked.load(Ordering::Acquire) { Ok(()) } else { Err("not connected".to_owned()) }
        });
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let address = health.serve(&tasks, everywhere).await.expect("serves");
        assert_eq!(asked(address).await, Err("bus: not connected".to_owned()));
        well.store(true, Ordering::Release);
        assert_eq!(asked(address).await, Ok(()));
        tasks.stop(Duration::from_secs(5)).await;
        let error = asked(address).await.expect_err("nobody is there");
        assert!(error.contains("does it run?"), "{error}");
        let error = asked(everywhere).await.expect_err("no port");
        assert!(error.contains("health_address"), "{error}");
    }
}
