//! Shows how waiting goes: bars on a terminal, one line for each change anywhere else.

use std::collections::BTreeMap;

use bcs_schemas::query::AppView;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{color, output, wait::Verdict};

pub(crate) struct Progress {
    bars: Option<MultiProgress>,
    shown: BTreeMap<String, Shown>,
    trouble: String,
}

struct Shown {
    bar: Option<ProgressBar>,
    text: String,
}

impl Progress {
    pub(crate) fn new(names: impl Iterator<Item = String>) -> Self {
        let bars = output::terminal().then(MultiProgress::new);
        let names: Vec<String> = names.collect();
        let width = names.iter().map(String::len).max().unwrap_or_default();
        let shown = names.into_iter().map(|name| {
            let bar = bars.as_ref().map(|bars| bars.add(bar(&format!("{name:width$}"))));
            (name, Shown { bar, text: String::new() })
        });
        let shown = shown.collect();
        Self { bars, shown, trouble: String::new() }
    }

    pub(crate) fn show(&mut self, name: &str, view: Option<&AppView>, verdict: &Verdict) {
        self.trouble.clear();
        let Some(shown) = self.shown.get_mut(name) else { return };
        let (Verdict::Done(text) | Verdict::Going(text) | Verdict::Stuck(text)) = verdict;
        if let Some(bar) = &shown.bar {
            if let Some(view) = view {
                bar.set_length(view.status.replicas.into());
                bar.set_position(view.status.available.min(view.status.replicas).into());
            }
            bar.set_message(text.clone());
            if !matches!(verdict, Verdict::Going(_)) {
                bar.abandon();
            }
        } else if shown.text != *text {
            output::note(format!("app/{name}: {text}"));
        }
        shown.text.clone_from(text);
    }

    /// The platform did not answer; it is asked again.
    pub(crate) fn trouble(&mut self, what: &str) {
        if self.trouble == what {
            return;
        }
        self.trouble = what.to_owned();
        let line = format!("{} {what}; asking again", color::dim("waiting:"));
        match &self.bars {
            Some(bars) => drop(bars.println(line)),
            None => output::note(line),
        }
    }

    pub(crate) fn end(&mut self) {
        for shown in self.shown.values() {
            if let Some(bar) = &shown.bar {
                bar.abandon();
            }
        }
    }
}

fn bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::new(1).with_prefix(name.to_owned()).with_message("accepted");
    // The template is a literal: if it were wrong, the plain style would still show the same numbers.
    let colored = "{prefix} [{bar:24.green}] {pos}/{len} {wide_msg}";
    let plain = "{prefix} [{bar:24}] {pos}/{len} {wide_msg}";
    if let Ok(style) = ProgressStyle::with_template(if output::colors() { colored } else { plain }) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
