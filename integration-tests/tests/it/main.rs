//! One program of all black-box tests; each module is a behaviour.

mod apart;
mod api_faults;
mod backup;
mod bad_input;
mod bad_kubeconfig;
mod beside;
mod chaos;
mod cluster_silence;
mod crash;
mod doctor;
mod etcd_down;
mod history;
mod holder;
mod manifests;
mod monitoring;
mod nats_cluster;
mod nats_killed;
mod network_cut;
mod operations;
mod other_language;
mod plans;
mod postgres_killed;
mod quarantine;
mod raw;
mod register;
mod replicas;
mod restart;
mod secure;
mod sim;
mod stalled;
mod story;
mod traffic;
mod upgrade;
mod world;

use bcs_integration_tests::ledger;
