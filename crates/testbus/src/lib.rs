//! The bus that tests run on: one nats-server, or a cluster of three, on free ports of loopback and in directories of
//! their own, a wire to it that can be cut, and a clock that can be moved. Only tests depend on it.
//!
//! A test that does not care runs on one server, and on three when `BCS_TEST_NATS=cluster` says so. One that is about what a
//! cluster does otherwise runs on both, always: see [`on_one_and_three`].

mod clock;
mod layout;
mod port;
mod server;
mod wire;

pub use self::{
    clock::MovableClock,
    layout::{Layout, Servers},
    port::free_port,
    server::TestBus,
    wire::{Mood, Wire},
};

/// Makes two tests of each function: on one server, and on a cluster of three.
#[macro_export]
macro_rules! on_one_and_three {
    ($($name:ident),+ $(,)?) => {
        mod on_one_server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::Servers::One).await;
            })+
        }

        mod on_three_servers {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::Servers::Three).await;
            })+
        }
    };
}
