//! Which resource a path means.

use crate::{
    kind::{self, Kind},
    kinds::Kinds,
    object::Key,
};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    /// As its objects are stored, unless it is a custom resource.
    pub kind: &'static Kind,
    /// In the version that the client speaks.
    pub shown: &'static Kind,
    pub namespace: String,
    pub name: String,
    pub subresource: String,
}

impl Target {
    pub(crate) fn key(&self) -> Key {
        Key::new(&self.namespace, &self.name)
    }

    pub(crate) fn parse(kinds: &Kinds, path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            // What follows a namespace is a resource in it, unless it is a subresource of the namespace itself.
            ["namespaces", name, sub @ ("status" | "finalize")] if group.is_empty() => {
                return Some(Self::of(kinds, &kind::NAMESPACES, "", name, sub));
            }
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, subresource] => (*plural, *name, *subresource),
            _ => return None,
        };
        let kind = kinds.by_path(group, version, plural)?;
        let scope_fits =
            if kind.namespaced { !namespace.is_empty() || name.is_empty() } else { namespace.is_empty() };
        scope_fits.then(|| Self::of(kinds, kind, namespace, name, subresource))
    }

    fn of(kinds: &Kinds, shown: &'static Kind, namespace: &str, name: &str, subresource: &str) -> Self {
        let stored = shown.translation().and_then(|_| kinds.by_id(shown.id));
        Self {
            kind: stored.unwrap_or(shown),
            shown,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: subresource.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_resources() {
        for (path, expected) in [
            ("/api/v1/namespaces", Some(("namespaces", "", "", ""))),
            ("/api/v1/namespaces/a", Some(("namespaces", "", "a", ""))),
            ("/api/v1/namespaces/a/finalize", Some(("namespaces", "", "a", "finalize"))),
            ("/api/v1/pods", Some(("pods", "", "", ""))),
            ("/api/v1/namespaces/a/pods/p/log", Some(("pods", "a", "p", "log"))),
            ("/apis/apps/v1/namespaces/a/deployments/d", Some(("deployments.apps", "a", "d", ""))),
            ("/apis/apps/v1/deployments/d", None),
            ("/api/v1/namespaces/a/nodes", None),
            ("/apis/apps/v2/deployments", None),
            ("/metrics", None),
        ] {
            let found = Target::parse(&Kinds::default(), path);
            let found = found
                .as_ref()
                .map(|t| (t.kind.id, t.namespace.as_str(), t.name.as_str(), t.subresource.as_str()));
            assert_eq!(found, expected, "{path}");
        }
    }
}
