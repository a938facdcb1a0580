//! Whose instances a registry takes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Name,
    resource::{Labels, app::Registration},
};

/// Applications by project, name and label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AppSelector {
    /// Those of these projects; of every project when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<Name>,
    /// Those of these names, in whatever project; of every name when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apps: Vec<Name>,
    /// Those that carry all of these labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub match_labels: Labels,
}

impl AppSelector {
    /// Whether an application is among them.
    pub fn fits(&self, applicant: Applicant<'_>) -> bool {
        let among = |names: &[Name], name| names.is_empty() || names.contains(name);
        let has = |(key, value)| applicant.labels.get(key) == Some(value);
        among(&self.projects, applicant.project)
            && among(&self.apps, applicant.app)
            && self.match_labels.iter().all(has)
    }
}

/// Whose instances a registry takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// Only those whose application names the registry in its `register`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opt_in: bool,
    /// Only those of these applications, whether they name it or not; of all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_if: Option<AppSelector>,
}

/// An application, as far as it decides about its registries.
#[derive(Clone, Copy, Debug)]
pub struct Applicant<'a> {
    /// Its project.
    pub project: &'a Name,
    /// Its name.
    pub app: &'a Name,
    /// Its labels.
    pub labels: &'a Labels,
    /// What it wants, when it says so.
    pub register: Option<&'a [Registration]>,
}

impl<'a> Applicant<'a> {
    /// What it wants of one registry, when it names it.
    pub fn wish(&self, registry: &Name) -> Option<&'a Registration> {
        self.register?.iter().find(|wish| wish.registry == *registry)
    }
}

impl Scope {
    /// Whether instances of the application belong into this registry.
    pub fn takes(&self, registry: &Name, applicant: Applicant<'_>) -> bool {
        let wanted = match applicant.register {
            None => !self.opt_in,
            Some(_) => applicant.wish(registry).is_some(),
        };
        wanted && self.admits(applicant)
    }

    /// Whether the application may be in it at all.
    pub fn admits(&self, applicant: Applicant<'_>) -> bool {
        self.only_if.as_ref().is_none_or(|only| only.fits(applicant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_takes_who_names_it_or_names_nothing_and_who_is_admitted() {
        let name = |text: &str| Name::new(text).expect("a name");
        let labels = |value: &str| Labels::from([("tier".to_owned(), value.to_owned())]);
        let lb = [Registration { registry: name("lb"), port: None, name: None, weight: None }];
        let open = Scope::default();
        let asked = Scope { opt_in: true, only_if: None };
        let only = |apps: &[&str]| {
            let apps = apps.iter().map(|app| name(app)).collect();
            let only = AppSelector { projects: vec![name("shop")], apps, match_labels: labels("front") };
            Scope { only_if: Some(only), opt_in: false }
        };
        let (front, web, api) = (only(&[]), only(&["api", "web"]), only(&["api"]));
        let none: &[Registration] = &[];
        for (scope, registry, project, tier, register, takes) in [
            (&open, "lb", "shop", "back", None, true),
            (&open, "lb", "shop", "back", Some(&lb[..]), true),
            (&open, "dns", "shop", "back", Some(&lb[..]), false),
            (&open, "dns", "shop", "back", Some(none), false),
            (&asked, "lb", "shop", "back", None, false),
            (&asked, "lb", "shop", "back", Some(&lb[..]), true),
            (&front, "lb", "shop", "front", None, true),
            (&front, "lb", "shop", "back", None, false),
            (&front, "lb", "bank", "front", Some(&lb[..]), false),
            (&web, "lb", "shop", "front", None, true),
            (&api, "lb", "shop", "front", None, false),
        ] {
            let (project, app, labels) = (name(project), name("web"), labels(tier));
            let applicant = Applicant { project: &project, app: &app, labels: &labels, register };
            assert_eq!(scope.takes(&name(registry), applicant), takes, "{scope:?} {registry} {applicant:?}");
        }
    }
}
