//! Some faults under load, and the time that it takes until everything is right after the last one.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use bcs_discovery_sidecar::driver::Fence;
use bcs_testbus::Mood;
use tokio::time::{Instant, sleep};

use super::{
    Faulty,
    fault::{AFTER, Fault, Strike, Target},
    load::Load,
    sidecars::Sidecars,
    truth::{self, Wrong},
};
use crate::{
    contract::Hand,
    fixture::Nats,
    web::{Prank, Proxy},
};

/// Everything that a round needs.
pub(super) struct World<S> {
    pub(super) site: S,
    pub(super) nats: Nats,
    /// Before the registry, if it speaks HTTP.
    proxy: Option<Proxy>,
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
    forgot: bool,
    /// What came back after it was said to be out, since when, and how often that was.
    back: BTreeMap<String, Instant>,
    pub(super) came_back: u64,
    registry_runs: bool,
}

/// What ends a fault.
#[derive(Clone, Copy, Debug)]
enum Mend {
    Line(u32),
    Answers,
    Registry,
    Start(usize),
    Continue(usize),
    Part(usize),
    /// One of two sidecars is killed.
    Fewer(u32),
    Clock(usize),
    Bus,
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

    fn set_lines(&self, draw: u32, mood: Mood) {
        match draw % 3 {
            2 => [0, 1].into_iter().for_each(|slot| self.sidecars.line(slot).set(mood)),
            slot => self.sidecars.line(slot as usize).set(mood),
        }
    }

    fn prank(&self, prank: Option<Prank>) {
        if let Some(proxy) = &self.proxy {
            proxy.play(prank);
        }
    }

    async fn strike(&mut self, strike: Strike) -> Vec<(Duration, Mend)> {
        let Strike { fault, lasts, draw, .. } = strike;
        let slot = self.sidecars.running(draw);
        let mend = match fault {
            Fault::Cut | Fault::Hole | Fault::Slow | Fault::Deaf => {
                self.set_lines(draw, mood(fault, draw));
                Mend::Line(draw)
            }
            Fault::Error | Fault::ErrorAfter | Fault::Lost | Fault::Twice => {
                self.prank(prank(fault));
                Mend::Answers
            }
            Fault::Killed | Fault::Emptied => {
                self.registry_runs = false;
                self.site.down(fault == Fault::Emptied).await;
                if fault == Fault::Emptied {
                    self.forgot = true;
                    self.theirs.clear();
                }
                Mend::Registry
            }
            Fault::TakenOut => {
                self.take_out(draw).await;
                return Vec::new();
            }
            Fault::Compacted => {
                if self.registry_runs {
                    self.site.compact().await;
                }
                return Vec::new();
            }
            Fault::WatchesDropped => {
                if self.nats.bus.connected() {
                    self.nats.drop_watches().await;
                }
                return Vec::new();
            }
            Fault::SidecarKilled => {
                self.sidecars.kill(slot);
                Mend::Start(slot)
            }
            Fault::SidecarPaused => {
                self.sidecars.signal(slot, "-STOP");
                Mend::Continue(slot)
            }
            Fault::SidecarParted | Fault::SidecarCut => {
                let mood = if fault == Fault::SidecarCut { Mood::Cut } else { Mood::Hole };
                self.sidecars.bus(slot).set(mood);
                Mend::Part(slot)
            }
            Fault::Second | Fault::TwoLeaders => return self.two(strike),
            Fault::Clock => {
                let _ = self.sidecars.clock(slot).set(i64::from(draw % 2400) - 1200);
                Mend::Clock(slot)
            }
            Fault::BusKilled => {
                self.nats.kill();
                Mend::Bus
            }
        };
        vec![(lasts, mend)]
    }

    /// Another sidecar takes over, from one that may not hear of it.
    fn two(&mut self, strike: Strike) -> Vec<(Duration, Mend)> {
        let Strike { fault, lasts, draw, .. } = strike;
        if self.sidecars.both_run() {
            self.sidecars.kill(self.sidecars.running(draw));
        }
        let first = self.sidecars.running(draw);
        let mut mends = vec![(lasts + AFTER / 2, Mend::Fewer(draw >> 1))];
        if fault == Fault::TwoLeaders && draw % 2 == 0 {
            self.sidecars.signal(first, "-STOP");
            mends.push((lasts, Mend::Continue(first)));
        } else if fault == Fault::TwoLeaders {
            self.sidecars.bus(first).set(Mood::Hole);
            mends.push((lasts, Mend::Part(first)));
        }
        self.sidecars.start(1 - first);
        mends
    }

    async fn take_out(&mut self, draw: u32) {
        if !self.registry_runs {
            return;
        }
        let ours: Vec<_> =
            self.site.addresses().await.into_iter().filter(|a| !truth::is_foreign(a)).collect();
        if let Some(one) = ours.get(draw as usize % ours.len().max(1)) {
            self.site.take_out(*one).await;
        }
    }

    async fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Line(draw) => self.set_lines(draw, Mood::Open),
            Mend::Answers => self.prank(None),
            Mend::Registry => {
                self.site.up().await;
                if self.theirs.is_empty() {
                    self.site.add_foreign(self.foreign).await;
                    self.theirs = self.site.theirs().await;
                }
                self.registry_runs = true;
            }
            Mend::Start(slot) => self.sidecars.start(slot),
            Mend::Continue(slot) => self.sidecars.signal(slot, "-CONT"),
            Mend::Part(slot) => self.sidecars.bus(slot).set(Mood::Open),
            Mend::Fewer(draw) => {
                if self.sidecars.both_run() {
                    self.sidecars.kill(self.sidecars.running(draw));
                }
            }
            Mend::Clock(slot) => drop(self.sidecars.clock(slot).set(0)),
            Mend::Bus => self.nats.start_again(),
        }
    }
}

/// Whoever it would happen to suffers from something else still: what took longer than it should.
fn suffers(mends: &[(Duration, Target, Mend)], strike: &Strike) -> bool {
    let target = strike.fault.target();
    mends.iter().any(|(_, other, _)| *other == target)
}

fn mood(fault: Fault, draw: u32) -> Mood {
    match fault {
        Fault::Cut => Mood::Cut,
        Fault::Hole => Mood::Hole,
        Fault::Deaf => Mood::Deaf,
        _ => Mood::Slow(Duration::from_millis(u64::from(draw % 500) + 20)),
    }
}

fn prank(fault: Fault) -> Option<Prank> {
    match fault {
        Fault::Error => Some(Prank::Fail),
        Fault::ErrorAfter => Some(Prank::FailAfter),
        Fault::Lost => Some(Prank::LoseAll),
        Fault::Twice => Some(Prank::Twice),
        _ => None,
    }
}
