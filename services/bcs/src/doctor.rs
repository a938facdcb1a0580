//! `bcs doctor`: how the whole installation does, and what to do about what does not do well. [`gather`] asks the bus for facts,
//! each within its time; what they mean is decided in [`verdict`], which is pure.

mod certificate;
pub(crate) mod facts;
pub(crate) mod gather;
mod need;
pub(crate) mod verdict;

use serde::Serialize;

/// How bad it is, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// As it has to be.
    Ok,
    /// It works, and somebody should look.
    Warning,
    /// It could not be asked, so nothing good can be said.
    Unknown,
    /// Something does not work, or soon will not.
    Problem,
}

impl Verdict {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Problem => "problem",
        }
    }
}

/// What one look came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// The check: `streams`.
    pub(crate) check: &'static str,
    /// Of what: `EVT_DEPLOY`. Empty when of all that there is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) about: String,
    pub(crate) verdict: Verdict,
    /// One sentence.
    pub(crate) found: String,
    /// What to do, for whatever is not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, about: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check, about: about.into(), verdict: Verdict::Ok, found: found.into(), advice: None }
    }

    fn bad(
        verdict: Verdict,
        check: &'static str,
        about: impl Into<String>,
        (found, advice): (String, &str),
    ) -> Self {
        Self { check, about: about.into(), verdict, found, advice: Some(advice.to_owned()) }
    }

    pub(crate) fn warning(
        check: &'static str,
        about: impl Into<String>,
        found: impl Into<String>,
        advice: &str,
    ) -> Self {
        Self::bad(Verdict::Warning, check, about, (found.into(), advice))
    }

    pub(crate) fn problem(
        check: &'static str,
        about: impl Into<String>,
        found: impl Into<String>,
        advice: &str,
    ) -> Self {
        Self::bad(Verdict::Problem, check, about, (found.into(), advice))
    }

    pub(crate) fn unknown(check: &'static str, about: impl Into<String>, why: &str) -> Self {
        let advice = "ask as somebody who may, such as the operator (`bcs context use NAME`), or again when it answers";
        Self::bad(Verdict::Unknown, check, about, (format!("could not be asked: {why}"), advice))
    }
}

/// The worst of them.
pub(crate) fn worst(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Unknown)
}
