//! Some faults under load, and the time that it takes until everything is right after the last one.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use bcs_discovery_sidecar::driver::Fence;
use tokio::time::{Instant, sleep};

use super::{
    Faulty,
    fault::{Strike, Target},
    inject::Mend,
    load::Load,
    sidecars::Sidecars,
    truth::{self, Wrong},
};
use crate::{contract::Hand, fixture::Nats, web::Proxy};

/// Everything that a round needs.
pub(super) struct World<S> {
    pub(super) site: S,
    pub(super) nats: Nats,
    /// Before the registry, if it speaks HTTP.
    pub(super) proxy: Option<Proxy>,
    pub(super) sidecars: Sidecars,
    pub(super) load: Load,
    /// What others have in the registry.
    pub(super) theirs: String,
    pub(super) foreign: std::net::IpAddr,
    pub(super) told: String,
    /// Looks at what was said to be out.
    pub(super) looks: u64,
    /// Whether the registry itself stops a sidecar that was replaced.
    strict: bool,
    /// It has lost its memory in this round, and with that the epoch that stops a sidecar which hears nothing from the bus.
    pub(super) forgot: bool,
    /// What came back after it was said to be out, since when, and how often that was.
    back: BTreeMap<String, Instant>,
    pub(super) came_back: u64,
    pub(super) registry_runs: bool,
}

/// Until everything has to be right.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long a write that has begun may take, and the next reading, which puts right what it did.
const MOMENT: Duration = Duration::from_secs(10);

impl<S: Faulty> World<S> {
    pub(super) async fn new(site: S, foreign: std::net::IpAddr) -> Self {
        let nats = Nats::start().await;
        let at = format!("http://127.0.0.1:{}", site.port());
        let proxy = if S::ABLE.speaks_http() { Some(Proxy::start(&at).await) } else { None };
        let port = proxy.as_ref().map_or_else(|| site.port(), |proxy| proxy.address.port());
        let lines = site.lines(port).await;
        let mut sidecars = Sidecars::new(&nats.address(), lines).await;
        site.add_foreign(foreign).await;
        let theirs = site.theirs().await;
        sidecars.start(0);
        let load = Load::new(nats.bus.clone());
        let strict = Hand::of(&site).can().fence == Fence::InWrite;
        let (told, looks, registry_runs) = (String::new(), 0, true);
        let (forgot, back, came_back) = (false, BTreeMap::new(), 0);
        Self {
            site,
            nats,
            proxy,
            sidecars,
            load,
            theirs,
            foreign,
            told,
            looks,
            strict,
            forgot,
            back,
            came_back,
            registry_runs,
        }
    }

    /// How long it took from the end of the last fault until everything was right; or what is not.
    pub(super) async fn round(&mut self, seed: u64, strikes: &[Strike]) -> Result<Duration, String> {
        self.load.seed(seed);
        self.forgot = false;
        let mut load = std::mem::replace(&mut self.load, Load::new(self.nats.bus.clone()));
        let ended = tokio::select! {
            () = load.run() => Ok(()),
            ended = self.suffer(strikes) => ended,
        };
        self.load = load;
        ended?;
        let end = Instant::now();
        self.load.settle().await;
        self.becomes_right(end).await
    }

    async fn suffer(&mut self, strikes: &[Strike]) -> Result<(), String> {
        let begin = Instant::now();
        let (mut strikes, mut mends) = (strikes.iter().peekable(), Vec::<(Duration, Target, Mend)>::new());
        let (mut look_at, mut beat_at) = (Duration::ZERO, Duration::ZERO);
        while strikes.peek().is_some() || !mends.is_empty() {
            let now = begin.elapsed();
            mends.sort_by_key(|(at, ..)| *at);
            if let Some((.., mend)) = mends.first().copied().filter(|(at, ..)| *at <= now) {
                mends.remove(0);
                self.tell(now, &format!("{mend:?} is over"));
                self.mend(mend).await;
            } else if let Some(strike) =
                strikes.next_if(|strike| strike.at <= now && !suffers(&mends, strike))
            {
                self.tell(now, &format!("{} for {:?}", strike.fault, strike.lasts));
                let undone = self.strike(*strike).await;
                let (now, target) = (begin.elapsed(), strike.fault.target());
                mends.extend(undone.into_iter().map(|(after, mend)| (now + after, target, mend)));
            } else if now >= beat_at && self.nats.bus.connected() {
                beat_at = now + Duration::from_millis(500);
                self.beat().await;
                self.sidecars.keep_running();
            } else if now >= look_at && self.registry_runs && self.nats.bus.connected() {
                look_at = now + S::ABLE.look;
                self.look().await?;
            } else {
                sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }

    async fn becomes_right(&mut self, end: Instant) -> Result<Duration, String> {
        let (mut right_at, mut last) = (None, String::new());
        loop {
            self.beat().await;
            self.sidecars.keep_running();
            let looked_at = end.elapsed();
            let wrong: Wrong = truth::wrong(&self.site, &self.nats, &self.load, &self.theirs).await;
            self.look().await?;
            match (wrong.is_nothing(), right_at) {
                (true, None) => right_at = Some(looked_at),
                // It stays so.
                (true, Some(at)) if looked_at > at + Duration::from_millis(400) => {
                    self.tell(
                        at,
                        &format!("after the last fault everything is right; the last that was not: {last}"),
                    );
                    return Ok(at);
                }
                (true, _) => (),
                (false, _) => {
                    right_at = None;
                    last = wrong.to_string();
                }
            }
            if end.elapsed() > DEADLINE {
                return Err(format!("after {DEADLINE:?}: {wrong}"));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Nothing that was said to be out is in. Where the registry cannot compare epochs, or forgot ours, a sidecar that was replaced
    /// and does not know it may bring something back: for a moment.
    async fn look(&mut self) -> Result<(), String> {
        self.looks += 1;
        let back = truth::out_and_in(&self.site, &self.nats).await;
        self.back.retain(|uid, _| back.contains_key(uid));
        for (uid, words) in back {
            self.came_back += u64::from(!self.back.contains_key(&uid));
            let since = *self.back.entry(uid).or_insert_with(Instant::now);
            if self.strict && !self.forgot || since.elapsed() > MOMENT {
                return Err(words);
            }
        }
        Ok(())
    }

    async fn beat(&self) {
        // Without a bus there is nobody to tell.
        let _ = tokio::time::timeout(Duration::from_millis(500), self.nats.try_beat(true)).await;
    }

    fn tell(&mut self, now: Duration, words: &str) {
        let _ = writeln!(self.told, "{:8.3} s  {words}", now.as_secs_f64());
    }
}

/// Whoever it would happen to suffers from something else still: what took longer than it should.
fn suffers(mends: &[(Duration, Target, Mend)], strike: &Strike) -> bool {
    let target = strike.fault.target();
    mends.iter().any(|(_, other, _)| *other == target)
}
