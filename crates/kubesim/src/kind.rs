//! The resource kinds that are built in, and what there is to know of a kind: everything generic reads its facts from here.

use schemars::SchemaGenerator;
use serde_json::Value;

use crate::{
    custom::Custom,
    schema::{self, Schema},
    validate::typed,
    versions::{self, Translation},
};

#[derive(Debug)]
pub(crate) struct Kind {
    /// `plural` or `plural.group`, as error messages and the store name it.
    pub id: &'static str,
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    pub status: bool,
    pub scale: bool,
    /// Other subresources, with the kind that each takes.
    pub actions: &'static [(&'static str, &'static str)],
    pub shape: Shape,
}

/// Where the shape of objects comes from.
#[derive(Debug)]
pub(crate) enum Shape {
    Published(Published),
    Custom(Custom),
}

/// A type that the Kubernetes API publishes.
#[derive(Debug)]
pub(crate) struct Published {
    /// Decodes into the type; the result shows which fields that type knows.
    pub check: fn(&Value) -> Result<Value, typed::Error>,
    /// Adds the schema of the type to a document, and refers to it.
    pub describe: fn(&mut SchemaGenerator) -> schemars::Schema,
    /// How a version that is not stored says what is.
    pub translation: Option<&'static Translation>,
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Kind {
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    pub(crate) fn schema(&'static self) -> Schema {
        let root = match &self.shape {
            Shape::Published(_) => schema::root(self),
            Shape::Custom(custom) => Some(&custom.schema),
        };
        root.map_or_else(Schema::unknown, |root| Schema::new(schema::components(), root))
    }

    pub(crate) fn custom(&self) -> Option<&Custom> {
        match &self.shape {
            Shape::Published(_) => None,
            Shape::Custom(custom) => Some(custom),
        }
    }

    /// Whether objects are stored in this version.
    pub(crate) fn is_stored(&self) -> bool {
        match &self.shape {
            Shape::Published(published) => published.translation.is_none(),
            Shape::Custom(custom) => custom.stored,
        }
    }

    pub(crate) fn translation(&self) -> Option<&'static Translation> {
        match &self.shape {
            Shape::Published(published) => published.translation,
            Shape::Custom(_) => None,
        }
    }
}

/// The kinds of published types.
pub(crate) fn published() -> &'static [&'static Kind] {
    &ALL
}

macro_rules! kinds {
    ($($name:ident: $id:literal, $gv:expr, $kind:literal, [$plural:literal, $singular:literal], short $short:expr,
       $scope:ident, status $status:literal, scale $scale:literal, actions $actions:expr, all $all:expr, $type:ty $(, as $from:expr)?;)*) => {
        $(pub(crate) static $name: Kind = Kind {
            id: $id, group: $gv.0, version: $gv.1, kind: $kind, plural: $plural, singular: $singular, short: &$short,
            categories: &$all, namespaced: kinds!(@ $scope), status: $status, scale: $scale, actions: &$actions,
            shape: Shape::Published(Published {
                check: typed::decode::<$type>, describe: |generator| generator.subschema_for::<$type>(),
                translation: kinds!(@ translation $($from)?),
            }),
        };)*
        static ALL: [&Kind; [$($id),*].len()] = [$(&$name),*];
    };
    (@ translation) => { None };
    (@ translation $from:expr) => { Some(&$from) };
    (@ namespaced) => { true };
    (@ cluster) => { false };
}

const CORE: (&str, &str) = ("", "v1");
const APPS: (&str, &str) = ("apps", "v1");
const BATCH: (&str, &str) = ("batch", "v1");
const METRICS: (&str, &str) = ("metrics.k8s.io", "v1beta1");
const ADMISSION: (&str, &str) = ("admissionregistration.k8s.io", "v1");
const NETWORKING: (&str, &str) = ("networking.k8s.io", "v1");
const RBAC: (&str, &str) = ("rbac.authorization.k8s.io", "v1");
const STORAGE: (&str, &str) = ("storage.k8s.io", "v1");
const FLOW: (&str, &str) = ("flowcontrol.apiserver.k8s.io", "v1");

