//! A file per driver: how its real server is started and looked at from outside, and what only this driver has.

mod consul;
mod dns;
mod envoy;
mod etcd;
mod external_dns;
mod file;
mod haproxy;
mod nacos;
mod nftables;
mod nginx;
mod postgres;
mod powerdns;
mod redis;
mod webhook;
mod zookeeper;
