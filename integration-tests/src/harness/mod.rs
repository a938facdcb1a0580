//! What tests and benchmarks stand on: real processes on free ports in directories of their own, whose logs are shown
//! when something fails.

mod binary;
mod cli;
mod cluster;
mod etcd;
mod kubesim;
mod lab;
mod nats;
mod postgres;
mod process;
mod up;
mod wait;

pub use bcs_testbus::{Mood, MovableClock, Servers, Wire, free_port};

pub use self::{
    binary::{bcs, built, find},
    cli::{Cli, Ran},
    cluster::NatsCluster,
    etcd::Etcd,
    kubesim::{ApiServer, Kubesim},
    lab::{Failed, Lab},
    nats::NatsServer,
    postgres::Postgres,
    process::{Process, signal_to},
    up::{Options, Up},
    wait::{
        LONG,
        Poll::{self, NotYet, Ready},
        wait_until,
    },
};
