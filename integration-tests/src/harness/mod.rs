//! What tests and benchmarks stand on: real processes on free ports in directories of their own, whose logs are shown
//! when something fails.

mod binary;
mod cli;
mod clock;
mod etcd;
mod kubesim;
mod lab;
mod nats;
mod port;
mod postgres;
mod process;
mod up;
mod wait;
mod wire;

pub use self::{
    binary::{bcs, built, find},
    cli::{Cli, Ran},
    clock::MovableClock,
    etcd::Etcd,
    kubesim::{ApiServer, Kubesim},
    lab::{Failed, Lab},
    nats::NatsServer,
    port::free_port,
    postgres::Postgres,
    process::{Process, signal_to},
    up::{Options, Up},
    wait::{
        LONG,
        Poll::{self, NotYet, Ready},
        wait_until,
    },
    wire::{Mood, Wire},
};
