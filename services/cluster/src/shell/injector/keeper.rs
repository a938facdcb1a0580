//! Keeps the webhook believed: there is an authority in the Secret, the API server believes it, and what this replica shows is
//! signed by it. Level-triggered: it looks every so often, and puts right what is not so.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bcs_engines::kubernetes::{
    Kubernetes, connect,
    trust::{Shared, Trouble},
};
use bcs_kit::telemetry::chain;
use jiff::Timestamp;

use super::{
    Injector,
    certificate::{self, Authority, Shown},
    desk::Desk,
};
use crate::domain::authority::{Show, show};

/// Keys of the Secret: who is to be believed, the one that signs before the one before it; and the key of the first.
const CERTIFICATES: &str = "ca.crt";
const KEY: &str = "ca.key";
/// The first version that knows sidecars of its own kind without being told to.
const KNOWS_SIDECARS: (u32, u32) = (1, 29);
/// Pause after a failure, and until an API server surely has heard whom to believe.
const SOON: Duration = Duration::from_secs(2);
/// So often another replica may be faster in one look.
const ATTEMPTS: u32 = 8;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the cluster cannot be reached")]
    Connect(#[from] connect::Error),
    #[error("the cluster did not do what the webhook needs")]
    Cluster(#[from] Trouble),
    #[error("MutatingWebhookConfiguration {0} does not exist: apply k8s/injector")]
    NoConfiguration(String),
    #[error("certificates")]
    Certificate(#[from] certificate::Error),
    #[error("others keep changing the Secret or the MutatingWebhookConfiguration")]
    Contended,
}

/// How a look ended.
enum Seen {
    Settled,
    /// Something is to be done in a moment.
    Unsettled,
    /// Somebody else was faster.
    Lost,
}

pub(super) struct Keeper {
    injector: Injector,
    desk: Arc<Desk>,
}

impl Keeper {
    pub(super) const fn new(injector: Injector, desk: Arc<Desk>) -> Self {
        Self { injector, desk }
    }

    /// Runs for ever.
    pub(super) async fn keep(self) {
        let every = self.injector.settings.look_every.std();
        loop {
            let pause = match self.look().await {
                Ok(true) => every,
                Ok(false) => SOON.min(every),
                Err(error) => {
                    let cluster = &self.injector.cluster;
                    tracing::warn!(%cluster, error = chain(&error), "webhook is not kept, trying again");
                    self.tell(Some(&error));
                    SOON.min(every)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// A failure matters only when nothing is shown that is still good.
    fn tell(&self, error: Option<&Error>) {
        let now = self.injector.clock.now();
        let good = self.desk.shown().is_some_and(|shown| shown.life.holds(now));
        let missing =
            error.filter(|_| !good).map(|error| format!("its webhook is not believed: {}", chain(error)));
        self.injector.report.injects(missing.map_or(Ok(()), Err));
    }

    /// Whether everything is as it should be now.
    async fn look(&self) -> Result<bool, Error> {
        // Opened every time: the kubeconfig and its token may have been replaced.
        let cluster = connect::open(&self.injector.spec, self.injector.clock.clone()).await?;
        let native = match self.injector.settings.native {
            Some(native) => native,
            None => cluster.server_version().await? >= KNOWS_SIDECARS,
        };
        self.desk.knows_sidecars(native);
        for _ in 0..ATTEMPTS {
            match self.once(&cluster).await? {
                Seen::Settled => {
                    self.tell(None);
                    return Ok(true);
                }
                Seen::Unsettled => return Ok(false),
                Seen::Lost => {}
            }
        }
        Err(Error::Contended)
    }

    /// The configuration is read before the Secret: what is then written into it is not older than what another replica wrote
    /// there, or its version has changed.
    async fn once(&self, cluster: &Kubernetes) -> Result<Seen, Error> {
        let Injector { settings, clock, .. } = &self.injector;
        let now = clock.now();
        let Some(believed) = cluster.believed(&settings.webhook).await? else {
            return Err(Error::NoConfiguration(settings.webhook.clone()));
        };
        let place = settings.place();
        let shared = cluster.shared(&place).await?;
        let found = shared.as_ref().and_then(|shared| self.read(shared));
        let (authority, bundle) = match found {
            Some((authority, bundle)) if !authority.life.is_due(now) => (authority, bundle),
            found => {
                let (authority, bundle) = self.another(found.map(|(before, _)| before.pem), now)?;
                if !cluster.share(&place, data(&authority, &bundle), shared.as_ref()).await? {
                    return Ok(Seen::Lost);
                }
                tracing::info!(cluster = %self.injector.cluster, until = %authority.life.until, "webhook has a new authority");
                (authority, bundle)
            }
        };
        let told = !believed.is(&bundle);
        if told && !cluster.believe(&settings.webhook, &believed, &bundle).await? {
            return Ok(Seen::Lost);
        }
        self.show(&authority, told, now)
    }

    fn show(&self, authority: &Authority, told: bool, now: Timestamp) -> Result<Seen, Error> {
        let shown = self.desk.shown();
        let standing = shown.as_ref().map(|shown| (shown.life, shown.authority == authority.pem));
        match show(standing, told, now) {
            Show::Same => {}
            Show::Soon => return Ok(Seen::Unsettled),
            Show::Anew => {
                self.desk.show(authority.sign(&self.injector.settings.server_names(), now)?);
                tracing::info!(cluster = %self.injector.cluster, "webhook shows a new certificate");
            }
        }
        Ok(Seen::Settled)
    }

    /// A new authority, and who is believed from now on: the one before, too, by which replicas still show themselves.
    fn another(&self, before: Option<String>, now: Timestamp) -> Result<(Authority, String), Error> {
        let authority = Authority::make(now)?;
        let signed_mine = |shown: Shown| shown.life.holds(now).then_some(shown.authority);
        let before = before.or_else(|| self.desk.shown().and_then(signed_mine)).unwrap_or_default();
        let bundle = format!("{}{before}", authority.pem);
        Ok((authority, bundle))
    }

    /// What the Secret holds, if it is any good.
    fn read(&self, shared: &Shared) -> Option<(Authority, String)> {
        let text = |key: &str| {
            let bytes = shared.data.get(key).cloned().unwrap_or_default();
            String::from_utf8(bytes).unwrap_or_default()
        };
        let bundle = text(CERTIFICATES);
        match Authority::read(&bundle, &text(KEY)) {
            Ok(authority) => Some((authority, bundle)),
            Err(error) => {
                let secret = &self.injector.settings.secret;
                tracing::warn!(
                    secret,
                    error = chain(&error),
                    "Secret of the webhook is no good and is made anew"
                );
                None
            }
        }
    }
}

fn data(authority: &Authority, bundle: &str) -> BTreeMap<String, Vec<u8>> {
    let text = [(CERTIFICATES, bundle.to_owned()), (KEY, authority.key())];
    text.into_iter().map(|(key, text)| (key.to_owned(), text.into_bytes())).collect()
}
