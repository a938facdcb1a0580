//! A NATS server of its own for each test.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bcs_kit::{Bus, bus::BusConfig};
use tempfile::TempDir;

/// A server that is killed with its owner.
pub(crate) struct Server {
    child: Child,
    url: String,
    dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    /// With every stream and bucket.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        drop(listener);
        let dir = TempDir::new().expect("a directory");
        // Streams reserve more than a small disk has; a server counts what is reserved.
        let store = dir.path().join("store");
        let text =
            format!("listen: \"{address}\"\njetstream {{ store_dir: {store:?}, max_file_store: 1TB }}\n");
        std::fs::write(dir.path().join("nats.conf"), text).expect("writes the settings");
        let server = Self { child: launch(&dir), url: format!("nats://{address}"), dir };
        server.bus("provision").await.provision().await.expect("streams and buckets");
        server
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Killed, everything that it kept is lost, and started anew.
    pub(crate) async fn begin_anew(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.dir.path().join("store")).expect("removes the data");
        self.child = launch(&self.dir);
        self.bus("provision").await.provision().await.expect("streams and buckets");
    }

    /// A connection, once the server listens.
    pub(crate) async fn bus(&self, name: &str) -> Bus {
        let config = BusConfig { url: self.url.clone(), ..BusConfig::default() };
        for _ in 0..200 {
            if let Ok(bus) = Bus::connect(&config, name).await {
                return bus;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nats-server does not listen on {}", self.url);
    }
}

fn launch(dir: &TempDir) -> Child {
    let mut command = Command::new("nats-server");
    command.arg("-c").arg(dir.path().join("nats.conf")).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("nats-server is on PATH")
}
