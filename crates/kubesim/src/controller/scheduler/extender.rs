//! Extenders of the scheduler: other programs that are asked over HTTP which of the nodes that fit they would take, and how much they
//! like them. They know the nodes themselves, so that only names go to and fro.

use std::time::Duration;

use axum::http::Uri;
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;

use crate::exchange;

const PATIENCE: Duration = Duration::from_secs(5);

/// What an extender thinks of some nodes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Opinion {
    pub good: Vec<String>,
    /// The others, with what is wrong with them.
    pub bad: Vec<String>,
}

/// Which of these nodes an extender would take. It is known by its URL.
pub(super) async fn filter(extender: &str, pod: &Value, nodes: &[&str]) -> Result<Opinion, String> {
    let answer = ask(extender, "filter", pod, nodes).await?;
    opinion(extender, nodes, answer)
}

/// How much it likes each of them, from 0 to 10.
pub(super) async fn prioritize(extender: &str, pod: &Value, nodes: &[&str]) -> Result<Vec<i64>, String> {
    let answer = ask(extender, "prioritize", pod, nodes).await?;
    Ok(scores(nodes, answer))
}

async fn ask(extender: &str, verb: &str, pod: &Value, nodes: &[&str]) -> Result<Value, String> {
    let url = format!("{}/{verb}", extender.trim_end_matches('/'));
    let question = json!({"Pod": pod, "Nodes": null, "NodeNames": nodes});
    let answer = async {
        let uri: Uri = url.parse().map_err(|error| format!("no URL: {error}"))?;
        if uri.scheme_str() != Some("http") {
            return Err("only plain HTTP is spoken with extenders".to_owned());
        }
        let host = uri.host().unwrap_or("").trim_matches(['[', ']']).to_owned();
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await;
        let stream = stream.map_err(|error| format!("dial tcp {authority}: {error}"))?;
        Ok(exchange::ask(stream, &uri, &question).await)
    };
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(exchange::Error::Status(code)))) => {
            Err(format!("failed {verb} with extender at URL {url}, code {}", code.as_u16()))
        }
        Ok(Ok(Err(exchange::Error::Other(why))) | Err(why)) => Err(format!("Post {url:?}: {why}")),
        Err(_) => Err(format!("Post {url:?}: context deadline exceeded")),
    }
}

/// The names of fields may be in capital or in small letters.
fn lowered(object: Value) -> Map<String, Value> {
    let Value::Object(fields) = object else { return Map::new() };
    fields.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect()
}

fn opinion(extender: &str, nodes: &[&str], answer: Value) -> Result<Opinion, String> {
    let answer = lowered(answer);
    let field = |name: &str| answer.get(name).filter(|value| !value.is_null());
    if let Some(error) = field("error").and_then(Value::as_str).filter(|error| !error.is_empty()) {
        return Err(error.to_owned());
    }
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let good = match (field("nodenames"), field("nodes")) {
        (Some(names), _) => texts(names),
        (None, Some(list)) => {
            let items = list["items"].as_array().into_iter().flatten();
            items.map(|node| node["metadata"]["name"].as_str().unwrap_or("").to_owned()).collect()
        }
        (None, None) => Vec::new(),
    };
    if let Some(stranger) = good.iter().find(|name| !nodes.contains(&name.as_str())) {
        return Err(format!(
            "extender {extender:?} claims a filtered node {stranger:?} which is not found in the input node list"
        ));
    }
    let failed = ["failednodes", "failedandunresolvablenodes"].into_iter().filter_map(field);
    let failed = failed.filter_map(Value::as_object).flatten();
    let bad = failed.map(|(_, why)| why.as_str().unwrap_or("").to_owned()).collect();
    Ok(Opinion { good, bad })
}

/// Whom it does not name, it does not like.
fn scores(nodes: &[&str], answer: Value) -> Vec<i64> {
    let Value::Array(list) = answer else { return vec![0; nodes.len()] };
    let list: Vec<Map<String, Value>> = list.into_iter().map(lowered).collect();
    let score = |node: &&str| {
        let own = list.iter().find(|one| one.get("host").and_then(Value::as_str) == Some(*node));
        own.and_then(|one| one.get("score")?.as_i64()).unwrap_or(0)
    };
    nodes.iter().map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood_in_capital_and_in_small_letters() {
        let good = |names: &[&str], bad: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect();
            Ok(Opinion { good: owned(names), bad: owned(bad) })
        };
        for (answer, expected) in [
            (json!({"NodeNames": ["a"], "FailedNodes": {"b": "too blue"}, "Error": ""}), good(&["a"], &["too blue"])),
            (json!({"nodenames": ["b", "a"], "failedNodes": null, "error": null}), good(&["b", "a"], &[])),
            (json!({"Nodes": {"items": [{"metadata": {"name": "b"}}]}}), good(&["b"], &[])),
            (json!({"FailedAndUnresolvableNodes": {"a": "no", "b": "no"}}), good(&[], &["no", "no"])),
            (json!({"Error": "out of order"}), Err("out of order".to_owned())),
            (
                json!({"NodeNames": ["c"]}),
                Err("extender \"http://e\" claims a filtered node \"c\" which is not found in the input node list".to_owned()),
            ),
        ] {
            assert_eq!(opinion("http://e", &["a", "b"], answer.clone()), expected, "{answer}");
        }
        assert_eq!(scores(&["a", "b"], json!([{"Host": "b", "Score": 7}])), [0, 7]);
        assert_eq!(scores(&["a", "b"], json!([{"host": "a", "score": 2}])), [2, 0]);
        assert_eq!(scores(&["a"], json!(null)), [0]);
    }
}
