//! How each fault is done, and how it ends.

use std::time::Duration;

use bcs_testbus::Mood;

use super::{
    Faulty,
    fault::{AFTER, Fault, Strike},
    round::World,
    truth,
};
use crate::web::Prank;

/// What ends a fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mend {
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

impl<S: Faulty> World<S> {
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

    pub(super) async fn strike(&mut self, strike: Strike) -> Vec<(Duration, Mend)> {
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

    pub(super) async fn mend(&mut self, mend: Mend) {
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
