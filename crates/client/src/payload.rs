//! Which set of commands a payload belongs to, so that callers hand over the plain struct.

use bcs_schemas::{
    MessageSet,
    cluster::{ClusterCommand, CordonNode, ImportCluster, LabelCluster, RemoveCluster, UncordonNode},
    deploy::{ApplyApp, DeleteApp, DeployCommand, RestartApp, ScaleApp},
};

/// A command that can be sent.
pub trait Payload {
    /// The commands of its service.
    type Set: MessageSet;
    /// The command among them.
    fn into_set(self) -> Self::Set;
}

macro_rules! payloads {
    ($($set:ident: $($payload:ident),+;)+) => {$(
        impl Payload for $set {
            type Set = Self;
            fn into_set(self) -> Self { self }
        }
        $(impl Payload for $payload {
            type Set = $set;
            fn into_set(self) -> $set { self.into() }
        })+
    )+};
}

payloads! {
    DeployCommand: ApplyApp, ScaleApp, RestartApp, DeleteApp;
    ClusterCommand: ImportCluster, LabelCluster, RemoveCluster, CordonNode, UncordonNode;
}
