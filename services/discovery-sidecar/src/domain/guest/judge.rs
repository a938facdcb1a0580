//! What becomes of wishes, when a zone is as it was just read.

use std::collections::{BTreeMap, BTreeSet};

use super::{Data, Domains, Kind, Refusal, Set, Step, View, Wish, heritage};

/// So many things that are wrong are told at once.
const TOLD: usize = 5;

/// The steps that make the wishes come true; those that are true already need none. `ttl` (seconds) is taken where nobody
/// says another one. All of them are refused if one is: for good if asking again is of no use for any of them.
pub fn judge(view: &View, domains: &Domains, ttl: u32, wishes: &[Wish]) -> Result<Vec<Step>, Refusal> {
    let judge = Judge { view, domains, ttl };
    let (mut steps, mut never, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for wish in wishes {
        match judge.step(wish) {
            Ok(step) => steps.extend(step),
            Err(Refusal::Never(why)) => never.push(why),
            Err(Refusal::Changed(why)) => changed.push(why),
        }
    }
    never.extend(judge.aliases(&steps));
    match (never.is_empty(), changed.is_empty()) {
        (true, true) => Ok(steps),
        (false, _) => Err(Refusal::Never(joined(&never))),
        (true, false) => Err(Refusal::Changed(joined(&changed))),
    }
}

fn joined(problems: &[String]) -> String {
    let mut words = problems.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join("; ");
    if problems.len() > TOLD {
        words = format!("{words}; and {} more", problems.len() - TOLD);
    }
    words
}

struct Judge<'a> {
    view: &'a View,
    domains: &'a Domains,
    ttl: u32,
}

impl Judge<'_> {
    fn step(&self, wish: &Wish) -> Result<Option<Step>, Refusal> {
        self.allowed(wish).map_err(Refusal::Never)?;
        let Wish { name, kind, .. } = wish;
        let before = self.view.get(name, *kind).cloned().unwrap_or_default();
        if !self.is_as_told(wish, &before) {
            let shown = shown(&before.data);
            let why = match &wish.told {
                Some(told) => format!("{name} {kind} is {shown} and not {} any more", self::shown(told)),
                None => format!("{name} {kind} is there already: {shown}"),
            };
            return Err(Refusal::Changed(why));
        }
        let data = wish.wanted.clone().unwrap_or_default();
        let ttl = wish.ttl.unwrap_or(if before.data.is_empty() { self.ttl } else { before.ttl });
        let after = Set { ttl: if data.is_empty() { before.ttl } else { ttl }, data };
        let step = Step { name: name.clone(), kind: *kind, before, after, beside: self.view.kinds(name) };
        Ok(Some(step).filter(|step| step.before != step.after))
    }

    /// Or why nobody may have that there.
    fn allowed(&self, wish: &Wish) -> Result<(), String> {
        let Wish { name, kind, wanted, .. } = wish;
        if let Some(owner) = self.view.owner(name) {
            return Err(format!("{name}: belongs to an entry of BCS ({owner}): expected another name"));
        }
        if !self.domains.hold(name) {
            let domains = self.domains.include.join(" or ");
            return Err(format!("{name}: expected a name at or below {domains} that is not excluded"));
        }
        let Some(wanted) = wanted else { return Ok(()) };
        let apex = *name == self.view.zone;
        match kind {
            Kind::Cname if apex => Err(format!("{name}: an alias (CNAME) cannot be at the top of a zone")),
            Kind::Cname if wanted.len() > 1 => {
                Err(format!("{name}: has {} aliases (CNAME): expected one", wanted.len()))
            }
            Kind::Ns if apex => Err(format!("{name}: which servers the zone has is not for others to say")),
            Kind::Ns => match self.view.owned_within(name) {
                Some(owned) => Err(format!(
                    "{name}: as a zone of its own it would hide {owned}, an entry of BCS: expected another name"
                )),
                None => Ok(()),
            },
            _ => match self.view.delegated(name) {
                Some(zone) => Err(format!("{name}: lies in {zone}, which is a zone of its own (NS)")),
                None => Ok(()),
            },
        }
    }

    /// Whether what is there may be replaced.
    fn is_as_told(&self, wish: &Wish, before: &Set) -> bool {
        let there = &before.data;
        let wanted = wish.wanted.as_ref();
        let told = wish.told.as_ref();
        if Some(there) == told || Some(there) == wanted {
            return true;
        }
        if there.is_empty() {
            // It is not there, as is wanted; or whose a record is was never written, or by hand taken out.
            return told.is_none() || wanted.is_none() || owner(wanted).is_some();
        }
        // An ExternalDNS may say of its own record anew whose it is, whatever it believes to have said.
        let owners = (owner(Some(there)), owner(wanted.or(told)));
        matches!(owners, (Some(there), Some(its)) if there == its)
    }

    /// Names that would have an alias beside something else.
    fn aliases(&self, steps: &[Step]) -> Vec<String> {
        let mut names: BTreeMap<&str, BTreeSet<Kind>> = BTreeMap::new();
        for step in steps {
            let kinds = names.entry(&step.name).or_insert_with(|| self.view.kinds(&step.name));
            if step.after.data.is_empty() {
                kinds.remove(&step.kind)
            } else {
                kinds.insert(step.kind)
            };
        }
        let beside = names.into_iter().filter_map(|(name, kinds)| {
            if !kinds.contains(&Kind::Cname) {
                return None;
            }
            let others: Vec<String> =
                kinds.iter().filter(|kind| **kind != Kind::Cname).map(ToString::to_string).collect();
            let more = self.view.has_more(name);
            let what = if others.is_empty() { "other records".to_owned() } else { others.join(", ") };
            (more || !others.is_empty()).then(|| {
                format!("{name}: an alias (CNAME) cannot stand beside {what}: expected one of them only")
            })
        });
        beside.collect()
    }
}

/// The ExternalDNS that all of these texts are of, if they are only of one.
pub(super) fn owner(data: Option<&BTreeSet<Data>>) -> Option<String> {
    let mut owners = data?.iter().map(|data| match data {
        Data::Txt(strings) => heritage(&String::from_utf8_lossy(&strings.concat())),
        _ => None,
    });
    let first = owners.next()??;
    owners.all(|owner| owner.as_ref() == Some(&first)).then_some(first)
}

fn shown(data: &BTreeSet<Data>) -> String {
    if data.is_empty() {
        return "not there".to_owned();
    }
    data.iter().map(Data::target).collect::<Vec<_>>().join(", ")
}
