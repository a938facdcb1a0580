//! Documents of `bcs apply -f`, and what `--set` says about them. An input is YAML; its first lines may be comments
//! `#set path=value`.

use bcs_cli::input;
use bcs_schemas::{
    MessageSet,
    cluster::{ClusterCommand, ImportCluster},
    codec::ContentType,
    deploy::{ApplyApp, DeployCommand},
    resource::Resource,
};

/// Reads the documents, and what was read again.
pub fn resources(input: &[u8]) {
    // A file that is not UTF-8 is refused before it comes here.
    let Ok(text) = std::str::from_utf8(input) else { return };
    let settings: Vec<&str> = text.split('\n').map_while(|line| line.strip_prefix("#set ")).collect();
    let resources = match input::resources(text, &settings) {
        Ok(resources) => resources,
        Err(mistakes) => {
            assert!(!mistakes.is_empty() && mistakes.iter().all(|mistake| !mistake.trim().is_empty()));
            return;
        }
    };
    assert!(!resources.is_empty(), "nothing was read, and nothing said");
    for resource in resources {
        let written = serde_json::to_string(&resource).expect("what was read can be written");
        assert_eq!(input::resources(&written, &[]).as_deref(), Ok(&[resource.clone()][..]));
        door(resource);
    }
}

/// What the command line finds right, the door of the service understands.
fn door(resource: Resource) {
    match resource {
        Resource::App(app) => {
            understood::<DeployCommand>(&ApplyApp { labels: app.metadata.labels, spec: app.spec }.into())
        }
        Resource::Cluster(cluster) => understood::<ClusterCommand>(
            &ImportCluster { labels: cluster.metadata.labels, spec: cluster.spec }.into(),
        ),
        // Sidecars read their registries from files.
        Resource::Registry(_) => (),
    }
}

fn understood<M: MessageSet + PartialEq>(command: &M) {
    let ty = command.message_type();
    let json = serde_json::to_vec(command).expect("a command can be written as JSON");
    let read = M::decode(ty.kind, ty.verb, ty.version, ContentType::Json, &json);
    assert_eq!(read.as_ref(), Ok(command));
}
