//! One try: a place for a pod, or room made for it, or the reason why it waits.

use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;

use super::{
    Scheduler, extender,
    preempt::{self, Budget, Plan},
    queue::{Attempt, Verdict},
    search::{Refusals, Search},
    wish::Wish,
};
use crate::{
    kind,
    object::{self, Key, int, text},
    selector::Labels,
    status::Status,
};

/// An extender gives up to 10, everybody else up to 100.
const EXTENDER_WEIGHT: f64 = 10.0;

/// What came of a search.
enum Found {
    Place(usize),
    /// Nothing, for these reasons; those of extenders are sentences already.
    Nothing(Vec<String>),
    Error(String),
    /// The pod is gone.
    Gone,
}

impl Scheduler {
    pub(super) async fn attempt(&mut self, attempt: &Attempt, now: Instant) -> Result<(), Status> {
        let Attempt { group, pod, wish, hopes } = attempt;
        let nominated = self.cluster.denominate(pod);
        self.cluster.remember(wish);
        let opinions = match self.find(attempt).await {
            Found::Place(at) => {
                self.roomier.extend(nominated.filter(|node| *node != at));
                return self.give(pod, wish, at, now);
            }
            Found::Nothing(opinions) => opinions,
            Found::Error(message) => {
                if let Some(at) = nominated {
                    self.cluster.nominate(pod, at, Arc::clone(wish));
                }
                let why = Verdict { reason: "SchedulerError", message, nominated };
                self.queue.refused(*group, why, true, now);
                return Ok(());
            }
            Found::Gone => {
                self.roomier.extend(nominated);
                self.queue.remove(pod, now);
                return Ok(());
            }
        };
        if hopes.is_some() {
            if let Some(at) = nominated {
                self.cluster.nominate(pod, at, Arc::clone(wish));
            }
            self.queue.disappointed(*group, now);
            return Ok(());
        }
        let search = Search::new(&self.cluster, wish);
        let refusals = search.refusals();
        let mut message = search.sentence(&refusals, &opinions);
        let mut verdict = |nominated: Option<usize>, more: &str| {
            message.push_str(more);
            Verdict { reason: "Unschedulable", message: std::mem::take(&mut message), nominated }
        };
        match self.preempt(&search, &refusals, nominated) {
            Ok(plan) => {
                let why = verdict(Some(plan.node), "");
                self.make_room(pod, wish, &plan, why, now)
            }
            Err(words) => {
                let stays = nominated.filter(|_| words == preempt::UNDER_WAY);
                let why = verdict(stays, &format!(" preemption: {words}"));
                match stays {
                    Some(at) => {
                        self.cluster.nominate(pod, at, Arc::clone(wish));
                        self.queue.nominated(pod, why, now);
                    }
                    None => {
                        self.roomier.extend(nominated);
                        self.queue.refused(*group, why, !opinions.is_empty(), now);
                    }
                }
                Ok(())
            }
        }
    }

    async fn find(&self, attempt: &Attempt) -> Found {
        let search = Search::new(&self.cluster, &attempt.wish);
        if self.extenders.is_empty() {
            return search.pick(attempt.hopes.as_deref()).map_or(Found::Nothing(Vec::new()), Found::Place);
        }
        let Some(pod) = self.report.store.get(&kind::PODS, &attempt.pod) else {
            return Found::Gone;
        };
        match self.find_with_extenders(&search, &pod, attempt.hopes.as_deref()).await {
            Ok(found) => found,
            Err(why) => Found::Error(why),
        }
    }

    async fn find_with_extenders(
        &self,
        search: &Search<'_>,
        pod: &Value,
        some: Option<&[usize]>,
    ) -> Result<Found, String> {
        let (mut fitting, mut opinions) = (search.fitting(some), Vec::new());
        let names = |fitting: &[usize]| -> Vec<&str> {
            fitting.iter().map(|at| self.cluster.node(*at).name.as_str()).collect()
        };
        for extender in &self.extenders {
            if fitting.is_empty() {
                break;
            }
            let opinion = extender::filter(extender, pod, &names(&fitting)).await?;
            fitting.retain(|at| opinion.good.contains(&self.cluster.node(*at).name));
            opinions.extend(opinion.bad);
        }
        let mut grades = search.grades(&fitting);
        for extender in self.extenders.iter().filter(|_| fitting.len() > 1) {
            // Who cannot say what it likes has nothing against any.
            let Ok(scores) = extender::prioritize(extender, pod, &names(&fitting)).await else { continue };
            for (grade, score) in grades.iter_mut().zip(scores) {
                *grade += EXTENDER_WEIGHT * f64::from(i32::try_from(score).unwrap_or(0));
            }
        }
        Ok(search.best(&fitting, &grades).map_or(Found::Nothing(opinions), Found::Place))
    }

    fn give(&mut self, pod: &Key, wish: &Wish, at: usize, now: Instant) -> Result<(), Status> {
        let node = self.cluster.node(at).name.clone();
        // If it is not the same any more, news of it is on the way.
        self.queue.placed(pod, now);
        let bound = self.report.bind(pod, wish.class, &node)?;
        let node = text(&bound, "/spec/nodeName");
        if !node.is_empty() {
            self.settle(pod, &bound, node);
        }
        Ok(())
    }

    /// Whom to drive out, or why nobody is.
    fn preempt(
        &self,
        search: &Search<'_>,
        refusals: &Refusals,
        nominated: Option<usize>,
    ) -> Result<Plan, String> {
        if !search.wish.preempts {
            return Err(preempt::NEVER.to_owned());
        }
        let makes_room = |at: usize| {
            let mut pods = self.cluster.pods_of(at);
            pods.any(|(_, wish, leaving)| leaving && wish.priority < search.wish.priority)
        };
        let helped = refusals.0.iter().filter(|(at, refusal)| preempt::helps(search, *at, *refusal));
        if helped.map(|(at, _)| *at).any(|at| nominated == Some(at) && makes_room(at)) {
            return Err(preempt::UNDER_WAY.to_owned());
        }
        let budgets: Vec<Budget> = self.budgets();
        let started = |pod: &Key| {
            let pod = self.report.store.get(&kind::PODS, pod)?;
            Some(text(&pod, "/status/startTime").to_owned()).filter(|at| !at.is_empty())
        };
        preempt::plan(search, refusals, &budgets, &started)
    }

    fn budgets(&self) -> Vec<Budget> {
        let all = self.report.store.list(&kind::DISRUPTION_BUDGETS, "").objects;
        let budget = |budget: &Value| Budget {
            namespace: object::namespace(budget).to_owned(),
            pods: Labels::from_object(&budget["spec"]["selector"]),
            allowed: int(budget, "/status/disruptionsAllowed").unwrap_or(0),
        };
        // One that selects nothing in particular protects nobody here.
        all.iter().map(|b| budget(b)).filter(|budget| !budget.pods.is_empty()).collect()
    }

    /// Drives others out; the pod waits for their end.
    fn make_room(
        &mut self,
        pod: &Key,
        wish: &Arc<Wish>,
        plan: &Plan,
        why: Verdict,
        now: Instant,
    ) -> Result<(), Status> {
        self.cluster.nominate(pod, plan.node, Arc::clone(wish));
        self.queue.nominated(pod, why, now);
        let node = &self.cluster.node(plan.node).name;
        let preemptor = self.report.store.get(&kind::PODS, pod);
        let by = preemptor.as_deref().map_or("", object::uid);
        for victim in &plan.victims {
            super::forgive(self.report.drive_out(victim, by, node))?;
        }
        Ok(())
    }
}
