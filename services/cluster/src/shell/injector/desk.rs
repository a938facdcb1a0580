//! What every connection of the webhook needs: the certificate of the moment, and the answers.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

use tokio_rustls::rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{Injector, certificate::Shown};
use crate::domain::{
    inject::{Ask, inject},
    review::{Answer, answer},
};

pub(super) struct Desk {
    injector: Injector,
    shown: RwLock<Option<Shown>>,
    native: AtomicBool,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("cluster", &self.injector.cluster).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Desk {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.shown().map(|shown| shown.key)
    }
}

impl Desk {
    pub(super) fn new(injector: Injector) -> Self {
        Self { injector, shown: RwLock::default(), native: AtomicBool::new(false) }
    }

    /// What is shown to whoever connects, once there is something.
    pub(super) fn shown(&self) -> Option<Shown> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn show(&self, shown: Shown) {
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Some(shown);
    }

    /// Whether the cluster knows sidecars of its own kind.
    pub(super) fn knows_sidecars(&self, native: bool) {
        self.native.store(native, Ordering::Relaxed);
    }

    /// The answer to a question; an error is for whoever asks what is no question.
    pub(super) fn answer(&self, body: &[u8]) -> Result<Answer, String> {
        let Injector { cluster, settings, report, .. } = &self.injector;
        let native = self.native.load(Ordering::Relaxed);
        let mut whose = String::new();
        let answered = answer(body, |pod, namespace| {
            // Pods of a set have no name yet.
            let name = pod.metadata.name.as_ref().or(pod.metadata.generate_name.as_ref());
            whose = format!("{namespace}/{}", name.map_or("", String::as_str));
            inject(pod, Ask { cluster, namespace, native }, &settings.sidecar)
        });
        match &answered {
            Ok(answer) => {
                report.answered(if answer.changed { "injected" } else { "unchanged" });
                for warning in &answer.warnings {
                    tracing::info!(%cluster, pod = whose, changed = answer.changed, warning, "webhook was asked");
                }
            }
            Err(why) => {
                report.answered("malformed");
                tracing::warn!(%cluster, why, "webhook was asked what is no question");
            }
        }
        answered
    }
}