use k8s_openapi::api::{
    admissionregistration::v1 as admission,
    apps::v1 as apps,
    autoscaling::{v1 as autoscaling_v1, v2 as autoscaling},
    batch::v1 as batch,
    certificates::v1 as certificates,
    coordination::v1 as coordination,
    core::v1 as core,
    discovery::v1 as discovery,
    events::v1 as events,
    flowcontrol::v1 as flow,
    networking::v1 as networking,
    node::v1 as node,
    policy::v1 as policy,
    rbac::v1 as rbac,
    scheduling::v1 as scheduling,
    storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as extensions;

const POD_ACTIONS: [(&str, &str); 7] = [
    ("attach", "PodAttachOptions"),
    ("binding", "Binding"),
    ("ephemeralcontainers", "Pod"),
    ("eviction", "Eviction"),
    ("exec", "PodExecOptions"),
    ("log", "Pod"),
    ("portforward", "PodPortForwardOptions"),
];

kinds! {
    NAMESPACES: "namespaces", CORE, "Namespace", ["namespaces", "namespace"], short ["ns"], cluster, status true, scale false, actions [("finalize", "Namespace")], all [], core::Namespace;
    NODES: "nodes", CORE, "Node", ["nodes", "node"], short ["no"], cluster, status true, scale false, actions [], all [], core::Node;
    PODS: "pods", CORE, "Pod", ["pods", "pod"], short ["po"], namespaced, status true, scale false, actions POD_ACTIONS, all ["all"], core::Pod;
    SERVICES: "services", CORE, "Service", ["services", "service"], short ["svc"], namespaced, status true, scale false, actions [], all ["all"], core::Service;
    ENDPOINTS: "endpoints", CORE, "Endpoints", ["endpoints", "endpoints"], short ["ep"], namespaced, status false, scale false, actions [], all [], core::Endpoints;
    EVENTS: "events", CORE, "Event", ["events", "event"], short ["ev"], namespaced, status false, scale false, actions [], all [], core::Event;
    CONFIG_MAPS: "configmaps", CORE, "ConfigMap", ["configmaps", "configmap"], short ["cm"], namespaced, status false, scale false, actions [], all [], core::ConfigMap;
    SECRETS: "secrets", CORE, "Secret", ["secrets", "secret"], short [], namespaced, status false, scale false, actions [], all [], core::Secret;
    SERVICE_ACCOUNTS: "serviceaccounts", CORE, "ServiceAccount", ["serviceaccounts", "serviceaccount"], short ["sa"], namespaced, status false, scale false, actions [("token", "TokenRequest")], all [], core::ServiceAccount;
    VOLUME_CLAIMS: "persistentvolumeclaims", CORE, "PersistentVolumeClaim", ["persistentvolumeclaims", "persistentvolumeclaim"], short ["pvc"], namespaced, status true, scale false, actions [], all [], core::PersistentVolumeClaim;
    VOLUMES: "persistentvolumes", CORE, "PersistentVolume", ["persistentvolumes", "persistentvolume"], short ["pv"], cluster, status true, scale false, actions [], all [], core::PersistentVolume;
    POD_TEMPLATES: "podtemplates", CORE, "PodTemplate", ["podtemplates", "podtemplate"], short [], namespaced, status false, scale false, actions [], all [], core::PodTemplate;
    QUOTAS: "resourcequotas", CORE, "ResourceQuota", ["resourcequotas", "resourcequota"], short ["quota"], namespaced, status true, scale false, actions [], all [], core::ResourceQuota;
    LIMIT_RANGES: "limitranges", CORE, "LimitRange", ["limitranges", "limitrange"], short ["limits"], namespaced, status false, scale false, actions [], all [], core::LimitRange;
    REPLICATION_CONTROLLERS: "replicationcontrollers", CORE, "ReplicationController", ["replicationcontrollers", "replicationcontroller"], short ["rc"], namespaced, status true, scale true, actions [], all ["all"], core::ReplicationController;
    REPLICA_SETS: "replicasets.apps", APPS, "ReplicaSet", ["replicasets", "replicaset"], short ["rs"], namespaced, status true, scale true, actions [], all ["all"], apps::ReplicaSet;
    DEPLOYMENTS: "deployments.apps", APPS, "Deployment", ["deployments", "deployment"], short ["deploy"], namespaced, status true, scale true, actions [], all ["all"], apps::Deployment;
    STATEFUL_SETS: "statefulsets.apps", APPS, "StatefulSet", ["statefulsets", "statefulset"], short ["sts"], namespaced, status true, scale true, actions [], all ["all"], apps::StatefulSet;
    DAEMON_SETS: "daemonsets.apps", APPS, "DaemonSet", ["daemonsets", "daemonset"], short ["ds"], namespaced, status true, scale false, actions [], all ["all"], apps::DaemonSet;
    CONTROLLER_REVISIONS: "controllerrevisions.apps", APPS, "ControllerRevision", ["controllerrevisions", "controllerrevision"], short [], namespaced, status false, scale false, actions [], all [], apps::ControllerRevision;
    JOBS: "jobs.batch", BATCH, "Job", ["jobs", "job"], short [], namespaced, status true, scale false, actions [], all ["all"], batch::Job;
    CRON_JOBS: "cronjobs.batch", BATCH, "CronJob", ["cronjobs", "cronjob"], short ["cj"], namespaced, status true, scale false, actions [], all ["all"], batch::CronJob;
    AUTOSCALERS: "horizontalpodautoscalers.autoscaling", ("autoscaling", "v2"), "HorizontalPodAutoscaler", ["horizontalpodautoscalers", "horizontalpodautoscaler"], short ["hpa"], namespaced, status true, scale false, actions [], all ["all"], autoscaling::HorizontalPodAutoscaler;
    OLD_AUTOSCALERS: "horizontalpodautoscalers.autoscaling", ("autoscaling", "v1"), "HorizontalPodAutoscaler", ["horizontalpodautoscalers", "horizontalpodautoscaler"], short ["hpa"], namespaced, status true, scale false, actions [], all ["all"], autoscaling_v1::HorizontalPodAutoscaler, as versions::AUTOSCALER;
    NEW_EVENTS: "events", ("events.k8s.io", "v1"), "Event", ["events", "event"], short ["ev"], namespaced, status false, scale false, actions [], all [], events::Event, as versions::EVENT;
    POD_METRICS: "pods.metrics.k8s.io", METRICS, "PodMetrics", ["pods", "pod"], short [], namespaced, status false, scale false, actions [], all [], Value;
    NODE_METRICS: "nodes.metrics.k8s.io", METRICS, "NodeMetrics", ["nodes", "node"], short [], cluster, status false, scale false, actions [], all [], Value;
    ENDPOINT_SLICES: "endpointslices.discovery.k8s.io", ("discovery.k8s.io", "v1"), "EndpointSlice", ["endpointslices", "endpointslice"], short [], namespaced, status false, scale false, actions [], all [], discovery::EndpointSlice;
    LEASES: "leases.coordination.k8s.io", ("coordination.k8s.io", "v1"), "Lease", ["leases", "lease"], short [], namespaced, status false, scale false, actions [], all [], coordination::Lease;
    INGRESSES: "ingresses.networking.k8s.io", NETWORKING, "Ingress", ["ingresses", "ingress"], short ["ing"], namespaced, status true, scale false, actions [], all [], networking::Ingress;
    INGRESS_CLASSES: "ingressclasses.networking.k8s.io", NETWORKING, "IngressClass", ["ingressclasses", "ingressclass"], short [], cluster, status false, scale false, actions [], all [], networking::IngressClass;
    NETWORK_POLICIES: "networkpolicies.networking.k8s.io", NETWORKING, "NetworkPolicy", ["networkpolicies", "networkpolicy"], short ["netpol"], namespaced, status false, scale false, actions [], all [], networking::NetworkPolicy;
    SERVICE_CIDRS: "servicecidrs.networking.k8s.io", NETWORKING, "ServiceCIDR", ["servicecidrs", "servicecidr"], short [], cluster, status true, scale false, actions [], all [], networking::ServiceCIDR;
    IP_ADDRESSES: "ipaddresses.networking.k8s.io", NETWORKING, "IPAddress", ["ipaddresses", "ipaddress"], short ["ip"], cluster, status false, scale false, actions [], all [], networking::IPAddress;
    PRIORITY_CLASSES: "priorityclasses.scheduling.k8s.io", ("scheduling.k8s.io", "v1"), "PriorityClass", ["priorityclasses", "priorityclass"], short ["pc"], cluster, status false, scale false, actions [], all [], scheduling::PriorityClass;
    RUNTIME_CLASSES: "runtimeclasses.node.k8s.io", ("node.k8s.io", "v1"), "RuntimeClass", ["runtimeclasses", "runtimeclass"], short [], cluster, status false, scale false, actions [], all [], node::RuntimeClass;
    STORAGE_CLASSES: "storageclasses.storage.k8s.io", STORAGE, "StorageClass", ["storageclasses", "storageclass"], short ["sc"], cluster, status false, scale false, actions [], all [], storage::StorageClass;
    VOLUME_ATTACHMENTS: "volumeattachments.storage.k8s.io", STORAGE, "VolumeAttachment", ["volumeattachments", "volumeattachment"], short [], cluster, status true, scale false, actions [], all [], storage::VolumeAttachment;
    VOLUME_ATTRIBUTES_CLASSES: "volumeattributesclasses.storage.k8s.io", STORAGE, "VolumeAttributesClass", ["volumeattributesclasses", "volumeattributesclass"], short ["vac"], cluster, status false, scale false, actions [], all [], storage::VolumeAttributesClass;
    CSI_DRIVERS: "csidrivers.storage.k8s.io", STORAGE, "CSIDriver", ["csidrivers", "csidriver"], short [], cluster, status false, scale false, actions [], all [], storage::CSIDriver;
    CSI_NODES: "csinodes.storage.k8s.io", STORAGE, "CSINode", ["csinodes", "csinode"], short [], cluster, status false, scale false, actions [], all [], storage::CSINode;
    STORAGE_CAPACITIES: "csistoragecapacities.storage.k8s.io", STORAGE, "CSIStorageCapacity", ["csistoragecapacities", "csistoragecapacity"], short [], namespaced, status false, scale false, actions [], all [], storage::CSIStorageCapacity;
    ROLES: "roles.rbac.authorization.k8s.io", RBAC, "Role", ["roles", "role"], short [], namespaced, status false, scale false, actions [], all [], rbac::Role;
    ROLE_BINDINGS: "rolebindings.rbac.authorization.k8s.io", RBAC, "RoleBinding", ["rolebindings", "rolebinding"], short [], namespaced, status false, scale false, actions [], all [], rbac::RoleBinding;
    CLUSTER_ROLES: "clusterroles.rbac.authorization.k8s.io", RBAC, "ClusterRole", ["clusterroles", "clusterrole"], short [], cluster, status false, scale false, actions [], all [], rbac::ClusterRole;
    CLUSTER_ROLE_BINDINGS: "clusterrolebindings.rbac.authorization.k8s.io", RBAC, "ClusterRoleBinding", ["clusterrolebindings", "clusterrolebinding"], short [], cluster, status false, scale false, actions [], all [], rbac::ClusterRoleBinding;
    SIGNING_REQUESTS: "certificatesigningrequests.certificates.k8s.io", ("certificates.k8s.io", "v1"), "CertificateSigningRequest", ["certificatesigningrequests", "certificatesigningrequest"], short ["csr"], cluster, status true, scale false, actions [("approval", "CertificateSigningRequest")], all [], certificates::CertificateSigningRequest;
    FLOW_SCHEMAS: "flowschemas.flowcontrol.apiserver.k8s.io", FLOW, "FlowSchema", ["flowschemas", "flowschema"], short [], cluster, status true, scale false, actions [], all [], flow::FlowSchema;
    PRIORITY_LEVELS: "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io", FLOW, "PriorityLevelConfiguration", ["prioritylevelconfigurations", "prioritylevelconfiguration"], short [], cluster, status true, scale false, actions [], all [], flow::PriorityLevelConfiguration;
    MUTATING_WEBHOOKS: "mutatingwebhookconfigurations.admissionregistration.k8s.io", ADMISSION, "MutatingWebhookConfiguration", ["mutatingwebhookconfigurations", "mutatingwebhookconfiguration"], short [], cluster, status false, scale false, actions [], all ["api-extensions"], admission::MutatingWebhookConfiguration;
    VALIDATING_WEBHOOKS: "validatingwebhookconfigurations.admissionregistration.k8s.io", ADMISSION, "ValidatingWebhookConfiguration", ["validatingwebhookconfigurations", "validatingwebhookconfiguration"], short [], cluster, status false, scale false, actions [], all ["api-extensions"], admission::ValidatingWebhookConfiguration;
    POLICIES: "validatingadmissionpolicies.admissionregistration.k8s.io", ADMISSION, "ValidatingAdmissionPolicy", ["validatingadmissionpolicies", "validatingadmissionpolicy"], short [], cluster, status true, scale false, actions [], all ["api-extensions"], admission::ValidatingAdmissionPolicy;
    POLICY_BINDINGS: "validatingadmissionpolicybindings.admissionregistration.k8s.io", ADMISSION, "ValidatingAdmissionPolicyBinding", ["validatingadmissionpolicybindings", "validatingadmissionpolicybinding"], short [], cluster, status false, scale false, actions [], all ["api-extensions"], admission::ValidatingAdmissionPolicyBinding;
    CUSTOM_RESOURCE_DEFINITIONS: "customresourcedefinitions.apiextensions.k8s.io", ("apiextensions.k8s.io", "v1"), "CustomResourceDefinition", ["customresourcedefinitions", "customresourcedefinition"], short ["crd", "crds"], cluster, status true, scale false, actions [], all ["api-extensions"], extensions::CustomResourceDefinition;
    DISRUPTION_BUDGETS: "poddisruptionbudgets.policy", ("policy", "v1"), "PodDisruptionBudget", ["poddisruptionbudgets", "poddisruptionbudget"], short ["pdb"], namespaced, status true, scale false, actions [], all [], policy::PodDisruptionBudget;
}
