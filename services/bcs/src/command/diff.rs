//! `bcs diff`: what changed in what is wanted of an object, between two moments.

use bcs_client::Client;
use bcs_schemas::{Name, query::PastQuery};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    Failure, color,
    moment::Moment,
    output,
    output::Format,
    plan::{Line, diff},
    session::Session,
};

const APP: &str = "\
Examples:
  bcs diff app shop-web --from 12 --to 30
  bcs diff app shop-web --from 1h                     until now
  bcs diff app shop-web --from 2026-11-22T10:00";

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Labels and spec of an application
    #[command(alias = "apps", after_help = APP)]
    App {
        /// The application
        name: Name,
        #[command(flatten)]
        span: Span,
    },
    /// Labels and spec of a cluster
    #[command(alias = "clusters", after_help = "Example:\n  bcs diff cluster sim-a --from 1 --to 4")]
    Cluster {
        /// The cluster
        name: Name,
        #[command(flatten)]
        span: Span,
    },
}

#[derive(Debug, Args)]
struct Span {
    /// The earlier moment: a revision (12), a time (2026-11-22T10:00, in UTC) or an age (1h)
    #[arg(long, value_name = "REVISION|TIME|AGE")]
    from: Moment,
    /// The later moment; now when absent
    #[arg(long, value_name = "REVISION|TIME|AGE", default_value = "0s", hide_default_value = true)]
    to: Moment,
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let _log = session.log()?;
        let client = session.connect().await?;
        let (kind, project, name, Span { from, to }) = match self.kind {
            Kind::App { name, span } => ("app", Some(session.project()?), name, span),
            Kind::Cluster { name, span } => ("cluster", None, name, span),
        };
        let now = client.clock().now();
        let at = |moment: Moment| moment.of(project.clone(), name.clone(), now);
        let (before, after) = (wanted(&client, &at(from)).await?, wanted(&client, &at(to)).await?);
        if before.is_null() && after.is_null() {
            return Err(Failure::failed(format!("{kind} {name} existed at neither moment")));
        }
        if !session.format().for_people() {
            return output::answer(
                session.format(),
                [format!("{kind}/{name}")],
                &json!({ "from": before, "to": after }),
            );
        }
        let shown = between(&yaml(&before)?, &yaml(&after)?);
        if shown.is_empty() {
            output::note("no difference in what is wanted");
        } else {
            output::line(shown);
        }
        Ok(())
    }
}

/// Labels and spec at some moment; nothing when the object did not exist.
async fn wanted(client: &Client, question: &PastQuery) -> Result<Value, Failure> {
    let found = if question.project.is_some() {
        client.past_app(question).await?.data.map(|app| json!({ "labels": app.labels, "spec": app.spec }))
    } else {
        let cluster = client.past_cluster(question).await?.data;
        cluster.map(|cluster| json!({ "labels": cluster.labels, "spec": cluster.spec }))
    };
    Ok(found.unwrap_or_default())
}

fn yaml(value: &Value) -> Result<String, Failure> {
    if value.is_null() { Ok(String::new()) } else { output::text(Format::Yaml, value) }
}

/// The lines that differ, under the keys that lead to them.
fn between(before: &str, after: &str) -> String {
    let line = |line: Line<'_>| match line {
        Line::Both(line) => format!("  {line}\n"),
        Line::Before(line) => format!("{}\n", color::removed(&format!("- {line}"))),
        Line::After(line) => format!("{}\n", color::added(&format!("+ {line}"))),
    };
    diff(before, after).into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ_are_shown_under_their_keys() {
        let before = "labels: {}\nspec:\n  a: 1\n  f: 6\n";
        let after = before.replace("f: 6", "f: 7");
        let plain = |text: String| anstream::adapter::strip_str(&text).to_string();
        assert_eq!(plain(between(before, &after)), "  spec:\n-   f: 6\n+   f: 7\n");
        assert_eq!(plain(between(before, before)), "");
        assert_eq!(plain(between("", "a: 1\n")), "+ a: 1\n");
    }
}
